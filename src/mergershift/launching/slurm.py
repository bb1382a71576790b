"""SLURM: jobs as arrays that submitit submits, recorded on disk so that a later command finds them again."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path

from mergershift.config.launcher import LauncherConfig
from mergershift.core.errors import UserError, nearest
from mergershift.core.words import counted
from mergershift.launching.jobs import LOST, Job, Task, Unreachable
from mergershift.launching.queue import FINAL, WORDS, CallFailed, Queue, call, failure
from mergershift.launching.records import Submission
from mergershift.launching.runner import Runner

PROGRAMS = ("sbatch", "scancel", "squeue", "srun")
LIMIT_REACHED = 124
"""Exit code of a job that has reached its time limit more often than it may, as of the command `timeout`."""
SIGNAL_SECONDS = 120
"""How long before its time limit a job is asked to save."""
_RESULT_SECONDS = 15.0
"""After how long without a result a job that is gone is lost; a shared file system may show files late."""
_CANCEL_SECONDS = 300.0
_NO_CLUSTER = "Could not establish a configuration source"
"""What sbatch says on a machine without slurm.conf."""
_OF_A_JOB = (
    "SLURM_",
    "SRUN_",
    "SUBMITIT_",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_",
)


class SlurmJob:
    """A job on a SLURM cluster."""

    def __init__(self, submission: Submission, number: str, task: Task, queue: Queue) -> None:
        self.submission, self.number, self._task, self._queue = submission, number, task, queue
        self._code: int | None = None
        self._gone: tuple[float, float] | None = None
        self._words = "waiting"

    @property
    def task(self) -> Task:
        """What the job runs."""
        return self._task

    @property
    def state(self) -> str:
        """What the job does, in words, or why it is lost."""
        return self._words if self._code is not None else f"{self._words}{self._queue.silence}"

    def poll(self) -> int | None:
        """Exit code of the command, negative for a signal that ended it, or `LOST`; None while it waits or runs."""
        if self._code is None:
            self._look_up()
        return self._code

    @property
    def alive(self) -> bool:
        """Whether the last answer of the queue lists the job as waiting or running."""
        entry = self._queue.get(self.number)
        return entry is not None and entry.state not in FINAL

    def _look_up(self) -> None:
        result = self.submission.result(self.number, fresh=self._gone is not None)
        if result is not None:
            self._code, self._words = self._meaning(*result)
            return
        self._queue.update()
        entry = self._queue.get(self.number)
        if self._queue.answered < self.submission.began:
            return
        if self.alive and entry is not None:
            self._gone, self._words = None, entry.words
            return
        now = time.monotonic()
        first, answer = self._gone = self._gone or (now, self._queue.answered)
        # A second answer, so that one that was incomplete does not count.
        if now - first > _RESULT_SECONDS and self._queue.answered > answer:
            said = (
                entry.words
                if entry and entry.state in WORDS
                else "gone" + self.submission.last_error(self.number)
            )
            self._code, self._words = LOST, said

    def _meaning(self, outcome: str, value: object) -> tuple[int, str]:
        if outcome == "success" and isinstance(value, int):
            return value, "ended"
        if "timed-out too many times" in str(value):
            return (
                LIMIT_REACHED,
                "reached its time limit too often: set more `hours` or `requeues` in conf/launcher/",
            )
        lines = str(value).strip().splitlines() or ["no message"]
        return LOST, f"could not be run ({lines[-1]})"


class Slurm:
    """Sends jobs to a SLURM cluster.

    Args:
        config: what each job asks for.
        folder: where the jobs are recorded, on a file system that all nodes share.

    Raises UserError if this machine lacks SLURM's programs.
    """

    def __init__(self, config: LauncherConfig, folder: Path) -> None:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            raise UserError(
                f"{' and '.join(missing)}: not found, so this machine submits no jobs to SLURM.\n"
                "Run the command on a login node of the cluster, or without --on."
            )
        self._config = config
        self._folder = folder
        self._queue = Queue()

    def submit(self, tasks: Sequence[Task]) -> list[Job]:
        """Send tasks as one array of jobs; raises Unreachable, or UserError with what sbatch says against them."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm.slurm import SlurmExecutor

        if not tasks:
            return []
        submission = Submission.create(self._folder, tasks)
        executor = SlurmExecutor(submission.folder, max_num_timeout=self._config.requeues)
        executor.update_parameters(**self._options(submission.name))
        try:
            with self._alone(), redirect_stderr(io.StringIO()):  # submitit prints what it raises
                jobs = executor.submit_array([Runner(task) for task in tasks])
            submission.record([job.job_id for job in jobs])
        except BaseException as error:
            submission.withdraw()  # it may have arrived in spite of the error
            if isinstance(error, FailedJobError | FailedSubmissionError):
                raise self._refusal(str(error)) from error
            raise
        return self._follow(submission)

    def attach(self) -> list[Job]:
        """Return the jobs of earlier commands that were not forgotten, the latest of each task."""
        latest: dict[str, Job] = {}
        for submission in Submission.all_in(self._folder):
            if not submission.numbers:  # the command was killed while it submitted them
                self._end_unrecorded(submission)
                continue
            for job in self._follow(submission):
                earlier = latest.get(job.task.name)
                if earlier is not None:
                    self.forget([earlier])
                latest[job.task.name] = job
        return list(latest.values())

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs and wait until they have ended; raises UserError if they do not within minutes."""
        chosen = [job for job in jobs if isinstance(job, SlurmJob)]
        numbers = [job.number for job in chosen]
        deadline = time.monotonic() + _CANCEL_SECONDS
        asked = False
        while numbers:
            try:
                if not asked:
                    call(["scancel", *numbers])
                    asked = True
            except CallFailed:  # they have all ended
                asked = True
            except Unreachable:
                pass
            before = self._queue.answered
            self._queue.update(now=True)
            if asked and self._queue.answered > before and not any(job.alive for job in chosen):
                return
            if time.monotonic() > deadline:
                minutes = f"{_CANCEL_SECONDS / 60:.0f} minutes"
                raise (UserError if asked else Unreachable)(
                    f"SLURM has not ended {counted(len(numbers), 'job')} within {minutes}.\n"
                    f"See `squeue --me`, and cancel them later: scancel {' '.join(numbers)}"
                )
            time.sleep(1)

    def _end_unrecorded(self, submission: Submission) -> None:
        """Withdraw jobs whose numbers are not known, and wait until none runs any more: others take their place.

        Raises Unreachable if the controller does not answer, and UserError if they do not end within minutes.
        """
        deadline = time.monotonic() + _CANCEL_SECONDS
        with suppress(CallFailed):
            while call(["squeue", "--noheader", "--format=%i", f"--name={submission.name}"]).strip():
                if time.monotonic() > deadline:
                    raise UserError(
                        f"SLURM has not ended jobs that an earlier command has submitted, named {submission.name}.\n"
                        f"Cancel them, and try again later: scancel --name={submission.name}"
                    )
                call(["scancel", f"--name={submission.name}"])
                time.sleep(1)
        submission.withdraw()

    def forget(self, jobs: Sequence[Job]) -> None:
        """Delete the records of jobs that have ended."""
        for job in jobs:
            assert isinstance(job, SlurmJob)
            self._queue.drop(job.number)
            job.submission.forget(job.number)

    def _follow(self, submission: Submission) -> list[Job]:
        for number in submission.jobs():
            self._queue.watch(number)
        return [SlurmJob(submission, number, task, self._queue) for number, task in submission.jobs().items()]

    def _options(self, name: str) -> dict[str, object]:
        config = self._config
        options: dict[str, object] = {
            "job_name": name,
            "time": max(1, round(config.hours * 60)),
            "mem": config.memory,
            "cpus_per_task": config.cpus,
            "array_parallelism": config.parallel,
            "signal_delay_s": SIGNAL_SECONDS,
            "setup": list(config.setup) or None,
            # Since SLURM 22.05 the steps of a job do not inherit this.
            "srun_args": [f"--cpus-per-task={config.cpus}"],
            "partition": config.partition,
            "account": config.account,
            "gpus_per_node": config.gpus or None,
            "wckey": None,  # submitit's own would be refused where such keys are checked
            # Many clusters do not queue the jobs of a failed node again unless they ask for it.
            "additional_parameters": dict(config.extra) | {"requeue": True},
        }
        return {key: value for key, value in options.items() if value is not None or key == "wckey"}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hide the variables that sbatch would prefer to the configuration, and those of the job that this runs in.

        What the configuration leaves to the user's variables is kept.
        """
        config = self._config
        given: dict[str, object] = {"ACCOUNT": config.account, "PARTITION": config.partition}
        given |= {option.upper(): config.extra.get(option) for option in ("qos", "reservation", "constraint")}
        kept = {f"SBATCH_{option}" for option, value in given.items() if value is None}
        prefixes: tuple[str, ...] = ("SBATCH_",)
        if "SLURM_JOB_ID" in os.environ:
            prefixes, kept = (*prefixes, *_OF_A_JOB), kept | {"SLURM_CONF"}
        names = [name for name in os.environ if name.startswith(prefixes) and name not in kept]
        hidden = {name: os.environ.pop(name) for name in names}
        try:
            yield
        finally:
            os.environ.update(hidden)

    def _refusal(self, message: str) -> UserError:
        error = failure("sbatch", message)
        if isinstance(error, Unreachable):
            return error
        if _NO_CLUSTER in message:
            return UserError(
                f"sbatch knows no cluster on this machine: {_NO_CLUSTER}.\n"
                "Run the command on a login node of the cluster, or without --on."
            )
        if "invalid partition" in message.lower():
            with suppress(Unreachable, CallFailed):
                known = call(["sinfo", "--noheader", "--format=%R"]).split()
                return UserError(
                    f"conf/launcher/: the cluster has no partition '{self._config.partition}'.\n"
                    f"Nearest: {nearest(self._config.partition or '', known)}."
                )
        return UserError(f"sbatch refuses the jobs: {error}.\nChange what conf/launcher/ asks for.")
