"""The block computed in few passes against its modules one after the other, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mergershift.networks import pooled_block as module
from mergershift.networks.paired_columns import paired
from mergershift.networks.pooled_block import pooled_block


def layers(filters: int = 8, kernel: int = 3, channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(channels, filters, kernel, padding="same"),
        nn.BatchNorm2d(filters),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    nn.init.uniform_(made[1].weight, -1, 1)  # type: ignore[arg-type]
    nn.init.normal_(made[1].bias)  # type: ignore[arg-type]
    return made


def outcome(made: nn.Sequential, images: Tensor, block: bool, first: bool = False) -> dict[str, Tensor]:
    """The output, all gradients and the running statistics after a step; as the first block, without the images'."""
    images = images.clone().requires_grad_(not first)
    result = pooled_block(images, made[0], made[1]) if block else made(images)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    (result * torch.randn(result.shape, generator=generator).to(result)).sum().backward()
    assert first or images.grad is not None
    found = {"result": result.detach(), "images": images.grad, **made.state_dict()}
    gradients = {f"gradient of {name}": weight.grad for name, weight in made.named_parameters()}
    # Normalisation removes the mean, and with it the effect of the filters' bias: its gradient is nothing but rounding.
    bias = gradients.pop("gradient of 0.bias")
    assert bias is not None
    assert not block or not bias.any()
    return {name: value.double() for name, value in (found | gradients).items() if value is not None}


@pytest.mark.parametrize("size", [8, 11])
@pytest.mark.parametrize("values", [1, 3000, 10**9])
def test_equals_its_modules_however_many_images_are_dealt_with_at_a_time(
    monkeypatch: pytest.MonkeyPatch, values: int, size: int
) -> None:
    """Also for negative weights of the normalisation, and for an odd number of pixels, whose last pooling drops."""
    monkeypatch.setattr(module, "_CACHED", values)
    images = torch.randn(13, 3, size, size, generator=torch.Generator().manual_seed(2))
    made = layers().train()
    assert float(made[1].weight.detach().min()) < 0  # type: ignore[operator]
    expected = outcome(copy.deepcopy(made).double(), images.double(), block=False)
    found = outcome(made, images, block=True)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=2e-5, msg=name)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("size", [8, 11])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_first_block_equals_its_modules(
    monkeypatch: pytest.MonkeyPatch, kernel: int, size: int, channels: int
) -> None:
    """Its images are convolved by pairs of columns, the last of which may have a single one."""
    monkeypatch.setattr(module, "_CACHED", 3000)
    calls: list[Tensor] = []

    def noted(filters: Tensor) -> Tensor:
        calls.append(filters)
        return paired(filters)

    monkeypatch.setattr(module, "paired", noted)
    images = torch.randn(13, channels, size, size, generator=torch.Generator().manual_seed(2)).double()
    made = layers(kernel=kernel, channels=channels).double().train()
    expected = outcome(copy.deepcopy(made), images, block=False, first=True)
    found = outcome(made, images, block=True, first=True)
    assert calls
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11, msg=name)


def test_double_precision_is_kept() -> None:
    images = torch.randn(13, 3, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    made = layers().double().train()
    expected = outcome(copy.deepcopy(made), images, block=False)
    for name, value in outcome(made, images, block=True).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-11, msg=name)


def test_is_what_trains_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_Block", None)
    made = layers()
    with pytest.raises(AttributeError):
        pooled_block(torch.randn(4, 3, 8, 8), made[0], made[1])  # type: ignore[arg-type]


def test_autocast_rounds_as_for_its_modules() -> None:
    """Errors beside float64 are of the size of those of the modules under autocast."""
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    made = layers(kernel=5).train()
    exact = outcome(copy.deepcopy(made).double(), images.double(), block=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = outcome(copy.deepcopy(made), images, block=False)
        ours = outcome(made, images, block=True)
    assert ours["result"].isfinite().all()
    for name, value in exact.items():
        allowed = 2 * float((plain[name] - value).norm()) + 1e-3 * float(value.norm())
        assert float((ours[name] - value).norm()) < allowed, name


def test_without_gradients_batch_statistics_are_updated_all_the_same() -> None:
    made = layers().train()
    twin = copy.deepcopy(made)
    images = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(pooled_block(images, made[0], made[1]), twin(images))  # type: ignore[arg-type]
    for name, value in twin.state_dict().items():
        assert torch.equal(made.state_dict()[name], value)


@pytest.mark.parametrize("bias", [True, False])
def test_in_evaluation_equals_its_modules(bias: bool) -> None:
    """With running statistics, and filters whose normalisation has a negative weight; gradients included."""
    made = layers().double()
    if not bias:
        made[0].bias = None  # type: ignore[assignment]
    images = torch.randn(9, 3, 11, 11, generator=torch.Generator().manual_seed(4)).double()
    made(3 * images + 1)  # running statistics that differ from 0 and 1
    made.eval()
    outcomes = []
    for compute in (made, lambda given: pooled_block(given, made[0], made[1])):  # type: ignore[arg-type]
        given = images.clone().requires_grad_()
        result = compute(given)
        outcomes.append((result, *torch.autograd.grad(result.square().sum(), [given, *made.parameters()])))
    for found, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_evaluation_does_not_normalise_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    made = layers().eval()
    monkeypatch.setattr(nn.BatchNorm2d, "forward", None)
    assert pooled_block(torch.randn(4, 3, 8, 8), made[0], made[1]).shape == (4, 8, 4, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [3, 8])
def test_in_evaluation_without_gradients_equals_its_modules(
    monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    """In parts, for an odd number of pixels, and where a pixel is not a number."""
    monkeypatch.setattr(module, "_CACHED", 3000)
    made = layers(channels=channels).double()
    images = torch.randn(9, channels, 11, 11, generator=torch.Generator().manual_seed(4)).double()
    made(3 * images + 1)
    made.eval()
    if channels > 3:  # by pairs of columns, the columns beside it are none either
        images[4, 0, 5, 5] = torch.nan
    with torch.no_grad():
        found, expected = pooled_block(images, made[0], made[1]), made(images)  # type: ignore[arg-type]
    assert bool(expected.isnan().any()) == (channels > 3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11, equal_nan=True)


def test_several_threads_compute_the_same() -> None:
    images = torch.randn(13, 3, 11, 11, generator=torch.Generator().manual_seed(2))
    made = layers().train()
    before, outcomes = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            outcomes.append(outcome(copy.deepcopy(made), images, block=True))
    finally:
        torch.set_num_threads(before)
    for name, value in outcomes[0].items():
        torch.testing.assert_close(outcomes[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_types_without_loops_and_traced_networks_call_the_modules() -> None:
    made = layers().half().eval()
    with torch.no_grad():
        assert pooled_block(torch.randn(4, 3, 8, 8).half(), made[0], made[1]).dtype == torch.float16  # type: ignore[arg-type]
    with torch.no_grad():
        graph = torch.export.export(_Wrapped(layers().eval()), (torch.randn(4, 3, 8, 8),)).graph
    assert any("max_pool2d" in str(node.target) for node in graph.nodes)


class _Wrapped(nn.Module):
    def __init__(self, made: nn.Sequential) -> None:
        super().__init__()
        self.made = made

    def forward(self, images: Tensor) -> Tensor:
        return pooled_block(images, self.made[0], self.made[1])  # type: ignore[arg-type]
