import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergershift.training.vicreg import vicreg


def embeddings(count: int = 9, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return first, 0.6 * first + 0.3 * torch.randn(count, size, generator=generator, dtype=torch.float64)


def reference(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The paper's equations, with numpy's covariance matrix."""
    size = first.shape[1]
    loss = 25 * np.mean(np.sum((first - second) ** 2, axis=1)) / size
    for view in (first, second):
        matrix = np.cov(view.T)
        loss += 25 / 2 * np.mean([max(0.0, 1 - np.sqrt(matrix[j, j] + 1e-4)) for j in range(size)])
        loss += sum(matrix[i, j] ** 2 for i in range(size) for j in range(size) if i != j) / size
    return float(loss)


def test_equals_the_definition() -> None:
    first, second = embeddings()
    assert vicreg(first, second).item() == pytest.approx(reference(first.numpy(), second.numpy()))


def test_the_views_and_the_images_can_be_exchanged() -> None:
    first, second = embeddings()
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(1))
    assert vicreg(second[order], first[order]).item() == pytest.approx(vicreg(first, second).item())


def test_gradient() -> None:
    first, second = (view.requires_grad_() for view in embeddings())
    assert torch.autograd.gradcheck(vicreg, (first, second))


def test_zero_for_equal_views_of_uncorrelated_dimensions_alone() -> None:
    corners = 2 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert vicreg(corners, corners).item() == 0
    assert vicreg(torch.zeros(4, 2), torch.zeros(4, 2)).item() == pytest.approx(25 * (1 - 0.01))
    same = corners[:, :1].repeat(1, 2)
    assert vicreg(same, same).item() > 10


@pytest.mark.parametrize("shape", [(1, 4), (5,), (5, 3)])
def test_wrong_shapes_are_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, D\)"):
        vicreg(
            torch.zeros(shape), torch.zeros(5, 4) if len(shape) == 2 and shape[0] > 1 else torch.zeros(shape)
        )
