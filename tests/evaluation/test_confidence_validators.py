from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation.samples import evidence
from scipy.spatial.distance import cdist

from mergershift.evaluation.confidence_validators import matrix_norm, nuclear_norm, transfer_score
from mergershift.evaluation.validators import information_maximisation


@pytest.mark.parametrize("classes", [2, 5])
def test_nuclear_norm_is_the_sum_of_singular_values_that_torch_finds(classes: int) -> None:
    case = evidence(1, classes=classes)
    predictions = torch.from_numpy(case.target_logits).softmax(dim=1)
    expected = torch.linalg.svdvals(predictions).sum() / np.sqrt(60 * classes)
    assert nuclear_norm(case) == pytest.approx(float(expected))
    assert nuclear_norm(
        replace(case, target_logits=50 * np.eye(classes)[np.arange(60) % classes])
    ) == pytest.approx(1)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_matrix_norm_of_torch(scale: float) -> None:
    """Below the threshold the expansion of the softmax is used, and the softmax above it."""
    case = replace(evidence(2), target_logits=scale * evidence(2).target_logits)
    logits = torch.from_numpy(case.target_logits)
    logits = logits - logits.mean(dim=1, keepdim=True)
    equal = torch.full_like(logits, 0.5)
    if torch.nn.functional.cross_entropy(logits, equal) > 5:
        assert scale == 30
        normalised = logits.softmax(dim=1)
    else:
        normalised = torch.nn.functional.normalize(1 + logits + logits**2 / 2, p=1, dim=1)
    expected = torch.linalg.vector_norm(normalised, ord=4) / (60 * 2) ** 0.25
    assert matrix_norm(case) == pytest.approx(float(expected))


def test_transfer_score_by_its_definition() -> None:
    case = evidence(3, images=40)
    features = case.target_features
    points = np.random.default_rng(0).uniform(features.min(axis=0), features.max(axis=0), size=(40, 4))
    apart = cdist(features, features) + np.diag(np.full(40, np.inf))
    u, w = cdist(points, features).min(axis=1).sum(), apart.min(axis=1).sum()
    assert transfer_score(case) == pytest.approx(u / (u + w) + information_maximisation(case) / np.log(2))


def test_clusters_have_a_high_hopkins_statistic_and_uniform_features_one_half() -> None:
    rng = np.random.default_rng(4)
    undecided = evidence(4, images=400)
    undecided = replace(undecided, target_logits=np.zeros((400, 2)))
    clustered = rng.normal(size=(400, 4)) * 0.01 + np.eye(4)[np.arange(400) % 2]
    assert transfer_score(replace(undecided, target_features=clustered)) > 0.9
    uniform = rng.uniform(size=(400, 4))
    assert transfer_score(replace(undecided, target_features=uniform)) == pytest.approx(0.5, abs=0.05)
    assert transfer_score(replace(undecided, target_features=np.ones((400, 4)))) == pytest.approx(0.5)
