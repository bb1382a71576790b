"""DVC's commands, and what worktrees and results need of its Python interface.

DVC does not promise to keep that interface stable, so pyproject.toml caps its version. This package uses it here, in
`results`, `loading`, `known_hashes`, `lock_file` and `stale_locks`, and for a team's store and cache in `team_store`,
`team_round_trip` and `team_cache`:

- `dvc.repo.Repo` and `lock_repo`: `index.graph`, `index.stages`, `index.outs`, `scm_context`, `stage_cache`,
  `cloud.get_remote`, `cloud.pull`, `cache.local_cache_dir`, `config` and `config.load_one`;
- `addressing`, `name`, `cmd`, `deps`, `outs`, `frozen`, `is_callback`, `always_changed`, `changed`,
  `changed_stage`, `deps_cached`, `outs_cached`, `already_cached`, `save_deps`, `get_used_objs`,
  `is_data_source`, `checkout`, `run` and `dvcfile.dump_stages` of a stage;
- `fs_path`, `exists`, `use_cache`, `hash_info`, `status` and `checkout` of an output or dependency; that a
  `Dependency` of a path differs from one of another stage in `stage`, `annot`, `meta` and `hash_info` alone; and that
  `Output.get_hash` returns the hash of the content of `fs_path`;
- `parse_yaml`, `modify_yaml` and `_dump` of `dvc.utils.serialize._yaml`, also in `dvc.utils.strictyaml` and
  `dvc.dvcfile`;
- `dvc.data_cloud.Remote` with `fs`, `path` and `odb`, and `add`, `delete`, `path` and `oid_to_path` of that;
  `dvc.fs.get_cloud_fs` and `localfs`, `exists`, `info`, `get_file`, `parent` and `protocol` of a file system, and
  `dvc_objects.fs.generic.test_links`;
- `dvc.cli.main` and `parse_args`, `dvc.config.Config`, `NoRemoteError` and `merge`, `dvc.config_schema.RelPath`,
  `dvc.exceptions.DvcException`, `dvc.lock.LockError`, `dvc.rwlock.rwlock` and `_edit_rwlock`,
  `dvc.stage.exceptions.StageCmdFailedError` and its message, and `dvc_data.hashfile.hash_info.HashInfo`.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.processes import (
    ENDS_WITH,
    end_processes,
    end_with_starter,
    environment,
    variable_of,
)
from mergershift.pipeline.stale_locks import drop_stale_locks

KILLS = (signal.SIGKILL, signal.SIGTERM)
"""Signals that come from outside: from the kernel when memory runs out, a scheduler or a user."""
REMEDY = {
    signal.SIGKILL: "Probably the memory ran out: free some, or give the job more.",
    signal.SIGTERM: "Probably a scheduler or a user ended it.",
}
"""Probable causes of the signals in `KILLS`, and what to do."""
LOCAL_CONFIG = ".dvc/config.local"
"""DVC's configuration of this checkout alone, which git does not track."""
_EXIT_CODE = re.compile(r"exited with (-?\d+)$")


def dvc_command(*arguments: str) -> list[str]:
    """Return the command that runs DVC in a process of its own; see `main`."""
    return [sys.executable, "-m", __name__, *arguments]


def dvc_repro(arguments: Sequence[str] = (), run: Callable[[Sequence[str]], int] | None = None) -> None:
    """Run `dvc repro` with these arguments, and once more if it is killed; raises UserError if a stage fails.

    It is not run again with arguments that would repeat what has finished, or ask the user again. `run` returns the
    exit code of `dvc repro`; by default that runs in a new process.
    """
    run = run or run_repro
    code = run(arguments)
    number = killed_by(code)
    if number and _repeats(arguments):
        raise UserError(
            f"The pipeline was {reason(code)}. {REMEDY[number]}\n"
            "Finished stages are kept: run the command again without --force and --interactive to go on from there."
        )
    if number:
        print(f"The pipeline was {reason(code)}; it is tried once more.", file=sys.stderr, flush=True)
        code = run(arguments)
    number = killed_by(code)
    if number:
        raise UserError(
            f"The pipeline was {reason(code)} twice. {REMEDY[number]}\n"
            "Finished stages are kept: run the same command again."
        )
    if code:
        raise UserError(
            "The pipeline stopped; the failed stage and its error are printed above.\n"
            "Finished stages are kept: fix the error and run the same command again."
        )


def run_repro(arguments: Sequence[str]) -> int:
    """Run `dvc repro` in a new process and return its exit code.

    Nothing that it started is left running if it was killed or this was interrupted.
    """
    process = subprocess.Popen(
        dvc_command("repro", *arguments),
        cwd=root(),
        env=environment(),
        # A signal of the terminal then reaches only this process, as a scheduler's does. A dialogue needs the terminal.
        start_new_session=not _asks(arguments),
    )
    starters = (str(os.getpid()), str(process.pid))  # of DVC and of the stages' commands
    try:
        code = process.wait()
    except KeyboardInterrupt:
        end_processes(lambda other: variable_of(other, ENDS_WITH) in starters)
        raise
    if killed_by(code):
        end_processes(lambda other: variable_of(other, ENDS_WITH) in starters)
    return code


