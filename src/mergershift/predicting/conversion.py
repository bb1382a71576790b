"""From what is known of some images to what has to be done with them, or why it can't."""

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
"""Relative deviation of the field that is put up with: the archive's own pixel scale is rounded."""
COARSEST = 0.5
"""Least pixels a side of the field for each of the model's: fewer hold no structure, however finely re-binned."""
AS_IS = "as is"


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of images from where they come from; None for what nothing says."""

    shape: tuple[int, int, int]
    """Channels, rows and columns."""
    unit: str | None = None
    pixel_arcsec: tuple[float, float] | None = None
    """Along rows' and along columns' numbers."""
    redshift: float | None = None
    filters: tuple[str, ...] | None = None
    headerless: bool = False
    """Nothing could have said it: an array."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the user says of images that do not say it themselves."""

    unit: str | None = None
    pixel_arcsec: float | None = None
    redshift: float | None = None


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """What turns images of one kind into the model's."""

    size: int
    light: Brightness
    channels: tuple[int, ...] | None = None
    """Where in the images the model's filters are; None where they are as they have to be."""
    window: tuple[Axis, Axis] | None = None
    """Rows and columns that show the model's field; None where they are its grid already."""
    note: str = ""

    def __call__(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Images `(N, C, H, W)` as the model takes them, `(N, C, size, size)` in µJy/arcsec²."""
        if self.channels is not None:
            images = images[:, self.channels]
        images = self.light(images)
        return images if self.window is None else rebin(images, *self.window, self.size)


def make_plan(found: Description, assumed: Assumed, facts: ModelFacts) -> ConversionPlan:
    """Say what makes the model's images of these; raises Refused, with the reason, where nothing can.

    Args:
        found: counts wherever it says something.
        assumed: stands in for the rest.
        facts: what the model takes.
    """
    channels = _channels(found, facts.filters)
    scale = found.pixel_arcsec
    if scale is None and assumed.pixel_arcsec is not None:
        scale = (assumed.pixel_arcsec, assumed.pixel_arcsec)
    redshift = found.redshift if found.redshift is not None else assumed.redshift
    text = found.unit or assumed.unit or (facts.unit if found.headerless else None)
    if text is None:
        raise Refused("no unit: BUNIT is missing; --unit says it")
    if scale is not None and not all(each > 0 and math.isfinite(each) for each in scale):
        raise Refused(f"pixel scale {scale[0]:g} x {scale[1]:g} arcsec, expected one above 0")
    light = brightness(text, None if scale is None else scale[0] * scale[1])
    size, shape = facts.image_size, found.shape[1:]
    notes = [] if channels is None else ["channels by their filters"]
    notes += [] if light.same else [f"converted from {text}"]
    if scale is None and redshift is None and shape == (size, size) and (found.headerless or light.same):
        return ConversionPlan(size, light, channels, None, "; ".join([AS_IS, *notes]))
    if scale is None:
        raise Refused(f"{_times(shape)} pixels of a scale that nothing says; --pixel-arcsec does")
    if redshift is None:
        raise Refused("the redshift is not known, thus not the scale in kpc; --redshift says it")
    window = _window(shape, scale, redshift, facts)
    if window is not None:
        notes.insert(0, f"re-binned from {_seen(shape, scale, redshift)}")
    return ConversionPlan(size, light, channels, window, "; ".join(notes))


def _channels(found: Description, wanted: Sequence[str]) -> tuple[int, ...] | None:
    named = ", ".join(wanted)
    if found.filters is None:
        if found.shape[0] != len(wanted):
            raise Refused(f"{found.shape[0]} channels, the model takes {len(wanted)} ({named})")
        return None
    if len(found.filters) != found.shape[0]:
        raise Refused(f"{found.shape[0]} channels, but names of {len(found.filters)} filters")
    if any(found.filters.count(each) != 1 for each in wanted):
        raise Refused(f"filters {', '.join(found.filters)}, the model takes {named}")
    places = tuple(found.filters.index(each) for each in wanted)
    return None if places == tuple(range(found.shape[0])) else places


def _window(
    shape: tuple[int, ...], scale: tuple[float, float], redshift: float, facts: ModelFacts
) -> tuple[Axis, Axis] | None:
    try:
        kpc = kpc_per_arcsec(redshift)
    except ValueError as error:
        raise Refused(str(error)) from None
    widths = [facts.field_kpc / (kpc * each) for each in scale]
    if any(width > length * (1 + SLACK) for width, length in zip(widths, shape, strict=True)):
        shown = " x ".join(f"{length * kpc * each:.0f}" for length, each in zip(shape, scale, strict=True))
        raise Refused(
            f"shows {shown} kpc ({_seen(shape, scale, redshift)}), the model needs {facts.field_kpc:g}"
        )
    size = facts.image_size
    if any(width < COARSEST * size for width in widths):
        spanned = " x ".join(f"{width:.3g}" for width in widths)
        raise Refused(
            f"the model's {facts.field_kpc:g} kpc span {spanned} pixels ({_seen(shape, scale, redshift)}), "
            f"it needs {COARSEST * size:g} a side"
        )
    if shape == (size, size) and all(abs(width / size - 1) <= SLACK for width in widths):
        return None
    rows, columns = (central(length, width) for length, width in zip(shape, widths, strict=True))
    return rows, columns


def _seen(shape: tuple[int, ...], scale: tuple[float, float], redshift: float) -> str:
    pixels = f"{scale[0]:.4g}" if math.isclose(*scale, rel_tol=1e-3) else f"{scale[0]:.4g} x {scale[1]:.4g}"
    return f"{_times(shape)} pixels of {pixels} arcsec at z = {redshift:g}"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
