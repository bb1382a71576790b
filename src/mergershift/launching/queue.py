"""SLURM's queue: what `squeue` says of jobs. It needs no accounting database, which many clusters lack."""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mergershift.launching.jobs import Unreachable

FINAL = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "REVOKED",
    "TIMEOUT",
)
"""States that a job does not leave by itself. A preempted one may be queued again as long as the queue lists it."""
WORDS = {
    "BOOT_FAIL": "its node failed",
    "CANCELLED": "cancelled",
    "COMPLETING": "ending",
    "CONFIGURING": "starting",
    "DEADLINE": "ended at its deadline",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "out of memory",
    "PENDING": "waiting",
    "TIMEOUT": "ended at its time limit",
}
_SHORTEST, _LONGEST = 4.0, 60.0
"""Bounds of the seconds between two questions; in between it is ten times what the last answer took."""
_CALL_SECONDS = 120
_PREFERENCES = ("SCANCEL_", "SQUEUE_")
"""Variables by which users change what these commands list, and what they ask."""
_SILENCE_SECONDS = 60.0
"""After how long without an answer that is said of the jobs."""
_UNKNOWN_JOBS = "Invalid job id specified"
_NO_CONTROLLER = re.compile(
    "unable to contact slurm controller|socket timed out|zero bytes were transmitted|connection refused"
    "|connection timed out|connect failure|standby mode|temporarily unavailable",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Entry:
    """A job in the queue."""

    state: str
    reason: str
    nodes: str

    @property
    def words(self) -> str:
        """The state in words, with what the job waits for or where it runs."""
        words = WORDS.get(self.state, self.state.lower().replace("_", " "))
        if self.state in FINAL:
            return words
        reason = f" ({self.reason})" if self.state == "PENDING" and self.reason not in ("", "None") else ""
        return f"{words}{f' on {self.nodes}' if self.nodes else ''}{reason}"


class Queue:
    """What is known of jobs, asked for all of them at once and at most every few seconds."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._next = -math.inf
        self.answered = -math.inf
        """When `squeue` last answered, by the monotonic clock."""
        self._began = time.monotonic()
        self._watched: set[str] = set()

    def watch(self, job: str) -> None:
        """Ask for a job, for instance 123 or 123_4, from now on."""
        self._watched.add(job)

    def drop(self, job: str) -> None:
        """Ask for a job no longer."""
        self._watched.discard(job)

    def get(self, job: str) -> Entry | None:
        """Return what the last answer said of a job; None if it did not mention it."""
        return self._entries.get(job)

    @property
    def silence(self) -> str:
        """A remark if there has been no answer for more than a minute; empty otherwise."""
        seconds = time.monotonic() - max(self.answered, self._began)
        return f", no answer from SLURM for {seconds / 60:.0f} min" if seconds > _SILENCE_SECONDS else ""

    def update(self, *, now: bool = False) -> None:
        """Ask for all watched jobs, unless the last question was seconds ago and the answer is not wanted `now`."""
        began = time.monotonic()
        if began < self._next and not now:
            return
        arrays = sorted({job.partition("_")[0] for job in self._watched}, key=int)
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N"]
        try:
            lines = call([*command, f"--jobs={','.join(arrays)}"]).splitlines() if arrays else []
        except Unreachable:
            pass
        except CallFailed as error:
            if _UNKNOWN_JOBS in str(error):
                self._learn([])
        else:
            self._learn(lines)
        ended = time.monotonic()
        self._next = ended + min(max(10 * (ended - began), _SHORTEST), _LONGEST)

    def _learn(self, lines: Sequence[str]) -> None:
        found = (line.strip().split("|") for line in lines)
        self._entries = {parts[0]: Entry(*parts[1:]) for parts in found if len(parts) == 4}
        self.answered = time.monotonic()


class CallFailed(Exception):
    """A command of SLURM has failed; the message is its own."""


def call(command: Sequence[str]) -> str:
    """Output of a command of SLURM; raises Unreachable if the controller does not answer, and else CallFailed."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={name: os.environ[name] for name in os.environ if not name.startswith(_PREFERENCES)},
            timeout=_CALL_SECONDS,
        )
    except (
        OSError,
        subprocess.TimeoutExpired,
    ) as error:  # the file system of SLURM's programs may be slow, too
        raise Unreachable(f"{command[0]}: no answer ({type(error).__name__}).\nTry again later.") from error
    if done.returncode:
        raise failure(command[0], done.stderr)
    return done.stdout


def failure(program: str, message: str) -> CallFailed | Unreachable:
    """Return the exception for what a command of SLURM has printed."""
    said = "; ".join(re.sub(rf"^{program}: (error: )?", "", line) for line in message.strip().splitlines())
    if _NO_CONTROLLER.search(message):
        return Unreachable(f"{program}: {said}.\nTry again later.")
    return CallFailed(said or "no message")
