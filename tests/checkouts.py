"""Checkouts to work in, made quickly."""

from __future__ import annotations

import os
import shutil
import sqlite3
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
    for name in ("dvc.yaml", "CITATION.cff", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
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


def move_runs(project: Path, from_project: Path) -> None:
    """Let the runs in a copied project's tracking database keep their files in the copy."""
    with sqlite3.connect(project / "mlflow.db") as database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(from_project), str(project))
            )
