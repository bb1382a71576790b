"""A registered model and what it says of images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from astropy.table import Table

from mergershift.core.errors import UserError
from mergershift.core.progress import progress_bar
from mergershift.predicting.conversion import Assumed
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import Inputs, ahead
from mergershift.predicting.table import Form, Rows
from mergershift.registry import RegisteredModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

URI = "models:/"
CHAMPION = f"{URI}mergershift@champion"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model that is ready to predict; `load_model` makes one."""

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
            images: `(N, C, H, W)` or `(C, H, W)`, or names of npy and FITS files, folders, patterns.
            unit: of images that do not say it; that of the model for arrays and npy files.
            pixel_arcsec: their pixel scale; that of the model for arrays and npy files of its size.
            redshift: their redshift.

        Returns a table with the columns of `table.DESCRIPTIONS`, a row an image, in order. Files that can't be
        taken are named, with the reason, in a warning each and in `meta["refused"]`.
        Raises UserError where an array can't be taken, or no file can.
        """
        assumed, facts = Assumed(unit, pixel_arcsec, redshift), self.package.facts
        if hasattr(images, "shape"):
            inputs = Inputs.of_array(cast("NDArray[np.generic]", images), assumed, facts)
        else:
            names = [images] if isinstance(images, str | Path) else cast("Iterable[str | Path]", images)
            inputs = Inputs.of_files(find_files(names), assumed, facts)
        table = self.form.table(list(self.rows(inputs)))
        if not len(table):
            raise nothing(inputs)
        for name, reason in inputs.refused.items():
            _log.warning("%s: refused: %s", name, reason)
            table.meta.setdefault("refused", []).append(f"{name}: {reason}")
        return table

    def rows(self, inputs: Inputs, *, progress: bool = False) -> Iterator[Rows]:
        """What the model says of all images, batch by batch."""
        with progress_bar("predicting", inputs.count, shown=progress) as advance:
            for batch in ahead(inputs.batches()):
                yield Rows(batch.files, batch.index, self.package.predict(batch.images), batch.notes)
                advance(len(batch.images))


def load_model(model: str | Path = CHAMPION) -> Model:
    """Load a registered model without pickle.

    Args:
        model: `models:/NAME@ALIAS` or `models:/NAME/VERSION` at the tracking address of the checkout or, outside
            one, of MLFLOW_TRACKING_URI; or the folder of such a model.

    Raises UserError where there is none of that name.
    """
    name = str(model)
    if name.startswith(URI):
        from mergershift.tracking import fetch_model

        folder = fetch_model(_address(), name)
    elif Path(model).is_dir():
        folder = Path(model)
    else:
        raise UserError(
            f"{name}: no such folder.\nName a registered model, like {CHAMPION}, or the folder of one."
        )
    package = RegisteredModel.read(folder)
    return Model(package, Form(package.facts, name, _version(folder)))


def nothing(inputs: Inputs) -> UserError:
    """That not one image could be taken, and why."""
    if not inputs.refused:
        return UserError("No images there.\nName npy or FITS files, folders or patterns.")
    name, reason = next(iter(inputs.refused.items()))
    others = f"{len(inputs.refused) - 1} more refused" if len(inputs.refused) > 1 else "Nothing else is there"
    return UserError(f"{name or 'array'}: refused: {reason}.\n{others}; no table is made.")


def _address() -> str:
    """Where models are registered: as the checkout says, or outside of one as the environment says."""
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
            "Not in a checkout of mergershift, and MLFLOW_TRACKING_URI names no server.\n"
            "Set it, or give --model the folder of a model."
        ) from error


def _version(folder: Path) -> str:
    """Under which version the model in a folder is registered, as NAME/NUMBER; empty where nothing says so."""
    import yaml

    from mergershift.tracking.model_registry import VERSION_RECORD

    try:
        record = yaml.safe_load((folder / VERSION_RECORD).read_text())
        return f"{record['model_name']}/{record['model_version']}"
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""
