import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy as reference_entropy

from mergershift.adaptation.base import ClassShares
from mergershift.adaptation.prior import divergence, entropy, expected_log_probabilities, expected_shares
from mergershift.core.errors import UserError

SHARES = ClassShares(trained=(0.5, 0.3, 0.2), expected=(0.1, 0.6, 0.3))


def test_posterior_under_other_shares_is_that_of_bayes_theorem() -> None:
    """Two Gaussians of known densities, so that the posterior under any shares is known too."""
    x = np.linspace(-3, 4, 40)
    densities = np.stack([np.exp(-((x - centre) ** 2) / 2) for centre in (0.0, 1.0)], axis=1)
    trained, expected = np.array([0.5, 0.5]), np.array([0.82, 0.18])
    logits = torch.tensor(np.log(densities * trained) + 3.0)
    found = expected_log_probabilities(logits, ClassShares(tuple(trained), tuple(expected))).exp().numpy()
    joint = densities * expected
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-9)


def test_softmax_without_known_shares() -> None:
    logits = torch.tensor([[1.0, 2.0], [-3.0, 0.5]], dtype=torch.float64)
    np.testing.assert_allclose(
        expected_log_probabilities(logits, None).exp(), softmax(logits.numpy(), axis=1)
    )
    assert expected_shares(logits, None).tolist() == [0.5, 0.5]


def test_entropy_and_divergence_equal_scipys() -> None:
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_p = expected_log_probabilities(logits, SHARES)
    p = log_p.exp().numpy()
    assert entropy(log_p).item() == pytest.approx(reference_entropy(p, axis=1).mean())
    assert divergence(log_p, SHARES).item() == pytest.approx(reference_entropy(SHARES.expected, p.mean(0)))


def test_the_divergence_vanishes_at_the_expected_shares_alone() -> None:
    rows = torch.eye(3, dtype=torch.float64).repeat_interleave(torch.tensor([1, 6, 3]), 0)
    assert divergence(rows.log(), SHARES).item() == pytest.approx(0, abs=1e-12)
    assert divergence(rows.log(), None).item() > 0.1


def test_a_class_that_vanishes_costs_more_than_its_entropy_saves_and_has_a_gradient() -> None:
    logits = torch.tensor([[30.0, -30.0, 0.0]]).repeat(4, 1).requires_grad_()
    value = divergence(expected_log_probabilities(logits, None), None)
    value.backward()
    assert value.item() > 10
    assert logits.grad is not None
    assert (logits.grad[:, 1] < -0.05).all()


def test_at_least_single_precision() -> None:
    assert expected_log_probabilities(torch.zeros(2, 3, dtype=torch.bfloat16), SHARES).dtype == torch.float32


@pytest.mark.parametrize("shape", [(4,), (0, 3), (4, 2)])
def test_wrong_shapes_are_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(M, 3\)"):
        expected_log_probabilities(torch.zeros(shape), SHARES)


def test_a_class_without_images_raises_a_user_error() -> None:
    with pytest.raises(UserError, match="expected images of every class"):
        expected_log_probabilities(torch.zeros(2, 2), ClassShares((0.5, 0.5), (1.0, 0.0)))
