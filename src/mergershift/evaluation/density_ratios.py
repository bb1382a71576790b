"""Estimates of the ratio between the densities of the features in the target and in the source."""

from __future__ import annotations

import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mergershift.evaluation.metrics import Floats

COMPONENTS = 50
"""Largest number of principal components that the classifier of the domains uses."""
RIDGE = 0.01
"""Penalty on half the squared coefficients, relative to the mean loss per image."""
_LEAST_VARIANCE = 1e-6
_LARGEST_LOG_RATIO = 50.0
_OVERSAMPLES = 10
_MOST_STEPS = 100
_SMALLEST_GRADIENT = 1e-10


def density_ratios(source_train: Floats, target_train: Floats, features: Floats) -> Floats:
    """Estimate the ratio of target to source density `(N,)` at `features` `(N, F)`, with a domain classifier.

    A logistic regression on the training images of both domains gives p(target | x), and the ratio is
    (A / B) p / (1 - p) (Bickel et al. 2007, ICML). Features are standardised over both domains and projected onto
    their first 50 principal components (or all, if there are fewer), each scaled to variance 1; components with less
    than a millionth of the first one's variance are dropped. The penalty (`RIDGE`) keeps the ratios finite if the
    domains can be separated without error. Ratios are truncated at sqrt(N) times their mean, as in the truncated
    importance sampling of Ionides 2008 (J. Comput. Graph. Stat. 17:295). This limits the influence of a single
    image, and its bias vanishes with N.

    The estimate is deterministic. All ratios are NaN if any feature is not finite.

    Args:
        source_train: features `(A, F)` of source training images.
        target_train: features `(B, F)` of target training images.
        features: features `(N, F)` at which the ratio is estimated.
    """
    if not all(np.isfinite(values).all() for values in (source_train, target_train, features)):
        return np.full(len(features), np.nan)
    domains = _last.of(source_train, target_train)
    if domains is None:
        return np.ones(len(features))
    logs = (
        features[:, domains.varying] - domains.mean
    ) / domains.deviation @ domains.weights + domains.offset
    logs += np.log(len(source_train) / len(target_train))
    ratios = np.exp(np.clip(logs, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO))
    cut: Floats = np.minimum(ratios, np.sqrt(len(ratios)) * ratios.mean())
    return cut


class _DomainClassifier(NamedTuple):
    """Log odds of the target, linear in the features that vary."""

    varying: NDArray[np.bool_]
    mean: Floats
    deviation: Floats
    weights: Floats
    offset: float


class _LastClassifier:
    """The domain classifier that was fitted last: validators ask for the same one for each half of the galaxies."""

    def __init__(self) -> None:
        self._features: list[weakref.ref[Floats]] = []
        self._fitted: _DomainClassifier | None = None

    def of(self, *features: Floats) -> _DomainClassifier | None:
        """Return the classifier fitted to these arrays, which nobody changes; None if no feature varies."""
        known = [reference() for reference in self._features]
        if len(known) != len(features) or any(
            one is not other for one, other in zip(known, features, strict=True)
        ):
            self._fitted = _domain_classifier(*features)
            self._features = [weakref.ref(values) for values in features]
        return self._fitted


_last = _LastClassifier()


def _domain_classifier(source_train: Floats, target_train: Floats) -> _DomainClassifier | None:
    both = np.concatenate([source_train, target_train]).astype(np.float64)
    of_target = np.repeat([0.0, 1.0], [len(source_train), len(target_train)])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    # Rounding can make the standard deviation of a constant feature slightly larger than 0.
    varying = deviation > 1e-12 * np.maximum(np.abs(both).max(axis=0), 1e-300)
    if not varying.any():
        return None
    mean, deviation = mean[varying], deviation[varying]
    scaled = (both[:, varying] - mean) / deviation
    axes, variances = _principal_axes(scaled)
    projection = axes / np.sqrt(variances)
    line = _logistic_regression(scaled @ projection, of_target)
    return _DomainClassifier(varying, mean, deviation, projection @ line.slopes, line.offset)


def _principal_axes(rows: Floats) -> tuple[Floats, Floats]:
    """Compute the first principal axes `(F, K)` of centred rows `(N, F)` and the variances `(K,)` along them.

    Where there are many rows and features, the axes are those of a randomised range finder (Halko et al. 2011,
    arXiv:0909.4061, algorithm 4.4), whose power iterations multiply by the smaller of the two Gram matrices. That
    matrix is computed once, so that an iteration costs a fraction of two products with the rows themselves.
    """
    wide = rows.shape[0] < rows.shape[1]
    tall = rows.T if wide else rows
    gram = tall.T @ tall
    size = len(gram)
    count = min(COMPONENTS, size)
    if size <= COMPONENTS + _OVERSAMPLES:
        squares, right = (found[..., ::-1][..., :count] for found in np.linalg.eigh(gram))
        axes = tall @ right / np.sqrt(np.maximum(squares, 1e-300)) if wide else right
    else:
        basis = np.random.RandomState(0).normal(size=(size, count + _OVERSAMPLES))
        for _ in range(7 if count < 0.1 * size else 4):
            basis = np.linalg.qr(gram @ basis)[0]
        outer = np.linalg.qr(tall @ basis)[0]
        inner = tall.T @ outer
        squares, turn = (found[..., ::-1][..., :count] for found in np.linalg.eigh(inner.T @ inner))
        axes = outer @ turn if wide else inner @ turn / np.sqrt(np.maximum(squares, 1e-300))
    kept = squares > _LEAST_VARIANCE * squares[0]
    return axes[:, kept], squares[kept] / (len(rows) - 1)


class _Line(NamedTuple):
    slopes: Floats
    offset: float


def _logistic_regression(columns: Floats, truth: Floats) -> _Line:
    """Fit log odds that are linear in the columns `(N, K)`, with the penalty `RIDGE` on the slopes, to labels `(N,)`.

    Newton's method, where a step that would increase the loss is halved; the loss is strictly convex.
    """
    design = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    penalty = np.r_[np.full(columns.shape[1], RIDGE), 0.0]
    signs = 2 * truth - 1

    def loss(weights: Floats) -> float:
        return float(np.mean(np.logaddexp(0, -signs * (design @ weights))) + penalty @ weights**2 / 2)

    weights = np.zeros(design.shape[1])
    lowest = loss(weights)
    for _ in range(_MOST_STEPS):
        chances = expit(design @ weights)
        gradient = design.T @ (chances - truth) / len(truth) + penalty * weights
        if np.abs(gradient).max() < _SMALLEST_GRADIENT:
            break
        curvature = (design.T * (chances * (1 - chances))) @ design / len(truth) + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        while (reached := loss(weights - step)) > lowest and np.abs(step).max() > _SMALLEST_GRADIENT:
            step = step / 2
        weights, lowest = weights - step, reached
    return _Line(weights[:-1], float(weights[-1]))
