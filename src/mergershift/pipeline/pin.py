"""Pin a data folder with DVC, so that the pipeline and all collaborators work on the same files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mergershift.core.errors import UserError


def dvc_repository(folder: Path) -> Path | None:
    """Root of the DVC repository that contains a folder, or None if there is none."""
    real = folder.resolve()
    return next((parent for parent in real.parents if (parent / ".dvc").is_dir()), None)


def pin(folder: Path) -> str:
    """Run `dvc add` on a data folder if it is in a DVC repository; returns a message to print.

    Raises UserError with DVC's own message if `dvc add` fails.
    """
    if dvc_repository(folder) is None:
        return f"{folder}: not pinned, because it is not in a DVC repository (`dvc init`, `dvc add {folder}`)"
    real = folder.resolve()
    command = [sys.executable, "-m", "dvc", "add", real.name]
    done = subprocess.run(command, cwd=real.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [
            line for line in done.stderr.splitlines() if line.strip() and "Having any troubles" not in line
        ]
        reason = next(
            (line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message"
        )
        raise UserError(
            f"{folder}: `dvc add {real.name}` failed: {reason}\nFix that, then run `dvc add {real.name}`."
        )
    return f"{folder}: pinned in {folder.name}.dvc; commit that file to share which data you use"
