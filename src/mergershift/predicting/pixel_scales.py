"""The size of pixels, by the world coordinates of FITS headers or by their cards."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from astropy import units
from astropy.io.fits import Header

from mergershift.predicting.cards import Card, names_in, numbers, positive
from mergershift.predicting.celestial import World
from mergershift.predicting.planes import Pair

SCALES = ("PIXSCALE", "PIXELSCL", "PIXSCL", "PIX_SCL", "PIXELSCA", "PSCALE", "SECPIX", "PIXSCAL", "PIXELSIZ")
"""Keywords for the pixel scale; arcsec unless the comment names another angle or a length."""
PAIRS = (
    ("PIXSCAL1", "PIXSCAL2"),
    ("SECPIX1", "SECPIX2"),
    ("PIXSCALX", "PIXSCALY"),
    ("XPIXSCAL", "YPIXSCAL"),
    ("PIXSIZE1", "PIXSIZE2"),
    ("PIXSCLX", "PIXSCLY"),
)
"""Keywords for the scale along columns and along rows, which may be negative; the first may occur alone."""
SIZES = ("PIXSIZE", "PIXELSZ", "PIX_SIZE", "SCALE", "PLTSCALE")
"""Keywords for the pixel scale or the size of a detector's pixels, in arcsec if the comment or value suggests it."""
AREAS = (("PIXAR_A2", "arcsec2"), ("PIXAR_SR", "sr"))
"""Keywords for the area of a pixel."""
KPC_SCALES = (
    "PIXKPC",
    "PIX_KPC",
    "KPCPIX",
    "KPC_PIX",
    "KPCPERPX",
    "KPCPPIX",
    "PIXSCKPC",
    "SCALEKPC",
    "PIXELKPC",
)
"""Keywords for the proper size of a pixel in kpc unless the comment names another length."""
KPC_FIELDS = ("FOV_KPC", "FOVKPC", "KPCFOV", "LINFOV", "FIELDKPC", "SIZE_KPC", "SIZEKPC", "BOX_KPC")
"""Keywords for the proper size of the image in kpc."""
_ALL = (*SCALES, *(name for names in PAIRS for name in names), *SIZES, *(name for name, _ in AREAS))
_LARGEST_ANGLE = 2.0
"""Numbers above this, in arcsec, are not taken for pixel scales without a unit, but for a detector's in µm."""
_TOLERANCE = 0.03
"""Largest relative difference of pixel scales that agree; many cards are rounded or nominal."""
_ARCSEC_PER_DEGREE = 3600.0
_WORD = re.compile(r"[A-Za-zµ]+")
_COMOVING = re.compile(r"\bcomoving\b|\bc(?:k|M)?pc\b|/ *h\b|h\^?-?1", re.IGNORECASE)
_PREPOSITION = re.compile(r"\b(?:in|of|per)\b", re.IGNORECASE)
_ARCSEC = re.compile(r"\barc-? ?sec|\basec\b|\bmilli-?arcsec", re.IGNORECASE)


class Scale(NamedTuple):
    """The size of a pixel along rows and columns."""

    arcsec: Pair | None = None
    kpc: Pair | None = None
    remarks: tuple[str, ...] = ()
    contradicted: bool = False
    """Whether other cards give another size in arcsec."""


def pixel_scale(world: World | None, headers: Sequence[Header], shape: tuple[int, int]) -> Scale:
    """Find the size of a pixel: in arcsec by world coordinates, else by cards; in kpc likewise.

    Args:
        world: World coordinates of the image.
        headers: Headers of the image and of its file, in the order of their precedence.
        shape: Numbers of rows and columns.
    """
    stated = _stated(headers)
    arcsec = world.scale if world and world.scale else stated.arcsec
    kpc = (world.kpc if world else None) or stated.kpc or _stated_kpc(headers, shape)
    remarks = world.remarks if world else ()
    others = [found for found in (stated.arcsec, _steps(headers)) if found is not None]
    contradicted = arcsec is not None and any(_differ(arcsec, other) for other in others)
    return Scale(arcsec, kpc, remarks + (stated.remarks if arcsec is stated.arcsec else ()), contradicted)


def _differ(one: Pair, other: Pair) -> bool:
    return not all(math.isclose(*sides, rel_tol=_TOLERANCE) for sides in zip(one, other, strict=True))


