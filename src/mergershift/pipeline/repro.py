"""`mergershift repro`: the pipeline, one stage or several cells at a time, and its table."""

from __future__ import annotations

from collections.abc import Sequence

from mergershift.archive import available
from mergershift.config.study import read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.images.locate import DATA
from mergershift.pipeline.dvc import dvc_repro


def repro(arguments: Sequence[str] = (), jobs: int = 1) -> None:
    """`dvc repro`, after a look whether there is anything to run it on; then the transfer table.

    With `jobs` above 1 that many cells run at the same time. Raises UserError where the archive lacks a filter set
    of the study, and where a stage failed.
    """
    if jobs > 1 and arguments:
        raise UserError(
            f"--jobs {jobs} runs the whole pipeline and takes nothing else, found: {' '.join(arguments)}.\n"
            "Leave that out, or leave --jobs out."
        )
    _look_at_archive()
    if jobs > 1:
        from mergershift.pipeline import parallel

        parallel.repro(jobs)
    else:
        dvc_repro(arguments)
    if "--dry" not in arguments:
        from mergershift.stages.summary import print_summary

        print_summary()


def _look_at_archive() -> None:
    folder = root() / DATA
    study = read_study()
    present = {each.filter_set.name for each in available(folder)} if folder.is_dir() else set()
    missing = [name for name in study.filters if name not in present]
    if missing and not present:
        raise UserError(
            "data/: no archive here yet.\nType `mergershift data mock` for a mock archive, "
            "or `mergershift data fetch` for the published one."
        )
    if missing:
        raise UserError(
            f"data/: no {' and '.join(missing)}-filter set, which conf/study.yaml asks for.\n"
            f"Fetch it, or let `filters:` there list {', '.join(sorted(present))} only."
        )
