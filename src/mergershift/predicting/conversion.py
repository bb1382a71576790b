"""Planning of how images are converted to the model's format, or why they cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mergershift.predicting.alignment import misaligned
from mergershift.predicting.flags import Flag
from mergershift.predicting.geometry import Field, find_field, times
from mergershift.predicting.planes import Description, Given, Pair, Plane
from mergershift.predicting.regrid import Axis, kpc_per_arcsec
from mergershift.predicting.units import Brightness, Refused, brightness, from_zero_point, is_usable
from mergershift.registry import ModelFacts

AS_IS = "as is"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanePlan:
    """Conversion of one plane."""

    plane: int
    """Its number in the description."""
    shape: tuple[int, int]
    light: Brightness
    window: tuple[Axis, Axis] | None = None
    """Rows and columns that cover the model's field; None if the image is on the model's grid already."""

    def inside(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """Select the rows and columns to read; raises Refused unless `shape` is that of the plane, as a mask's is."""
        if tuple(shape) != self.shape:
            raise Refused(f"a mask of {times(shape)} pixels for an image of {times(self.shape)}")
        if self.window is None:
            return slice(0, self.shape[0]), slice(0, self.shape[1])
        rows, columns = (axis.inside(length) for axis, length in zip(self.window, self.shape, strict=True))
        return rows, columns

    @property
    def before(self) -> tuple[int, int]:
        """Numbers of rows and columns of the window before the first ones of the image."""
        if self.window is None:
            return 0, 0
        rows, columns = (
            axis.padding(length)[0] for axis, length in zip(self.window, self.shape, strict=True)
        )
        return rows, columns


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Conversion of images with the same description to the model's format."""

    size: int
    planes: tuple[PlanePlan, ...]
    """One for each of the model's filters, in their order."""
    redshift: float = float("nan")
    """The redshift that is used; NaN if none is."""
    filters: tuple[str, ...] = ()
    """The filters of these planes; empty if they are assumed."""
    psf: tuple[float, ...] = ()
    """Full width at half maximum of the point-spread function in pixels of the model, by filter; NaN where unknown."""
    note: str = ""
    """What is done, in words."""
    flags: tuple[Flag, ...] = ()


