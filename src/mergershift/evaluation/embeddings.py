"""Two distances between domains in a network's feature space, and a projection onto a plane for figures.

All three first standardise each feature to mean 0 and standard deviation 1 over both domains together, so that
networks whose features differ in scale can be compared. Constant features are dropped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.evaluation.metrics import Floats

COMPONENTS = 50
"""Number of principal components used by the linear classifier of the proxy A-distance."""
FOLDS = 5
"""Number of folds of the cross-validation in the proxy A-distance."""


class Plane(NamedTuple):
    """Coordinates of two domains along the leading principal components of both together."""

    source: Floats
    """Coordinates `(N, D)` of the source."""
    target: Floats
    """Coordinates `(M, D)` of the target."""
    explained: Floats
    """Fraction `(D,)` of the joint variance along each component."""


def project(source: ArrayLike, target: ArrayLike, components: int = 2) -> Plane:
    """Project the features of both domains, `(N, F)` and `(M, F)`, onto their joint principal components.

    Fewer components are returned if the features have fewer. The projection is deterministic: the randomised
    decomposition (Halko et al. 2011, arXiv:0909.4061) has a fixed seed, and the signs are those that make the largest
    loading positive. Raises ValueError if the shapes do not match.
    """
    from sklearn.decomposition import PCA

    joint, size = _standardised(source, target)
    count = min(components, *joint.shape)
    if not count:
        return Plane(np.zeros((size, 0)), np.zeros((len(joint) - size, 0)), np.zeros(0))
    decomposition = PCA(count, svd_solver="randomized", iterated_power=7, random_state=0)
    placed = decomposition.fit_transform(joint)
    return Plane(placed[:size], placed[size:], decomposition.explained_variance_ratio_)


def squared_mmd(
    source: ArrayLike, target: ArrayLike, source_galaxies: ArrayLike, target_galaxies: ArrayLike
) -> float:
    """Estimate the squared maximum mean discrepancy between two domains' features, `(N, F)` and `(M, F)`.

    The estimate is unbiased (Gretton et al. 2012, JMLR 13:723, eq. 3) and uses one Gaussian kernel
    ``exp(-d² / (2 s²))``, where s is the median distance of the joint sample (section 8 of the paper). It is 0 on
    average for equal distributions, may therefore be slightly negative, and is at most 2. Pairs of images of the
    same galaxy are excluded within and across the domains, because a galaxy resembles itself however large the
    distance between the domains is. The estimate is NaN if no pair is left or all features are constant.

    Raises ValueError if the shapes do not match.
    """
    joint, size = _standardised(source, target)
    galaxies = np.concatenate(
        [_per_image(source_galaxies, size), _per_image(target_galaxies, len(joint) - size)]
    )
    squares = np.square(joint).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * joint @ joint.T, 0.0)
    counted = galaxies[:, None] != galaxies[None, :]
    first, second = slice(None, size), slice(size, None)
    blocks = [(first, first), (second, second), (first, second)]
    if not joint.shape[1] or not all(counted[block].any() for block in blocks):
        return float("nan")
    width = np.median(np.sqrt(distances[counted]))
    kernel = np.exp(-distances / (2 * width**2))
    within_source, within_target, across = (kernel[block][counted[block]].mean() for block in blocks)
    return float(within_source + within_target - 2 * across)


def proxy_a_distance(
    source: ArrayLike, target: ArrayLike, source_galaxies: ArrayLike, target_galaxies: ArrayLike
) -> float:
    """Estimate how well a linear classifier distinguishes two domains' features, `(N, F)` and `(M, F)`.

    The distance is ``2 (1 - 2 err)`` (Ben-David et al. 2007, NIPS 19:137): 0 if the classifier can only guess, and 2
    if it is never wrong. `err` is the error, balanced over the domains, of a logistic regression on the leading
    `COMPONENTS` principal components, cross-validated in `FOLDS` folds that keep the images of a galaxy together; an
    error above one half is set to one half. The distance is NaN with fewer than two galaxies.

    Raises ValueError if the shapes do not match.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plane = project(source, target, COMPONENTS)
    sizes = len(plane.source), len(plane.target)
    groups = np.concatenate([_per_image(source_galaxies, sizes[0]), _per_image(target_galaxies, sizes[1])])
    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 2:
        return float("nan")
    if not len(plane.explained):
        return 0.0
    domain = np.repeat([0, 1], sizes)
    called = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        np.concatenate([plane.source, plane.target]),
        domain,
        groups=groups,
        cv=GroupKFold(folds),
    )
    error = 1 - balanced_accuracy_score(domain, called)
    return float(2 * (1 - 2 * min(error, 0.5)))


def _standardised(source: ArrayLike, target: ArrayLike) -> tuple[Floats, int]:
    """Return the standardised non-constant features of both domains `(N + M, F')`, source first, and N."""
    first, second = (np.asarray(features, dtype=np.float64) for features in (source, target))
    fits = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] and len(first) and len(second)
    if not fits:
        raise ValueError(f"features of shapes {first.shape} and {second.shape}, expected (N, F) and (M, F)")
    joint = np.concatenate([first, second])
    deviations = joint.std(axis=0)
    # Rounding can make the standard deviation of a constant column slightly larger than 0.
    varying = deviations > 1e-12 * np.maximum(np.abs(joint).max(axis=0), 1e-300)
    centred = joint[:, varying] - joint[:, varying].mean(axis=0)
    return centred / deviations[varying], len(first)


def _per_image(galaxies: ArrayLike, images: int) -> NDArray[np.generic]:
    names = np.asarray(galaxies)
    if names.shape != (images,):
        raise ValueError(f"galaxies of shape {names.shape}, expected ({images},)")
    return names
