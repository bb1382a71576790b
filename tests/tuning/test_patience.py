"""How long a search waits for its database, and for which errors."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError, ProgrammingError

from mergershift.tuning import patience
from mergershift.tuning.patience import Patience, outage

LOST = "server closed the connection unexpectedly"


def error(kind: type[Exception] = OperationalError, message: str = LOST) -> Exception:
    """An error of SQLAlchemy as a driver causes it."""
    return kind("SELECT 1", None, Exception(message))


def wrapped(cause: Exception) -> Exception:
    """The error as Optuna raises it."""
    try:
        raise StorageInternalError("during the commit") from cause
    except StorageInternalError as found:
        return found


def second_query(cause: Exception) -> Exception:
    """What Optuna raises if its second query in a session fails because the first one did."""
    try:
        try:
            raise cause
        except OperationalError:
            raise PendingRollbackError("invalid transaction")  # noqa: B904
    except PendingRollbackError as found:
        return wrapped(found)


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.waits = 1000.0, 0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(threading.Event, "wait", lambda event, seconds: self.wait(seconds))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def failing(times: int, raised: Exception | None = None) -> Callable[[], str]:
    """An access that fails so many times."""
    attempts = itertools.count()

    def access() -> str:
        if next(attempts) < times:
            raise raised or error()
        return "answer"

    return access


@pytest.mark.parametrize(
    ("raised", "waits"),
    [
        (error(), True),
        (wrapped(error()), True),
        (second_query(error()), True),
        (error(message="terminating connection due to administrator command"), True),
        (error(message="connection failed: FATAL:  the database system is starting up"), True),
        (error(message="sorry, too many clients already"), True),
        (error(message="failed to resolve host 'postgres'"), True),
        (error(message='FATAL:  password authentication failed for user "a"'), False),
        (error(message='FATAL:  database "studies" does not exist'), False),
        (error(message='FATAL:  role "a" does not exist'), False),
        (error(message="FATAL:  no pg_hba.conf entry for host"), False),
        (error(ProgrammingError, 'relation "trials" does not exist'), False),
        (wrapped(error(IntegrityError, "duplicate key")), False),
    ],
)
def test_only_an_outage_is_waited_for(raised: Exception, waits: bool, clock: Clock) -> None:
    assert (outage(raised) is not None) == waits
    access = failing(3, raised)
    if waits:
        assert Patience(60, "db").repeat(access) == "answer"
    else:
        with pytest.raises(type(raised)):
            Patience(60, "db").repeat(access)
    assert clock.waits == (3 if waits else 0)


def test_patience_ends_after_the_time_since_the_outage_began(clock: Clock) -> None:
    patient = Patience(60, "db")
    with pytest.raises(OperationalError):
        patient.repeat(failing(10_000))
    assert clock.waits == 60
    with pytest.raises(OperationalError):
        patient.repeat(failing(10_000))
    assert clock.waits == 60, "the next access finds that it has lasted too long already"
    assert patient.repeat(failing(0)) == "answer"
    assert patient.repeat(failing(59)) == "answer", "another outage is another"


def test_an_access_that_alone_fails_does_not_wait_for_ever(clock: Clock) -> None:
    """Reading works while the server's disk is full."""
    patient = Patience(60, "db")

    def write() -> None:
        patient.repeat(failing(0))
        raise error(message="No space left on device")

    with pytest.raises(OperationalError):
        patient.repeat(write)
    assert clock.waits == 60


def test_each_outage_is_reported_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    patient = Patience(60, "db")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            patient.repeat(failing(20))
        Patience(0, "file").repeat(failing(0))
    assert [record.getMessage() for record in caplog.records] == [
        f"db: the study's database does not answer ({LOST}). Waiting for it, at most 60 s.",
        "db: the study's database answers again after 20 s.",
    ] * 2


def test_it_is_known_for_how_long_the_database_has_answered(clock: Clock) -> None:
    patient = Patience(60, "db")
    clock.now += 40
    assert patient.answered_for == 40
    with pytest.raises(OperationalError):
        patient.repeat(failing(10_000))
    assert patient.answered_for == 0
    patient.repeat(failing(0))
    clock.now += 5
    assert patient.answered_for == 5


def test_a_process_that_ends_waits_no_longer() -> None:
    patient = Patience(1e6, "db")
    raised: list[BaseException] = []

    def heartbeat() -> None:
        try:
            patient.repeat(failing(10**9))
        except OperationalError as found:
            raised.append(found)

    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    patient.give_up()
    thread.join(10)
    assert len(raised) == 1
