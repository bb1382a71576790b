"""Publish finished trainings whose MLflow run is missing or incomplete, from their folders."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergershift.cells.layout import RUN
from mergershift.cells.records import RunRecord
from mergershift.cells.run_content import run_content
from mergershift.cells.summary_files import read_trainings
from mergershift.config import compose
from mergershift.core.checkout import main_checkout, root
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.progress import progress_bar
from mergershift.core.reading import DamagedFile
from mergershift.core.words import counted
from mergershift.tracking import Outcome, Publisher, RefusedByServer, missed, public, tracking_address
from mergershift.tracking.study_run import study_content

logger = logging.getLogger(__name__)

UNFINISHED = (".part", ".gone")
"""Suffixes of folders that are being written or deleted."""


@dataclass(frozen=True)
class Synced:
    """Outcome of publishing a number of trainings."""

    outcomes: Counter[Outcome]
    problems: list[str]
    """For every training that could not be published, a message that names it and the reason."""
    address: str
    study: Outcome | None = None
    """Outcome of publishing the study's own run; None if there is no such run."""

    def __str__(self) -> str:
        parts = [
            f"{self.outcomes['published']} published to {self.address}",
            f"{self.outcomes['complete']} already complete",
        ]
        if self.outcomes["deleted"]:
            parts.append(f"{self.outcomes['deleted']} deleted on the server and left deleted")
        if self.problems:
            parts.append(f"{len(self.problems)} not published, see above")
        count = self.outcomes.total() + len(self.problems)
        study = f"; the study: {self.study}" if self.study else ""
        return f"{counted(count, 'training')}: {', '.join(parts)}{study}"


def sync(folders: Sequence[Path] = ()) -> Synced:
    """Publish whatever the MLflow runs of the finished trainings in `folders` lack.

    The default folders are outputs/ and that of the tuning studies, and with them the study's own run is published if
    its page and its summary belong together. Publishing may be interrupted and repeated without duplicating anything.
    Raises UserError if the server does not answer or another process is publishing.
    """
    address = tracking_address(compose().tracking.uri)
    publisher = Publisher(address)
    lock = main_checkout() / "state" / "sync.lock"
    with exclusive_lock(lock, "another process is publishing.\nWait for it to finish, or stop it."):
        if folders:
            return _sync(publisher, address, folders, whole=False)
        missed.forget()
        done = False
        try:
            synced = _sync(publisher, address, (root() / "outputs", main_checkout() / "state" / "tuning"))
            done = True
            return synced
        finally:
            if not done:
                missed.remember()


def _sync(publisher: Publisher, address: str, folders: Sequence[Path], *, whole: bool = True) -> Synced:
    """Publish the trainings in `folders`, and if they are the `whole` of them, the study's own run."""
    outcomes: Counter[Outcome] = Counter()
    found, problems = _in_order(folders)
    study = None
    try:
        study = read_trainings(
            "Run `mergershift summary` to write it anew; the gains in it are not published."
        )
    except DamagedFile as error:
        problems.append(str(error))
    of_study = _publish_study(publisher, problems) if whole else None
    with progress_bar("publishing", len(found)) as advance:
        for folder in found:
            try:
                outcomes[publisher.publish(run_content(folder, study))] += 1
            except DamagedFile as error:
                problems.append(str(error))
            except RefusedByServer as error:
                problems.append(
                    f"{folder}: MLflow rejects this training ({error}).\nFix it or move it elsewhere."
                )
            advance(1)
    return Synced(outcomes, problems, public(address), of_study)


def _publish_study(publisher: Publisher, problems: list[str]) -> Outcome | None:
    """Publish the study's own run, to which the descriptions of its trainings refer."""
    try:
        content = study_content()
        return None if content is None else publisher.publish(content)
    except DamagedFile as error:
        problems.append(str(error))
    except RefusedByServer as error:
        problems.append(
            f"outputs/report: MLflow rejects the study's run ({error}).\nFix it or move it elsewhere."
        )
    except UserError as error:
        logger.warning("The study's run is not published. %s", error)
    return None


def _in_order(folders: Sequence[Path]) -> tuple[dict[Path, RunRecord], list[str]]:
    """Return the records of finished trainings by folder, the runs that others refer to first, and what is wrong."""
    first_ones: dict[Path, RunRecord] = {}
    others: dict[Path, RunRecord] = {}
    problems: list[str] = []
    seen: dict[str, Path] = {}
    for folder in _trainings(folders):
        try:
            record = RunRecord.read(folder / RUN)
        except DamagedFile as error:
            problems.append(str(error))
            continue
        first = seen.setdefault(record.training, folder)
        if first == folder:
            (others if record.trained is not None or record.parent is not None else first_ones)[folder] = (
                record
            )
        else:
            problems.append(
                f"{folder}: the same training as {first}, which is published instead.\nMove one of them elsewhere."
            )
    return first_ones | others, problems


def _trainings(folders: Sequence[Path]) -> list[Path]:
    found = {
        path.parent.resolve()
        for folder in folders
        for path in folder.rglob(RUN)
        if not any(part.endswith(UNFINISHED) for part in path.relative_to(folder).parts)
    }
    return sorted(found)
