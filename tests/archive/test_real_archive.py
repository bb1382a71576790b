"""The archive as its server has it, from the fetch to the prepared images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from archive.real_archive import ROWS, publish, take_for_published, write_real_archive
from archive.samples import STRUCTURE, write_sample
from archive.server import Archive, serving
from astropy.io import fits

from mergershift.archive import DATA_SETS, Domain, available, open_images
from mergershift.cli.main import main

THREE = [DATA_SETS["three", domain] for domain in Domain]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Archive]:
    with serving(write_real_archive(tmp_path / "server", filter_sets=["three"])) as archive:
        yield archive


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert not stop.value.code, out + err
    return out + err


@pytest.mark.system
def test_from_the_server_to_prepared_images(
    server: Archive, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take_for_published(monkeypatch)
    names = [data_set.fits_name for data_set in THREE]
    fetched = call(capsys, "data", "fetch", "--address", server.address, "--filters", "three")
    assert "2 files fetched, 0 kept" in fetched
    assert "errors: 0" in fetched
    assert "pinned in data.dvc" in fetched
    assert "runs filters three" in fetched
    for data_set in THREE:
        assert f"{data_set}: in format fits, {data_set.fits_name}" in fetched

    server.asked.clear()
    assert "0 files fetched, 2 kept" in call(
        capsys, "data", "fetch", "--address", server.address, "--filters", "three"
    )
    assert server.asked == []

    info = call(capsys, "data", "info")
    assert info.count(f"fits ({ROWS.rows}, 3, 75, 75)") == 2
    assert f"archive fetched from {server.address}" in info
    assert "CC BY 4.0" in info
    assert "2021MNRAS.506..677C" in info
    assert "2 files checked; errors: 0" in call(capsys, "data", "verify")

    call(capsys, "prepare", "filters=three")
    prepared = project / "outputs" / "prepared" / "three-by_galaxy"
    facts = json.loads((prepared / "prepared.json").read_text())
    assert facts["provenance"] == {"kind": "archive", "address": server.address}
    assert facts["galaxies"] == {"mergers": ROWS.mergers, "non-mergers": ROWS.non_mergers}
    for data_set, name in zip(THREE, names, strict=True):
        images = np.load(prepared / f"{data_set.domain}-images.npy")
        with fits.open(project / "data" / name) as hdus:
            np.testing.assert_array_equal(images, hdus[0].data.astype(np.float32))
            np.testing.assert_array_equal(
                np.load(prepared / f"{data_set.domain}-labels.npy"), hdus[1].data["MergerLabel"]
            )


def test_the_files_are_those_of_the_real_server(tmp_path: Path) -> None:
    folder = publish(write_sample(tmp_path / "sample", filter_sets=["two", "three"]), tmp_path / "server")
    start = "hlsp_deepmerge_hst-jwst_acs-wfc3-nircam_illustris-z2_f814w-f160w-f356w_v1_sim-"
    assert sorted(path.name for path in folder.glob("*jwst*")) == [
        f"{start}noisy.fits",
        f"{start}pristine.fits",
    ]
    assert len(available(folder)) == len(list(folder.iterdir())) == 4
    for data_set in THREE:
        stored = open_images(tmp_path / "sample", data_set)
        np.testing.assert_array_equal(np.asarray(open_images(folder, data_set)), np.asarray(stored))
    with fits.open(folder / f"{start}pristine.fits") as hdus:
        header = hdus[0].header
        expected = {
            "BITPIX": -64,
            "NAXIS4": STRUCTURE.rows,
            "EXTNAME": "Images",
            "BUNIT": "microjanskies/arcsec^2",
            "PIXSIZE": 0.1875,
            "HLSPID": "DEEPMERGE",
            "INSTRUME": "ACS,WFC3,NIRCam",
            "TELESCOP": "HST,JWST",
            "LICENSE": "CC BY 4.0",
            "REFERENC": "2021MNRAS.506..677C",
        }
        assert {name: header[name] for name in expected} == expected
        assert header.comments["PIXSIZE"] == "arcsec"
        assert header.comments["NAME3"] == "F814W,F356W,F160W"
        assert [header[f"NAME{axis}"] for axis in range(1, 5)] == ["ImageX", "ImageY", "filter", "object"]
        assert "MOCK" not in header.tostring().upper()
        table = hdus[1]
        assert (table.name, table.columns.names, table.columns.formats) == (
            "MergerLabel",
            ["MergerLabel"],
            ["D"],
        )
        assert table.header["EXTNAME"] == "MergerLabel"
