"""Jobs in several processes: results in order, and the errors of jobs."""

from __future__ import annotations

import os
from functools import partial

import pytest

from mergershift.core import forked
from mergershift.core.errors import UserError
from mergershift.core.reading import DamagedFile


def numbered(number: int) -> tuple[int, int]:
    return number, os.getpid()


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("batches", [True, False])
def test_results_come_in_order_from_as_many_processes_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, batches: bool
) -> None:
    monkeypatch.setattr(forked, "available_cores", lambda: cores)
    results = list(forked.forked([partial(numbered, number) for number in range(50)], batches=batches))
    assert [number for number, _ in results] == list(range(50))
    processes = {process for _, process in results}
    assert (processes == {os.getpid()}) == (cores == 1)
    assert len(processes) <= cores
    assert not forked._waiting
    assert list(forked.forked([])) == []


@pytest.mark.parametrize("cores", [1, 2])
def test_an_error_of_a_job_is_raised_with_its_message(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    def refuse(number: int) -> int:
        if number == 2:
            raise DamagedFile("a.csv: torn.\nMake it again.")
        return number

    monkeypatch.setattr(forked, "available_cores", lambda: cores)
    with pytest.raises(UserError, match="torn") as caught:
        list(forked.forked([partial(refuse, number) for number in range(4)]))
    assert type(caught.value) is DamagedFile
    assert not forked._waiting
