"""Checkouts to work in, made quickly."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def commit(folder: Path) -> None:
    """Make the folder a git checkout, if it is none, in which all is committed."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q", "--template="], ["add", "."], ["commit", "-q", "-m", "checkout"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)


def clone(folder: Path) -> Path:
    """A clone of what the pipeline needs of this checkout, as it lies here, with a commit of it."""
    for name in ("conf", "src"):
        shutil.copytree(
            CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    settings = (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
    for name in ("dvc.yaml", "CITATION.cff", "docs/methods.md", *settings):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    commit(folder)
    subprocess.run(["git", "repack", "-a", "-d", "-q"], cwd=folder, check=True)  # fewer files to copy
    return folder


def copy(folder: Path, other: Path) -> None:
    """Copy a folder with its times, by which git and Python know what they have seen; `cp` is quicker than shutil."""
    subprocess.run(["cp", "-a", folder, other], check=True)


def link(folder: Path, other: Path) -> None:
    """Copy a folder whose files nobody changes, as hard links."""
    shutil.copytree(folder, other, copy_function=os.link)
