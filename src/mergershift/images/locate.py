"""Location of the prepared images in the checkout, and a check that they match a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mergershift.config import Config
from mergershift.core.checkout import DATA, root
from mergershift.core.errors import UserError
from mergershift.images.prepare import origin

if TYPE_CHECKING:
    from mergershift.images.store import Prepared


def prepared_folder(config: Config) -> Path:
    """Return the folder of the prepared images of the configuration's filter set and split."""
    return root() / "outputs" / "prepared" / f"{config.filters.name}-{config.choices['split']}"


def prepared_images(config: Config) -> Prepared:
    """Return the images written by `mergershift prepare`.

    Raises UserError if they are missing or were prepared from another archive or with another split.
    """
    from mergershift.images.store import Prepared  # imports PyTorch, which the preparation does not need

    prepared = Prepared(prepared_folder(config))
    folder = root() / DATA
    if folder.is_dir() and prepared.facts["provenance"] != origin(folder):
        raise UserError(
            f"{prepared.folder}: prepared from another archive than the one that is now in {DATA}/.\n"
            "Run `mergershift prepare` again, or run the pipeline with `mergershift repro`."
        )
    if prepared.facts["split"] != config.split.model_dump(mode="json"):
        raise UserError(
            f"{prepared.folder}: prepared with another split ({prepared.facts['split']}).\n"
            "First run `mergershift prepare` with the overrides of this training."
        )
    return prepared
