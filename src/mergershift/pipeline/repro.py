"""`mergershift repro`: run the pipeline, one stage or several cells at a time, and print the transfer table."""

from __future__ import annotations

from collections.abc import Sequence

from mergershift.archive import available
from mergershift.config import compose
from mergershift.config.cells_file import update_cells
from mergershift.config.study import Study, read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.images.locate import DATA
from mergershift.pipeline.dvc import dvc_repro, finish
from mergershift.pipeline.graph import survey
from mergershift.pipeline.results import Remote


def repro(arguments: Sequence[str] = (), jobs: int = 1, *, pull: bool = False) -> None:
    """Update conf/cells.yaml, check that the data exist, run `dvc repro` and print the transfer table.

    With `jobs` above 1 that many cells run at the same time. With `pull` the data and all results that DVC's remote
    has are fetched first. Raises UserError if the archive lacks a filter set of the study, if `jobs` is combined with
    `arguments` for DVC, if the remote cannot be used, and if a stage fails.
    """
    if jobs > 1 and arguments:
        raise UserError(
            f"--jobs {jobs} runs the whole pipeline and takes no other arguments, found: {' '.join(arguments)}.\n"
            "Leave out either these arguments or --jobs."
        )
    if pull and "--dry" in arguments:
        raise UserError("--pull fetches files, which --dry rules out.\nLeave out one of them.")
    study = read_study()  # its errors say more than DVC's
    changed = update_cells(study)
    if changed:
        print(f"conf/study.yaml was edited: {changed}.", flush=True)
    remote = Remote()
    if pull:
        survey(root(), remote, pull=True)
    _require_filter_sets(study)
    if jobs > 1:
        from mergershift.pipeline import parallel

        parallel.repro(jobs, compose([f"trainer={study.trainer}"]).trainer.accelerator, remote)
    elif arguments:
        dvc_repro(arguments)
    else:
        _, outdated = survey(root(), remote)
        finish(outdated)
    if "--dry" not in arguments:
        from mergershift.stages.summary_table import print_summary

        print_summary()


def _require_filter_sets(study: Study) -> None:
    folder = root() / DATA
    present = {data_set.filter_set.name for data_set in available(folder)} if folder.is_dir() else set()
    missing = [name for name in study.filters if name not in present]
    if missing and not present:
        pinned = folder.with_name(f"{folder.name}.dvc").is_file()
        raise UserError(
            "data/: contains no archive yet.\n"
            + "Run `mergershift repro --pull`, or `dvc pull data.dvc` for the data alone, if DVC's remote has it; "
            * pinned
            + f"{'otherwise' if pinned else 'Run'} `mergershift data mock` for a mock archive, "
            "or `mergershift data fetch` for the published one."
        )
    if missing:
        raise UserError(
            f"data/: no {' and '.join(missing)}-filter set, which `filters` in conf/study.yaml lists.\n"
            f"Fetch it, or reduce that list to {', '.join(sorted(present))}."
        )
