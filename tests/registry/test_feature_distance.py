"""Distances of features from those of the training, against an explicit covariance and on unseen features."""

import numpy as np
import pytest
import torch

from mergershift.registry import fit_distance


def drawn(count, seed, width=12, ranks=3):
    """Draw normal features that vary widely in three directions and little in all others."""
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(width, ranks)))[0]
    random = np.random.default_rng(seed)
    return (
        5 + random.normal(size=(count, ranks)) * [9, 6, 4] @ directions.T + random.normal(size=(count, width))
    )


def of(distance, features):
    return distance(torch.from_numpy(features)).numpy()


def test_it_is_the_mahalanobis_distance_of_the_fitted_covariance():
    """Compared with the inverse covariance for the number of directions that is likeliest by scipy's density."""
    from scipy.stats import multivariate_normal

    training, held_out = drawn(400, 1), drawn(300, 2)
    values, vectors = np.linalg.eigh(np.cov(training.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    candidates = {}
    for k in range(1, 12):
        noise = values[k:].mean()
        covariance = vectors[:, :k] * (values[:k] - noise) @ vectors[:, :k].T + noise * np.eye(12)
        normal = multivariate_normal(training.mean(axis=0), covariance)
        candidates[k] = (normal.logpdf(held_out).mean(), covariance)
    best = max(candidates, key=lambda k: candidates[k][0])
    distance = fit_distance(training, held_out)
    assert distance.components == best == 3
    away = held_out - training.mean(axis=0)
    expected = np.sqrt(np.einsum("nf,fg,ng->n", away, np.linalg.inv(candidates[best][1]), away))
    unit = np.sort(expected)[297]  # of 300, the 298th: ceil(301 x 0.99)
    np.testing.assert_allclose(of(distance, held_out), expected / unit, rtol=1e-9)


def test_one_in_a_hundred_held_out_images_is_farther_than_one():
    distance = fit_distance(drawn(2000, 1), drawn(2000, 2))
    assert np.mean(of(distance, drawn(20000, 3)) > 1) == pytest.approx(0.01, abs=0.004)


def test_of_few_held_out_images_none_is_farther_than_one():
    held_out = drawn(50, 2)
    assert of(fit_distance(drawn(200, 1), held_out), held_out).max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("training", "held_out", "message"),
    [
        (drawn(3, 1), drawn(9, 2), "A > 3"),
        (drawn(9, 1), drawn(0, 2), "M > 0"),
        (drawn(9, 1), drawn(9, 2)[:, :5], "expected"),
        (np.full((9, 4), 2.0), np.full((9, 4), 2.0), "identical"),
        (np.full((9, 4), np.nan), drawn(9, 2, 4), "NaN or infinite"),
    ],
)
def test_features_without_a_distance_are_refused(training, held_out, message):
    with pytest.raises(ValueError, match=message):
        fit_distance(training, held_out)
