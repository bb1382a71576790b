"""Several processes that train one job after another, since starting them takes longer than these trainings."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.distributed import PrefixStore, TCPStore

from mergershift.core.processes import environment
from mergershift.training.job import Fitted, Job, fit
from mergershift.training.processes import ADDRESS, join, leave
from mergershift.training.share import Share


class Ranks:
    """This process, of rank 0, and others that do what it does with each job."""

    def __init__(self, store: TCPStore, count: int) -> None:
        self._store, self._count, self._number = store, count, 0

    def fit(self, job: Job) -> Fitted:
        """Fit in all processes; returns what this one has."""
        return take_part(self._store, self._announced(job.plain()), Share(0, self._count))

    def _announced(self, plain: dict[str, Any]) -> int:
        self._number += 1
        self._store.set(f"job/{self._number}", json.dumps(plain))
        return self._number


def take_part(store: TCPStore, number: int, share: Share) -> Fitted:
    """Fit the job of this number with the others."""
    job = Job.of(json.loads(store.get(f"job/{number}")))
    join("gloo", share, PrefixStore(str(number), store))
    try:
        return fit(job, share)
    finally:
        leave()


@contextmanager
def ranks(count: int) -> Iterator[Ranks]:
    """Start all processes but this one."""
    store = TCPStore(ADDRESS, 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, __file__, str(store.port), str(count)]
    others = [subprocess.Popen([*command, str(rank)], env=environment()) for rank in range(1, count)]
    try:
        yield Ranks(store, count)
    finally:
        for process in others:
            process.kill()
            process.wait()


def main(arguments: Sequence[str]) -> None:
    """Take part in one job after another."""
    port, count, rank = map(int, arguments)
    store = TCPStore(ADDRESS, port, is_master=False)
    number = 0
    while True:
        number += 1
        while not store.check([f"job/{number}"]):
            time.sleep(0.02)
        take_part(store, number, Share(rank, count))


if __name__ == "__main__":
    main(sys.argv[1:])
