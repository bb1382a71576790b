"""Estimates of the ratio between the densities of the features in the target and in the source."""

from __future__ import annotations

import numpy as np

from mergershift.evaluation.metrics import Floats

COMPONENTS = 50
"""Largest number of principal components that the classifier of the domains uses."""
RIDGE = 0.01
"""Penalty on half the squared coefficients, relative to the mean loss per image."""
_LEAST_VARIANCE = 1e-6
_LARGEST_LOG_RATIO = 50.0


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
    # The import takes a second, and no other part of the evaluation needs it.
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not all(np.isfinite(values).all() for values in (source_train, target_train, features)):
        return np.full(len(features), np.nan)
    both = np.concatenate([source_train, target_train]).astype(np.float64)
    domain = np.repeat([0, 1], [len(source_train), len(target_train)])
    scaler = StandardScaler().fit(both)
    if not scaler.var_.any():
        return np.ones(len(features))
    few = both.shape[1] <= COMPONENTS
    projection = PCA(
        min(COMPONENTS, *both.shape), svd_solver="full" if few else "randomized", random_state=0
    ).fit(scaler.transform(both))
    variances = projection.explained_variance_
    kept = variances > _LEAST_VARIANCE * variances[0]

    def project(rows: Floats) -> Floats:
        scores: Floats = projection.transform(scaler.transform(rows))[:, kept] / np.sqrt(variances[kept])
        return scores

    classifier = LogisticRegression(C=1 / (RIDGE * len(both)), tol=1e-8, max_iter=1000)
    classifier.fit(project(both), domain)
    logs = classifier.decision_function(project(features)) + np.log(len(source_train) / len(target_train))
    ratios = np.exp(np.clip(logs, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO))
    cut: Floats = np.minimum(ratios, np.sqrt(len(ratios)) * ratios.mean())
    return cut