def _repeats(arguments: Sequence[str]) -> bool:
    from dvc.cli import parse_args

    return bool(parse_args(["repro", *arguments]).force) or _asks(arguments)


def _asks(arguments: Sequence[str]) -> bool:
    return any(word == "--interactive" or re.fullmatch("-[a-zA-Z]*i[a-zA-Z]*", word) for word in arguments)


def finish(outdated: Sequence[str], run: Callable[[Sequence[str]], int] | None = None) -> None:
    """Run the stages that are out of date, given by their addresses in order; all others are known to be up to date.

    `run` is that of `dvc_repro`.
    """
    if outdated:
        dvc_repro(["--single-item", *outdated], run)
    else:
        print("Data and pipelines are up to date.", flush=True)


def killed_by(code: int) -> signal.Signals | None:
    """Return the signal of `KILLS` that the exit code of a DVC command or a shell stands for, if there is one."""
    return next((number for number in KILLS if code in (-number, 128 + number)), None)


def reason(code: int) -> str:
    """Word how a command ended that did not succeed."""
    number = killed_by(code) or (-code if code < 0 else None)
    return f"killed by signal {int(number)}" if number else f"exit code {code}"


class _News(logging.Filter):
    """Passes on what DVC runs and what goes wrong, but neither its advice on git nor that it has written dvc.lock."""

    LOGGERS = ("dvc.dvcfile", "dvc.repo.scm_context", "dvc.stage")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to print a record: all warnings, and of the rest what says which stage runs."""
        skips = "didn't change, skipping" in str(record.msg)
        return record.levelno != logging.INFO or (record.name == "dvc.stage" and not skips)


class _KilledStage(logging.Handler):
    """Remembers the signal that killed the command of a stage; DVC only logs it and exits with the code of an error."""

    number: signal.Signals | None = None

    def emit(self, record: logging.LogRecord) -> None:
        from dvc.stage.exceptions import StageCmdFailedError

        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            found = _EXIT_CODE.search(str(error)) if isinstance(error, StageCmdFailedError) else None
            if found:
                self.number = killed_by(int(found[1]))
            error = error.__cause__


def main(arguments: Sequence[str]) -> int:
    """Run DVC's command line in a process that ends with the one that started it; returns the exit code.

    The commands of stages end with this process. If one of them was killed, the exit code is that of a shell: 128 and
    the number of the signal.
    """
    end_with_starter()
    os.environ |= environment()
    from dvc.cli import main as dvc_main

    from mergershift.pipeline.loading import share_dependencies
    from mergershift.pipeline.lock_file import remember_parsed

    drop_stale_locks(root())
    killed = _KilledStage(logging.ERROR)
    logging.getLogger("dvc").addHandler(killed)
    for name in _News.LOGGERS:
        logging.getLogger(name).addFilter(_News())
    with remember_parsed(root()), share_dependencies():
        code = dvc_main(list(arguments))
    return 128 + killed.number if killed.number else code


@contextmanager
def quiet_dvc() -> Iterator[None]:
    """Silence DVC inside this context, and turn its exceptions into a UserError."""
    from dvc.exceptions import DvcException

    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except DvcException as error:
        message = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"DVC: {message}\nFix that and run the same command again.") from error
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def checkout_outputs(tree: Path, outputs: Iterable[str]) -> list[str]:
    """Link outputs from the cache into the worktree `tree`; returns those that DVC does not cache.

    `outputs` are paths relative to the project's root. Raises DVC's own exceptions if the cache lacks one of them.
    """
    from dvc.repo import Repo, lock_repo

    from mergershift.pipeline.loading import share_dependencies
    from mergershift.pipeline.lock_file import remember_parsed

    with remember_parsed(tree), share_dependencies(), Repo(str(tree)) as repo, lock_repo(repo):
        outs = {os.path.relpath(out.fs_path, tree): out for out in repo.index.outs}
        wanted = list(outputs)
        for name in wanted:
            if outs[name].use_cache:
                outs[name].checkout(force=True)
    return [name for name in wanted if not outs[name].use_cache]


def share_cache(here: Path, tree: Path) -> None:
    """Make the worktree `tree` use the cache and the whole DVC configuration of the checkout, its local part too."""
    from dvc.config import Config, merge
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    with Repo(str(here)) as repo:
        cache = repo.cache.local_cache_dir
        levels = [repo.config.load_one(level) for level in Config.REPO_LEVELS]
    with private_config(tree), Config(str(tree / ".dvc")).edit("local") as shared:
        for level in levels:  # load_one has made their relative paths absolute
            merge(shared, level)
        # DVC writes such a path relative to the file, in which it can only write ASCII.
        shared["cache"]["dir"] = RelPath(cache)


@contextmanager
def private_config(here: Path) -> Iterator[None]:
    """Let DVC write .dvc/config.local inside this context so that nobody else can ever read the credentials in it."""
    path = here / LOCAL_CONFIG
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    path.chmod(0o600)
    yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
