import math
from typing import Any

import numpy as np
import pytest
import torch
from adaptation.synthetic import Problem, adapt, spread
from torch import Tensor

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.combined import Combined
from mergershift.adaptation.deep_astro_uda import DeepAstroUDA, adaptive_clustering, entropy_separation
from mergershift.adaptation.mmd import MMD
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def activations(logits: Tensor) -> Activations:
    return Activations(torch.full((len(logits), 3), torch.nan), logits)


def sample(classes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return tuple(2 * torch.randn(rows, classes, dtype=dtype) for rows in (5, 8))  # type: ignore[return-value]


def reference(source: Tensor, target: Tensor, margin: float) -> tuple[float, float]:
    """Both losses, pair by pair and image by image."""
    p = [np.exp(row) / np.exp(row).sum() for row in source.double().numpy()]
    q = [np.exp(row) / np.exp(row).sum() for row in target.double().numpy()]
    pairs = [(one, other) for other in q for one in [*p, *q] if one is not other]
    losses = [
        -math.log(one @ other if (one.argsort() == other.argsort()).all() else 1 - one @ other)
        for one, other in pairs
    ]
    half = math.log(len(q[0])) / 2
    apart = [abs(-(row * np.log(row)).sum() - half) for row in q]
    return float(np.mean(losses)), float(np.mean([half - max(value, margin * half) for value in apart]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3])
def test_equals_the_definition(classes: int, dtype: torch.dtype) -> None:
    source, target = sample(classes, dtype)
    clustering, separation = reference(source, target, margin=0.3)
    value = DeepAstroUDA(clustering=0.7, separation=0.2)(activations(source), activations(target), LABELS)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(0.7 * clustering + 0.2 * separation, rel=1e-5)


def test_gradient_reaches_the_targets_predictions_alone() -> None:
    source, target = (logits.requires_grad_() for logits in sample(2))
    value = DeepAstroUDA()(activations(source), activations(target), LABELS)
    value.backward()
    assert source.grad is None
    assert target.grad is not None
    assert torch.isfinite(target.grad).all()
    assert (target.grad.abs().sum(1) > 0).all()


def test_gradient_of_the_separation() -> None:
    _, target = sample(2)
    assert torch.autograd.gradcheck(lambda logits: entropy_separation(logits, 0.3), target.requires_grad_())


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_separation_drives_entropies_away_from_the_half(margin: float) -> None:
    """Of log 2; those within the margin stay, and both ends are the minimum, which is 0."""
    certain, uncertain, between = ([[8.0, 0.0]], [[0.0, 0.1]], [[2.1, 0.0]])
    for rows, sign in ((certain, 1), (uncertain, -1)):
        logits = torch.tensor(rows, requires_grad=True)
        entropy_separation(logits, margin).backward()
        assert logits.grad is not None
        gap = (logits.grad[0, 0] - logits.grad[0, 1]) * (logits[0, 0] - logits[0, 1])
        assert -sign * gap > 0
    logits = torch.tensor(between, requires_grad=True)
    entropy_separation(logits, margin).backward()
    assert logits.grad is not None
    assert bool(logits.grad.any()) == (margin == 0)
    assert entropy_separation(torch.tensor([[200.0, 0.0], [0.0, 0.0]]), margin).item() == pytest.approx(0)


def test_clustering_vanishes_for_certain_predictions_only() -> None:
    certain = torch.eye(2)[[0, 1, 1, 0]]
    assert adaptive_clustering(certain, certain).item() == pytest.approx(0)
    even = torch.full((4, 2), 0.5)
    assert adaptive_clustering(even, even).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("number", [1e4, 1e30])
def test_finite_at_extreme_values(number: float) -> None:
    logits = torch.tensor([[number, 0.0], [0.0, number], [-number, number]], requires_grad=True)
    value = DeepAstroUDA()(activations(logits.detach()), activations(logits), LABELS)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_full_precision_within_autocast() -> None:
    source, target = (activations(logits) for logits in sample(2, torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = DeepAstroUDA()(source, target, LABELS)
    assert value.item() == DeepAstroUDA()(source, target, LABELS).item()


@pytest.mark.parametrize(
    ("source", "target"), [((4, 2), (4, 3)), ((4,), (4,)), ((0, 2), (4, 2)), ((4, 1),) * 2]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, K\) and \(M, K\) with at least 2 classes"):
        DeepAstroUDA()(
            Activations(torch.zeros(4, 3), torch.zeros(source)),
            Activations(torch.zeros(4, 3), torch.zeros(target)),
            LABELS,
        )


@pytest.mark.parametrize("settings", [{"clustering": -1.0}, {"separation": math.inf}, {"margin": 1.0}])
def test_wrong_settings_raise_a_user_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        DeepAstroUDA(**settings)


def test_no_loss_at_all_raises_a_user_error() -> None:
    with pytest.raises(UserError, match="use adaptation=adabn"):
        DeepAstroUDA(clustering=0.0, separation=0.0)


def test_a_sum_of_methods_separates_the_domains_if_one_of_them_does() -> None:
    assert Combined([MMD(), DeepAstroUDA()], [1.0, 1.0]).separate_domains
    assert not Combined([MMD(), AdaBN()], [1.0, 1.0]).separate_domains


def brighter(seed: int) -> Problem:
    """Clouds of which the target's are stretched and moved, which its own statistics undo."""
    problem = spread(seed, noise=0.3)
    return problem._replace(target=3 * problem.target + 4, test=3 * problem.test + 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_bridges_a_shift_that_a_common_normalisation_fails_on(seed: int) -> None:
    common = DeepAstroUDA()
    common.separate_domains = False
    common.after_training = lambda network, batches: None  # type: ignore[method-assign]
    scores = [
        adapt(penalty, Ramp(0.1), brighter(seed), seed, steps=150, batch_norm=True)
        for penalty in (common, DeepAstroUDA())
    ]
    assert scores[0] < 0.8
    assert scores[1] > 0.95
