"""conf/cells.yaml: the cells and searches of the study by the names of their stages, as dvc.yaml needs them.

DVC names a stage after a key of a mapping, but cannot build one from the lists in conf/study.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from mergershift.core.checkout import root
from mergershift.core.files import write_text
from mergershift.core.words import counted

if TYPE_CHECKING:
    from mergershift.config.study import Study

CELLS_FILE = Path("conf/cells.yaml")
_HEADER = """\
# Written by mergershift from conf/study.yaml: edit that file. The pipeline's stages are named after these keys.
"""


def update_cells(study: Study) -> str | None:
    """Make conf/cells.yaml list the cells and searches of `study`; returns a line about it if it did not yet."""
    path, text = root() / CELLS_FILE, cells_text(study)
    if path.is_file() and path.read_bytes() == text.encode():
        return None
    write_text(path, text)
    return f"{CELLS_FILE} now lists its {counted(len(study.cells()), 'cell')}"


def cells_text(study: Study) -> str:
    """Return the content of conf/cells.yaml: a line for each cell and each search, in the order of the study."""
    cells = {
        cell.name: {"filters": cell.filters, **cell.method.model_dump(), "seed": cell.seed}
        for cell in study.cells()
    }
    content = {"cells": cells, "searches": {search.adaptation: search.model_dump() for search in study.tune}}
    # An entry to a line, however wide.
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=10_000)
    return _HEADER + text
