"""Checks of a prediction's arguments that need no library, so that a mistake is reported at once."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from mergershift.core.errors import UserError
from mergershift.core.model_uri import SCHEME, ModelUri

FORMATS = (".ecsv", ".fits", ".parquet", ".vot", ".xml")
"""Suffixes of tables."""
CHAMPION = f"{SCHEME}mergershift@champion"


def check_arguments(
    images: Sequence[str],
    model: str,
    output: Path | None,
    *,
    overwrite: bool,
    unit: str | None,
    report: Path | None = None,
    cutouts: Path | None = None,
) -> None:
    """Raise UserError for arguments with which no prediction is possible.

    Args:
        images: files, folders and patterns; none if there is a catalogue (see `mosaics.options`).
        model: models:/NAME@ALIAS, models:/NAME/VERSION or a folder.
        output: path of the table; None if none is written.
        overwrite: whether to replace an existing table.
        unit: unit of images whose files do not give one.
        report: path of the page on the predictions.
        cutouts: path of the images that the network saw.
    """
    if output is not None:
        _check_output(output, FORMATS, "ECSV, FITS, Parquet, VOTable", overwrite)
    if report is not None:
        _check_new(report, overwrite)
    if cutouts is not None:
        _check_output(cutouts, (".npy",), "numpy", overwrite)
    check_model(model)
    if images and not any(map(_exists, images)):
        others = f"{len(images) - 1} more were not found" if len(images) > 1 else "There are no other images"
        raise UserError(f"{images[0]}: refused: no such file.\n{others}; no table is made.")
    if unit is not None:
        from mergershift.predicting.units import Refused, brightness

        try:
            brightness(unit, pixel_arcsec2=1.0)
        except Refused as reason:
            raise UserError(f"--unit {unit}: {reason}.\nCorrect the unit, or leave it out.") from None


def parse_filters(filters: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Read names of filters, or a text such as ``f814w,f160w``; raises UserError unless each is named once."""
    if filters is None:
        return None
    listed = filters.split(",") if isinstance(filters, str) else filters
    names = tuple(name.strip().lower() for name in listed)
    if not all(names) or len(set(names)) < len(names):
        raise UserError(
            f"--filters {','.join(listed)}: expected each filter once.\n"
            "Name the filter of each channel, in the order of the channels, as in --filters f814w,f160w."
        )
    return names


def check_model(model: str) -> None:
    """Raise UserError unless `model` is written as a registered model's URI, or is an existing folder."""
    if model.startswith(SCHEME):
        ModelUri.parse(model)
    elif not Path(model).is_dir():
        raise UserError(
            f"{model}: no such folder.\nGive a registered model, such as {CHAMPION}, or the folder of one."
        )


def _exists(name: str) -> bool:
    return (
        "://" in name
        or os.path.lexists(name)
        or (glob.has_magic(name) and any(glob.iglob(name, recursive=True)))
    )


def _check_output(path: Path, suffixes: Sequence[str], named: str, overwrite: bool) -> None:
    if path.suffix not in suffixes:
        raise UserError(
            f"{path}: unknown format.\nUse a name that ends with {', '.join(suffixes)} ({named})."
        )
    _check_new(path, overwrite)
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        found = "not writable" if folder.is_dir() else "not a folder"
        raise UserError(f"{path}: cannot be written, because {folder} is {found}.\nGive another name.")


def _check_new(path: Path, overwrite: bool) -> None:
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{path}: already exists.\nGive --overwrite to replace it, or another name.")
