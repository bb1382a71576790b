"""Source hypothesis transfer: target features are moved to where a frozen classifier is sure of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.prior import divergence, entropy, expected_log_probabilities
from mergershift.adaptation.source_free import (
    Mixed,
    batch_norms,
    batch_statistics,
    check_passes,
    check_weight,
    step,
)
from mergershift.adaptation.source_only import SourceOnly
from mergershift.core.errors import UserError
from mergershift.networks import Network, feature_weights


class Shot(SourceOnly):
    """Training without a penalty, after which the features are trained on target images behind the frozen head.

    In the method of Liang et al. 2020 (arXiv:2002.08546), the head, here all weights on which the features do not
    depend, stays the source's hypothesis. The features minimise, over batches of target images, information
    maximisation (eqs. 2 and 3), entropy + KL(class shares | mean prediction), plus `pseudo` times the cross-entropy
    with pseudo-labels, which are found anew for every pass over the target: the class of the centroid with the smaller
    cosine distance (see `pseudo_labels`).

    The authors take equal class shares and the divergence in the other direction (see `divergence`). Here the shares
    are those of the source's renderings, and all predictions are those for these shares (see `ClassShares`), because
    mergers are rare: with equal ones, the method would move non-mergers across the boundary until the halves are
    equal. A target whose classes have other shares is pulled towards the source's. The authors train with smoothed
    labels and weight normalisation in the head, and SGD with a decay; here the network is trained as configured, and
    Adam adapts it at a constant rate. The method amplifies what the source's network gets right, and also what it gets
    wrong: it needs predictions better than chance. Every kept epoch is adapted, which can outlast the training.

    Args:
        epochs: number of passes over the target's training images.
        lr: learning rate of Adam.
        pseudo: weight of the cross-entropy with pseudo-labels; 0.3 in the paper.

    Raises UserError if `epochs` is below 1, `lr` not positive, `pseudo` negative, or one of them not finite.
    """

    def __init__(self, epochs: int = 10, lr: float = 3e-4, pseudo: float = 0.3) -> None:
        super().__init__()
        check_passes(epochs, lr)
        self.epochs, self.lr, self.pseudo = epochs, lr, check_weight("pseudo", pseudo)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss (scalar) of a batch with logits `(M, K)` and pseudo-labels `(M,)`; see the class."""
        log_p = expected_log_probabilities(logits, self.shares)
        information = entropy(log_p) + divergence(log_p, self.shares)
        return information + self.pseudo * functional.nll_loss(log_p, labels)

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Train the features of `network` in place; statistics of batch normalisations become the target's.

        Args:
            network: any network with weights after its features; its modes are restored afterwards.
            batches: batches of the target's training images `(M, C, H, W)`, preprocessed for the network, each
                image once. All are held in memory.

        Raises UserError if the network has no weight before its features or none after them, and ValueError if there
        is no image.
        """
        images = Mixed(batches)
        weights = feature_weights(network, images.images[:1])
        if not 0 < len(weights) < len(list(network.parameters())):
            where = "after" if weights else "before"
            raise UserError(
                f"shot trains features behind a frozen head, but {type(network).__name__} has no weights {where} its"
                " features.\nChoose another network (conf/network/) or another method."
            )
        _fit_statistics(network, images)
        optimiser = torch.optim.Adam(weights, lr=self.lr)
        for _ in range(self.epochs):
            labels = self._labels(network, images)
            with batch_statistics(network), torch.enable_grad():
                for rows in images.rows():
                    logits = network(images.images[rows]).logits
                    step(optimiser, self.loss(logits, labels[rows]), weights)
            _fit_statistics(network, images)

    def fit_to_source(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Give a copy of the adapted network the source's statistics; its weights stay the target's."""
        _fit_statistics(network, Mixed(batches))

    @torch.no_grad()
    def _labels(self, network: Network, images: Mixed) -> Tensor:
        """Return the pseudo-labels `(N,)` of all images, in their order."""
        parts = [network(part) for part in images.images.split(128)]
        features, logits = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return pseudo_labels(features, expected_log_probabilities(logits, self.shares).exp())


def pseudo_labels(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the class `(N,)` of the nearest centroid by cosine distance, for features `(N, F)`.

    The centroids are first the means of the unit-length features weighted by `probabilities` `(N, K)`, then those of
    the classes that result; a class without images is no longer a candidate (Liang et al. 2020, eqs. 4-6; as in the
    released code, features have a constant 1 appended).
    """
    rows = functional.normalize(functional.pad(features.float(), (0, 1), value=1.0), dim=1)
    shares = probabilities.to(rows)
    labels = shares.argmax(1)
    for _ in range(2):
        centroids = shares.T @ rows / shares.sum(0)[:, None].clamp_min(1e-8)
        similarity = rows @ functional.normalize(centroids, dim=1).T
        labels = similarity.masked_fill(shares.sum(0) == 0, -torch.inf).argmax(1)
        shares = functional.one_hot(labels, shares.shape[1]).to(rows)
    return labels


def _fit_statistics(network: Network, images: Mixed) -> None:
    if batch_norms(network):
        AdaBN().after_training(network, images)
