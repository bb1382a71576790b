"""The command `predict` and the function `load_model`, with a real exported model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from mlflow import MlflowClient
from registry.samples import facts_of, program_of, stamps, write_package

from mergershift.cli.main import main
from mergershift.core.errors import UserError
from mergershift.predicting import load_model
from mergershift.predicting.command import _width
from mergershift.predicting.conversion import ConversionPlan
from mergershift.predicting.inputs import Inputs
from mergershift.predicting.sources import Source
from mergershift.predicting.units import brightness
from mergershift.registry import COLUMNS, RegisteredModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package"), facts_of(), program_of())


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write three files, 0.npy, 1.fits and in/2.npy, to the working directory; one image contains a NaN."""
    monkeypatch.chdir(tmp_path)
    made = stamps(30)
    made[12, 1, 40, 40] = np.nan
    (tmp_path / "in").mkdir()
    np.save("0.npy", made[:10])
    fits.PrimaryHDU(made[10:20], fits.Header({"BUNIT": "uJy/arcsec2"})).writeto("1.fits")
    np.save("in/2.npy", made[20:])
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["predict", *map(str, arguments)])
    return int(stop.value.code or 0), *capsys.readouterr()


def scores(table: Table) -> np.ndarray:
    return np.stack([np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan) for name in COLUMNS], 1)


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".parquet"])
def test_the_command_writes_what_the_function_returns(folder, images, capsys, suffix) -> None:
    code, out, err = run(capsys, ".", "--model", folder, "--output", f"p{suffix}", "--threads", 1)
    assert (code, err) == (0, "")
    table = Table.read(f"p{suffix}")
    expected = load_model(folder).predict(["0.npy", "*.fits", "in"])
    assert (
        list(map(str, table["file"]))
        == list(expected["file"])
        == ["0.npy"] * 10 + ["1.fits"] * 10 + ["in/2.npy"] * 10
    )
    np.testing.assert_array_equal(table["index"], list(range(10)) * 3)
    np.testing.assert_array_equal(scores(table), scores(expected))
    np.testing.assert_allclose(scores(table), RegisteredModel.read(folder).predict(images), atol=1e-6)
    assert np.flatnonzero(np.isnan(scores(table)[:, 0])).tolist() == [12]
    assert expected["flag"][12] == "as is; not finite"
    assert expected["merger"].mask.tolist() == [row == 12 for row in range(30)]
    called = int((scores(expected)[:, 0] >= 0.4).sum())
    assert out.startswith(f"p{suffix}: 30 images, {called} classified as mergers")
    assert "1 without a prediction" in out


def test_an_array_gives_the_same_as_its_file(folder, images) -> None:
    model = load_model(folder)
    np.testing.assert_array_equal(scores(model.predict(images[:10])), scores(model.predict("0.npy")))
    np.testing.assert_array_equal(scores(model.predict(images[3])), scores(model.predict(images[3:4])))
    nano = model.predict(images[:10] * 1000, unit="nJy/arcsec2")
    np.testing.assert_allclose(scores(nano), scores(model.predict("0.npy")), atol=1e-5)
    with pytest.raises(UserError, match="3 channels"):
        model.predict(stamps(2, channels=3))
    with pytest.raises(UserError, match="No images"):
        model.predict([])


def test_a_refused_file_is_reported_at_the_end_and_the_others_are_predicted(
    folder, images, capsys, caplog
) -> None:
    fits.PrimaryHDU(images[:2], fits.Header({"BUNIT": "counts"})).writeto("0.fits")
    code, _, err = run(capsys, ".", "--model", folder)
    assert code == 1
    assert err.splitlines()[-1].startswith("Refused: 0.fits: counts are detector counts")
    assert len(Table.read("predictions.ecsv")) == 30
    table = load_model(folder).predict(".")
    assert len(table) == 30
    assert table.meta["refused"][0].startswith("0.fits: counts")
    assert "0.fits" in caplog.text
    before = Path("predictions.ecsv").read_bytes()
    code, _, err = run(capsys, "0.npy", "--model", folder)
    assert code == 1
    assert "--overwrite" in err
    assert Path("predictions.ecsv").read_bytes() == before
    code, _, _ = run(capsys, "0.npy", "--model", folder, "--overwrite")
    assert code == 0
    assert len(Table.read("predictions.ecsv")) == 10


def test_only_the_first_of_many_refused_files_are_named(folder, images, capsys, monkeypatch) -> None:
    monkeypatch.setattr("mergershift.cli.predict.MOST_REFUSALS", 2)
    code, _, err = run(capsys, "0.npy", *(f"gone{number}.npy" for number in range(5)), "--model", folder)
    assert code == 1
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "gone0.npy",
        "gone1.npy",
        "3 more files.",
    ]


def test_without_usable_images_no_table_is_made(folder, images, capsys) -> None:
    np.save("small.npy", images[:, :, 20:50, 20:50])
    for arguments, reason in (
        (["small.npy", "gone.npy"], "30 x 30 pixels"),
        (["none*.fits"], "no such file"),
        (["small.npy", "--pixel-arcsec", 0.1, "--redshift", 1.0], "kpc"),
    ):
        code, out, err = run(capsys, *arguments, "--model", folder)
        assert (code, out) == (1, "")
        assert reason in err
        assert err.count("\n") == 2
    assert not list(Path().glob("predictions*"))


def test_a_missing_model_is_reported(images, capsys, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for model, reason in (("nowhere", "no such folder"), ("models:/m@champion", "MLFLOW_TRACKING_URI")):
        code, _, err = run(capsys, "0.npy", "--model", model)
        assert code == 1
        assert reason in err
        assert err.count("\n") == 2


def test_options_replace_missing_headers(folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    large = np.kron(stamps(3), np.ones((2, 2), np.float32))
    np.save("large.npy", large * 1000)
    options = ["--pixel-arcsec", 0.09372, "--redshift", 2.0, "--unit", "nJy/arcsec2"]
    code, _, err = run(capsys, "large.npy", "--model", folder, *options)
    assert (code, err) == (0, "")
    table = Table.read("predictions.ecsv")
    assert table["flag"][0].startswith("re-binned from 150 x 150 pixels of 0.09372 arcsec at z = 2")
    np.testing.assert_allclose(scores(table), RegisteredModel.read(folder).predict(stamps(3)), atol=5e-3)


def test_one_long_name_among_many_does_not_cost_memory() -> None:
    plan = ConversionPlan(75, brightness("uJy/arcsec2", None), note="as is")
    sources = [Source(name, 1, plan, lambda: iter(())) for name in ["é" * 20000, *map(str, range(1000))]]
    tracemalloc.start()
    widths = [_width(Inputs(sources, {}), column) for column in ("file", "flag")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert widths == [80000, len("as is; not finite")]
    assert peak < 2e6


@pytest.mark.system
def test_a_registered_model_can_be_used_outside_a_checkout(folder, images, tmp_path) -> None:
    address = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(address, address)
    client.create_registered_model("mergershift")
    made = client.create_model_version("mergershift", str(folder))
    client.set_registered_model_alias("mergershift", "champion", made.version)
    code = (
        "from mergershift.predicting import load_model\n"
        "model = load_model('models:/mergershift@champion')\n"
        "table = model.predict('0.npy')\n"
        "print(table.meta['MODEL'], table.meta['VERSION'], table['probability'].tolist())"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": address, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    model, version, probabilities = done.stdout.split(maxsplit=2)
    assert (model, version) == ("models:/mergershift@champion", "mergershift/1")
    np.testing.assert_allclose(
        json.loads(probabilities), RegisteredModel.read(folder).predict(images[:10])[:, 0]
    )