def make_plan(found: Description, given: Given, facts: ModelFacts) -> ConversionPlan:
    """Plan the conversion of images to the model's format; raises Refused, with the reason, if it is impossible.

    Args:
        found: Properties from the images' source, which take precedence unless the user overrides them.
        given: Properties to use where the source gives none.
        facts: The model's format.
    """
    named = tuple(plane.filter for plane in found.planes)
    complete = all(named) or (any(named) and given.filters is None)
    filters = _chosen(named if complete else None, given.filters, given)
    places = _places(filters, len(found.planes), facts.filters)
    redshift = _chosen(found.redshift, given.redshift, given)
    made = [_plan_plane(found, number, redshift, given, facts) for number in places]
    notes = _joined([plan.field.text for plan in made], facts.filters) + list(found.remarks)
    notes += [] if places == tuple(range(len(found.planes))) else ["channels selected by filter"]
    notes += _joined(["; ".join(found.planes[number].remarks) for number in places], facts.filters)
    notes += _joined([plan.unit for plan in made], facts.filters)
    if given.filters is not None and filters == given.filters != named:
        instead = f" instead of {', '.join(name or 'unknown' for name in named)}" if any(named) else ""
        notes.append(f"filters {', '.join(given.filters)} as given{instead}")
    psf = tuple(plan.field.psf for plan in made)
    return ConversionPlan(
        facts.image_size,
        tuple(plan.plan for plan in made),
        math.nan if redshift is None else redshift,
        () if filters is None else facts.filters,
        () if all(map(math.isnan, psf)) else psf,
        "; ".join(notes),
        (*_flags(found, places, filters is None, made), *_alignment(found, places, redshift, facts)),
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """The plan of a plane and its record."""

    plan: PlanePlan
    field: Field
    unit: str
    """What is done to its values, in words; empty if nothing is."""
    unit_assumed: bool


def _plan_plane(
    found: Description, number: int, redshift: float | None, given: Given, facts: ModelFacts
) -> _Made:
    plane = found.planes[number]
    same = None if given.pixel_arcsec is None else (given.pixel_arcsec, given.pixel_arcsec)
    scale = _chosen(plane.pixel_arcsec, same, given)
    if scale is not None and not all(side > 0 and math.isfinite(side) for side in scale):
        raise Refused(f"pixel scale {scale[0]:g} x {scale[1]:g} arcsec, expected positive numbers")
    sides = scale or _angular(plane, redshift)
    light, text = light_of(plane, sides, given, facts.unit if found.headerless else None)
    on_grid = plane.shape == (facts.image_size,) * 2 and (found.headerless or light.same)
    unscaled = scale is None and plane.pixel_kpc is None and redshift is None
    field = Field(None, AS_IS, scale_assumed=True) if unscaled and on_grid else None
    field = field or find_field(plane, scale, redshift, facts)
    plan = PlanePlan(number, plane.shape, light, field.window)
    return _Made(
        plan, field, text, unit_assumed=plane.unit is None and given.unit is None and plane.jansky is None
    )


def _angular(plane: Plane, redshift: float | None) -> Pair | None:
    """Compute the pixel scale in arcsec of a plane whose pixels are known in kpc; None without a valid redshift."""
    if plane.pixel_kpc is None or redshift is None or not (redshift > 0 and math.isfinite(redshift)):
        return None
    kpc = kpc_per_arcsec(redshift)
    return plane.pixel_kpc[0] / kpc, plane.pixel_kpc[1] / kpc


def light_of(
    plane: Plane, scale: Pair | None, given: Given, assumed: str | None = None
) -> tuple[Brightness, str]:
    """Decide how values become surface brightnesses; returns also what that is in words, if it changes them.

    Raises Refused, with the reason, if they cannot. `assumed` is the unit to use where neither the plane nor the user
    gives one.
    """
    area = None if scale is None else scale[0] * scale[1]
    if plane.jansky is not None and not (given.override and given.unit):
        text = f"converted from pixel values of {plane.jansky:.4g} Jy by the zero point"
        return from_zero_point(plane.jansky, area), text
    useless = plane.unit is not None and given.unit is not None and not is_usable(plane.unit)
    unit = _chosen(None if useless else plane.unit, given.unit, given) or assumed
    if unit is None:
        raise Refused("the unit is unknown since BUNIT is missing; give it with --unit")
    light = brightness(unit, area)
    words = "" if light.same else f"converted from {unit}"
    if useless or (given.override and plane.unit not in (None, unit)):
        words = words or f"taken for {unit}"
        words = f"{words} instead of {plane.unit}"
    return light, words


def _flags(
    found: Description, places: Sequence[int], unnamed: bool, made: Sequence[_Made]
) -> tuple[Flag, ...]:
    """Say what is assumed of the images, once each."""
    of_planes = (flag for number in places for flag in found.planes[number].flags)
    assumed = {
        "filters assumed": unnamed,
        "unit assumed": any(plan.unit_assumed for plan in made),
        "scale assumed": any(plan.field.scale_assumed for plan in made),
        "centre assumed": any(plan.field.centre_assumed for plan in made),
    }
    return tuple(
        dict.fromkeys((*found.flags, *of_planes, *(Flag(word) for word, true in assumed.items() if true)))
    )


def _alignment(
    found: Description, places: Sequence[int], redshift: float | None, facts: ModelFacts
) -> tuple[Flag, ...]:
    known = redshift is not None and redshift > 0 and math.isfinite(redshift)
    pixel = facts.field_kpc / facts.image_size / kpc_per_arcsec(redshift) if known else facts.pixel_arcsec
    poses = [found.planes[number].pose for number in places]
    return (Flag("bands misaligned"),) if misaligned(poses, pixel, facts.image_size) else ()


def _chosen(found: T | None, given: T | None, options: Given) -> T | None:
    first, second = (given, found) if options.override else (found, given)
    return second if first is None else first


def _joined(texts: Sequence[str], filters: Sequence[str]) -> list[str]:
    """Join what is done to the planes: once if it is the same for all."""
    if len(set(texts)) == 1:
        return [texts[0]] if texts[0] else []
    return [f"{name} {text}" for name, text in zip(filters, texts, strict=True) if text]


def _places(filters: tuple[str | None, ...] | None, count: int, wanted: Sequence[str]) -> tuple[int, ...]:
    """Find the planes of the model's filters."""
    named = ", ".join(wanted)
    if count == 1 < len(wanted):
        found = (filters[0] if filters else None) or "filter unknown"
        raise Refused(f"one image ({found}), but the model takes {' and '.join(wanted)} of each galaxy")
    if filters is None:
        if count != len(wanted):
            raise Refused(f"{count} channels, but the model needs {len(wanted)} ({named})")
        return tuple(range(count))
    if len(filters) != count:
        raise Refused(f"{count} channels, but {len(filters)} filter names")
    if any(filters.count(name) != 1 for name in wanted):
        found = ", ".join(name or "unknown" for name in filters)
        raise Refused(f"filters {found}, but the model needs {named}")
    return tuple(filters.index(name) for name in wanted)
