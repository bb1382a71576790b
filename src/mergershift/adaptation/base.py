"""The interface that every adaptation method implements."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from mergershift.core.errors import UserError
from mergershift.networks import Activations, Network


class ClassShares(NamedTuple):
    """Shares of the K classes, which sum to 1."""

    trained: tuple[float, ...]
    """Shares that the classification loss gives to the classes, for which the network's softmax is the posterior."""
    expected: tuple[float, ...]
    """Shares among the source's training renderings, each counted once, which a method may expect of the target."""


class Adaptation(nn.Module):
    """A penalty on the difference between a labelled source batch and an unlabelled target batch.

    A method may have weights of its own (a domain classifier, class centres), which are trained together with
    the network's. It never sees a target label. Methods that do more than add a penalty use hooks:
    `labelled_images` and `target_views` before the network, `after_training` and `fit_to_source` at the end;
    `separate_domains` says how both domains pass through the network.
    """

    uses_target: bool = True
    """Whether the penalty depends on the target; if not, training does not pass target images through the network."""

    separate_domains: bool = False
    """Whether each domain passes through the network as a batch of its own, normalised by its own statistics.

    The running statistics then are the labelled domain's, and `after_training` has to replace them by the target's."""

    def build(self, feature_size: int, classes: int) -> None:
        """Create the weights that depend on the network's sizes F and K; called once, before training."""

    shares: ClassShares | None = None
    """The classes' shares; None if they are not known, which stands for equal ones."""

    def expect(self, shares: ClassShares) -> None:
        """Take note of the classes' shares; called before training, and before the hooks of a trained network."""
        self.shares = shares

    @property
    def changes_images(self) -> bool:
        """Whether `labelled_images` may return other images than it is given."""
        return type(self).labelled_images is not Adaptation.labelled_images

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return labelled images `(N, C, H, W)` in µJy/arcsec² as the network is to see them, by default unchanged.

        This hook is called for training batches and for the labelled domain's validation images, never for test
        images.
        """
        return images

    views: int = 1
    """Number of views V of every target image that `target_views` returns."""

    def target_views(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the views `(V M, C, H, W)` of a training batch of target images `(M, C, H, W)`.

        The first M are the images as they are given, which are preprocessed for the network, and by default all.
        """
        return images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar, before any weighting).

        Args:
            source: activations of N labelled images, with features `(N, F)` and logits `(N, K)`.
            target: activations of M unlabelled images, with features `(M, F)` and logits `(M, K)`; of V M images for a
                method with V views.
            source_labels: class numbers `(N,)` of the source.

        Raises ValueError if the shapes do not match.
        """
        raise NotImplementedError

    def learning_rate_factor(self, name: str) -> float:
        """Return by how much faster than the network the method's weight `name` is trained; 0 leaves it as it is."""
        return 1.0

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Change the trained network in place using unlabelled target images; most methods do nothing here.

        Args:
            network: a trained network, in evaluation mode before and after.
            batches: batches of the target's training images `(M, C, H, W)`, preprocessed for the network, each
                image once.
        """

    def fit_to_source(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Change a copy of the network that `after_training` has changed, in place, for scores on the source.

        The default repeats `after_training` with `batches` of the source's training images, which suits methods that
        keep nothing of the images that they were fitted to before.
        """
        self.after_training(network, batches)


def checked_rate(rate: float) -> float:
    """Return the factor on a learning rate; raises UserError unless it is at least 0 and finite."""
    if not 0 <= rate < math.inf:
        raise UserError(f"rate is {rate}, expected a finite number of at least 0 (conf/adaptation/)")
    return rate


def check_features(source: Tensor, target: Tensor) -> None:
    """Raise ValueError unless `source` is `(N, F)` and `target` `(M, F)`, with at least one row each."""
    matrices = source.ndim == target.ndim == 2
    if not matrices or source.shape[1] != target.shape[1] or not len(source) * len(target):
        raise ValueError(
            f"features have shapes {tuple(source.shape)} and {tuple(target.shape)}, expected (N, F) and (M, F)"
        )


def joint_rows(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Join features `(N, F)` and `(M, F)` to rows `(N + M, F)` of at most 1, and return these and their unit (scalar).

    The unit, the largest absolute value of all features, carries no gradient. Squares of the rows do not overflow,
    whatever the features are. The rows have at least float32 precision.

    Raises ValueError unless both are matrices of at least one row with the same F.
    """
    check_features(source, target)
    wide = torch.promote_types(source.dtype, torch.float32)
    rows = torch.cat([source.to(wide), target.to(wide)])
    largest = rows.detach().abs().max()
    unit = torch.where(largest > 0, largest, torch.ones_like(largest))
    return rows / unit, unit
