"""How far an image's features lie from those of the images that a network was trained on."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]

SHARE = 0.99
"""Of held-out images that are to lie within a distance of 1."""
_MOST_COMPONENTS = 128


class FeatureDistance(nn.Module):
    """Mahalanobis distance under probabilistic principal components, in units of what held-out images keep to.

    Features are taken as normally distributed with mean m and covariance W diag(l) Wᵀ + s (1 - W Wᵀ): K directions
    with variances of their own, one variance s in all others (Tipping & Bishop 1999, J. R. Stat. Soc. B 61, 611).
    The distance is that of Lee et al. 2018 (arXiv:1807.03888) with one covariance and no classes, because the
    target has none.

    Args:
        mean: `(F,)`
        directions: `(K, F)`, orthonormal.
        variances: `(K,)` along the directions.
        noise: variance along all others.
        unit: the distance that is called 1.
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
        """K."""
        return len(self.excess)

    def forward(self, features: Tensor) -> Tensor:
        """Distances `(N,)`, float64, of features `(N, F)`."""
        centred = features.double() - self.mean
        along = centred @ self.directions.T
        squares = centred.square().sum(dim=1) * self.scale[0] + along.square() @ self.excess
        return squares.clamp_min(0).sqrt() * self.scale[1]


def fit_distance(training: Floats, held_out: Floats) -> FeatureDistance:
    """Fit the distribution to the features of training images and its unit to those of held-out ones.

    K is the number of directions under which the held-out features are likeliest. The unit is the distance
    within which the share `SHARE` of them stays, counted as in split conformal prediction: of M images the
    ceil((M + 1) 0.99)-th nearest, or the farthest where M is below 99.

    Args:
        training: `(A, F)`, A > 3, of images that the training saw.
        held_out: `(M, F)`, of images of the same domains that it did not see.

    Raises ValueError on shapes that do not fit, too few images, and features that are not finite or all alike.
    """
    from sklearn.decomposition import PCA  # a second that those who only use a model need not wait

    if training.ndim != 2 or held_out.ndim != 2 or training.shape[1] != held_out.shape[1]:
        raise ValueError(f"features {training.shape} and {held_out.shape}, expected (A, F) and (M, F)")
    if len(training) < 4 or not len(held_out) or training.shape[1] < 2:
        raise ValueError(f"features {training.shape} and {held_out.shape}, expected A > 3, M > 0, F > 1")
    if not (np.isfinite(training).all() and np.isfinite(held_out).all()):
        raise ValueError("features are not finite: the network has diverged")
    total = float(training.var(axis=0, ddof=1).sum())
    if not total > 0:
        raise ValueError("features are all alike: nothing to measure distances by")
    width = training.shape[1]
    largest = min(_MOST_COMPONENTS, width - 1, len(training) // 2)
    principal = PCA(n_components=largest, random_state=0).fit(training)
    variances: Floats = principal.explained_variance_.astype(np.float64)
    noises = (total - np.cumsum(variances)) / (width - 1 - np.arange(largest))
    # Where a few directions hold all there is, rounding decides about the rest.
    usable = noises > 1e-9 * total / width
    if not usable.any():
        raise ValueError("features lie in one direction: nothing to measure distances by")
    centred = held_out - principal.mean_
    along = np.cumsum((centred @ principal.components_.T) ** 2 / variances, axis=1)
    inside = np.cumsum((centred @ principal.components_.T) ** 2, axis=1)
    outside = np.maximum((centred**2).sum(axis=1, keepdims=True) - inside, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = along + outside / noises
        volume = np.cumsum(np.log(variances)) + (width - 1 - np.arange(largest)) * np.log(noises)
    likelihood = np.where(usable, -(volume + squares.mean(axis=0)), -np.inf)
    best = int(np.nanargmax(likelihood))
    distances = np.sort(np.sqrt(squares[:, best]))
    unit = distances[min(len(distances), math.ceil((len(distances) + 1) * SHARE)) - 1]
    return FeatureDistance(
        principal.mean_,
        principal.components_[: best + 1],
        variances[: best + 1],
        float(noises[best]),
        float(unit),
    )
