"""A registered model and its predictions for images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from astropy.table import Table

from mergershift.core.errors import UserError
from mergershift.core.model_uri import SCHEME
from mergershift.core.progress import progress_bar
from mergershift.predicting.arguments import CHAMPION, check_model, parse_filters
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import FileInputs, ahead
from mergershift.predicting.planes import Given
from mergershift.predicting.quality import examine
from mergershift.predicting.rows import Inputs, Predicted, Row
from mergershift.predicting.table import Form
from mergershift.registry import RegisteredModel
from mergershift.tracking.named_columns import VIEWS

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
        filters: Sequence[str] | None = None,
        override: bool = False,
    ) -> Table:
        """Predict each image's probability of showing a merger.

        Args:
            images: Array `(N, C, H, W)` or `(C, H, W)`, or names of npy and FITS files, folders and patterns.
            unit: Unit of images whose files do not give it; arrays and npy files default to the model's.
            pixel_arcsec: Pixel scale of images whose files do not give it; arrays and npy files of the model's size
                default to the model's.
            redshift: Redshift of images whose files do not give it.
            filters: Filters of the channels, in their order, of images whose files do not give them.
            override: Whether these properties count even where files give others.

        Returns a table with the columns in `columns.formats` and one row per image, in order; a refused file has a
        row with the reason, which is reported in a warning too.
        Raises UserError if an array is refused, or if all files are.
        """
        given, facts = (
            Given(unit, pixel_arcsec, redshift, parse_filters(filters), override),
            self.package.facts,
        )
        if hasattr(images, "shape"):
            inputs = FileInputs.of_array(images, given, facts)
        else:
            names = [images] if isinstance(images, str | Path) else cast("Iterable[str | Path]", images)
            inputs = FileInputs.of_files(find_files(names), given, facts)
            for warning in inputs.warnings:
                _log.warning("%s", warning)
        parts = [part for part, _ in self.rows(inputs)]
        rows = [row for part in parts for row in part.rows]
        if all(row.refused for row in rows):
            raise no_images_error(rows)
        for row in rows:
            if row.refused:
                _log.warning("%s: refused: %s", row.identity.file, row.refused)
        return self.form.table(parts)

    def rows(
        self, inputs: Inputs, *, progress: bool = False
    ) -> Iterator[tuple[Predicted, NDArray[np.float32]]]:
        """Predict all images and yield the rows of the table batch by batch, with the images `(n, C, size, size)`.

        Those with a prediction are as the network saw them; the others keep their gaps.
        """
        facts = self.package.facts
        with progress_bar("predicting", inputs.count, shown=progress) as advance:
            for batch in ahead(inputs.batches()):
                with_gaps = batch.images.copy()
                seen = examine(batch, facts)
                scores = self.package.predict(seen.images)
                unseen = np.isnan(scores[:, 0])
                seen.images[unseen] = with_gaps[unseen]
                yield Predicted(seen.rows, scores, seen.coverage, seen.measures), seen.images
                advance(len(seen.rows))


def load_model(model: str | Path = CHAMPION, views: int | None = None) -> Model:
    """Load a registered model without pickle.

    Args:
        model: `models:/NAME@ALIAS` or `models:/NAME/VERSION` at the tracking address of the checkout or, outside a
            checkout, at MLFLOW_TRACKING_URI; or the folder of such a model.
        views: Number of turned and mirrored views of each image whose mean is predicted, 8 or 1; the model's own
            number by default: 8, or 1 for models of earlier versions.

    Raises UserError if there is no such model.
    """
    name = str(model)
    check_model(name)
    if name.startswith(SCHEME):
        from mergershift.tracking import fetch_model

        folder = fetch_model(_address(), name)
    else:
        folder = Path(model)
    if views not in (None, *VIEWS):
        raise UserError(f"views: found {views}, expected {' or '.join(map(str, VIEWS))}.")
    package = RegisteredModel.read(folder)
    if views is not None:
        package = package.with_views(views)
    return Model(package, Form(package.facts, name, _version(folder), package.facts.columns))


def no_images_error(rows: Sequence[Row], count: int | None = None) -> UserError:
    """Create the error for inputs without a usable image: `count` rows of which `rows` are the first or all."""
    if not rows:
        return UserError("No images were found.\nGive npy or FITS files, folders or patterns.")
    count = (len(rows) if count is None else count) - 1
    others = f"{count} more were refused" if count else "There are no other images"
    return UserError(
        f"{rows[0].identity.file or 'array'}: refused: {rows[0].refused}.\n{others}; no table is made."
    )


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
