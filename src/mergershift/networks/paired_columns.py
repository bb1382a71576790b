"""Convolution of pairs of columns, for images of a few channels.

A processor's vectors and matrix units hold more values than such a pixel has. In the channels-last layout, an image of
even width is, without a copy, one of half the width and twice the channels, whose pixels are pairs of columns. A filter
that yields both columns of a pair takes six columns in place of five, and uses twice as much of the units.
"""

from __future__ import annotations

import torch
from torch import Tensor


def in_pairs(images: Tensor) -> Tensor:
    """View `(B, C, H, W)` in the channels-last layout, W even, as `(B, 2 C, H, W / 2)`."""
    batch, channels, height, width = images.shape
    return images.permute(0, 2, 3, 1).reshape(batch, height, width // 2, 2 * channels).permute(0, 3, 1, 2)


def paired(filters: Tensor) -> Tensor:
    """Return filters `(2 K, 2 C, h, u)` that do to pairs of columns what `(K, C, h, w)` do to columns."""
    places = _places(filters.shape[3]).to(filters)
    result = torch.einsum("kchw,bauw->bkachu", filters, places)
    return result.flatten(2, 3).flatten(0, 1)


def unpaired(gradient: Tensor, size: int) -> Tensor:
    """Return the gradient of filters `(K, C, h, size)` from that of `paired`."""
    places = _places(size).to(gradient)
    split = gradient.unflatten(1, (2, -1)).unflatten(0, (2, -1))
    return torch.einsum("bkachu,bauw->kchw", split, places)


def _places(size: int) -> Tensor:
    """Return `(2, 2, u, size)`, which is 1 where a filter's column meets a column of a pair, and 0 elsewhere.

    The axes are the column of the pair in the output, that in the input, the pair in the input, and the column of the
    filter.
    """
    reach = (size // 2 + 1) // 2
    output, column = (torch.arange(2).view(shape) for shape in ((2, 1, 1, 1), (1, 2, 1, 1)))
    pair = torch.arange(-reach, reach + 1).view(1, 1, -1, 1)
    return (2 * pair + column - output + size // 2 == torch.arange(size)).float()
