"""What is understood of images, or of a catalogue and its mosaics, before anything is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from mergershift.core.words import counted
from mergershift.predicting.command import open_inputs
from mergershift.predicting.conversion import ConversionPlan
from mergershift.predicting.inputs import FileInputs
from mergershift.predicting.model import load_model
from mergershift.predicting.mosaics.inputs import CatalogueInputs
from mergershift.predicting.mosaics.options import Survey
from mergershift.predicting.planes import Given
from mergershift.predicting.sources import Source, Unusable

Entry = tuple[Source, ConversionPlan] | Unusable


class Check:
    """What is understood of images; pixels are read only to compare mosaics.

    Args:
        images: Files, folders and patterns, or a catalogue with its mosaics.
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a folder.
        given: Properties that the user gives.

    Raises UserError for a catalogue or mosaic that cannot be used.
    """

    def __init__(self, images: Sequence[str] | Survey, model: str, given: Given) -> None:
        self._facts = load_model(model).package.facts
        self._inputs = open_inputs(images, given, self._facts)

    def lines(self) -> Iterator[str]:
        """Say what is understood, in lines of text."""
        facts = self._facts
        yield (
            f"The model takes {', '.join(facts.filters)}, a field of {facts.field_kpc:g} kpc, and was trained at "
            f"z = {facts.redshift:g}."
        )
        yield from (
            _of_files(self._inputs) if isinstance(self._inputs, FileInputs) else _of_survey(self._inputs)
        )

    @property
    def refused(self) -> bool:
        """Whether a prediction would end with an error: if a file is refused, or if every object is."""
        if isinstance(self._inputs, FileInputs):
            return not self._inputs.usable or self._inputs.refused > 0
        return all(map(self._inputs.problem, range(self._inputs.count)))


def _of_files(inputs: FileInputs) -> Iterator[str]:
    """Say what is understood of files; consecutive files of which the same is understood share a line."""
    for text, group in groupby(inputs.entries, _understood):
        entries = list(group)
        first = _file(entries[0])
        others = {_file(entry) for entry in entries} - {first}
        more = f" and {len(others)} more" if others else ""
        count = sum(1 if isinstance(entry, Unusable) else entry[0].count for entry in entries)
        images = "" if isinstance(entries[0], Unusable) else f"{counted(count, 'image')}: "
        yield f"{first}{more}: {images}{text}"
    yield from inputs.warnings
    yield f"{counted(inputs.count, 'image')}, {inputs.refused} of them refused."


def _file(entry: Entry) -> str:
    identity = entry.identity if isinstance(entry, Unusable) else entry[0].identity(0)
    return identity.file or "array"


def _understood(entry: Entry) -> str:
    if isinstance(entry, Unusable):
        return f"refused: {entry.reason}"
    _, plan = entry
    known = [f"filters {', '.join(plan.filters)}"] if plan.filters else []
    known += [] if np.isnan(plan.redshift) else [f"z = {plan.redshift:g}"]
    known += [plan.note] if plan.note else []
    known += [f"flagged: {', '.join(map(str, plan.flags))}"] if plan.flags else []
    return "; ".join(known)


def _of_survey(inputs: CatalogueInputs) -> Iterator[str]:
    catalogue = inputs.catalogue
    columns = ", ".join(f"{role} = {column}" for role, column in catalogue.columns.items())
    yield "; ".join([f"{catalogue.name}: {counted(len(catalogue), 'object')}; {columns}", *catalogue.remarks])
    if repeated := int(catalogue.repeated.sum()):
        yield f"{counted(repeated, 'object')} with an id that another one has."
    for layer in inputs.layers:
        for name, text in layer.understood:
            yield f"{layer.filter}: {name}: {text}"
    yield from inputs.warnings
    reasons: dict[str, int] = {}
    for number in range(inputs.count):
        reason = inputs.problem(number)
        reasons[reason] = reasons.get(reason, 0) + 1
    yield f"{counted(reasons.pop('', 0), 'object')} can be predicted."
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        yield f"{counted(count, 'object')} refused: {reason}."
