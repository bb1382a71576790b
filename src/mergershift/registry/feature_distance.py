"""Distance of an image's features from those of the images that a network was trained on."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]

SHARE = 0.99
"""Share of held-out images whose distance is at most 1."""
_MOST_COMPONENTS = 128


class FeatureDistance(nn.Module):
    """Mahalanobis distance under probabilistic principal components, scaled by the distances of held-out images.

    Features are modelled as normally distributed with mean m and covariance W diag(l) Wᵀ + s (1 - W Wᵀ): each of K
    directions has its own variance, and all others share the variance s (Tipping & Bishop 1999, J. R. Stat. Soc. B
    61, 611). The distance is that of Lee et al. 2018 (arXiv:1807.03888) with a single distribution instead of one per
    class, because target images have no labels.

    Args:
        mean: mean of the features, `(F,)`.
        directions: orthonormal principal directions, `(K, F)`.
        variances: variances along these directions, `(K,)`.
        noise: variance along all other directions.
        unit: Mahalanobis distance that is scaled to 1.
    """

    mean: Tensor
    directions: Tensor
    excess: Tensor
    scale: Tensor

    def __init__(
        self, mean: Floats, directions: Floats, variances: Floats, noise: float, unit: float
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float64)))
        self.register_buffer("directions", torch.from_numpy(directions.astype(np.float64)))
        # d² = |x - m|² / s + sum over k of (1 / l_k - 1 / s) (w_k · (x - m))²
        self.register_buffer("excess", torch.from_numpy(1 / variances - 1 / noise))
        self.register_buffer("scale", torch.tensor([1 / noise, 1 / unit], dtype=torch.float64))

    @property
    def components(self) -> int:
        """Number of principal directions K."""
        return len(self.excess)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the distances `(N,)`, float64, of features `(N, F)`."""
        centred = features.double() - self.mean
        along = centred @ self.directions.T
        squares = centred.square().sum(dim=1) * self.scale[0] + along.square() @ self.excess
        return squares.clamp_min(0).sqrt() * self.scale[1]


def unit_of(distances: Floats) -> float:
    """Return the distance that contains the share `SHARE` of those of held-out images, `(M,)`.

    It is counted as in split conformal prediction: that of the ceil((M + 1) 0.99)-th nearest of M images, or of the
    farthest if M is below 99.
    """
    return float(np.sort(distances)[min(len(distances), math.ceil((len(distances) + 1) * SHARE)) - 1])


def fit_distance(training: Floats, held_out: Floats) -> FeatureDistance:
    """Fit the distribution to the features of training images, and the unit of distance to those of held-out images.

    K is the number of directions that maximises the likelihood of the held-out features. The unit is that
    of `unit_of`.

    Args:
        training: features `(A, F)` of images used in the training, A > 3.
        held_out: features `(M, F)` of images of the same domains that were not used in the training.

    Raises ValueError if the shapes do not match, there are too few images, or the features are NaN, infinite or all
    identical.
    """
    from sklearn.decomposition import (
        PCA,
    )  # takes a second to import, and those who apply a model do not need it

    if training.ndim != 2 or held_out.ndim != 2 or training.shape[1] != held_out.shape[1]:
        raise ValueError(f"features {training.shape} and {held_out.shape}, expected (A, F) and (M, F)")
    if len(training) < 4 or not len(held_out) or training.shape[1] < 2:
        raise ValueError(f"features {training.shape} and {held_out.shape}, expected A > 3, M > 0, F > 1")
    if not (np.isfinite(training).all() and np.isfinite(held_out).all()):
        raise ValueError("features contain NaN or infinite values: the network has diverged")
    total = float(training.var(axis=0, ddof=1).sum())
    if not total > 0:
        raise ValueError("features of all images are identical: there is no scale to measure distances by")
    width = training.shape[1]
    largest = min(_MOST_COMPONENTS, width - 1, len(training) // 2)
    principal = PCA(n_components=largest, random_state=0).fit(training)
    variances: Floats = principal.explained_variance_.astype(np.float64)
    noises = (total - np.cumsum(variances)) / (width - 1 - np.arange(largest))
    # If a few directions carry all the variance, that of the remaining ones is only rounding error.
    usable = noises > 1e-9 * total / width
    if not usable.any():
        raise ValueError("features vary in one direction only: there is no scale to measure distances by")
    centred = held_out - principal.mean_
    along = np.cumsum((centred @ principal.components_.T) ** 2 / variances, axis=1)
    inside = np.cumsum((centred @ principal.components_.T) ** 2, axis=1)
    outside = np.maximum((centred**2).sum(axis=1, keepdims=True) - inside, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = along + outside / noises
        volume = np.cumsum(np.log(variances)) + (width - 1 - np.arange(largest)) * np.log(noises)
    likelihood = np.where(usable, -(volume + squares.mean(axis=0)), -np.inf)
    best = int(np.nanargmax(likelihood))
    unit = unit_of(np.sqrt(squares[:, best]))
    return FeatureDistance(
        principal.mean_,
        principal.components_[: best + 1],
        variances[: best + 1],
        float(noises[best]),
        unit,
    )
