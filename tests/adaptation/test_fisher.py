import numpy as np
import pytest
import torch
from adaptation.synthetic import Problem, adapt, moons, nearer, unadapted
from numpy.typing import NDArray
from torch import Tensor

from mergershift.adaptation import Adaptation
from mergershift.adaptation.combined import Combined
from mergershift.adaptation.fisher import Fisher, trace_ratio
from mergershift.adaptation.mmd import MedianMMD
from mergershift.adaptation.source_only import SourceOnly
from mergershift.adaptation.weighting import Fixed
from mergershift.core.errors import UserError
from mergershift.networks import Activations


def reference(
    features: NDArray[np.float64], labels: NDArray[np.int64], centres: NDArray[np.float64]
) -> float:
    """The definition evaluated image by image and class by class."""
    within = sum(
        float(((row - centres[label]) ** 2).sum()) for row, label in zip(features, labels, strict=True)
    )
    between = sum(float(((centre - centres.mean(0)) ** 2).sum()) for centre in centres)
    return within / between


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    features, centres = torch.randn(9, 5, dtype=dtype), torch.randn(3, 5, dtype=dtype)
    return features, torch.tensor([0, 1, 2, 2, 1, 0, 0, 0, 2]), centres


def activations(features: Tensor) -> Activations:
    return Activations(features, torch.full((len(features), 2), torch.nan))


def test_equals_the_definition() -> None:
    features, labels, centres = batch()
    expected = reference(features.numpy(), labels.numpy(), centres.numpy())
    assert trace_ratio(features, labels, centres).item() == pytest.approx(expected)


def test_closed_form() -> None:
    # The two centres are at distance 1 from their mean, 1 + 1 in all; the four images are 3 from theirs, 4 x 9.
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 1, 0, 1])
    features = centres[labels] + 3 * torch.tensor([[0.0, 1.0], [0.0, -1.0], [-1.0, 0.0], [1.0, 0.0]])
    assert trace_ratio(features, labels, centres).item() == pytest.approx(36 / 2)


@pytest.mark.parametrize("change", ["moved", "scaled", "turned", "relabelled"])
def test_invariant_under_joint_translation_rotation_and_scaling(change: str) -> None:
    features, labels, centres = batch()
    before = trace_ratio(features, labels, centres).item()
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    after = {
        "moved": lambda: trace_ratio(features + 7, labels, centres + 7),
        "scaled": lambda: trace_ratio(100 * features, labels, 100 * centres),
        "turned": lambda: trace_ratio(features @ turn, labels, centres @ turn),
        "relabelled": lambda: trace_ratio(features, 2 - labels, centres.flip(0)),
    }[change]()
    assert after.item() == pytest.approx(before)


def test_gradient() -> None:
    features, labels, centres = batch()
    inputs = (features.requires_grad_(), centres.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, c: trace_ratio(x, labels, c), inputs)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e15])
def test_finite_where_the_centres_coincide(value: float) -> None:
    features, labels, _ = batch(torch.float32)
    features = (value * features).requires_grad_()
    centres = torch.full((3, 5), value, requires_grad=True)
    ratio = trace_ratio(features, labels, centres)
    ratio.backward()
    assert ratio.item() == pytest.approx(1e6 if value else 0)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert centres.grad is not None
    assert torch.isfinite(centres.grad).all()


def test_weights_and_centres_of_the_method() -> None:
    features, labels, _ = batch(torch.float32)
    torch.manual_seed(1)
    penalty = Fisher(w_intra=0.3, w_inter=2.0)
    assert not list(penalty.parameters())
    penalty.build(feature_size=5, classes=3)
    assert [tuple(parameter.shape) for parameter in penalty.parameters()] == [(3, 5)]
    target = activations(torch.full((2, 5), torch.nan))
    value = penalty(activations(features), target, labels)
    value.backward()
    expected = 0.15 * reference(features.numpy(), labels.numpy(), penalty.centres.detach().numpy())
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert penalty.centres.grad is not None
    assert not penalty.uses_target


def test_full_precision_from_halved_features() -> None:
    features, labels, centres = batch(torch.float32)
    halved = features.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = trace_ratio(halved, labels, centres)
    assert value.dtype == torch.float32
    assert value.item() == trace_ratio(halved.float(), labels, centres).item()


@pytest.mark.parametrize(
    ("features", "labels", "centres"),
    [((4, 3), (4,), (2, 5)), ((4, 3), (5,), (2, 3)), ((4,), (4,), (2, 4)), ((0, 3), (0,), (2, 3))],
)
def test_wrong_shapes_are_reported(
    features: tuple[int, ...], labels: tuple[int, ...], centres: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\), \(N,\) and \(K, F\)"):
        trace_ratio(torch.zeros(features), torch.zeros(labels, dtype=torch.long), torch.zeros(centres))


@pytest.mark.parametrize(("w_intra", "w_inter"), [(0.0, 1.0), (1.0, -1.0), (float("inf"), 1.0)])
def test_wrong_weights_raise_a_user_error(w_intra: float, w_inter: float) -> None:
    with pytest.raises(UserError, match="w_int"):
        Fisher(w_intra, w_inter)


def scatter_within(penalty: Adaptation, problem: Problem, seed: int) -> float:
    """Train, and return the ratio of the scatter of source features within classes to that between class means."""
    kept = []
    penalty.after_training = lambda network, batches: kept.append(network)  # type: ignore[method-assign]
    adapt(penalty, Fixed(1.0), problem, seed, steps=300)
    with torch.no_grad():
        features = kept[0](problem.source).features.numpy()
    classes = [features[problem.labels.numpy() == k] for k in (0, 1)]
    between = np.square(classes[0].mean(0) - classes[1].mean(0)).sum()
    return float(sum(features.var(0).sum() for features in classes) / between)


@pytest.mark.parametrize("seed", [0, 1])
def test_makes_the_source_classes_compact(seed: int) -> None:
    problem = moons(seed)
    alone = scatter_within(SourceOnly(), problem, seed)
    assert scatter_within(Fisher(w_intra=0.01, w_inter=1.0), problem, seed) < alone / 4


@pytest.mark.parametrize("seed", [1, 2])
def test_beside_mmd_on_a_shift_that_source_only_fails_on(seed: int) -> None:
    problem = nearer(seed)
    assert unadapted(nearer, seed, steps=300) < 0.8
    both = Combined([MedianMMD(), Fisher(0.01, 1.0)], [1.0, 1.0])
    assert adapt(both, Fixed(1.0), problem, seed, steps=300) > 0.9
