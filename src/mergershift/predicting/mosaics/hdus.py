"""Which HDU of a mosaic's file is the image, and which say where it has values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mergershift.predicting.fits_access import Hdu
from mergershift.predicting.hdu_roles import bad_bits, is_flat, role_of_file, role_of_hdu, sky_images
from mergershift.predicting.image_files import stem
from mergershift.predicting.planes import MaskKind
from mergershift.predicting.units import Refused


class Map(NamedTuple):
    """An HDU that says where an image has values."""

    hdu: Hdu
    kind: MaskKind
    bits: int = -1
    """Bits of a `bad` map that mean that there is no value."""


def find_image(hdus: Sequence[Hdu]) -> tuple[Hdu, list[Map]]:
    """Find the image of a mosaic, and the maps of the same shape that say where it has values.

    Raises Refused, with the reason, if there is no two-dimensional image or if it is unclear which one is meant.
    """
    flat = [hdu for hdu in hdus if is_flat(hdu)]
    chosen = sky_images(flat)
    if not chosen:
        raise Refused(f"no image of two dimensions, expected one; found {_listed(hdus)}")
    if len(chosen) > 1:
        numbers = ", ".join(str(hdu.number) for hdu in chosen)
        raise Refused(f"images in HDUs {numbers}; give the one to use the EXTNAME SCI")
    image = chosen[0]
    maps = [found for hdu in flat if hdu.shape[-2:] == image.shape[-2:] and (found := _as_map(hdu, hdus))]
    return image, maps


def find_map(name: str, hdus: Sequence[Hdu]) -> Map:
    """Find the map in a file of weights, whose kind follows from the name of the HDU, or else of the file.

    Raises Refused unless there is exactly one image, or one that is named as a map.
    """
    flat = [hdu for hdu in hdus if is_flat(hdu)]
    named = [found for hdu in flat if (found := _as_map(hdu, hdus))]
    chosen = [found for found in named if found.kind == "weight"] or named
    if not chosen and len(flat) == 1:
        role = role_of_file(stem(name))
        kind: MaskKind = "weight" if role == "image" or role == "other" else role
        chosen = [Map(flat[0], kind, bad_bits((flat[0].header, hdus[0].header)))]
    if len(chosen) != 1:
        raise Refused(f"expected one map of weights of two dimensions; found {_listed(hdus)}")
    return chosen[0]


def _as_map(hdu: Hdu, hdus: Sequence[Hdu]) -> Map | None:
    role = role_of_hdu(hdu.name, hdu.version)
    if role == "image" or role == "other":
        return None
    return Map(hdu, role, bad_bits((hdu.header, hdus[0].header)))


def _listed(hdus: Sequence[Hdu]) -> str:
    found = [f"{hdu.name or 'unnamed'} {hdu.shape}" for hdu in hdus if hdu.shape]
    return ", ".join(found) or "no images"
