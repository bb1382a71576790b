"""Remember that something could not be published, so that the command at whose end it is missing makes up for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mergershift.core.checkout import main_checkout


def _marker() -> Path:
    return main_checkout() / "state" / "unpublished"


def remember() -> None:
    """Remember that what a finished training, or an evaluation, shows is not in MLflow yet."""
    with suppress(OSError):  # a training does not fail for that
        _marker().parent.mkdir(exist_ok=True)
        _marker().touch()


def remembered() -> bool:
    """Return whether something could not be published since the last complete `sync`."""
    return _marker().exists()


def forget() -> None:
    """Forget it, before everything is published; what is missed from now on is remembered anew."""
    _marker().unlink(missing_ok=True)
