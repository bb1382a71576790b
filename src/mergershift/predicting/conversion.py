"""Planning of how images are converted to the model's format, or why they cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.regrid import Axis, central, kpc_per_arcsec, rebin
from mergershift.predicting.units import Brightness, Refused, brightness
from mergershift.registry import ModelFacts

SLACK = 0.005
"""Tolerated relative deviation of the field, since the archive's own pixel scale is rounded."""
COARSEST = 0.5
"""Fewest pixels across the field, relative to the model's; coarser images lack structure even if re-binned."""
AS_IS = "as is"


@dataclass(frozen=True, slots=True)
class Description:
    """Properties of images according to their source; None for unknown properties."""

    shape: tuple[int, int, int]
    """Numbers of channels, rows and columns."""
    unit: str | None = None
    pixel_arcsec: tuple[float, float] | None = None
    """Pixel scale between rows and between columns in arcsec."""
    redshift: float | None = None
    filters: tuple[str, ...] | None = None
    headerless: bool = False
    """Whether the source cannot describe its images, like an array or an npy file."""
    remark: str = ""
    """What had to be assumed about the images, for the note on their conversion."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """Properties that the user gives for images whose source does not give them."""

    unit: str | None = None
    pixel_arcsec: float | None = None
    redshift: float | None = None


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Conversion of images with the same properties to the model's format."""

    size: int
    light: Brightness
    channels: tuple[int, ...] | None = None
    """Channels of the images that show the model's filters; None if they are the same already."""
    window: tuple[Axis, Axis] | None = None
    """Rows and columns that cover the model's field; None if the images are on the model's grid already."""
    note: str = ""

    def __call__(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert images `(N, C, H, W)` to the model's format, `(N, C, size, size)` in µJy/arcsec²."""
        if self.channels is not None:
            images = images[:, self.channels]
        images = self.light(images)
        return images if self.window is None else rebin(images, *self.window, self.size)


def make_plan(found: Description, assumed: Assumed, facts: ModelFacts) -> ConversionPlan:
    """Plan the conversion of images to the model's format; raises Refused, with the reason, if it is impossible.

    Args:
        found: Properties from the images' source, which take precedence.
        assumed: Properties to use where the source gives none.
        facts: The model's format.
    """
    channels = _channels(found, facts.filters)
    scale = found.pixel_arcsec
    if scale is None and assumed.pixel_arcsec is not None:
        scale = (assumed.pixel_arcsec, assumed.pixel_arcsec)
    redshift = found.redshift if found.redshift is not None else assumed.redshift
    text = found.unit or assumed.unit or (facts.unit if found.headerless else None)
    if text is None:
        raise Refused("the unit is unknown since BUNIT is missing; give it with --unit")
    if scale is not None and not all(side > 0 and math.isfinite(side) for side in scale):
        raise Refused(f"pixel scale {scale[0]:g} x {scale[1]:g} arcsec, expected positive numbers")
    light = brightness(text, None if scale is None else scale[0] * scale[1])
    size, shape = facts.image_size, found.shape[1:]
    notes = [found.remark] if found.remark else []
    notes += [] if channels is None else ["channels selected by filter"]
    notes += [] if light.same else [f"converted from {text}"]
    if scale is None and redshift is None and shape == (size, size) and (found.headerless or light.same):
        return ConversionPlan(size, light, channels, None, "; ".join([AS_IS, *notes]))
    if scale is None:
        raise Refused(f"{_times(shape)} pixels of unknown scale; give it with --pixel-arcsec")
    if redshift is None:
        raise Refused("the redshift, and therefore the scale in kpc, is unknown; give it with --redshift")
    window = _window(shape, scale, redshift, facts)
    if window is not None:
        notes.insert(0, f"re-binned from {_geometry(shape, scale, redshift)}")
    return ConversionPlan(size, light, channels, window, "; ".join(notes))


def _channels(found: Description, wanted: Sequence[str]) -> tuple[int, ...] | None:
    named = ", ".join(wanted)
    if found.filters is None:
        if found.shape[0] != len(wanted):
            raise Refused(f"{found.shape[0]} channels, but the model needs {len(wanted)} ({named})")
        return None
    if len(found.filters) != found.shape[0]:
        raise Refused(f"{found.shape[0]} channels, but {len(found.filters)} filter names")
    if any(found.filters.count(name) != 1 for name in wanted):
        raise Refused(f"filters {', '.join(found.filters)}, but the model needs {named}")
    places = tuple(found.filters.index(name) for name in wanted)
    return None if places == tuple(range(found.shape[0])) else places


def _window(
    shape: tuple[int, ...], scale: tuple[float, float], redshift: float, facts: ModelFacts
) -> tuple[Axis, Axis] | None:
    try:
        kpc = kpc_per_arcsec(redshift)
    except ValueError as error:
        raise Refused(str(error)) from None
    widths = [facts.field_kpc / (kpc * side) for side in scale]
    if any(width > length * (1 + SLACK) for width, length in zip(widths, shape, strict=True)):
        extent = " x ".join(f"{length * kpc * side:.0f}" for length, side in zip(shape, scale, strict=True))
        raise Refused(
            f"shows {extent} kpc ({_geometry(shape, scale, redshift)}), but the model needs {facts.field_kpc:g} kpc"
        )
    size = facts.image_size
    if any(width < COARSEST * size for width in widths):
        spanned = " x ".join(f"{width:.3g}" for width in widths)
        raise Refused(
            f"the model's {facts.field_kpc:g} kpc span {spanned} pixels ({_geometry(shape, scale, redshift)}), "
            f"but the model needs at least {COARSEST * size:g} a side"
        )
    if shape == (size, size) and all(abs(width / size - 1) <= SLACK for width in widths):
        return None
    rows, columns = (central(length, width) for length, width in zip(shape, widths, strict=True))
    return rows, columns


def _geometry(shape: tuple[int, ...], scale: tuple[float, float], redshift: float) -> str:
    pixels = f"{scale[0]:.4g}" if math.isclose(*scale, rel_tol=1e-3) else f"{scale[0]:.4g} x {scale[1]:.4g}"
    return f"{_times(shape)} pixels of {pixels} arcsec at z = {redshift:g}"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
