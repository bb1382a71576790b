"""The command `mergershift predict`, which writes a table of predictions for images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mergershift.core.processes import available_cores
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import FileInputs
from mergershift.predicting.model import Model, load_model, no_images_error
from mergershift.predicting.mosaics.inputs import CatalogueInputs
from mergershift.predicting.mosaics.options import Survey
from mergershift.predicting.planes import Given
from mergershift.predicting.rows import Row
from mergershift.predicting.stack_writer import stack_writer
from mergershift.predicting.summary import Summary
from mergershift.predicting.unused import passed_over_files
from mergershift.predicting.writers import table_writer

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts


def predict_step(
    images: Sequence[str] | Survey,
    model: str,
    output: Path,
    *,
    given: Given,
    threads: int | None = None,
    report: Path | None = None,
    cutouts: Path | None = None,
    views: int | None = None,
) -> Summary:
    """Write a table of predictions for all usable images; its arguments have passed `check_arguments`.

    Args:
        images: Files, folders and patterns, or a catalogue with its mosaics.
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a folder.
        output: Path of the table, which replaces any existing one; its suffix determines the format.
        given: Properties of images whose files do not give them.
        threads: Number of threads; all available cores by default.
        report: Path of a page on the predictions, which replaces any existing one.
        cutouts: Path of an npy file with the images that the network saw, which replaces any existing one.
        views: Number of views of each image whose mean is predicted, see `load_model`.

    Returns the numbers of images by flag and reason.
    Raises UserError, without writing a table, if no image is usable.
    """
    import torch

    loaded = load_model(model, views)
    torch.set_num_threads(threads or available_cores())
    written = [path for path in (output, report, cutouts) if path is not None]
    inputs = open_inputs(images, given, loaded.package.facts, leave_out=written)
    if isinstance(inputs, FileInputs) and not inputs.usable:
        raise no_images_error([row for batch in inputs.batches() for row in batch.rows])
    return write_predictions(loaded, inputs, output, report, cutouts)


def open_inputs(
    images: Sequence[str] | Survey, given: Given, facts: ModelFacts, *, leave_out: Sequence[Path] = ()
) -> FileInputs | CatalogueInputs:
    """Open the images, or the catalogue and its mosaics, by their headers."""
    if isinstance(images, Survey):
        return CatalogueInputs.of_survey(images, given, facts)
    inputs = FileInputs.of_files(find_files(images, leave_out), given, facts, progress=True)
    inputs.warnings += passed_over_files(images, leave_out)
    return inputs


def write_predictions(
    model: Model,
    inputs: FileInputs | CatalogueInputs,
    output: Path,
    report: Path | None = None,
    cutouts: Path | None = None,
) -> Summary:
    """Write the table of predictions for all inputs and, where they have a path, the page on them and their images.

    Returns the numbers of images by flag and reason.
    Raises UserError, without writing a table, if every image is refused.
    """
    catalogue = isinstance(inputs, CatalogueInputs)
    summary, gathered, first = Summary(model.form, inputs.warnings, catalogue=catalogue), None, list[Row]()
    if report is not None:
        from mergershift.predicting.page.gathered import Gathered

        gathered = Gathered(model.form, model.package.facts, catalogue=catalogue)
    with ExitStack() as files:
        write = files.enter_context(table_writer(output, model.form.table()))
        keep = files.enter_context(stack_writer(cutouts)) if cutouts is not None else None
        for part, seen in model.rows(inputs, progress=True):
            write(model.form.table([part]))
            summary.add(part)
            first = first or part.rows[:1]
            if gathered is not None:
                gathered.add(part, seen)
            if keep is not None:
                keep(seen)
        if summary.refused == summary.images:
            raise no_images_error(first, summary.images)
    if gathered is not None and report is not None:
        from mergershift.predicting.page.page import write_page

        write_page(report, output, gathered)
    return summary
