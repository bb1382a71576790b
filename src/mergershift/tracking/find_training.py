"""Find a finished training on disk by whatever names it: its folder, its MLflow run's id, or that run's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import RUN, TRAINED
from mergershift.cells.records import RunRecord
from mergershift.cells.run_content import run_spec
from mergershift.core.checkout import root
from mergershift.core.errors import UserError, nearest
from mergershift.core.reading import DamagedFile
from mergershift.tracking.presentation import run_name

_ID = re.compile(r"[0-9a-f]{32}")


def find_training(run: str) -> FinishedTraining:
    """Read the finished training that `run` names.

    Args:
        run: its folder, also without the leading ``outputs/``; the id of its MLflow run; or that run's name, for
            instance ``mmd · three · pristine→noisy · s0``.

    Raises UserError if there is no such training in outputs/, or if several have this name.
    """
    folder = next((path for path in (Path(run), root() / "outputs" / run) if path.is_dir()), None)
    if folder is not None:
        inside = folder.name == TRAINED and (folder / RUN).is_file()
        return FinishedTraining.read((folder.parent if inside else folder).resolve())
    if _ID.fullmatch(run):
        for path, record in _records():
            if run in (record.run_id, record.training):
                return FinishedTraining.read(path.parents[1])
        raise UserError(
            f"{run}: no training in outputs/ has this MLflow run.\n"
            "Restore its folder (`dvc pull`), or name another."
        )
    return _with_name(run)


def _with_name(name: str) -> FinishedTraining:
    folders: dict[str, list[Path]] = {}
    for path, record in _records():
        try:
            known = run_name(run_spec(path.parent, record))
        except DamagedFile:
            continue
        folders.setdefault(known, []).append(path.parents[1])
    found = folders.get(name, [])
    if len(found) > 1:
        places = ", ".join(str(folder.relative_to(root())) for folder in found[:3])
        more = ", ..." * (len(found) > 3)
        raise UserError(
            f"{name}: {len(found)} trainings have this name.\nName one by its folder: {places}{more}."
        )
    if not found:
        known = (
            f"Nearest: {nearest(name, folders)}."
            if folders
            else "Train first, for instance with `make demo`."
        )
        raise UserError(
            f"{name}: no folder, and no training in outputs/ has this name or MLflow run id.\n{known}"
        )
    return FinishedTraining.read(found[0])


def _records() -> Iterator[tuple[Path, RunRecord]]:
    """Yield the records of the trainings in outputs/ that can be read, with the paths of their files."""
    for path in sorted((root() / "outputs").rglob(f"{TRAINED}/{RUN}")):
        try:
            yield path, RunRecord.read(path)
        except DamagedFile:
            continue
