"""Batch normalisation, ReLU and max-pooling by 2 of `(B, H, W, K)` images in loops that each pass over the memory once.

A window is the four pixels of which pooling takes the maximum in every channel. The images' rows may be longer than the W
columns that count; what lies beyond is not read, and its gradient is 0.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from mergershift.networks.vector_code import Code, Function, Value


class Pooled(NamedTuple):
    """The maxima of windows, and sums over all values, not over the maxima alone."""

    maxima: Tensor
    """`(B, H // 2, W // 2, K)`"""
    places: Tensor
    """Bytes of the same shape: 0 to 3, the first pixel of a window that has the maximum, row by row."""
    sums: Tensor
    """`(B, 2, K)` in double precision: sums and sums of squares of the values less `shift`."""


def empty_pooled(images: int, height: int, width: int, channels: int, dtype: torch.dtype) -> Pooled:
    """Return memory for what `pool` writes."""
    shape = (images, height // 2, width // 2, channels)
    return Pooled(
        torch.empty(shape, dtype=dtype),
        torch.empty(shape, dtype=torch.uint8),
        torch.zeros(images, 2, channels, dtype=torch.float64),
    )


def pool(full: Tensor, width: int, shift: Tensor, into: Pooled, start: int) -> None:
    """Pool images `(b, H, W or more, K)`, and write the results from image `start` on.

    Args:
        full: the images, contiguous, in single, double or bfloat16 precision.
        width: the number of columns W that count.
        shift: values `(K)` near the mean, so that the sums of squares lose no digits.
        into: where the results are written.
        start: number of the first image in `into`.
    """
    images, height, padded, channels = full.shape
    parts = (part[start : start + images] for part in into)
    _pool(channels, full.dtype)(images, [full, *parts, shift], [height, width, padded])


def normalise(maxima: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return max(0, `scale` * `maxima` + `offset`) of maxima `(B, H, W, K)`; scale and offset are `(K)`."""
    result = torch.empty_like(maxima)
    pixels = maxima.shape[1] * maxima.shape[2]
    _normalise(maxima.shape[3], maxima.dtype)(len(maxima), [maxima, result, scale, offset], [pixels])
    return result


