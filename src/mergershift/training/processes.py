"""The processes of a training: the one that somebody started, of rank 0, and those that it starts itself."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import torch
import torch.distributed
from torch.distributed import Store, TCPStore

from mergershift.core.errors import UserError
from mergershift.core.processes import environment
from mergershift.training.job import Job, backend
from mergershift.training.share import ALONE, Share

ADDRESS = "127.0.0.1"
_POLL_SECONDS = 0.05
_END_SECONDS = 10
"""How long the other processes may take to end after the last epoch, or an error of theirs to be noticed."""
_BLOCKED_SECONDS = 60
"""How long a process may wait for one that has ended, on GPUs, where nothing interrupts it, until it is killed."""


@contextmanager
def processes(job: Job) -> Iterator[Share]:
    """Start the other processes of a training, if it has several; yields the share of this one, whose rank is 0.

    The others run `mergershift.training.rank`. They print nothing, write no files, ignore the signals by which this
    process is asked to end, and end with it, however it ends.

    Raises UserError if one of them ends before the training does.
    """
    count = job.config.trainer.processes
    if count == 1:
        yield ALONE
        return
    store = _store()
    others = _Others(job, store.port)
    try:
        others.wait_until_ready(store)
        join(backend(job.config), Share(0, count), store)
        with others.watched(backend(job.config)):
            yield Share(0, count)
        others.end()
    except RuntimeError as error:
        failure = others.failure() if _lost_connection(error) else None
        if failure is None:
            raise
        raise failure from error
    finally:
        others.kill()
        leave()


def _lost_connection(error: RuntimeError) -> bool:
    """Whether PyTorch says with this error that it has lost the connection with another process."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _store() -> TCPStore:
    """Open the store through which the processes find each other, on a port of the loopback interface that is free."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        listener.listen()
        port = listener.getsockname()[1]
        descriptor = listener.detach()
    return TCPStore(ADDRESS, port, is_master=True, wait_for_workers=False, master_listen_fd=descriptor)


def join(name: str, share: Share, store: Store) -> None:
    """Connect this process with the others of the training, by the backend of this name."""
    device = torch.device("cuda", share.rank) if name == "nccl" else None
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    if before is None and sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # else other machines could connect
    try:
        torch.distributed.init_process_group(
            name, store=store, rank=share.rank, world_size=share.processes, device_id=device
        )
    finally:
        if before is None:
            os.environ.pop("GLOO_SOCKET_IFNAME", None)


def leave() -> None:
    """Disconnect this process from the others, if it is connected."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class _Others:
    """The processes of rank 1 and above, with what they print on stderr."""

    def __init__(self, job: Job, port: int) -> None:
        self._count = job.config.trainer.processes
        self._started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        try:
            for rank in range(1, self._count):
                self._start(job.plain() | {"rank": rank, "port": port})
        except BaseException:
            self.kill()
            raise

    def _start(self, content: dict[str, Any]) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", "mergershift.training.rank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment(),
            start_new_session=True,  # the terminal's Ctrl-C is for the process of rank 0
        )
        self._started.append((process, errors))
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(content).encode())

    def wait_until_ready(self, store: TCPStore) -> None:
        """Wait until all processes have started; raises UserError if one ends before."""
        keys = [ready(rank) for rank in range(1, self._count)]
        while not store.check(keys):
            if any(process.poll() is not None for process, _ in self._started):
                raise self.failure() or UserError("A process of the training ended before it began.")
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Kill this process if it waits for one that has ended, and its backend would let it wait for half an hour."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1):
                if any(process.poll() for process, _ in self._started):
                    if not over.wait(_BLOCKED_SECONDS):
                        logging.getLogger(__name__).error("%s", self.failure())
                        os.kill(os.getpid(), signal.SIGKILL)
                    return

        if name == "nccl":
            threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def failure(self) -> UserError | None:
        """Describe the process that has failed, waiting a moment for it to end; None if none has.

        Where one is killed, the others fail because it is gone.
        """
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline and not any(process.poll() for process, _ in self._started):
            time.sleep(_POLL_SECONDS)
        ended = [(process.poll() or 0, rank) for rank, (process, _) in enumerate(self._started, 1)]
        code, rank = min(ended)  # the code of a killed process is negative
        if code == 0:
            code, rank = max(ended)
        if code == 0:
            return None
        name = f"Process {rank + 1} of {self._count} of the training"
        if code < 0:
            return UserError(
                f"{name} was killed by signal {-code}, as the system does when memory runs out.\n"
                "Run the same command again to resume after the last finished epoch."
            )
        errors = self._started[rank - 1][1]
        errors.seek(0)
        lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
        logging.getLogger(__name__).debug("%s", "\n".join(lines))
        return UserError(f"{name} failed: {lines[-1] if lines else f'exit code {code}'}")

    def end(self) -> None:
        """Wait until the processes have ended after the last epoch."""
        for process, _ in self._started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)

    def kill(self) -> None:
        """Kill the processes that still run."""
        for process, _ in self._started:
            process.kill()
        for process, errors in self._started:
            process.wait()
            errors.close()


def ready(rank: int) -> str:
    """Key under which the process of this rank says in the store that it is ready."""
    return f"ready/{rank}"
