"""Computes independent results in as many processes as there are cores."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from mergershift.core.processes import available_cores

T = TypeVar("T")
PER_WORKER = 16
"""Number of batches that each process gets: more share the work better, fewer pass less back and forth."""
_waiting: list[Callable[[], Any]] = []
"""The jobs of forked processes, which find here what would be slow to send to them."""


def forked(jobs: Sequence[Callable[[], T]], *, batches: bool = True) -> Iterator[T]:
    """Yield the results of the jobs in order; the first exception of a job is raised here.

    Args:
        jobs: functions without side effects in memory, whose results can be pickled.
        batches: whether jobs are short, so that several are passed to a process at a time.
    """
    workers = min(available_cores(), len(jobs))
    if workers < 2 or not sys.platform.startswith("linux"):  # elsewhere, forked processes are not safe
        yield from (job() for job in jobs)
        return
    size = max(1, len(jobs) // (workers * PER_WORKER)) if batches else 1
    with (
        _offered(jobs),
        ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool,
    ):
        yield from pool.map(_run, range(len(jobs)), chunksize=size)


@contextmanager
def _offered(jobs: Sequence[Callable[[], Any]]) -> Iterator[None]:
    _waiting[:] = jobs
    try:
        yield
    finally:
        _waiting.clear()


def _run(index: int) -> Any:
    return _waiting[index]()
