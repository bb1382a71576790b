"""A process for each worktree that imports once what all of its cells need, and forks for every command.

Importing DVC, PyTorch, Lightning and MLflow takes several seconds, three times for each cell: in DVC, in its training
and in its evaluation. A fork of a process that has imported them begins at once. It has the working directory, the
environment and the code that a new process would have, because these are the worktree's.

The commands that the process reads are lines of JSON; it answers each with the exit code of DVC.

Once all cells have ended, one of these processes also runs the last stages, in the checkout itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import psutil  # noqa: F401  # which the forks' own threads then need not import

from mergershift.core.processes import set_environment_defaults
from mergershift.pipeline.dvc import dvc_command
from mergershift.pipeline.dvc import main as dvc_main

NEEDED = (
    "dvc.cli",
    "dvc.commands.repro",
    "dvc.repo.reproduce",
    "llvmlite.binding",
    "matplotlib.backends.backend_agg",
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.linear_model",
    "mergershift.stages.train",
    "mergershift.stages.evaluate",
    "mergershift.tracking.sync",
    "mergershift.training.fit",
)
"""What the commands of a cell import."""
FORKS = sys.platform.startswith("linux")
"""Whether processes are forked; elsewhere that is not safe, and every command is a new process."""
_SHELL = set("\"'|&;<>()$`\\*?[]#~{}\n")
"""Characters by which a command may need a shell."""


class WarmProcess:
    """The process of a worktree, which runs one cell after another."""

    def __init__(self, tree: Path, environment: Mapping[str, str]) -> None:
        # For what is not a cell; standard output itself is for the answers.
        output = os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else os.dup(1)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(output)],
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            pass_fds=(output,),
            start_new_session=True,  # the terminal's Ctrl-C reaches only the command that has started this
        )
        os.close(output)

    def repro(self, stages: Sequence[str], log: Path) -> None:
        """Begin to run `dvc repro --single-item` on these stages, with their output in `log`."""
        self._begin({"arguments": ["repro", "--single-item", *stages], "log": str(log)})

    def repro_in(self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run `dvc repro` in a checkout with the same sources, with the output and errors of this command.

        Returns the same as `poll` once DVC has ended.
        """
        order = {"arguments": ["repro", *arguments], "folder": str(folder), "environment": dict(environment)}
        self._begin(order)
        answers = self._process.stdout
        assert answers is not None
        while (code := self.poll()) is None:
            select.select([answers], [], [])
        return code

    def _begin(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has been killed: `poll` returns how
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def poll(self) -> int | None:
        """Return the exit code of DVC, negative for a signal that ended it or this process; None while it runs."""
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], 0)[0]:
            answer = self._process.stdout.readline()
            if answer:
                return int(answer)
            # One that something else has waited for leaves no code, and has ended before its time all the same.
            return self._process.wait() or -signal.SIGKILL
        return None

    @property
    def has_ended(self) -> bool:
        """Whether the process itself, not its command, has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Let the process end, and wait for it; a cell that it still runs has to be ended before."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()


def main() -> None:
    """Read commands until there are no more, and answer each with its exit code.

    A fork ends with the process that has started this one (`dvc.main`), and this one then ends for want of commands. It
    has no thread that watches: what a thread imports while a process is forked stays locked in the fork for ever.
    """
    set_environment_defaults()
    output = int(sys.argv[1])
    if FORKS and "mergershift train" in Path("dvc.yaml").read_text():
        preload()
    for line in sys.stdin.buffer:
        order = json.loads(line)
        code = _forked(_dvc, order, output) if FORKS else _new(order)
        with contextlib.suppress(BrokenPipeError):  # nobody is left to read it
            print(code, flush=True)


def preload() -> None:
    """Import what the commands of a cell need, and what MLflow's database needs at its first use."""
    for name in NEEDED:
        importlib.import_module(name)
    from sqlalchemy.orm import configure_mappers

    from mergershift.config import compose
    from mergershift.core.errors import UserError
    from mergershift.tracking.database import revisions

    configure_mappers()
    revisions()
    with contextlib.suppress(UserError):  # which the command reports
        compose()  # Hydra's first time takes twice as long


def _new(order: Mapping[str, Any]) -> int:
    with Path(order["log"]).open("wb") as log:
        return subprocess.call(
            dvc_command(*order["arguments"]), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _forked(function: Any, *arguments: Any) -> int:
    """Call a function in a fork of this process; returns its exit code."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _dvc(order: Mapping[str, Any], output: int) -> None:
    """Run DVC in this process, which then ends."""
    from dvc.stage import run

    if "log" in order:
        output = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 2)
    else:
        _move(order["folder"], order["environment"])
    os.dup2(output, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    new_process = run._run

    def command(executable: str | None, cmd: str, **settings: Any) -> None:
        """Run the command of a stage, as DVC does, but in a fork of this process if it is one of mergershift's."""
        from dvc.stage.exceptions import StageCmdFailedError

        words = cmd.split()
        if words[0] != "mergershift" or _SHELL.intersection(cmd):
            new_process(executable, cmd, **settings)
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = _forked(_mergershift, words[1:], settings["env"], settings["cwd"], before)
        finally:
            signal.signal(signal.SIGINT, before)
        if code:
            raise StageCmdFailedError(cmd, code)

    run._run = command
    sys.exit(dvc_main(order["arguments"]))


def _mergershift(
    words: Sequence[str], environment: Mapping[str, str], folder: str, on_interrupt: Any
) -> None:
    """Run one of mergershift's commands in this process, which then ends."""
    (command,) = entry_points(group="console_scripts", name="mergershift")
    command_line = command.load()
    signal.signal(signal.SIGINT, on_interrupt)
    _move(folder, environment)
    sys.argv = ["mergershift", *words]
    command_line()


def _move(folder: str, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)


if __name__ == "__main__":
    main()
