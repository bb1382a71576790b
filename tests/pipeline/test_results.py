"""Results that need not be computed: a clone takes what DVC's remote has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pipeline.shell import RunCounter
from studies import dvc

from mergershift.core.errors import UserError
from mergershift.pipeline import parallel
from mergershift.pipeline.dvc import dvc_repro
from mergershift.pipeline.graph import survey

pytestmark = pytest.mark.slow
CELLS = {"cells/a", "cells/b", "cells/c"}


@pytest.fixture
def remote(shell: Path, tmp_path: Path) -> Path:
    """Where the first of a team has pushed a pipeline that is finished, with data that DVC tracks."""
    (shell / "data").mkdir()
    (shell / "data/images.txt").write_text("images\n")
    with (shell / ".gitignore").open("a") as ignored:
        ignored.write("/data\n")
    folder = tmp_path / "remote"
    folder.mkdir()
    dvc(shell, "add", "--quiet", "data")
    dvc(shell, "remote", "add", "--quiet", "--default", "store", str(folder))
    dvc_repro()
    dvc(shell, "push", "--quiet", "--run-cache")
    return folder


@pytest.fixture
def cloned(
    shell: Path, remote: Path, runs_of: RunCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What a teammate clones; its cells have not been run yet."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    folder = tmp_path / "clone"
    # In this pipeline one output is tracked by git instead of DVC, as tuned experiments are.
    for command in (
        ["add", "."],
        ["add", "--force", "outputs/note.txt"],
        ["commit", "-q", "-m", "results"],
        ["clone", "-q", ".", str(folder)],
    ):
        subprocess.run(["git", *identity, *command], cwd=shell, check=True)
    assert (folder / "dvc.lock").is_file()
    monkeypatch.chdir(folder)
    for cell in "abc":
        (runs_of.folder / cell).unlink()
    return folder


def drop(remote: Path, project: Path, output: str) -> None:
    """Delete a file of the remote that is an output of the project."""
    text = (project / "dvc.lock").read_text()
    digest = text.rsplit(f"path: {output}\n", 1)[1].split("md5: ", 1)[1].split()[0]
    (remote / "files/md5" / digest[:2] / digest[2:]).unlink()


def ran(runs_of: RunCounter) -> str:
    """Names of the cells that have been run since the clone was made."""
    return "".join(cell for cell in "abc" if runs_of(cell))


def test_pull_takes_everything_and_runs_nothing(cloned: Path, runs_of: RunCounter, capfd) -> None:
    assert survey(cloned)[1] >= CELLS | {"data.dvc"} - {"data.dvc"}
    assert survey(cloned, pull=True)[1] == set()
    assert (cloned / "data/images.txt").read_text() == "images\n"
    assert "b as committed" in (cloned / "outputs/summary.txt").read_text()
    parallel.repro(2)
    dvc_repro()
    assert "Data and pipelines are up to date." in capfd.readouterr().out
    assert ran(runs_of) == ""
