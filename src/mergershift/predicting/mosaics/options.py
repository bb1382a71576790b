"""Checks of the options that name a catalogue and its mosaics; they need no library, so that mistakes show at once."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mergershift.core.errors import UserError

ROLES = ("id", "ra", "dec", "z")
"""What a column of a catalogue can be."""


@dataclass(frozen=True)
class Survey:
    """A catalogue and the mosaics that show its objects."""

    catalogue: str
    """File of the catalogue."""
    mosaics: Mapping[str, tuple[str, ...]]
    """Files or addresses of the tiles, by filter."""
    weights: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files or addresses of their weights, by filter and in the order of the tiles."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the catalogue, by their role."""


def parse_survey(
    images: Sequence[str],
    catalogue: str | None,
    mosaics: Sequence[str],
    weights: Sequence[str],
    columns: str | None,
) -> Survey | None:
    """Understand the options of the command line; None if they name no catalogue.

    Args:
        images: Images that are named in addition, which is an error.
        catalogue: File of the catalogue.
        mosaics: Texts such as `f814w=FILE`, where FILE may be a pattern or an address.
        weights: The same for files of weights.
        columns: Text such as `id=NUMBER,z=zbest`.

    Raises UserError if the options do not fit together, or if a file is missing.
    """
    if catalogue is None:
        for option, given in (("--mosaic", mosaics), ("--weight", weights), ("--columns", columns)):
            if given:
                raise UserError(f"{option}: this is for a catalogue of objects.\nName one with --catalogue.")
        return None
    if images:
        raise UserError(
            f"{images[0]}: images and a catalogue cannot be predicted together.\n"
            "Give mosaics as --mosaic FILTER=FILE, and predict on images in a run of their own."
        )
    if not mosaics:
        raise UserError("--catalogue: there are no mosaics.\nName one for each filter: --mosaic f814w=FILE.")
    if not Path(catalogue).is_file():
        raise UserError(f"{catalogue}: no such file.\nGive the file of a catalogue as --catalogue.")
    survey = Survey(
        catalogue, _by_filter("--mosaic", mosaics), _by_filter("--weight", weights), _columns(columns or "")
    )
    for name, files in survey.weights.items():
        tiles = survey.mosaics.get(name)
        if tiles is None:
            raise UserError(f"--weight {name}: there is no mosaic in this filter.\nName it with --mosaic.")
        if len(files) != len(tiles):
            raise UserError(
                f"--weight {name}: {len(files)} files of weights for {len(tiles)} of the mosaic.\n"
                "Give one for each tile, in the same order."
            )
    return survey


def _by_filter(option: str, texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        name = name.strip().lower()
        if not (name and equals and file) or "/" in name:
            raise UserError(f"{option} {text}: which filter is it?\nWrite it as {option} f814w=FILE.")
        files = found.setdefault(name, [])
        files += [one for one in _expanded(option, text, file) if one not in files]
    return {name: tuple(files) for name, files in found.items()}


def _expanded(option: str, text: str, file: str) -> list[str]:
    if "://" in file:
        return [file]
    file = os.path.expanduser(file)
    if not os.path.lexists(file) and glob.has_magic(file):
        matches = sorted(one for one in glob.glob(file, recursive=True) if os.path.isfile(one))
        if matches:
            return matches
    if not os.path.isfile(file):
        raise UserError(f"{option} {text}: no such file.\nGive a FITS file, a pattern or an address.")
    return [file]


def _columns(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role.lower() not in ROLES or not equals or not column:
            raise UserError(
                f"--columns {part}: expected one of {', '.join(ROLES)} with the name of a column.\n"
                "Write it as in --columns id=NUMBER,ra=ALPHA_J2000,dec=DELTA_J2000,z=zbest."
            )
        if role.lower() in found:
            raise UserError(f"--columns {text}: {role} is given twice.\nGive it once.")
        found[role.lower()] = column
    return found
