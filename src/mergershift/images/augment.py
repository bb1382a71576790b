"""Dihedral augmentation of a whole batch, and the stretch applied to images before the network."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from mergershift.networks import CompiledLoops, VectorCode


def dihedral(images: Tensor, rows: Tensor, generator: Generator, into: Tensor | None = None) -> Tensor:
    """Take `rows` `(B,)` of images `(N, C, H, H)`, each in one of the eight symmetries of the square, drawn uniformly.

    A merger has no preferred position angle, so all eight views of the sky are equally likely. The result
    `(B, C, H, H)` is in the channels-last layout; images in another one are copied. `rows` are where the images are.
    With `into`, a tensor like the result, that is what they are written to.
    """
    which = torch.randint(8, (len(rows),), generator=generator).to(images.device)
    channels, side = images.shape[1], images.shape[2]
    values = images.permute(0, 2, 3, 1).contiguous()
    if into is None:
        into = torch.empty_like(images[:1].expand(len(rows), -1, -1, -1), memory_format=torch.channels_last)
    result = into.permute(0, 2, 3, 1)
    if images.device.type == "cpu":
        _turn_into(result, values, rows, which)
    else:
        pixels = rows[:, None] * side**2 + _symmetries(side, images.device)[which]
        # Faster than index_select, by a factor of two to four for the few values of a pixel.
        result.copy_(functional.embedding(pixels.view(-1), values.view(-1, channels)).view(result.shape))
    return into


@functools.cache
def _symmetries(side: int, device: torch.device) -> Tensor:
    """Return the number of the pixel that each pixel shows in each symmetry of a square, `(8, side²)`."""
    pixels = torch.arange(side**2, device=device).view(side, side)
    turned = [torch.rot90(pixels, quarter) for quarter in range(4)]
    return torch.stack([view.flatten() for view in (*turned, *(view.flip(-1) for view in turned))])


def _turn_into(result: Tensor, images: Tensor, rows: Tensor, which: Tensor) -> None:
    """Write `rows` `(B,)` of images `(N, H, H, C)`, each in one of the symmetries, to `result` `(B, H, H, C)`."""
    side, channels = images.shape[2:]
    if not len(rows) or int(rows.min()) < 0 or int(rows.max()) >= len(images):
        raise IndexError(f"rows of {len(images)} images: {rows.tolist()}")
    # The pixel that the first one shows, and how far those lie that its neighbours below and beside it show.
    symmetries = _symmetries(side, images.device)
    first, below, beside = (symmetries[:, pixel][which] for pixel in (0, side, 1))
    kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[images.dtype.itemsize]
    tensors = [images.view(kind), result.view(kind), rows.contiguous(), first, below - first, beside - first]
    _turn(channels, kind)(len(rows), tensors, [side])


@functools.cache
def _turn(channels: int, dtype: torch.dtype) -> CompiledLoops:
    numbers = dict.fromkeys(("rows", "starts", "below", "beside"), torch.int64)
    code = VectorCode(channels, {"images": dtype, "result": dtype, **numbers}, ["side"])
    zero, side = code.number(0), code["side"]
    pixels = code.product(side, side)
    with code.loop(code["first"], code["last"]) as image:
        row, start, below, beside = (code.load_number(name, image) for name in numbers)
        start = code.sum(code.product(row, pixels), start)
        target = code.product(image, pixels)
        with code.loop(zero, side) as line, code.loop(zero, side) as column:
            shown = code.sum(start, code.product(line, below), code.product(column, beside))
            values = code.load("images", shown)
            code.store("result", code.sum(target, code.product(line, side), column), values)
    return code.compile()


class Stretch(nn.Module):
    """A stretch of surface brightness in µJy/arcsec² to values of order one, ``(f(x) - mean) / std`` per filter.

    With the softening s, ``f(x) = s asinh(x / s)`` is close to x for faint pixels and logarithmic for bright ones
    (Lupton, Gunn & Szalay 1999, AJ 118, 1406). If `softening` is None, ``f(x) = x``. Mean and standard deviation of
    f(x) are those of the images it was fitted to: labelled training images, unless training.normalisation says
    otherwise, as the published trainings do. They are 0 and 1 before it is fitted.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, softening: float | None) -> None:
        super().__init__()
        self.softening = softening
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def fit(self, images: Tensor) -> None:
        """Compute mean and standard deviation per filter of images `(N, C, H, W)`, in blocks to limit memory."""
        self.fit_blocks(images.split(256))

    def fit_blocks(self, blocks: Iterable[Tensor]) -> None:
        """Compute mean and standard deviation per filter of all images of blocks `(B, C, H, W)`."""
        total = torch.zeros(self.mean.shape[1], dtype=torch.float64)
        squares, pixels = torch.zeros_like(total), 0
        for block in blocks:
            values = self._scaled(block).double()
            total += values.sum((0, 2, 3)).cpu()
            squares += values.square().sum((0, 2, 3)).cpu()
            pixels += block.numel() // block.shape[1]
        mean = total / pixels
        std = (squares / pixels - mean**2).sqrt()
        self.mean.copy_(mean.view(1, -1, 1, 1))
        self.std.copy_(std.view(1, -1, 1, 1))

    def equals(self, other: Stretch) -> bool:
        """Whether both give the same values for the same images; they may be on different devices."""
        statistics = ((self.mean, other.mean), (self.std, other.std))
        return self.softening == other.softening and all(
            torch.equal(own.cpu(), others.cpu()) for own, others in statistics
        )

    def _scaled(self, images: Tensor) -> Tensor:
        return images if self.softening is None else self.softening * torch.asinh(images / self.softening)

    def forward(self, images: Tensor) -> Tensor:
        """Return the stretched images `(B, C, H, W)`."""
        return (self._scaled(images) - self.mean) / self.std
