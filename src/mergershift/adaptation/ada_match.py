"""Self-training: sure predictions on target images become labels for changed views of the same images."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.adaptation.prior import expected_log_probabilities, expected_shares, share_ratios
from mergershift.adaptation.source_free import check_weight
from mergershift.core.errors import UserError
from mergershift.networks import Activations

_LEAST_SHARE = 1e-6
"""Lower limit of a class's mean prediction, so that a class never predicted is not divided by 0."""


class AdaMatch(Adaptation):
    """The cross-entropy of noisy, turned target images with the predictions for the images as they are.

    After Berthelot et al. 2022 (arXiv:2106.04732). Let p `(M, K)` be the predictions for the target images of a batch,
    were its classes as frequent as the source's renderings (see `ClassShares`).

    - Distribution alignment: p is multiplied by the expected shares over its mean, and normalised. The authors take
      the mean prediction of the source's batch for the expected shares; here the source repeats mergers, and the loss
      may weight the classes, so that its batch has other shares than the target.
    - Relative threshold: images count if their largest p, now for the shares that the network is trained with, is at
      least `confidence` times the mean of the source's largest predictions.
    - The penalty is the mean over the M images, those that do not count being 0, of -sum_k r_k p_k log s_k, where
      s is the softmax for the other view and r the trained over the expected shares. These weights give the pseudo-
      labelled images the class shares of the classification loss.

    No gradient flows through p. The other view is the image, turned by a symmetry of the square that a batch shares,
    with Gaussian noise; the authors' RandAugment changes colours, in which galaxies carry information. Theirs also
    changes source images, and interpolates source logits between two batch statistics, which are left out here.
    Self-training cannot recover classes that the network confuses: it needs predictions better than chance, for which
    its weight grows from 0 (`Ramp`). Each step costs half as much again as one of the methods without views.

    Args:
        confidence: the relative threshold; 0.9 in the paper.
        noise: standard deviation of the noise of the other view, in units of the source pixels' deviation.

    Raises UserError if the confidence is not in (0, 1] or the noise is negative or not finite.
    """

    views = 2

    def __init__(self, confidence: float = 0.9, noise: float = 0.3) -> None:
        super().__init__()
        if not 0 < confidence <= 1:
            raise UserError(f"confidence is {confidence}, expected 0 < confidence <= 1 (conf/adaptation/)")
        self.confidence, self.noise = confidence, check_weight("noise", noise)

    def target_views(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the images `(M, C, H, W)` followed by their other views, which need H = W."""
        symmetry = int(torch.randint(1, 8, (), generator=generator, device=generator.device))
        turned = images.rot90(symmetry % 4, (2, 3))
        other = turned.flip(3) if symmetry >= 4 else turned
        noise = torch.randn(other.shape, generator=generator, device=images.device, dtype=images.dtype)
        return torch.cat([images, other + self.noise * noise]).contiguous(memory_format=torch.channels_last)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar) of logits `(N, K)` and `(2 M, K)`; the labels are not used.

        Raises ValueError unless both are matrices with the same K, and the target's rows are even in number.
        """
        rows = len(target.logits)
        if source.logits.shape[1:] != target.logits.shape[1:] or rows % 2:
            raise ValueError(
                f"logits have shapes {tuple(source.logits.shape)} and {tuple(target.logits.shape)}, "
                "expected (N, K) and (2 M, K)"
            )
        plain, changed = target.logits.chunk(2)
        labels = self.pseudo_labels(source.logits.detach(), plain.detach())
        log_s = changed.to(labels.dtype).log_softmax(1)
        return -(labels * log_s).sum() / len(changed)

    def pseudo_labels(self, source: Tensor, target: Tensor) -> Tensor:
        """Return r p `(M, K)` of target logits `(M, K)`, 0 for images below the threshold; see the class.

        Args:
            source: logits `(N, K)` of the source's batch, which set the threshold.
            target: logits of the target images as they are.
        """
        p = expected_log_probabilities(target, self.shares).exp()
        p = p * expected_shares(p, self.shares) / p.mean(0).clamp_min(_LEAST_SHARE)
        weighted = p / p.sum(1, keepdim=True) / share_ratios(p, self.shares)
        largest = weighted.amax(1) / weighted.sum(1)
        threshold = self.confidence * source.to(p.dtype).softmax(1).amax(1).mean()
        return weighted * (largest >= threshold)[:, None]
