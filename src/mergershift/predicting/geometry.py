"""Where the field of a model lies in an image: its scale, its centre, and whether the image shows enough of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergershift.predicting.planes import Pair, Plane
from mergershift.predicting.regrid import Axis, around, central, kpc_per_arcsec
from mergershift.predicting.units import Refused

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts

SLACK = 0.005
"""Tolerated relative deviation of the field, since the archive's own pixel scale is rounded."""
LEAST_SIDE = 0.97
"""Least part of the field that an image shows along a side if the galaxy's position is unknown; what it lacks has no
value. Cut-outs of the field in another cosmology are narrower by a percent; narrower ones may have been trimmed."""
COARSEST = 0.5
"""Fewest pixels across the field, relative to the model's; coarser images lack structure even if re-binned."""
MOST_FIELDS = 4
"""Most fields across an image of one galaxy; larger ones are mosaics."""
LEAST_SHARE = 0.5
"""Least share of the field that an image around a known position must show."""


@dataclass(frozen=True, slots=True)
class Field:
    """The field of a model in an image."""

    window: tuple[Axis, Axis] | None
    """Its rows and columns; None if the image is on the model's grid already."""
    text: str = ""
    """What is done to the image's grid, in words; empty if nothing is."""
    psf: float = math.nan
    """Full width at half maximum of the point-spread function in pixels of the model."""
    scale_assumed: bool = False
    centre_assumed: bool = False


def find_field(plane: Plane, scale: Pair | None, redshift: float | None, facts: ModelFacts) -> Field:
    """Find the field of a model around the galaxy of an image; raises Refused, with the reason, if that is impossible.

    Args:
        plane: The image.
        scale: Its pixel scale between rows and between columns in arcsec; None if unknown.
        redshift: The galaxy's redshift; None if unknown.
        facts: The model's format.
    """
    pixel_kpc, kpc, pixels = _physical(plane, scale, redshift)
    shape, size = plane.shape, facts.image_size
    geometry = f"{times(shape)} pixels of {pixels}"
    widths = (facts.field_kpc / pixel_kpc[0], facts.field_kpc / pixel_kpc[1])
    _check_extent(plane, pixel_kpc, widths, geometry, facts)
    psf = math.nan
    if plane.psf_arcsec is not None and kpc is not None:
        psf = plane.psf_arcsec * kpc * size / facts.field_kpc
    middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    centre = middle if plane.centre is None else plane.centre
    off = max(abs(place - half) for place, half in zip(centre, middle, strict=True))
    if shape == (size, size) and off <= 0.5 and all(abs(width / size - 1) <= SLACK for width in widths):
        return Field(None, psf=psf)
    whole = all(abs(width / length - 1) <= SLACK for width, length in zip(widths, shape, strict=True))
    short = any(width > length * (1 + SLACK) for width, length in zip(widths, shape, strict=True))
    if (plane.centre is None and not short) or (off <= 0.5 and whole):
        window = (central(shape[0], widths[0]), central(shape[1], widths[1]))
        return Field(window, f"re-binned from {geometry}", psf, centre_assumed=not whole)
    window = (around(centre[0], widths[0]), around(centre[1], widths[1]))
    place = (
        f" around the galaxy's position, row {centre[0]:.1f} and column {centre[1]:.1f}" if off > 0.5 else ""
    )
    return Field(window, f"re-binned from {geometry}{place}", psf, centre_assumed=plane.centre is None)


def times(shape: Sequence[int]) -> str:
    """Write the lengths of axes, as in ``75 x 75``."""
    return " x ".join(map(str, shape))


def _physical(plane: Plane, scale: Pair | None, redshift: float | None) -> tuple[Pair, float | None, str]:
    """Compute the size of a pixel in kpc and, as far as known, the kpc per arcsec; returns also the size in words."""
    if scale is None and plane.pixel_kpc is None:
        raise Refused(f"{times(plane.shape)} pixels of unknown scale; give it with --pixel-arcsec")
    if scale is not None and redshift is not None:
        try:
            kpc = kpc_per_arcsec(redshift)
        except ValueError as error:
            raise Refused(str(error)) from None
        return (scale[0] * kpc, scale[1] * kpc), kpc, f"{_sides(scale)} arcsec at z = {redshift:g}"
    if plane.pixel_kpc is None:
        raise Refused("the redshift, and therefore the scale in kpc, is unknown; give it with --redshift")
    per_arcsec = None if scale is None else plane.pixel_kpc[0] / scale[0]
    return plane.pixel_kpc, per_arcsec, f"{_sides(plane.pixel_kpc)} kpc"


def _sides(sides: Pair) -> str:
    return f"{sides[0]:.4g}" if math.isclose(*sides, rel_tol=1e-3) else f"{sides[0]:.4g} x {sides[1]:.4g}"


def _check_extent(plane: Plane, pixel_kpc: Pair, widths: Pair, geometry: str, facts: ModelFacts) -> None:
    """Raise Refused unless the image shows the field of one galaxy in enough pixels."""
    field, size = f"{facts.field_kpc:g} kpc", facts.image_size
    shown = (
        f"shows {' x '.join(f'{n * side:.0f}' for n, side in zip(plane.shape, pixel_kpc, strict=True))} kpc"
    )
    if any(width < COARSEST * size for width in widths):
        spanned = " x ".join(f"{width:.3g}" for width in widths)
        raise Refused(
            f"the model's {field} span {spanned} pixels ({geometry}), "
            f"but the model needs at least {COARSEST * size:g} a side"
        )
    fields = max(length / width for length, width in zip(plane.shape, widths, strict=True))
    if fields > MOST_FIELDS:
        raise Refused(f"{shown}, {fields:.2g} fields of {field} ({geometry}): cut the galaxy out first")
    if plane.centre is None:
        if any(width * LEAST_SIDE > length for width, length in zip(widths, plane.shape, strict=True)):
            raise Refused(f"{shown} ({geometry}), but the model needs {field}: cut out a wider image")
        return
    axes = [around(place, width) for place, width in zip(plane.centre, widths, strict=True)]
    inside = [axis.inside(length) for axis, length in zip(axes, plane.shape, strict=True)]
    share = math.prod((part.stop - part.start) / width for part, width in zip(inside, widths, strict=True))
    if share < LEAST_SHARE:
        raise Refused(
            f"{shown} ({geometry}), {share:.0%} of the model's {field} around the galaxy's position"
        )