def _steps(headers: Sequence[Header]) -> Pair | None:
    """Read CDELT in arcsec where a matrix CD counts instead; None without both, or where it is the default of 1."""
    for header in headers:
        if {"CD1_1", "CDELT1", "CDELT2"} <= names_in(header) and str(
            header.get("CUNIT1", "deg")
        ).strip() == "deg":
            across, along = (next(numbers((header,), (f"CDELT{axis}",)), None) for axis in (1, 2))
            if across and along and across.value and along.value and {across.value, along.value} != {1.0}:
                return abs(along.value) * _ARCSEC_PER_DEGREE, abs(across.value) * _ARCSEC_PER_DEGREE
    return None


def _stated(headers: Sequence[Header]) -> Scale:
    for header in headers:
        if names_in(header).isdisjoint(_ALL):
            continue
        for name in SCALES:
            if card := positive((header,), (name,)):
                found = _sized(card, card.value, units.arcsec)
                if found.arcsec or found.kpc:
                    return found
        for first, second in PAIRS:
            across, along = (next(numbers((header,), (name,)), None) for name in (first, second))
            if across and across.value:
                width = _sized(across, abs(across.value), units.arcsec)
                height = _sized(along, abs(along.value), units.arcsec) if along and along.value else width
                if width.arcsec and height.arcsec:
                    return Scale((height.arcsec[0], width.arcsec[1]))
        for name in SIZES:
            if card := positive((header,), (name,)):
                small = name not in ("SCALE", "PLTSCALE") and card.value < _LARGEST_ANGLE
                found = _sized(card, card.value, units.arcsec if small and not _length(card) else None)
                if found.arcsec or found.kpc:
                    words = () if _unit(card.remark) is not None else (f"{name} assumed to be in arcsec",)
                    return found._replace(remarks=words)
        for name, unit in AREAS:
            if card := positive((header,), (name,)):
                side = math.sqrt(card.value * float(units.Unit(unit).to(units.arcsec**2)))
                return Scale((side, side), None, (f"pixel scale by {name}",))
    return Scale()


def _length(card: Card) -> bool:
    unit = _unit(card.remark)
    return unit is not None and unit.is_equivalent(units.m)


def _stated_kpc(headers: Sequence[Header], shape: tuple[int, int]) -> Pair | None:
    for header in headers:
        if card := positive((header,), KPC_SCALES):
            return _sized(card, card.value, units.kpc).kpc
        if card := positive((header,), KPC_FIELDS):
            field = _sized(card, card.value, units.kpc).kpc
            return None if field is None else (field[0] / shape[0], field[1] / shape[1])
    return None


def _sized(card: Card, value: float, default: Any) -> Scale:
    """Read a size in the unit of its comment, or in the default one; nothing if it is in neither angle nor kpc."""
    unit = _unit(card.remark) or default
    if unit is None or _COMOVING.search(card.remark):
        return Scale()
    if unit.is_equivalent(units.arcsec):
        side = value * float(unit.to(units.arcsec))
        return Scale((side, side))
    side = value * float(unit.to(units.kpc))
    return Scale(None, (side, side)) if side > 1e-3 else Scale()


@lru_cache(maxsize=256)
def _unit(remark: str) -> Any:
    """Read the angle or length in a comment, as in ``[mas/pixel] scale`` or ``pixel size in arcsec``; None if none."""
    if _ARCSEC.search(remark):
        return units.mas if re.search(r"milli-?arc", remark, re.IGNORECASE) else units.arcsec
    words = _WORD.findall(remark)
    for number, word in enumerate(words):
        # Words of prose are units only where one is expected: `pixel size in m`, but not `size of a pixel`.
        expected = number == 0 or _PREPOSITION.fullmatch(words[number - 1]) or f"[{word}" in remark
        if not expected and len(word) < 3:
            continue
        name = {"microns": "micron", "kiloparsec": "kpc", "kiloparsecs": "kpc", "degrees": "deg"}.get(
            word.lower(), word.lower() if word.isupper() else word
        )
        unit = units.Unit(name, parse_strict="silent")
        if unit.is_equivalent(units.arcsec) or unit.is_equivalent(units.m):
            return unit
    return None
