"""A registered model and its predictions for images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from astropy.table import Table

from mergershift.core.errors import UserError
from mergershift.core.model_uri import SCHEME
from mergershift.core.progress import progress_bar
from mergershift.predicting.arguments import CHAMPION, check_model
from mergershift.predicting.conversion import Assumed
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import Inputs, ahead
from mergershift.predicting.table import Form, Rows
from mergershift.registry import RegisteredModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model that is ready to predict, as returned by `load_model`."""

    package: RegisteredModel
    form: Form

    def predict(
        self,
        images: NDArray[np.generic] | Tensor | str | Path | Iterable[str | Path],
        *,
        unit: str | None = None,
        pixel_arcsec: float | None = None,
        redshift: float | None = None,
    ) -> Table:
        """Predict each image's probability of showing a merger.

        Args:
            images: Array `(N, C, H, W)` or `(C, H, W)`, or names of npy and FITS files, folders and patterns.
            unit: Unit of images whose files do not give it; arrays and npy files default to the model's.
            pixel_arcsec: Pixel scale of images whose files do not give it; arrays and npy files of the model's size
                default to the model's.
            redshift: Redshift of images whose files do not give it.

        Returns a table with the columns in `table.DESCRIPTIONS` and one row per image, in order. Refused files are
        reported with the reason, each in a warning and in `meta["refused"]`.
        Raises UserError if an array is refused, or if all files are.
        """
        assumed, facts = Assumed(unit, pixel_arcsec, redshift), self.package.facts
        if hasattr(images, "shape"):
            inputs = Inputs.of_array(cast("NDArray[np.generic]", images), assumed, facts)
        else:
            names = [images] if isinstance(images, str | Path) else cast("Iterable[str | Path]", images)
            inputs = Inputs.of_files(find_files(names), assumed, facts)
        table = self.form.table(list(self.rows(inputs)))
        if not len(table):
            raise no_images_error(inputs)
        for name, reason in inputs.refused.items():
            _log.warning("%s: refused: %s", name, reason)
            table.meta.setdefault("refused", []).append(f"{name}: {reason}")
        return table

    def rows(self, inputs: Inputs, *, progress: bool = False) -> Iterator[Rows]:
        """Predict all images and yield the rows of the table batch by batch."""
        with progress_bar("predicting", inputs.count, shown=progress) as advance:
            for batch in ahead(inputs.batches()):
                yield Rows(batch.files, batch.index, self.package.predict(batch.images), batch.notes)
                advance(len(batch.images))


def load_model(model: str | Path = CHAMPION) -> Model:
    """Load a registered model without pickle.

    Args:
        model: `models:/NAME@ALIAS` or `models:/NAME/VERSION` at the tracking address of the checkout or, outside a
            checkout, at MLFLOW_TRACKING_URI; or the folder of such a model.

    Raises UserError if there is no such model.
    """
    name = str(model)
    check_model(name)
    if name.startswith(SCHEME):
        from mergershift.tracking import fetch_model

        folder = fetch_model(_address(), name)
    else:
        folder = Path(model)
    package = RegisteredModel.read(folder)
    return Model(package, Form(package.facts, name, _version(folder)))


def no_images_error(inputs: Inputs) -> UserError:
    """Create the error for inputs without a usable image, with the first reason."""
    if not inputs.refused:
        return UserError("No images were found.\nGive npy or FITS files, folders or patterns.")
    name, reason = next(iter(inputs.refused.items()))
    count = len(inputs.refused) - 1
    others = f"{count} more were refused" if count else "There are no other images"
    return UserError(f"{name or 'array'}: refused: {reason}.\n{others}; no table is made.")


def _address() -> str:
    """Return the address of the model registry, from the checkout or, outside a checkout, from the environment."""
    from mergershift.config import compose
    from mergershift.core.checkout import root
    from mergershift.tracking import tracking_address

    try:
        root()
    except UserError:
        configured = None
    else:
        configured = compose().tracking.uri
    try:
        return tracking_address(configured)
    except UserError as error:
        raise UserError(
            "This is not a checkout of mergershift, and MLFLOW_TRACKING_URI does not name a server.\n"
            "Set MLFLOW_TRACKING_URI, or give the folder of a model as --model."
        ) from error


def _version(folder: Path) -> str:
    """Read the version under which the model in a folder is registered, as NAME/NUMBER; empty if not recorded."""
    from mergershift.core.yaml_files import read_yaml
    from mergershift.tracking.model_files import VERSION_RECORD

    try:
        record = read_yaml(folder / VERSION_RECORD, dict[str, str], "")
        return f"{record['model_name']}/{record['model_version']}"
    except (UserError, KeyError):
        return ""
