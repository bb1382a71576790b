"""`mergershift repro`: run the pipeline, one stage or several cells at a time, and print the transfer table."""

from __future__ import annotations

from collections.abc import Sequence

from mergershift.archive import available
from mergershift.config import compose
from mergershift.config.cells_file import update_cells
from mergershift.config.launcher import read_launcher
from mergershift.config.study import Study, read_study
from mergershift.core.checkout import DATA, root
from mergershift.core.errors import UserError
from mergershift.pipeline import cluster
from mergershift.pipeline.dvc import dvc_repro, finish
from mergershift.pipeline.graph import survey
from mergershift.pipeline.results import Remote
from mergershift.stages.summary_table import print_summary
from mergershift.tracking.missed import publish_missed


def repro(
    arguments: Sequence[str] = (), jobs: int = 1, *, pull: bool = False, on: str = "", attach: bool = False
) -> None:
    """Update conf/cells.yaml, check that the data exist, run `dvc repro` and print the transfer table.

    Raises UserError if the archive lacks a filter set of the study, if `jobs` or `on` is combined with `arguments` for
    DVC, if the remote or the cluster cannot be used, and if a stage fails.

    Args:
        arguments: arguments for DVC.
        jobs: number of cells that run at the same time.
        pull: first fetch the data and all results that DVC's remote has.
        on: name of a file in conf/launcher/: cells run as jobs on that cluster.
        attach: only follow the jobs that an earlier command has sent there.
    """
    _refuse_mistakes(arguments, jobs, pull=pull, on=on, attach=attach)
    study = read_study()  # its errors say more than DVC's
    changed = update_cells(study)
    if changed:
        print(f"conf/study.yaml was edited: {changed}.", flush=True)
    remote = Remote()
    if pull:
        survey(root(), remote, pull=True)
    _require_filter_sets(study)
    if not on and not arguments:
        cluster.require_no_jobs()
    if on:
        if not cluster.repro(on, compose([f"trainer={study.trainer}"]), remote, attach=attach):
            return
    elif jobs > 1:
        from mergershift.pipeline import parallel

        trainer = compose([f"trainer={study.trainer}"]).trainer
        parallel.repro(jobs, trainer.accelerator, remote, trainer.processes)
    elif arguments:
        dvc_repro(arguments)
    else:
        plan, outdated = survey(root(), remote)
        finish(plan.stages_of(outdated))
    if "--dry" not in arguments:
        publish_missed()
        print_summary()


def _refuse_mistakes(arguments: Sequence[str], jobs: int, *, pull: bool, on: str, attach: bool) -> None:
    """Raise UserError for options that exclude each other, and for an unknown cluster, before anything is fetched."""
    if jobs > 1 and on:
        raise UserError(
            f"--jobs {jobs} runs cells on this machine, --on {on} on a cluster.\nLeave out one of them; `parallel` "
            f"in conf/launcher/{on}.yaml says how many jobs run at a time."
        )
    if attach and not on:
        raise UserError(
            "--attach follows jobs on a cluster.\nAdd --on NAME, as in the command that submitted them."
        )
    option = f"--on {on}" if on else f"--jobs {jobs}"
    if (jobs > 1 or on) and arguments:
        raise UserError(
            f"{option} runs the whole pipeline and takes no other arguments, found: {' '.join(arguments)}.\n"
            f"Leave out either these arguments or {option.partition(' ')[0]}."
        )
    if pull and "--dry" in arguments:
        raise UserError("--pull fetches files, which --dry rules out.\nLeave out one of them.")
    if on:
        read_launcher(on)


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
