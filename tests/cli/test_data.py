from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from archive.samples import STRUCTURE, write_sample
from archive.server import serving
from click.testing import CliRunner, Result

from mergershift.archive import DATA_SETS, Domain
from mergershift.archive.provenance import read_provenance
from mergershift.cli.data import data as command
from mergershift.config.study import read_study
from mergershift.core.errors import UserError
from mergershift.pipeline.pin import pin

PRISTINE = DATA_SETS["two", Domain.PRISTINE]


@pytest.fixture(autouse=True)
def outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, UserError):
        raise result.exception
    return result


def provenance_kind() -> str:
    provenance = read_provenance(Path("data"))
    assert provenance is not None
    return provenance.kind


def test_info_without_data() -> None:
    result = call("info")
    assert "15426 images of 406 merging and 1827 other galaxies" in result.output
    assert "mergershift data mock" in result.output
    assert "under CC BY 4.0" in result.output


def test_info_lists_the_files_and_reports_unknown_provenance() -> None:
    write_sample(Path("data"), formats=("npy", "fits"))
    output = call("info").output
    assert f"npy ({STRUCTURE.rows}, 2, 75, 75), fits ({STRUCTURE.rows}, 2, 75, 75)" in output
    assert "unknown provenance" in output
    path = Path("data") / PRISTINE.images_name
    path.write_bytes(path.read_bytes()[:-1])
    assert "npy broken" in call("info").output
    assert f"{STRUCTURE.rows} rows, {STRUCTURE.mergers} mergers" in output


def test_verify_exits_with_code_1_only_for_errors() -> None:
    write_sample(Path("here"))
    sound = call("verify", "--data", "here")
    assert sound.return_value in (None, 0)
    assert "f160w   mean" in sound.output
    assert "4 files checked; errors: 0" in sound.output
    np.save(Path("here") / PRISTINE.labels_names[0], 1 - STRUCTURE.labels)
    broken = call("verify", "--data", "here")
    assert broken.return_value == 1
    assert f"error: {PRISTINE.labels_names[0]}" in broken.output


def test_a_manifest_is_written_only_for_files_without_errors() -> None:
    write_sample(Path("here"))
    with pytest.raises(click.UsageError, match="give --write-manifest"):
        call("verify", "--data", "here", "--address", "https://example.org")
    written = call("verify", "--data", "here", "--write-manifest")
    assert written.return_value in (None, 0)
    assert "hashes of 4 files recorded: files of unknown provenance" in written.output
    assert json.loads((Path("here") / "PROVENANCE.json").read_text())["kind"] == "unknown"
    before = (Path("here") / "PROVENANCE.json").read_bytes()
    other = call("verify", "--data", "here", "--write-manifest", "--address", "https://example.org")
    assert other.return_value == 1
    assert "406 mergers and 1827 non-mergers, as their provenance says" in other.output
    path = Path("here") / PRISTINE.images_name
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 7 + b"\1")
    damaged = call("verify", "--data", "here", "--write-manifest")
    assert damaged.return_value == 1
    assert "no manifest was written" in damaged.output
    assert (Path("here") / "PROVENANCE.json").read_bytes() == before


def test_mock_fetch_and_replace(tmp_path: Path) -> None:
    write_sample(tmp_path / "published", filter_sets=("two", "three"))
    size = ("--mergers", "1", "--non-mergers", "2", "--workers", "1", "--filters", "two")
    made = call("mock", *size)
    assert made.exception is None
    assert "not in a DVC repository" in made.output
    assert "nothing to do" in call("mock", *size).output
    assert provenance_kind() == "mock"
    assert "Mock images are not the archive's: its licence" in call("info").output
    assert call("verify").return_value in (None, 0)
    with serving(tmp_path / "published") as archive:
        refused = call("fetch", "--address", archive.address)
        assert "--replace" in str(refused.exception)
        fetched = call(
            "fetch", "--address", archive.address, "--filters", "two", "--domain", "pristine", "--replace"
        )
    assert "2 files fetched, 0 kept" in fetched.output
    # an archive whose size differs from the published one has errors
    assert fetched.return_value == 1
    assert "406 mergers and 1827 non-mergers, as their provenance says" in fetched.output
    assert provenance_kind() == "archive"


def test_a_mock_keeps_its_own_metadata(tmp_path: Path) -> None:
    call("mock", "--mergers", "1", "--non-mergers", "1", "--workers", "1", "--filters", "two")
    before = Path("data/metadata.ecsv").read_bytes()
    result = call("metadata", "--from", str(tmp_path))
    assert "has its own metadata" in str(result.exception)
    assert Path("data/metadata.ecsv").read_bytes() == before


@pytest.mark.slow
def test_pinning_in_a_dvc_repository(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "repository" / "data")
    assert "not pinned" in pin(folder)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder.parent, check=True)
    assert "data.dvc" in pin(folder)
    assert "nfiles: 4" in (folder.parent / "data.dvc").read_text()
    (folder.parent / "data.dvc").write_text("outs: 3")
    with pytest.raises(UserError, match="`dvc add data` failed"):
        pin(folder)


def test_the_study_runs_the_filter_sets_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(Path(__file__).parents[2] / "conf", checkout / "conf")
    (checkout / "dvc.yaml").touch()
    (checkout / "below").mkdir()
    monkeypatch.chdir(checkout / "below")
    study = checkout / "conf" / "study.yaml"
    size = ("--mergers", "1", "--non-mergers", "2", "--workers", "1", "--filters", "two")
    before = study.read_bytes()
    call("mock", *size, "--data", str(tmp_path / "elsewhere"))
    assert study.read_bytes() == before
    output = call("mock", *size).output
    assert (checkout / "data" / PRISTINE.images_name).is_file()
    assert "study.yaml runs filters two" in output
    assert read_study().filters == ("two",)
    (checkout / "data" / PRISTINE.images_name).unlink()
    (checkout / "data" / "PROVENANCE.json").unlink()
    write_sample(tmp_path / "published")
    with serving(tmp_path / "published") as archive:
        call("fetch", "--address", archive.address, "--domain", "pristine", "--replace")
    assert read_study().filters == ("two",)
