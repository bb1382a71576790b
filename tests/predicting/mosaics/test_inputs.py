"""A catalogue and mosaics as inputs of a prediction: a made-up survey against the stamps that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from predicting.mosaics.survey import Survey, write_survey
from registry.samples import facts_of, program_of, stamps, write_package

from mergershift.cli.main import main
from mergershift.predicting import load_model

FACTS = facts_of()
COUNT, GAPS, MASKED = 9, (4,), (6,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package"), FACTS, program_of())


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    made = tmp_path_factory.mktemp("survey")
    return write_survey(made, stamps(COUNT), FACTS, gaps=GAPS, masked=MASKED, noise=0.2)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["predict", *map(str, arguments)])
    return int(stop.value.code or 0), *capsys.readouterr()


def test_a_survey_gives_the_probabilities_of_the_original_stamps(
    folder: Path, survey: Survey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, seen = tmp_path / "mergers.parquet", tmp_path / "seen.npy"
    options = ["--model", folder, "--output", output, "--cutouts", seen, "--threads", 1]
    code, _, err = run(capsys, *survey.options(), *options)
    table = Table.read(output)
    assert list(map(str, table["id"])) == [str(number) for number in range(1, COUNT + 1)]
    np.testing.assert_array_equal(table["index"], range(COUNT))
    assert str(table["flag"][6]) == "refused: the redshift is missing"
    assert (code, err.count("Refused:")) == (0, 1)
    assert "coverage" not in err
    images = np.load(seen)
    assert images.shape == (COUNT, 2, 75, 75)
    assert np.isnan(images[6]).all()
    usable = [number for number in range(COUNT) if number not in (*GAPS, *MASKED)]
    original = stamps(COUNT)
    # Only pixels of the mosaic across the edges of the stamps' pixels differ.
    assert np.median(np.abs(images - original)[usable]) < 0.03
    expected = load_model(folder).predict(original)["probability"]
    difference = np.abs(np.asarray(table["probability"]) - expected)
    assert np.median(difference[usable]) < 0.02
    assert f"incomplete in {FACTS.filters[1]}" in str(table["flag"][4]) or np.isnan(table["probability"][4])
    coverage = np.asarray(table[f"coverage_{FACTS.filters[1]}"])
    assert 0.93 < coverage[4] < 0.98
    assert np.all(coverage[usable] == 1)
    np.testing.assert_allclose(np.asarray(table["z"])[usable], survey.redshifts[usable])
    assert "at z = 1.5 (from zbest)" in str(table["conversion"][0])


def test_check_says_what_is_understood_and_predicts_nothing(
    folder: Path,
    survey: Survey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *survey.options(), "--model", folder, "--check")
    assert (code, err) == (0, "")
    assert "9 objects; id = NUMBER, ra = ALPHA_J2000, dec = DELTA_J2000, z = zbest" in out
    for path in (*survey.mosaics.values(), *survey.weights.values()):
        assert str(path) in out
    assert "8 objects can be predicted." in out
    assert "1 object refused: the redshift is missing." in out
    assert not list(tmp_path.iterdir())
    table = Table.read(survey.catalogue)
    table["zbest"] = -1.0
    lost = survey._replace(catalogue=tmp_path / "lost.ecsv")
    table.write(lost.catalogue)
    code, out, _ = run(capsys, *lost.options(), "--model", folder, "--check")
    assert code == 1
    assert "0 objects can be predicted." in out


def test_right_ascensions_in_hours_and_objects_elsewhere(
    folder: Path, survey: Survey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table.read(survey.catalogue)
    table["ALPHA_J2000"] /= 15
    table["DELTA_J2000"][2] += 1
    table["NUMBER"][1] = 1
    changed = survey._replace(catalogue=tmp_path / "hours.csv")
    table.write(changed.catalogue)
    code, _, err = run(capsys, *changed.options(), "--model", folder, "--output", tmp_path / "p.ecsv")
    made = Table.read(tmp_path / "p.ecsv")
    np.testing.assert_allclose(made["ra"], Table.read(survey.catalogue)["ALPHA_J2000"])
    assert "taken for hours" in made["conversion"][0]
    assert made["flag"][2] == f"refused: outside the mosaic in {' and '.join(FACTS.filters)}"
    assert ["id repeated" in flag for flag in made["flag"][:3]] == [True, True, False]
    table["DELTA_J2000"] += 10
    table.write(changed.catalogue, overwrite=True)
    code, _, err = run(capsys, *changed.options(), "--model", folder, "--output", tmp_path / "q.ecsv")
    assert code == 1
    assert "no object lies in all mosaics" in err
    assert err.count("\n") == 2
    assert not (tmp_path / "q.ecsv").exists()


def test_a_given_redshift_counts_where_the_catalogue_has_none(
    folder: Path, survey: Survey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = run(
        capsys, *survey.options(), "--model", folder, "--output", tmp_path / "p.ecsv", "--redshift", 2.1
    )
    made = Table.read(tmp_path / "p.ecsv")
    assert code == 0
    assert (made["z"][5], made["z"][6]) == (pytest.approx(survey.redshifts[5]), 2.1)
    assert "(as given)" in made["conversion"][6]


def test_a_filter_without_a_mosaic_is_named(
    folder: Path, survey: Survey, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = FACTS.filters
    options = ["--catalogue", survey.catalogue, "--mosaic", f"{first}={survey.mosaics[first]}"]
    code, _, err = run(capsys, *options, "--model", folder, "--check")
    assert code == 1
    assert f"There is no mosaic in {second}" in err
