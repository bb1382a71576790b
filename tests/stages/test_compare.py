"""Trainings side by side: what differs, and paired differences only between tests of the same galaxies."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from cells.samples import write_checkout
from rich.console import Console
from stages.samples import predictions, write_evaluated

from mergershift import evaluation
from mergershift.cli.main import main
from mergershift.core.errors import UserError
from mergershift.stages.compare import as_json, compare_runs
from mergershift.stages.compare_table import print_comparison, reasons
from mergershift.tracking.find_training import find_training

MMD, CORAL = "outputs/runs/mmd", "outputs/runs/coral"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two evaluated trainings: MMD is right about five of six, CORAL about two."""
    folder = write_checkout(tmp_path / "project")
    monkeypatch.chdir(folder)
    write_evaluated(folder / MMD, (6, 5))
    write_evaluated(folder / CORAL, (4, 2), "coral", seed=3, settings={"patience": 7})
    return folder


def text(width: int, *names: str) -> str:
    page = StringIO()
    print_comparison(compare_runs(names), Console(file=page, width=width))
    return page.getvalue()


def test_the_difference_is_the_one_of_the_paired_comparison(project: Path) -> None:
    comparison = compare_runs([MMD, CORAL])
    tables = {"A": predictions((6, 5)).assign(seed=0), "B": predictions((4, 2)).assign(seed=0)}
    for role, value in (("target", -0.5), ("source", -1 / 3)):
        found = comparison.differences["B"][role]
        expected = evaluation.compare(tables, "A", role=role).iloc[0]
        assert found.value == pytest.approx(value)
        assert tuple(found) == pytest.approx(tuple(expected[["difference", "low", "high", "p", "p_holm"]]))


def test_only_what_differs_is_listed_the_short_names_first(project: Path) -> None:
    comparison = compare_runs([MMD, CORAL])
    assert comparison.parameters == {"method": ["mmd", "coral"], "seed": ["0", "3"]}
    assert comparison.settings == {"training.patience": [60, 7]}
    page = text(80, MMD, CORAL)
    places = [
        page.index(words)
        for words in ("MOCK", "mmd · two", "coral · two", "method", "training.patience", ".83 [", "p ")
    ]
    assert places == sorted(places)
    assert "12 test galaxies in 12 renderings" in page


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"data_hash": "e" * 64}, "images other than those of A"),
        ({"filters": "three", "data_hash": "e" * 64}, "images in other filters (three) than A (two)"),
        ({"split_seed": 5}, "other test galaxies than that of A (seed 5, not 68)"),
    ],
)
def test_other_galaxies_are_not_paired_but_their_scores_are_shown(
    project: Path, changed: dict, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_evaluated(project / "outputs/runs/other", (6, 6), "dann", **changed)
    comparison = compare_runs([MMD, CORAL, "outputs/runs/other"])
    assert set(comparison.differences["B"]) == {"source", "target"}
    assert not comparison.differences["C"]
    (sentence,) = reasons(comparison)
    assert sentence.startswith("no difference of C from A on the target and source: ")
    assert reason in sentence
    with pytest.raises(SystemExit) as ended:
        main(["compare", MMD, CORAL, "outputs/runs/other"])
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert "1.00 [.63, 1.00]" in output.out, "12 galaxies that are all right do not prove that all are"
    assert output.err == f"Error: {sentence}\n"


def test_predictions_of_other_images_under_the_same_names_are_not_paired(project: Path) -> None:
    path = project / CORAL / "evaluation/predictions.csv"
    evaluation.write_predictions(predictions((4, 2), first_galaxy=1), path)
    assert all("predictions are of other" in sentence for sentence in reasons(compare_runs([MMD, CORAL])))


def test_a_narrow_terminal_gets_the_columns_one_below_the_other(project: Path) -> None:
    for number in range(4):
        write_evaluated(project / f"outputs/runs/more{number}", (3, number), "dann", seed=number)
    names = [MMD, CORAL, *(f"outputs/runs/more{number}" for number in range(4))]
    for width in (50, 80, 120):
        page = text(width, *names)
        assert max(map(len, page.splitlines())) <= max(width, 60)
        assert "…" not in page
        for letter in "ABCDEF":
            assert f"{letter}  " in page


def test_json_holds_all_digits_and_no_nan(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / CORAL / "evaluation/validators.csv"
    table = pd.read_csv(path)
    table["target_entropy"] = float("nan")
    table.to_csv(path, index=False)
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--json", MMD, CORAL])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == as_json(compare_runs([MMD, CORAL]))
    first, second = found["runs"]
    assert "differences" not in first
    assert second["differences"]["target"]["value"] == pytest.approx(-0.5)
    assert second["no_difference"] == {}
    assert second["validators"]["target_entropy"] is None
    assert (second["data"], second["galaxies"]) == ("mock", 12)


def test_a_training_is_found_by_folder_id_and_name(project: Path) -> None:
    expected = find_training(MMD).record
    names = ["runs/mmd", f"{MMD}/train", str(project / MMD), "mmd · two · pristine→noisy · s0"]
    for name in names:
        assert find_training(name).record == expected, name
    run_id = "0123456789abcdef" * 2
    expected.model_copy(update={"run_id": run_id}).write(project / MMD / "train/run.json")
    assert find_training(run_id).record.training == expected.training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mmd · two · pristine→noisy · s1", r"(?s)no folder, and no training.*Nearest: 'mmd · two .* s0'"),
        ("f" * 32, "no training in outputs/ has this MLflow run"),
        ("outputs", "missing, so this cell has no finished training"),
    ],
)
def test_what_names_no_training_is_reported_with_what_to_do(project: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_training(name)


def test_a_name_of_several_trainings_is_refused_with_their_folders(project: Path) -> None:
    write_evaluated(project / "outputs/runs/again", (6, 5))
    with pytest.raises(
        UserError, match=r"(?s)2 trainings have this name.*outputs/runs/again, outputs/runs/mmd"
    ):
        find_training("mmd · two · pristine→noisy · s0")


def test_the_same_training_twice_and_one_without_evaluation_are_refused(project: Path) -> None:
    with pytest.raises(UserError, match="the same training as outputs/runs/mmd"):
        compare_runs([MMD, f"{MMD}/train"])
    (project / CORAL / "evaluation/selection.json").unlink()
    with pytest.raises(UserError, match="has not been evaluated"):
        compare_runs([MMD, CORAL])
