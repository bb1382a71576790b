"""`mergershift predict`: images in, a table out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mergershift.core.processes import available_cores
from mergershift.predicting.conversion import Assumed
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import Inputs
from mergershift.predicting.model import load_model, nothing
from mergershift.predicting.table import NOT_FINITE, Form, Rows
from mergershift.predicting.writers import check_output, fits_text, writing_table

PIECE = 64
"""Batches that are written at a time."""


def predict_step(
    images: Sequence[str],
    model: str,
    output: Path,
    *,
    assumed: Assumed,
    overwrite: bool = False,
    threads: int | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Write the table of predictions for all images that can be taken.

    Args:
        images: names of files, folders and patterns.
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a folder.
        output: the table; its suffix names the format.
        assumed: what is true of images that do not say it.
        overwrite: replace a table that is there.
        threads: of the processor; all there are if None.

    Returns lines that say what was done, and why which files were refused.
    Raises UserError where nothing is left to write, with nothing written.
    """
    import torch

    check_output(output, overwrite)
    names = find_files(images, leave_out=output)
    loaded = load_model(model)
    torch.set_num_threads(threads or available_cores())
    inputs = Inputs.of_files(names, assumed, loaded.package.facts, progress=True)
    if not inputs.count:
        raise nothing(inputs)
    tally = _Tally()
    with writing_table(output, loaded.form.table(), partial(_width, inputs)) as write:
        for piece in _pieces(loaded.rows(inputs, progress=True)):
            write(loaded.form.table(piece))
            tally.add(loaded.form, piece)
        if not tally.images:
            raise nothing(inputs)
    return tally.lines(output, loaded.form.threshold), inputs.refused


class _Tally:
    def __init__(self) -> None:
        self.images = self.mergers = self.empty = self.strange = 0

    def add(self, form: Form, piece: Sequence[Rows]) -> None:
        for rows in piece:
            self.images += len(rows.index)
            self.mergers += int(np.count_nonzero(rows.scores[:, 0] >= form.threshold))
            self.empty += int(np.count_nonzero(np.isnan(rows.scores[:, 0])))
            self.strange += int(np.count_nonzero(rows.scores[:, 2] > 1))

    def lines(self, output: Path, threshold: float) -> list[str]:
        said = [
            f"{output}: {self.images} images, {self.mergers} called mergers (probability >= {threshold:.3f})"
        ]
        if self.strange:
            said.append(f"{self.strange} are unlike what the model was trained for (out_of_domain > 1)")
        if self.empty:
            said.append(f"{self.empty} have no prediction (flag '{NOT_FINITE}')")
        return said


def _pieces(rows: Iterable[Rows]) -> Iterator[list[Rows]]:
    piece: list[Rows] = []
    for each in rows:
        piece.append(each)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def _width(inputs: Inputs, column: str) -> int:
    """Length of the longest text that the table can come to hold in this column."""
    if column == "flag":
        notes = {source.plan.note for source in inputs.sources}
        return max(len(fits_text(f"{note}; {NOT_FINITE}")) for note in notes)
    return max(len(fits_text(source.name)) for source in inputs.sources)