def gradient_sums(gradient: Tensor, maxima: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return the sums of the gradient behind the ReLU, and of its products with the maxima, `(2, K)` in double precision.

    Args:
        gradient: the gradient of `normalise`'s result `(B, H, W, K)`.
        maxima: the maxima that it had normalised.
        scale: the scale `(K)` that it was given.
        offset: the offset `(K)`.
    """
    images, height, width, channels = maxima.shape
    sums = torch.zeros(images, 2, channels, dtype=torch.float64)
    tensors = [gradient, maxima, scale, offset, sums]
    _gradient_sums(channels, maxima.dtype)(images, tensors, [height, width])
    return sums.sum(0)


def unpool(
    full: Tensor, width: int, gradient: Tensor, pooled: Pooled, start: int, coefficients: Tensor
) -> Tensor:
    """Return the gradient of images `(b, H, W or more, K)`, of which `pool` has made the images from `start` on.

    It is constant + slope * value in every pixel, plus factor * gradient at the maxima behind which the ReLU is open.

    Args:
        full: the images.
        width: the number of columns W that count.
        gradient: the gradient of `normalise`'s result, of all images.
        pooled: what `pool` has written, of all images.
        start: number of the first image in `gradient` and `pooled`.
        coefficients: scale and offset of `normalise`, factor, slope and constant `(5, K)`.
    """
    images, height, padded, channels = full.shape
    result = torch.empty_like(full)
    parts = (part[start : start + images] for part in (gradient, pooled.maxima, pooled.places))
    _unpool(channels, full.dtype)(images, [full, *parts, coefficients, result], [height, width, padded])
    return result


def _computed(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@functools.cache
def _pool(channels: int, dtype: torch.dtype) -> Function:
    tensors = {
        "full": dtype,
        "maxima": dtype,
        "places": torch.uint8,
        "sums": torch.float64,
        "shift": _computed(dtype),
    }
    code = Code(channels, tensors, ["height", "width", "padded"], _computed(dtype))
    builder, zero, one = code.builder, code.number(0), code.number(1)
    total, squares = code.variable(), code.variable()
    rows, columns = code.half(code["height"]), code.half(code["width"])
    shift = code.load("shift", zero)

    def add(*pixels: Value) -> None:
        """Add pixels to the sums, pairwise."""
        values = [builder.fsub(pixel, shift) for pixel in pixels]
        products = [builder.fmul(value, value) for value in values]
        while len(values) > 1:
            values = [builder.fadd(*values[at : at + 2]) for at in range(0, len(values), 2)]
            products = [builder.fadd(*products[at : at + 2]) for at in range(0, len(products), 2)]
        code.set(total, builder.fadd(code.get(total), values[0]))
        code.set(squares, builder.fadd(code.get(squares), products[0]))

    def larger(first: tuple[Value, Value], second: tuple[Value, Value]) -> tuple[Value, Value]:
        is_second = builder.fcmp_unordered(">", second[0], first[0])
        return tuple(builder.select(is_second, *pair[::-1]) for pair in zip(first, second, strict=True))  # type: ignore[return-value]

    def keep_sums(image: Value) -> None:
        """Add the sums of a row in double precision, so that those of all rows lose no digits."""
        at = builder.mul(image, code.number(2))
        for place, sums in ((at, total), (builder.add(at, one), squares)):
            code.accumulate("sums", place, code.get(sums))
            code.set(sums, code.vector(0))

    for sums in (total, squares):
        code.set(sums, code.vector(0))
    with code.loop(code["first"], code["last"]) as image:
        image_row = builder.mul(image, code["height"])
        with code.loop(zero, rows) as row:
            upper = builder.mul(code.sum(image_row, row, row), code["padded"])
            lower = builder.add(upper, code["padded"])
            pooled_row = builder.mul(code.sum(builder.mul(image, rows), row), columns)
            with code.loop(zero, columns) as column:
                pixels = [
                    code.load("full", code.sum(start, column, column, side))
                    for start in (upper, lower)
                    for side in (zero, one)
                ]
                (a, b), (c, d) = (
                    [(pixels[place], code.byte(place)) for place in pair] for pair in ((0, 1), (2, 3))
                )
                maximum, place = larger(larger(a, b), larger(c, d))
                at = builder.add(pooled_row, column)
                code.store("maxima", at, maximum)
                code.store("places", at, place)
                add(*pixels)
            with code.loop(builder.add(columns, columns), code["width"]) as column:
                add(*(code.load("full", builder.add(start, column)) for start in (upper, lower)))
            keep_sums(image)
        with code.loop(builder.add(rows, rows), code["height"]) as row:
            start = builder.mul(builder.add(image_row, row), code["padded"])
            with code.loop(zero, code["width"]) as column:
                add(code.load("full", builder.add(start, column)))
            keep_sums(image)
    return code.compile()


@functools.cache
def _normalise(channels: int, dtype: torch.dtype) -> Function:
    computed = _computed(dtype)
    tensors = {"maxima": dtype, "result": dtype, "scale": computed, "offset": computed}
    code = Code(channels, tensors, ["pixels"], computed)
    scale, offset = (code.load(name, code.number(0)) for name in ("scale", "offset"))
    start, stop = (code.product(code[name], code["pixels"]) for name in ("first", "last"))
    with code.loop(start, stop) as pixel:
        values = code.multiply_add(scale, code.load("maxima", pixel), offset)
        code.store("result", pixel, _open(code, values, values))
    return code.compile()


def _open(code: Code, normalised: Value, values: Value) -> Value:
    """Return the values where the ReLU's input is above 0 or NaN, and 0 elsewhere."""
    closed = code.builder.fcmp_ordered("<=", normalised, code.vector(0))
    return code.builder.select(closed, code.vector(0), values)


@functools.cache
def _gradient_sums(channels: int, dtype: torch.dtype) -> Function:
    computed = _computed(dtype)
    tensors = {
        "gradient": dtype,
        "maxima": dtype,
        "scale": computed,
        "offset": computed,
        "sums": torch.float64,
    }
    code = Code(channels, tensors, ["height", "width"], computed)
    builder, zero = code.builder, code.number(0)
    scale, offset = (code.load(name, zero) for name in ("scale", "offset"))
    total, products = code.variable(), code.variable()
    with code.loop(code["first"], code["last"]) as image, code.loop(zero, code["height"]) as row:
        start = builder.mul(code.sum(builder.mul(image, code["height"]), row), code["width"])
        for sums in (total, products):
            code.set(sums, code.vector(0))
        with code.loop(start, builder.add(start, code["width"])) as pixel:
            maxima = code.load("maxima", pixel)
            normalised = code.multiply_add(scale, maxima, offset)
            gradient = _open(code, normalised, code.load("gradient", pixel))
            code.set(total, builder.fadd(code.get(total), gradient))
            code.set(products, code.multiply_add(gradient, maxima, code.get(products)))
        at = builder.mul(image, code.number(2))
        code.accumulate("sums", at, code.get(total))
        code.accumulate("sums", builder.add(at, code.number(1)), code.get(products))
    return code.compile()


@functools.cache
def _unpool(channels: int, dtype: torch.dtype) -> Function:
    tensors = {
        "full": dtype,
        "gradient": dtype,
        "maxima": dtype,
        "places": torch.uint8,
        "coefficients": _computed(dtype),
        "result": dtype,
    }
    code = Code(channels, tensors, ["height", "width", "padded"], _computed(dtype))
    builder, zero, one = code.builder, code.number(0), code.number(1)
    rows, columns = code.half(code["height"]), code.half(code["width"])
    scale, offset, factor, slope, constant = (
        code.load("coefficients", code.number(number)) for number in range(5)
    )

    def everywhere(pixel: Value) -> Value:
        return code.multiply_add(slope, code.load("full", pixel), constant)

    def write_outside(start: Value, column: Value) -> None:
        """Write the pixels of a row from a column on, which no window contains."""
        with code.loop(column, code["width"]) as outside:
            pixel = builder.add(start, outside)
            code.store("result", pixel, everywhere(pixel))
        with code.loop(code["width"], code["padded"]) as beyond:
            code.store("result", builder.add(start, beyond), code.vector(0))

    with code.loop(code["first"], code["last"]) as image:
        image_row = builder.mul(image, code["height"])
        with code.loop(zero, rows) as row:
            upper = builder.mul(code.sum(image_row, row, row), code["padded"])
            lower = builder.add(upper, code["padded"])
            pooled_row = builder.mul(code.sum(builder.mul(image, rows), row), columns)
            with code.loop(zero, columns) as column:
                at = builder.add(pooled_row, column)
                normalised = code.multiply_add(scale, code.load("maxima", at), offset)
                gradient = _open(code, normalised, builder.fmul(factor, code.load("gradient", at)))
                place = code.load("places", at)
                pixels = [
                    code.sum(start, column, column, side) for start in (upper, lower) for side in (zero, one)
                ]
                for number, pixel in enumerate(pixels):
                    is_maximum = builder.icmp_unsigned("==", place, code.byte(number))
                    at_maximum = builder.select(is_maximum, gradient, code.vector(0))
                    code.store("result", pixel, builder.fadd(everywhere(pixel), at_maximum))
            for start in (upper, lower):
                write_outside(start, builder.add(columns, columns))
        with code.loop(builder.add(rows, rows), code["height"]) as row:
            write_outside(builder.mul(builder.add(image_row, row), code["padded"]), zero)
    return code.compile()
