"""Where prepared images lie in the checkout, and whether they are those that a configuration asks for."""

from __future__ import annotations

from pathlib import Path

from mergershift.config import Config
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.images.prepare import origin
from mergershift.images.store import Prepared

DATA = "data"
"""Folder with the archive."""


def prepared_folder(config: Config) -> Path:
    """Where the prepared images of this filter set and split lie."""
    return root() / "outputs" / "prepared" / f"{config.filters.name}-{config.choices['split']}"


def prepared_images(config: Config) -> Prepared:
    """The images that `mergershift prepare` left; raises UserError where they are of another archive or split."""
    prepared = Prepared(prepared_folder(config))
    folder = root() / DATA
    if folder.is_dir() and prepared.facts["provenance"] != origin(folder):
        raise UserError(
            f"{prepared.folder}: prepared from another archive than the one in {DATA}/ now.\n"
            "Run `mergershift prepare` again, or the pipeline with `mergershift repro`."
        )
    if prepared.facts["split"] != config.split.model_dump(mode="json"):
        raise UserError(
            f"{prepared.folder}: prepared with another split ({prepared.facts['split']}).\n"
            "Run `mergershift prepare` with the overrides of this training first."
        )
    return prepared
