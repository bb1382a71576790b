"""The loops of `pooling_loops`: what each does to a pixel, for a number of channels and a type of images."""

from __future__ import annotations

import functools

import torch

from mergershift.networks.vector_code import CompiledLoops, Value, VectorCode

_SIZES = ("height", "width", "padded")


def _computed(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _rows(code: VectorCode, image: Value, row: Value) -> tuple[Value, Value, Value]:
    """First pixels of the two rows of a row of windows, and of the row of their maxima."""
    rows, columns = code.half(code["height"]), code.half(code["width"])
    upper = code.product(code.sum(code.product(image, code["height"]), row, row), code["padded"])
    pooled = code.product(code.sum(code.product(image, rows), row), columns)
    return upper, code.sum(upper, code["padded"]), pooled


@functools.cache
def pool_code(channels: int, dtype: torch.dtype) -> CompiledLoops:
    """Write the loops of `pooling_loops.pool`."""
    tensors = {
        "full": dtype,
        "maxima": dtype,
        "places": torch.uint8,
        "sums": torch.float64,
        "shift": _computed(dtype),
    }
    code = VectorCode(channels, tensors, _SIZES, _computed(dtype))
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
        return tuple(builder.select(is_second, *pair[::-1]) for pair in zip(first, second, strict=True))

    def keep_sums(image: Value) -> None:
        """Add the sums of a row in double precision, so that those of all rows lose no digits."""
        at = code.product(image, code.number(2))
        for place, sums in ((at, total), (code.sum(at, one), squares)):
            code.accumulate("sums", place, code.get(sums))
            code.set(sums, code.vector(0))

    for sums in (total, squares):
        code.set(sums, code.vector(0))
    with code.loop(code["first"], code["last"]) as image:
        image_row = code.product(image, code["height"])
        with code.loop(zero, rows) as row:
            upper, lower, pooled_row = _rows(code, image, row)
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
                at = code.sum(pooled_row, column)
                code.store("maxima", at, maximum)
                code.store("places", at, place)
                add(*pixels)
            with code.loop(code.sum(columns, columns), code["width"]) as column:
                add(*(code.load("full", code.sum(start, column)) for start in (upper, lower)))
            keep_sums(image)
        with code.loop(code.sum(rows, rows), code["height"]) as row:
            start = code.product(code.sum(image_row, row), code["padded"])
            with code.loop(zero, code["width"]) as column:
                add(code.load("full", code.sum(start, column)))
            keep_sums(image)
    return code.compile()


@functools.cache
def normalise_code(channels: int, dtype: torch.dtype) -> CompiledLoops:
    """Write the loops of `pooling_loops.normalise`."""
    computed = _computed(dtype)
    tensors = {"maxima": dtype, "result": dtype, "scale": computed, "offset": computed}
    code = VectorCode(channels, tensors, ["pixels"], computed)
    scale, offset = (code.load(name, code.number(0)) for name in ("scale", "offset"))
    start, stop = (code.product(code[name], code["pixels"]) for name in ("first", "last"))
    with code.loop(start, stop) as pixel:
        values = code.multiply_add(scale, code.load("maxima", pixel), offset)
        code.store("result", pixel, _open(code, values, values))
    return code.compile()


@functools.cache
def open_maxima_code(channels: int, dtype: torch.dtype) -> CompiledLoops:
    """Write the loops of `pooling_loops.open_maxima`."""
    code = VectorCode(channels, {"full": dtype, "result": dtype}, _SIZES, _computed(dtype))
    builder, zero, one = code.builder, code.number(0), code.number(1)
    rows, columns = code.half(code["height"]), code.half(code["width"])
    with code.loop(code["first"], code["last"]) as image, code.loop(zero, rows) as row:
        upper, lower, pooled_row = _rows(code, image, row)
        with code.loop(zero, columns) as column:
            maximum = code.vector(0)
            for start in (upper, lower):
                for side in (zero, one):
                    value = code.load("full", code.sum(start, column, column, side))
                    is_nan = builder.fcmp_unordered("uno", value, value)
                    larger = builder.or_(is_nan, builder.fcmp_ordered(">", value, maximum))
                    maximum = builder.select(larger, value, maximum)
            code.store("result", code.sum(pooled_row, column), maximum)
    return code.compile()


def _open(code: VectorCode, normalised: Value, values: Value) -> Value:
    """Return the values where the ReLU's input is above 0 or NaN, and 0 elsewhere."""
    closed = code.builder.fcmp_ordered("<=", normalised, code.vector(0))
    return code.builder.select(closed, code.vector(0), values)


@functools.cache
def gradient_sums_code(channels: int, dtype: torch.dtype) -> CompiledLoops:
    """Write the loops of `pooling_loops.gradient_sums`."""
    computed = _computed(dtype)
    tensors = {
        "gradient": dtype,
        "maxima": dtype,
        "scale": computed,
        "offset": computed,
        "sums": torch.float64,
    }
    code = VectorCode(channels, tensors, ["height", "width"], computed)
    builder, zero = code.builder, code.number(0)
    scale, offset = (code.load(name, zero) for name in ("scale", "offset"))
    total, products = code.variable(), code.variable()
    with code.loop(code["first"], code["last"]) as image, code.loop(zero, code["height"]) as row:
        start = code.product(code.sum(code.product(image, code["height"]), row), code["width"])
        for sums in (total, products):
            code.set(sums, code.vector(0))
        with code.loop(start, code.sum(start, code["width"])) as pixel:
            maxima = code.load("maxima", pixel)
            normalised = code.multiply_add(scale, maxima, offset)
            gradient = _open(code, normalised, code.load("gradient", pixel))
            code.set(total, builder.fadd(code.get(total), gradient))
            code.set(products, code.multiply_add(gradient, maxima, code.get(products)))
        at = code.product(image, code.number(2))
        code.accumulate("sums", at, code.get(total))
        code.accumulate("sums", code.sum(at, code.number(1)), code.get(products))
    return code.compile()


@functools.cache
def unpool_code(channels: int, dtype: torch.dtype) -> CompiledLoops:
    """Write the loops of `pooling_loops.unpool`."""
    tensors = {
        "full": dtype,
        "gradient": dtype,
        "maxima": dtype,
        "places": torch.uint8,
        "coefficients": _computed(dtype),
        "result": dtype,
    }
    code = VectorCode(channels, tensors, _SIZES, _computed(dtype))
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
            pixel = code.sum(start, outside)
            code.store("result", pixel, everywhere(pixel))
        with code.loop(code["width"], code["padded"]) as beyond:
            code.store("result", code.sum(start, beyond), code.vector(0))

    with code.loop(code["first"], code["last"]) as image:
        image_row = code.product(image, code["height"])
        with code.loop(zero, rows) as row:
            upper, lower, pooled_row = _rows(code, image, row)
            with code.loop(zero, columns) as column:
                at = code.sum(pooled_row, column)
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
                write_outside(start, code.sum(columns, columns))
        with code.loop(code.sum(rows, rows), code["height"]) as row:
            write_outside(code.product(code.sum(image_row, row), code["padded"]), zero)
    return code.compile()
