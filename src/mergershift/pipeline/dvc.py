"""How DVC is started and kept quiet."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.processes import environment


def dvc_repro(arguments: Sequence[str] = ()) -> None:
    """Run `dvc repro` with these arguments; raises UserError where a stage failed."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", *arguments], cwd=root(), env=environment())
    if done.returncode:
        raise UserError(
            "The pipeline stopped; the stage and its error stand above.\n"
            "What was finished is kept: mend it and give the command again."
        )


@contextmanager
def quiet_dvc() -> Iterator[None]:
    """DVC in this process: silent, and what it can't do is a UserError."""
    from dvc.exceptions import DvcException

    logger = logging.getLogger("dvc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except DvcException as error:
        words = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"DVC: {words}\nMend that and give the command again.") from error
    finally:
        logger.setLevel(before)
