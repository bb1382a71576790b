"""What a study comes to: every figure of its tables on twelve galaxies that are counted by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from cells.samples import config_of, write_checkout, write_selection, write_training
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from mergershift import evaluation
from mergershift.config.study import Cell, Method, read_study
from mergershift.core import forked
from mergershift.core.errors import UserError
from mergershift.evaluation import ORACLE
from mergershift.evaluation.significance import holm
from mergershift.stages.summary import _corrected, write_summary
from mergershift.stages.summary_table import print_summary

FORWARD, REFERENCE, TUNED = "pristine_to_noisy", "oracle_target_only", "oracle_tuned_mmd"
METHODS = {
    "source_only": (FORWARD, "source_only", "default"),
    "mmd": (FORWARD, "mmd", "default"),
    "coral": (FORWARD, "coral", "default"),
    "entropy": (FORWARD, "entropy", "default"),
    TUNED: (FORWARD, "mmd", TUNED),
    REFERENCE: (REFERENCE, "source_only", "default"),
}
"""Title -> transfer, adaptation and experiment."""
HONEST = ("source_only", "mmd", "coral", "entropy")
GALAXIES = 6
"""Of each class."""
RIGHT = {
    "predictions.csv": {
        "source_only": (6, 2),
        "mmd": (5, 6),
        "coral": (4, 5),
        "entropy": (3, 1),
        TUNED: (1, 4),
        REFERENCE: (2, 3),
    },
    "oracle_predictions.csv": {
        "source_only": (4, 5),
        "mmd": (6, 3),
        "coral": (5, 6),
        "entropy": (2, 4),
        TUNED: (0, 6),
        REFERENCE: (1, 5),
    },
}
"""File of an evaluation -> method -> galaxies of each class that are called rightly in source and target."""
CHOICES = {"label_free": "predictions.csv", "oracle": "oracle_predictions.csv"}
CHOSEN, ORACLES_CHOICE = 1, 2
SCORES: dict[str, tuple[list[float], list[float]]] = {
    "source_only": ([5, 0.1, 0], [5, 0.1, 0]),
    "mmd": ([0, 0.9, 2], [0, 0.1, 2]),
    "coral": ([0, 0.6, 0], [0, 0.6, 0]),
    "entropy": ([0, math.nan, 0], [0, 99, 0]),
    TUNED: ([200, 1, 0], [200, 1, 0]),
    REFERENCE: ([0, 1, 0], [0, 1, 0]),
}
"""Method -> for each seed the score of every epoch by the validator that methods are compared by."""
ORACLES_FIGURES = [0.5, 0.7, 0.9]


def predictions(right: tuple[int, int]) -> pd.DataFrame:
    galaxy = np.arange(2 * GALAXIES)
    label = (galaxy < GALAXIES).astype(int)
    parts = []
    for role, domain, count in (("source", "pristine", right[0]), ("target", "noisy", right[1])):
        called = np.where(galaxy % GALAXIES < count, label, 1 - label)
        columns = {"row": galaxy, "galaxy": galaxy, "camera": 0, "block": 0, "role": role, "domain": domain}
        parts.append(
            pd.DataFrame({**columns, "label": label, "probability": 0.1 + 0.8 * called, "threshold": 0.5})
        )
    return evaluation.join(parts)


def write_cell(folder: Path, title: str, cell: Cell) -> None:
    transfer, adaptation, experiment = METHODS[title]
    plain = config_of()
    choices = {"transfer": transfer, "adaptation": adaptation, "experiment": experiment}
    labelled = "oracle_target" if transfer == REFERENCE else "source"
    config = plain.model_copy(
        update={
            "choices": plain.choices | choices,
            "transfer": plain.transfer.model_copy(update={"labelled": labelled}),
        }
    )
    training = f"{title}-{cell.seed}"
    write_training(folder, config, training=training)
    # By what chose the epochs, another method would be the best.
    scores = dict.fromkeys(evaluation.VALIDATORS, [1.0 if title == "source_only" else 0.0] * 3)
    scores["information_maximisation"], scores[ORACLE] = SCORES[title][cell.seed], ORACLES_FIGURES
    write_selection(folder, scores, training=training, epoch=CHOSEN, oracle_epoch=ORACLES_CHOICE)
    for name, right in RIGHT.items():
        evaluation.write_predictions(predictions(right[title]), folder / "evaluation" / name)
    results = evaluation.evaluate(predictions(RIGHT["predictions.csv"][title]))
    evaluation.write_results(results, folder / "evaluation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    checkout = write_checkout(tmp_path_factory.mktemp("summary") / "checkout")
    (checkout / "conf/experiment" / f"{TUNED}.yaml").write_text("# @package _global_\n")
    keys = ("transfer", "adaptation", "experiment")
    listed = [dict(zip(keys, method, strict=True)) for method in METHODS.values()]
    path = checkout / "conf/study.yaml"
    lists = {"filters": ["two"], "methods": listed, "seeds": [0, 1], "tune": []}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | lists))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        for cell in read_study().cells():
            write_cell(checkout / cell.folder, cell.method.title, cell)
        write_summary()
        yield checkout / "outputs/summary"


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv")


def title(row: pd.Series) -> str:
    of = {method: name for name, method in METHODS.items()}
    return of[row["transfer"], row["adaptation"], row["experiment"]]


def test_every_figure_is_of_the_role_and_the_choice_that_it_is_said_to_be(folder: Path) -> None:
    transfer = table(folder, "transfer")
    accuracy = transfer[transfer["metric"] == "balanced_accuracy"]
    found = {(row["choice"], title(row), row["role"]): row["value"] for _, row in accuracy.iterrows()}
    assert found == {
        (choice, method, role): pytest.approx(count / GALAXIES)
        for choice, name in CHOICES.items()
        for method, right in RIGHT[name].items()
        for role, count in zip(("source", "target"), right, strict=True)
    }
    assert set(transfer["seeds"]) == {2}


def test_dvc_shows_a_few_metrics_of_each_training(folder: Path) -> None:
    names = {**{name: name for name in METHODS}, REFERENCE: "oracle"}
    files = {path.stem: json.loads(path.read_text()) for path in (folder.parent / "metrics").iterdir()}
    assert set(files) == {f"two-{name}-s{seed}" for name in names.values() for seed in (0, 1)}
    right = RIGHT["predictions.csv"]
    for title, name in names.items():
        source, target = right[title]
        expected = {"source": source, "target": target, "gain": target - right["source_only"][1]}
        if title == "source_only":
            del expected["gain"]
        shown = files[f"two-{name}-s1"]
        assert 0 <= shown.pop("target_auc") <= 1
        assert shown.pop("images") == "unknown"
        assert shown == {metric: round(count / GALAXIES, 4) for metric, count in expected.items()}


def test_dvc_shows_images_that_say_what_they_were_made_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {}
    monkeypatch.setattr(
        FigureCanvasAgg, "print_png", lambda canvas, path: figures.update({path.stem: canvas.figure})
    )
    monkeypatch.setattr(forked, "available_cores", lambda: 1)  # this process is to see the figures
    monkeypatch.chdir(folder.parents[1])
    write_summary()
    assert set(figures) == {
        f"two-pristine_to_noisy-{name}" for name in ("balanced_accuracy", "learning_curves")
    }
    for figure in figures.values():
        assert figure.get_suptitle() == "two filters, pristine to noisy: images of unknown provenance"
    curves, accuracy = figures.values()
    shown = ["oracle" if name == REFERENCE else name for name in METHODS]
    assert [label.get_text() for label in accuracy.axes[0].get_yticklabels()] == shown[::-1]
    panels = [axes for axes in curves.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == shown
    for axes in panels:
        training, validation, chosen = axes.lines
        for line in (training, validation):
            assert np.isnan(line.get_ydata()).sum() == 2, "a gap after each of two seeds"
        assert list(chosen.get_xdata()) == [CHOSEN] * 2


def test_methods_are_compared_with_source_only_as_they_were_chosen_and_oracles_apart(folder: Path) -> None:
    compared = {title(row): row for _, row in table(folder, "comparison").iterrows()}
    assert list(compared) == ["mmd", "coral", "entropy", TUNED, REFERENCE]
    right = {name: target for name, (_, target) in RIGHT["predictions.csv"].items()}
    for name, row in compared.items():
        gained = right[name] - right["source_only"]
        assert row["difference"] == pytest.approx(gained / GALAXIES)
        # So many galaxies of each class changed, all for the better or all for the worse.
        changed = np.repeat([np.sign(gained), 0], [abs(gained), GALAXIES - abs(gained)]).astype(float)
        error = math.sqrt(2 * max(np.var(changed, ddof=1) / GALAXIES, 1 / GALAXIES**2)) / 2
        assert row["p"] == pytest.approx(2 * stats.t.sf(abs(gained / GALAXIES) / error, 2 * (GALAXIES - 1)))
        assert row["drop"] == pytest.approx((6 - 2) / GALAXIES)
        assert row["won_back"] == pytest.approx(gained / (6 - 2))
        assert math.isnan(row["recovered"]), "the reference's gain of one galaxy may be none"
    rows = table(folder, "comparison")
    corrected = holm([rows["drop_p"].iloc[0], *rows["p"]])
    assert rows["drop_p_holm"].tolist() == pytest.approx([corrected[0]] * len(rows))
    assert rows["p_holm"].tolist() == pytest.approx(corrected[1:].tolist())


def test_p_values_are_corrected_for_all_settings_together() -> None:
    """Two settings with two methods and a loss each: six hypotheses, of which the smallest p-value counts six times."""
    settings = [
        pd.DataFrame({"p": [0.001, 0.2], "drop_p": 0.01}),
        pd.DataFrame(),
        pd.DataFrame({"p": [0.03, 0.5], "drop_p": 0.002}),
    ]
    found = _corrected(settings)
    assert found["p_holm"].tolist() == pytest.approx([0.006, 0.4, 0.09, 0.5])
    assert found["drop_p_holm"].tolist() == pytest.approx([0.04, 0.04, 0.01, 0.01])
    assert _corrected([pd.DataFrame()]).empty


def test_the_best_method_is_so_on_average_by_the_validator_named_beforehand(folder: Path) -> None:
    """Neither its best seed counts, nor an epoch that was not chosen, nor what saw target labels or diverged."""
    (best,) = json.loads((folder / "best.json").read_text())
    assert best["validator"] == "information_maximisation"
    assert best["best"] == "coral"
    assert best["method"] == dict(
        zip(("transfer", "adaptation", "experiment"), METHODS["coral"], strict=True)
    )
    assert best["scores"] == {
        "source_only": pytest.approx(0.1),
        "mmd": pytest.approx(0.5),
        "coral": pytest.approx(0.6),
    }


def test_validators_are_judged_by_what_their_choice_costs_among_honest_networks(folder: Path) -> None:
    judged = table(folder, "validators")
    epochs, networks = judged[judged["validator"] == "information_maximisation"].to_dict("records")
    assert (epochs["among"], networks["among"]) == ("epochs", "networks")
    assert epochs["rankings"] == 2 * len(HONEST)
    assert networks["rankings"] == 2
    # Each training's best epoch by the validator costs .4 of source-only's and .2 of coral's and entropy's.
    assert epochs["regret"] == pytest.approx((0.4 + 0 + 0.2 + 0.2) / 4)
    # With seed 0 the first epoch of source-only has the highest score, with seed 1 the second of entropy.
    assert networks["regret"] == pytest.approx((0.4 + 0.2) / 2)


def test_the_printed_table_shows_source_then_target(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary()
    lines = capsys.readouterr().out.splitlines()
    for name in HONEST:
        (line,) = (line for line in lines if f" {name} " in line)
        shown = [float(value) for value in re.findall(r"(\d\.\d\d) \(", line)]
        expected = [count / GALAXIES for count in RIGHT["predictions.csv"][name]]
        assert shown[:2] == pytest.approx(expected, abs=0.005)


def test_evaluations_that_compare_methods_by_different_validators_are_refused(folder: Path) -> None:
    """Taken from whichever cell comes first, the best method would depend on the order of the study."""
    cell = read_study().cells()[-1]
    path = cell.folder / "evaluation/selection.json"
    before, old_tables = path.read_text(), (folder / "best.json").read_text()
    path.write_text(json.dumps(json.loads(before) | {"best_by": "target_entropy"}))
    try:
        with pytest.raises(UserError, match=r"information_maximisation, target_entropy") as refused:
            write_summary()
    finally:
        path.write_text(before)
    assert "mergershift repro" in str(refused.value)
    assert (folder / "best.json").read_text() == old_tables


def test_the_best_method_is_by_the_validator_that_the_evaluations_name(folder: Path) -> None:
    cells = read_study().cells()
    paths = [cell.folder / "evaluation/selection.json" for cell in cells]
    before = [path.read_text() for path in paths]
    for path, text in zip(paths, before, strict=True):
        path.write_text(json.dumps(json.loads(text) | {"best_by": "target_entropy"}))
    try:
        write_summary()
        (best,) = json.loads((folder / "best.json").read_text())
    finally:
        for path, text in zip(paths, before, strict=True):
            path.write_text(text)
        write_summary()
    assert (best["validator"], best["best"]) == ("target_entropy", "source_only")


def test_a_control_is_no_candidate_for_the_best_method(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(Method, "is_control", property(lambda method: method.adaptation == "coral"))
        write_summary()
    (best,) = json.loads((folder / "best.json").read_text())
    write_summary()
    assert best["best"] == "mmd"
    assert "coral" not in best["scores"]
    assert "coral" in set(table(folder, "comparison")["adaptation"]), "it is compared all the same"
