"""Loops compiled for vectors of channels against the same in PyTorch."""

import math

import pytest
import torch
from torch import Tensor

from mergershift.networks.vector_code import CompiledLoops, VectorCode


def doubled(channels: int, dtype: torch.dtype) -> CompiledLoops:
    """Loops that write twice each pixel."""
    code = VectorCode(channels, {"images": dtype, "result": dtype}, ["pixels"])
    first, last = (code.product(code[name], code["pixels"]) for name in ("first", "last"))
    with code.loop(first, last) as pixel:
        values = code.load("images", pixel)
        code.store("result", pixel, code.multiply_add(values, code.vector(1), values))
    return code.compile()


def twice(images: Tensor) -> Tensor:
    result = torch.full_like(images, math.nan)
    doubled(images.shape[2], images.dtype)(len(images), [images, result], [images.shape[1]])
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 8, 20])
def test_every_pixel_is_reached_whatever_its_channels(channels: int, dtype: torch.dtype) -> None:
    images = torch.randn(5, 7, channels, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(twice(images), 2 * images)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_share_the_images(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for count in (0, 1, 5, 100):
            images = torch.randn(count, 7, 3)
            assert torch.equal(twice(images), 2 * images)
    finally:
        torch.set_num_threads(before)


def test_rounds_to_bfloat16_as_pytorch_does_and_keeps_what_is_not_a_number() -> None:
    """Ties, infinities, and the largest and smallest numbers, of which one becomes infinite."""
    values = [1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, 1e-40, math.inf, -math.inf, math.nan, -0.0]
    images = torch.tensor(values).view(1, 1, -1)
    code = VectorCode(8, {"images": torch.float32, "result": torch.bfloat16}, [])
    with code.loop(code["first"], code["last"]) as pixel:
        code.store("result", pixel, code.load("images", pixel))
    result = torch.empty(images.shape, dtype=torch.bfloat16)
    code.compile()(1, [images, result])
    torch.testing.assert_close(result, images.bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert math.copysign(1, result[0, 0, 7]) == -1


def test_memory_of_another_kind_is_refused_before_it_is_touched() -> None:
    loops = doubled(3, torch.float32)
    images = torch.zeros(2, 4, 3)
    for wrong in (images.double(), images.transpose(0, 1), images.to("meta")):
        with pytest.raises(TypeError, match=r"contiguous torch\.float32"):
            loops(2, [wrong, images], [4])
