"""The command `mergershift predict`, which writes a table of predictions for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mergershift.core.processes import available_cores
from mergershift.core.words import counted
from mergershift.predicting.conversion import Assumed
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import Inputs
from mergershift.predicting.model import load_model, no_images_error
from mergershift.predicting.table import NOT_FINITE, Form, Rows
from mergershift.predicting.writers import fits_text, table_writer

PIECE = 64
"""Number of batches that are written to the table at a time."""


def predict_step(
    images: Sequence[str],
    model: str,
    output: Path,
    *,
    assumed: Assumed,
    threads: int | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Write a table of predictions for all usable images; its arguments have passed `check_arguments`.

    Args:
        images: Files, folders and patterns.
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a folder.
        output: Path of the table, which replaces any existing one; its suffix determines the format.
        assumed: Properties of images whose files do not give them.
        threads: Number of threads; all available cores by default.

    Returns a summary in lines of text, and the reasons for refused files by their names.
    Raises UserError, without writing a table, if no image is usable.
    """
    import torch

    names = find_files(images, leave_out=output)
    loaded = load_model(model)
    torch.set_num_threads(threads or available_cores())
    inputs = Inputs.of_files(names, assumed, loaded.package.facts, progress=True)
    if not inputs.count:
        raise no_images_error(inputs)
    tally = _Tally()
    with table_writer(output, loaded.form.table(), partial(_width, inputs)) as write:
        for piece in _pieces(loaded.rows(inputs, progress=True)):
            write(loaded.form.table(piece))
            tally.add(loaded.form, piece)
        if not tally.images:
            raise no_images_error(inputs)
    return tally.lines(output, loaded.form), inputs.refused


class _Tally:
    def __init__(self) -> None:
        self.images = self.mergers = self.empty = self.outliers = 0

    def add(self, form: Form, piece: Sequence[Rows]) -> None:
        for rows in piece:
            self.images += len(rows.index)
            self.mergers += int(np.count_nonzero(rows.scores[:, 0] >= form.threshold))
            self.empty += int(np.count_nonzero(np.isnan(rows.scores[:, 0])))
            self.outliers += int(np.count_nonzero(rows.scores[:, 2] > 1))

    def lines(self, output: Path, form: Form) -> list[str]:
        images = counted(self.images, "image")
        rule = f"probability >= {form.threshold:.3f}"
        text = [f"{output}: {images}, {self.mergers} classified as mergers ({rule})"]
        if form.warning:
            text.append(form.warning)
        if self.outliers:
            text.append(
                f"{self.outliers} unlike the images that the model was trained on (out_of_domain > 1)"
            )
        if self.empty:
            text.append(f"{self.empty} without a prediction (flag '{NOT_FINITE}')")
        return text


def _pieces(rows: Iterable[Rows]) -> Iterator[list[Rows]]:
    piece: list[Rows] = []
    for batch in rows:
        piece.append(batch)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def _width(inputs: Inputs, column: str) -> int:
    """Compute an upper limit on the length of the texts in a column of the table."""
    if column == "flag":
        notes = {source.plan.note for source in inputs.sources}
        return max(len(fits_text(f"{note}; {NOT_FINITE}")) for note in notes)
    return max(len(fits_text(source.name)) for source in inputs.sources)
