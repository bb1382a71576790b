"""Folders that appear whole or not at all, and what files in them are called by those who share them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUN, CONFIG = "run.json", "config.yaml"
"""Record and configuration of a training, in its folder; the latter in its MLflow run, too."""
SELECTION, VALIDATORS = "selection.json", "validators.csv"
"""What was chosen in an evaluation, and the scores it was chosen by."""
VERSION_RECORD = "registered_model_meta"
"""File in a fetched model's folder that says which version it is; MLflow's own loader writes the same."""


@contextmanager
def writing(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its place when the block ends without an error."""
    partial = output.with_name(output.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)
