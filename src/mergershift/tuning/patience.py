"""Wait for a study's database while it does not answer, for as long as the configuration says."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from mergershift.core.errors import first_line

FAILURES = (SQLAlchemyError, StorageInternalError)
"""What a study's storage raises because of its database."""
RETRY_SECONDS = 1.0
# Answers of a server that runs: to ask again would not change them. Drivers give no code for a refused connection.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|access denied|no pg_hba\.conf entry|permission denied|"
    r"not permitted to log in|(role|database) \S+ does not exist|unknown database",
    re.IGNORECASE,
)
_Result = TypeVar("_Result")
logger = logging.getLogger(__name__)


class Patience:
    """Repeats accesses to a database that fail because it does not answer, from any thread.

    Args:
        seconds: how long an outage may last, counted from the first access that failed; 0 for not waiting at all.
        shown: address of the database, as messages show it.
    """

    def __init__(self, seconds: float, shown: str) -> None:
        self._seconds, self._shown = seconds, shown
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._lost: float | None = None
        self._answers_since = time.monotonic()

    @property
    def answered_for(self) -> float:
        """For how many seconds the database has answered without a break, as far as this process knows."""
        return 0.0 if self._lost is not None else time.monotonic() - self._answers_since

    def repeat(self, access: Callable[[], _Result]) -> _Result:
        """Return the result of an access, repeating it as long as the database does not answer.

        Raises what the access raises if that is no outage, and if the outage lasts too long or `give_up` was called.
        """
        began: float | None = None
        while True:
            try:
                result = access()
            except FAILURES as error:
                reason = outage(error)
                if reason is None:
                    raise
                now = time.monotonic()
                began = began or now
                # Another thread may have had an answer: this access may fail for a reason of its own.
                if now - min(began, self._note_loss(reason)) >= self._seconds or self._over.is_set():
                    raise
            else:
                self._note_answer()
                return result
            self._over.wait(RETRY_SECONDS)

    def give_up(self) -> None:
        """Let no access of any thread wait any longer, so that the process can end."""
        self._over.set()

    def _note_loss(self, reason: str) -> float:
        """Note that an access failed; returns when the outage began."""
        with self._lock:
            if self._lost is None:
                self._lost = time.monotonic()
                if self._seconds:
                    logger.warning(
                        "%s: the study's database does not answer (%s). Waiting for it, at most %.0f s.",
                        self._shown,
                        reason,
                        self._seconds,
                    )
            return self._lost

    def _note_answer(self) -> None:
        with self._lock:
            if self._lost is not None:
                now = time.monotonic()
                if self._seconds:
                    logger.warning(
                        "%s: the study's database answers again after %.0f s.", self._shown, now - self._lost
                    )
                self._lost, self._answers_since = None, now


def outage(error: BaseException) -> str | None:
    """Return the reason if the error means that a database server cannot be reached or has lost the connection.

    None is returned for all other errors, such as a wrong password or a missing table.
    """
    for cause in _causes(error):
        if isinstance(cause, DBAPIError) and (
            cause.connection_invalidated or isinstance(cause, OperationalError)
        ):
            text = str(cause.orig)
            return None if _REFUSED.search(text) else first_line(cause.orig or cause)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # After a query has failed, Optuna sends another one in the same session, whose error says only that.
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
