"""The first hour with the real archive: the README's commands, from the server to a champion's predictions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from archive.real_archive import ROWS, write_real_archive
from archive.server import Archive, serving
from astropy.table import Table
from ruamel.yaml import YAML
from studies import environment

pytestmark = pytest.mark.system

EPOCHS = 2
METHODS = ("source_only", "mmd", "dann_deepmerge_2")
# `mergershift` with one figure of the archive changed: the number of galaxies that `data verify` expects.
SMALL = f"""
import sys
from mergershift.archive import RowStructure
from mergershift.archive.verification import verify
from mergershift.cli.main import main
verify.PUBLISHED_ROWS = RowStructure({ROWS.mergers}, {ROWS.non_mergers})
main(sys.argv[1:])
"""
Command = Callable[[str], str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Archive]:
    with serving(write_real_archive(tmp_path / "server")) as archive:
        yield archive


@pytest.fixture
def mergershift(project: Path) -> Command:
    """Run a command of the README in the checkout, print it with its output, and return the output."""

    def run(command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SMALL, *command.split()],
            cwd=project,
            env=environment(project),
            capture_output=True,
            text=True,
        )
        print(f"$ mergershift {command}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, f"mergershift {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    return run


def shorten(project: Path) -> None:
    """Let the published trainings take two epochs, and the study one seed and, for time, three of its methods."""
    yaml = YAML()
    for name in ("deepmerge_2020", "deepmerge_2021"):
        path = project / "conf" / "training" / f"{name}.yaml"
        settings = yaml.load(path.read_text())
        settings["epochs"] = EPOCHS
        yaml.dump(settings, path)
    path = project / "conf" / "studies" / "deepmerge_2.yaml"
    study = yaml.load(path.read_text())
    study["seeds"] = [0]
    forward = [method for method in study["methods"] if method["transfer"] == "pristine_to_noisy"]
    study["methods"] = [method for method in forward if method["adaptation"] in METHODS]
    yaml.dump(study, path)


def test_from_the_server_to_a_prediction(server: Archive, project: Path, mergershift: Command) -> None:
    shorten(project)
    fetched = mergershift(f"data fetch --address {server.address}")
    assert "4 files fetched, 0 kept" in fetched
    assert {path.suffix for path in (project / "data").glob("hlsp_*")} == {".fits"}
    assert "errors: 0" in mergershift("data verify")
    assert "CC BY 4.0" in mergershift("data info")
    mergershift("data leakage")

    mergershift("study use deepmerge_2")
    table = mergershift("repro --jobs 2")
    cells = pd.read_csv(project / "outputs" / "summary" / "transfer.csv")
    assert set(cells["adaptation"]) == set(METHODS)
    assert set(cells["data"]) == {"archive"}
    assert "the DeepMerge archive's images" in table
    page = (project / "outputs" / "report" / "index.html").read_text()
    assert "CC BY 4.0" in page
    assert "MOCK" not in page

    published = mergershift("reproduce deepmerge_2020")
    assert "published" in published
    assert "Ours: the DeepMerge archive's images." in published

    mergershift("register")
    mergershift("promote")
    mergershift("predict data/hlsp_deepmerge_hst-jwst*noisy.fits --output noisy.ecsv")
    predicted = Table.read(project / "noisy.ecsv")
    assert len(predicted) == ROWS.rows
    assert predicted["probability"].min() >= 0
    (record,) = (project / "outputs" / "cells").rglob("mmd/*/seed0/train/run.json")
    assert json.loads(record.read_text())["trained"]["provenance"]["kind"] == "archive"
