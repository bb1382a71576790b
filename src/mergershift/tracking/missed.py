"""Remember that something could not be published, so that the command at whose end it is missing makes up for it.

The module imports MLflow only where something is missing.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError

logger = logging.getLogger(__name__)


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


def publish_missed() -> None:
    """Publish what could not be published while no server answered; if none does now either, say what to do later."""
    if not remembered():
        return
    from mergershift.tracking.runs import LATER
    from mergershift.tracking.sync import sync

    try:
        synced = sync()
    except UserError as error:
        what = str(error).partition("\n")[0]
        logger.warning("%s\nSome runs are incomplete; %s.", what, LATER)
        return
    for problem in synced.problems:
        logger.warning("%s", problem)
    print(f"MLflow did not answer for a while. {synced}")
