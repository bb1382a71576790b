"""Pinning a data folder with DVC, so that the pipeline and everyone who shares it work on the same files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mergershift.core.errors import UserError


def dvc_repository(folder: Path) -> Path | None:
    """Root of the DVC repository that a folder lies in; None outside one."""
    real = folder.resolve()
    return next((each for each in real.parents if (each / ".dvc").is_dir()), None)


def pin(folder: Path) -> str:
    """Run `dvc add` on a data folder that lies in a DVC repository; returns a line that says what was done.

    Raises UserError with what DVC says where it fails.
    """
    if dvc_repository(folder) is None:
        return f"{folder}: not in a DVC repository, so not pinned (`dvc init` and `dvc add {folder}` would)"
    real = folder.resolve()
    command = [sys.executable, "-m", "dvc", "add", real.name]
    done = subprocess.run(command, cwd=real.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [
            line for line in done.stderr.splitlines() if line.strip() and "Having any troubles" not in line
        ]
        why = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no message")
        raise UserError(
            f"{folder}: `dvc add {real.name}` failed: {why}\nMend that, then give `dvc add {real.name}`"
        )
    return f"{folder}: pinned in {folder.name}.dvc; commit that file to share which data you use"
