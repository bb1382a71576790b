"""The command `predict` and the function `load_model`, with a real exported model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
from mergershift.predicting.columns import SCORES
from mergershift.registry import RegisteredModel


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
    """Write three files, 0.npy, 1.fits and in/2.npy, to the working directory; one image has no data in a filter."""
    monkeypatch.chdir(tmp_path)
    made = stamps(30)
    made[12, 1] = np.nan
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
    names = [name for name in SCORES if name in table.colnames]
    return np.stack([np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan) for name in names], 1)


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".parquet", ".vot"])
def test_the_command_writes_what_the_function_returns(folder, images, capsys, suffix) -> None:
    code, out, err = run(capsys, ".", "--model", folder, "--output", f"p{suffix}", "--threads", 1)
    assert (code, err) == (0, "")
    table = Table.read(f"p{suffix}")
    expected = load_model(folder).predict(["0.npy", "1.*", "in"])
    assert (
        list(map(str, table["file"]))
        == list(expected["file"])
        == ["0.npy"] * 10 + ["1.fits"] * 10 + ["in/2.npy"] * 10
    )
    np.testing.assert_array_equal(table["index"], list(range(10)) * 3)
    np.testing.assert_array_equal(scores(table), scores(expected))
    np.testing.assert_allclose(scores(table), RegisteredModel.read(folder).predict(images), atol=1e-6)
    assert np.flatnonzero(np.isnan(scores(table)[:, 0])).tolist() == [12]
    assert expected["flag"][12] == "filters assumed; scale assumed; no data in f160w"
    assert expected["conversion"][12] == "as is"
    assert "1 with no data in f160w" in out
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
    table = load_model(folder).predict(".")
    for made in (table, Table.read("predictions.ecsv")):
        assert len(made) == 31
        assert made["file"][0] == "0.fits"
        assert made["flag"][0].startswith("refused: counts")
        assert np.isnan(scores(made)[0]).all()
        assert made["merger"].mask.tolist() == [row in (0, 13) for row in range(31)]
    assert "0.fits" in caplog.text
    before = Path("predictions.ecsv").read_bytes()
    code, _, err = run(capsys, "0.npy", "--model", folder)
    assert code == 1
    assert "--overwrite" in err
    assert Path("predictions.ecsv").read_bytes() == before
    code, _, _ = run(capsys, "0.npy", "--model", folder, "--overwrite")
    assert code == 0
    assert len(Table.read("predictions.ecsv")) == 10


def test_refused_files_are_counted_by_reason(folder, images, capsys) -> None:
    for number in range(3):
        fits.PrimaryHDU(images[:2], fits.Header({"BUNIT": "counts"})).writeto(f"c{number}.fits")
    code, out, err = run(capsys, "c*.fits", "gone.npy", "0.npy", "--model", folder)
    assert code == 1
    assert "14 images: 4 refused" in out
    first, second = err.splitlines()[-2:]
    assert first.startswith("Refused: c0.fits and 2 more: counts")
    assert second.startswith("Refused: gone.npy: no such file")


def test_a_page_is_written_beside_the_table_and_never_over_another(folder, images, capsys) -> None:
    code, out, _ = run(capsys, "0.npy", "--model", folder, "--output", "in/p.vot", "--report")
    assert code == 0
    assert "in/p.html: the page on these predictions" in out
    assert "Which of 10 images show mergers?" in Path("in/p.html").read_text()
    code, _, err = run(capsys, "0.npy", "--model", folder, "--output", "in/p.fits", "--report")
    assert (code, Path("in/p.fits").exists()) == (1, False)
    assert "in/p.html: already exists" in err
    assert sorted(path.name for path in Path("in").iterdir()) == ["2.npy", "p.html", "p.vot"]
    code, _, err = run(capsys, "0.npy", "--model", folder, "--check", "--report")
    assert code == 2
    assert "--check predicts nothing: leave out --report" in err


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


def test_a_check_ends_as_the_prediction_would(folder, images, capsys) -> None:
    fits.PrimaryHDU(images[:2], fits.Header({"BUNIT": "counts"})).writeto("counts.fits")
    for names, refused in ((["counts.fits"], 1), (["0.npy", "counts.fits"], 1), (["0.npy"], 0)):
        code, out, err = run(capsys, *names, "--model", folder, "--check")
        predicted, _, _ = run(capsys, *names, "--model", folder, "--overwrite")
        assert (code, err) == (predicted, "")
        assert out.splitlines()[-1].endswith(f", {refused} of them refused.")
        assert bool(code) == bool(refused)


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
    assert table["conversion"][0].startswith("re-binned from 150 x 150 pixels of 0.09372 arcsec at z = 2")
    np.testing.assert_allclose(scores(table), RegisteredModel.read(folder).predict(stamps(3)), atol=5e-3)


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


def test_options_that_files_make_needless_are_said_and_override_makes_them_count(
    folder, images, capsys
) -> None:
    cards = {"BUNIT": "uJy/arcsec2", "FILTER0": "F814W", "FILTER1": "F160W"}
    fits.PrimaryHDU(images[:3], fits.Header(cards)).writeto("n.fits")
    options = ("n.fits", "--model", folder, "--unit", "uJy/arcsec2", "--filters", "f160w,f814w")
    code, out, _ = run(capsys, *options)
    assert code == 0
    assert "--unit was not used for 3 of 3 images" in out
    assert "--filters was not used for 3 of 3 images" in out
    own = scores(Table.read("predictions.ecsv"))
    code, out, _ = run(capsys, *options, "--override", "--overwrite")
    assert code == 0
    assert "was not used" not in out
    table = Table.read("predictions.ecsv")
    assert "filters f160w, f814w as given instead of f814w, f160w" in table["conversion"][0]
    assert (scores(table)[:, 0] != own[:, 0]).all()
