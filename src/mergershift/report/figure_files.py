"""Draws the figures of the page, several at a time, and saves them as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mergershift.core.forked import forked
from mergershift.report import prose
from mergershift.report.study_results import Contender, StudyResults
from mergershift.report.style import Style
from mergershift.report.svg import Drawing, save

ByRun = dict[tuple[str, str], dict[str, bytes]]
"""Files of figures by their names, by the experiment and the id of a training."""


class FigureFiles:
    """Collects figures, then draws and saves all of them, and fills in what the templates place on the pages."""

    def __init__(self, folder: Path, gathered: StudyResults, advance: Callable[[int], None]) -> None:
        self._folder, self.advance = folder, advance
        self._styles: Sequence[Style] = gathered.styles
        self._note = prose.note(gathered)
        self._drawings: list[tuple[Drawing, dict[str, Any], Contender | None]] = []

    def __call__(
        self,
        name: str,
        figure: Callable[[], Figure],
        alt: str,
        of: Contender | None = None,
        *,
        png: bool = True,
    ) -> dict[str, Any]:
        """Add a figure, which `figure` creates, under `name`; its ``svg`` in what is returned is empty until `draw`.

        Args:
            name: name of its files, without extension.
            figure: creates the figure; called by `draw`, in another process.
            alt: description for readers who cannot see the figure.
            of: the method if it shows only a single one.
            png: whether it is saved as PNG in addition to SVG.

        Returns the values for the template.
        """
        values = {"svg": "", "of": of.name if of else ""}
        self._drawings.append((Drawing(name, figure, alt, png), values, of))
        return values

    def draw(self) -> ByRun:
        """Draw all figures; returns those that show a single method, for the run of its first training."""
        by_run: ByRun = {}
        jobs = [
            partial(save, drawing, self._note, self._folder, self._styles, number)
            for number, (drawing, _, _) in enumerate(self._drawings, start=1)
        ]
        for (drawing, values, of), svg in zip(self._drawings, forked(jobs, batches=False), strict=True):
            values["svg"] = svg
            self.advance(1)
            if of is not None:
                record, file = of.first.record, f"{drawing.name}.{'png' if drawing.png else 'svg'}"
                files = by_run.setdefault((record.experiment, record.training), {})
                files[file] = (self._folder / file).read_bytes()
        return by_run
