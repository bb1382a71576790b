"""How far apart two domains lie in a network's features: a plane to look at, and two distances.

All three standardise the features first, each to mean 0 and deviation 1 over both domains together, so that
networks whose features differ in scale can stand side by side; features that never vary are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.evaluation.metrics import Floats

COMPONENTS = 50
"""Principal components that the linear classifier of the proxy A-distance sees."""
FOLDS = 5


class Plane(NamedTuple):
    """Two domains in the leading principal components of both together."""

    source: Floats
    """`(N, D)`."""
    target: Floats
    """`(M, D)`."""
    explained: Floats
    """`(D,)` share of the joint variance along each component."""


def project(source: ArrayLike, target: ArrayLike, components: int = 2) -> Plane:
    """Project the features of both domains, `(N, F)` and `(M, F)`, on their joint principal components.

    Fewer components come back where the features have fewer. The same input gives the same plane: the
    randomised decomposition (Halko et al. 2011, arXiv:0909.4061) has a fixed seed, and signs are set by the
    largest loading. Raises ValueError on shapes that do not fit.
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

    Unbiased (Gretton et al. 2012, JMLR 13:723, eq. 3) with one Gaussian kernel ``exp(-d² / (2 s²))``, s the
    median distance of the joint sample (section 8 there): 0 on average for equal distributions, so it may come
    out slightly negative, and at most 2. Pairs that show the same galaxy are left out, within and across the
    domains: a galaxy resembles itself however far apart the domains are. NaN where no pair is left or all
    features are constant.

    Raises ValueError on shapes that do not fit.
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
    """Estimate how well a linear classifier tells two domains' features, `(N, F)` and `(M, F)`, apart.

    ``2 (1 - 2 err)``, Ben-David et al. 2007 (NIPS 19:137): 0 where it can only guess, 2 where it is never
    wrong. `err` is the error, balanced over the domains, of a logistic regression on the leading `COMPONENTS`
    principal components, cross-validated in `FOLDS` folds that keep a galaxy's images together; an error above
    one half counts as one half. NaN with fewer than two galaxies.

    Raises ValueError on shapes that do not fit.
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
    """Both domains' varying features under each other `(N + M, F')`, and N."""
    first, second = (np.asarray(each, dtype=np.float64) for each in (source, target))
    fits = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] and len(first) and len(second)
    if not fits:
        raise ValueError(f"features of shapes {first.shape} and {second.shape}, expected (N, F) and (M, F)")
    joint = np.concatenate([first, second])
    deviations = joint.std(axis=0)
    # A constant column's deviation may come out as a rounding error instead of 0.
    varying = deviations > 1e-12 * np.maximum(np.abs(joint).max(axis=0), 1e-300)
    centred = joint[:, varying] - joint[:, varying].mean(axis=0)
    return centred / deviations[varying], len(first)


def _per_image(galaxies: ArrayLike, images: int) -> NDArray[np.generic]:
    names = np.asarray(galaxies)
    if names.shape != (images,):
        raise ValueError(f"galaxies of shape {names.shape}, expected ({images},)")
    return names
