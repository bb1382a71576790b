"""The study's own run: its page, its tables and its result, and the links of its trainings to it."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pandas as pd
import pytest
from cells.samples import write_checkout
from checkouts import copy
from mlflow import MlflowClient
from mlflow.entities import Run
from stages.samples import predictions, write_page, write_small_study

from mergershift import evaluation
from mergershift.cells.layout import EVALUATED, PREDICTIONS
from mergershift.cells.summary_files import StudyTrainings, predictions_digest, read_trainings
from mergershift.config.study import read_study
from mergershift.core.errors import UserError
from mergershift.core.reading import DamagedFile
from mergershift.stages import report
from mergershift.stages.summary import write_summary
from mergershift.tracking.server import connect
from mergershift.tracking.study_run import study_content
from mergershift.tracking.sync import sync
from mergershift.tracking.views import VIEW_TAG


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkout with a study of two methods and two seeds, and the study's id."""
    folder = write_checkout(tmp_path_factory.mktemp("study") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, write_small_study(folder)


@pytest.fixture
def study(written: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Id of the study in the working directory, a copy of that checkout."""
    first, known = written
    copy(first, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return known


@pytest.fixture
def client(study: str, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of the database that the study is published to."""
    address = f"sqlite:///{Path.cwd()}/runs.db"
    Path("runs.db").write_bytes(empty_database.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return connect(address)


def runs(client: MlflowClient, kind: str) -> list[Run]:
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def content_of_all(client: MlflowClient) -> dict[str, object]:
    found: dict[str, object] = {}
    for run in [*runs(client, "study"), *runs(client, "training")]:
        data = run.data
        found[run.info.run_id] = (run.info.run_name, data.params, data.tags, dict(data.metrics))
    return found


def test_the_run_holds_the_page_the_tables_and_the_result(study: str) -> None:
    content = study_content()
    assert content is not None
    assert content.spec.training == study
    assert content.spec.name == "study · two · 2 seeds"
    assert content.files["report/index.html"] == b"<h1>The page</h1>"
    assert content.files["study.yaml"] == Path("conf/study.yaml").read_bytes()
    assert {"summary/transfer.csv", "summary/comparison.csv", "summary/best.json"} <= set(content.files)
    note = content.spec.tags["mlflow.note.content"]
    assert note is not None
    for words in (
        "MOCK images",
        "12 test galaxies, 2 training seeds",
        "source-only .83",
        "mmd, ranked first without target labels, .83",
        "not distinguishable from source-only: +.33",
    ):
        assert words in note


@pytest.mark.parametrize(
    ("difference", "claim"), [(0.2, "a gain of +.20 [.15, .25]"), (-0.2, "a loss of -.20 [-.25, -.15]")]
)
def test_a_difference_is_claimed_where_the_corrected_test_supports_it(
    study: str, difference: float, claim: str
) -> None:
    path = Path("outputs/summary/comparison.csv")
    low, high = difference - 0.05, difference + 0.05
    pd.read_csv(path).assign(difference=difference, low=low, high=high, p_holm=0.001).to_csv(
        path, index=False
    )
    assert write_page() == study
    content = study_content()
    assert content is not None
    assert f"{claim} (p = 0.001 after Holm's correction) against source-only" in str(
        content.spec.tags["mlflow.note.content"]
    )


def test_a_page_of_another_summary_is_not_published(study: str) -> None:
    path = Path("outputs/summary/validators.csv")
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match="made from a summary other than"):
        study_content()
    assert write_page() == study
    assert study_content() is not None


def test_without_a_page_there_is_no_run(study: str) -> None:
    Path("outputs/report/index.html").unlink()
    assert study_content() is None


def test_sync_publishes_the_study_and_links_its_trainings_to_it(study: str, client: MlflowClient) -> None:
    synced = sync()
    assert not synced.problems
    assert str(synced).endswith("; the study: published")
    (own,) = runs(client, "study")
    assert own.info.run_name == "study · two · 2 seeds"
    assert own.data.tags["data"] == "mock"
    page = f"#/experiments/{own.info.experiment_id}/runs/{own.info.run_id}/artifacts/report/index.html"
    trainings = runs(client, "training")
    assert len(trainings) == 4
    for run in trainings:
        assert f"({page}?workflowType=machine_learning)" in run.data.tags["mlflow.note.content"]
        is_baseline = run.data.params["method"] == "source_only"
        assert ("target/gain" in run.data.metrics) != is_baseline
    views = client.get_experiment(own.info.experiment_id).tags
    assert {f"{VIEW_TAG}study", f"{VIEW_TAG}study-by-method"} <= set(views)
    before = content_of_all(client)
    again = sync()
    assert (again.study, again.outcomes["complete"]) == ("complete", 4)
    assert content_of_all(client) == before


def test_the_stage_publishes_what_sync_would(
    study: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "write_report", lambda: {})
    line = report.report_step()
    assert line.startswith("outputs/report/index.html")
    before = content_of_all(client)
    assert len(before) == 5
    synced = sync()
    assert (synced.study, synced.outcomes["complete"]) == ("complete", 4)
    assert content_of_all(client) == before


def test_the_stage_needs_no_server(
    study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(report, "write_report", lambda: {})
    with caplog.at_level(logging.WARNING):
        report.report_step()
    warnings = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "does not answer" in warnings[0].getMessage()


def test_the_page_stays_where_what_the_runs_show_cannot_be_read(
    study: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(report, "write_report", lambda: {})
    Path("outputs/summary/trainings.csv").write_text("no table")
    with caplog.at_level(logging.WARNING):
        assert report.report_step().startswith("outputs/report/index.html")
    assert "outputs/summary/trainings.csv" in caplog.text


def test_a_changed_page_and_result_replace_the_former_ones_in_the_same_run(
    study: str, client: MlflowClient
) -> None:
    sync()
    path = Path("outputs/summary/transfer.csv")
    path.write_text(path.read_text().replace("mock", "archive"))
    write_page("<h1>Another page</h1>")
    assert sync().study == "published"
    (own,) = runs(client, "study")
    assert "the DeepMerge archive's images" in own.data.tags["mlflow.note.content"]
    stored = client.download_artifacts(own.info.run_id, "report/index.html")
    assert Path(stored).read_text() == "<h1>Another page</h1>"


def test_sync_publishes_the_trainings_when_the_page_is_outdated(
    study: str, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path("outputs/summary/validators.csv")
    path.write_text(path.read_text() + "\n")
    synced = sync()
    assert (synced.study, synced.outcomes["published"], synced.problems) == (None, 4, [])
    assert "The study's run is not published" in caplog.text


def test_a_gain_over_predictions_that_source_only_no_longer_makes_is_withdrawn(
    study: str, client: MlflowClient
) -> None:
    """Until the study is summarised again; source-only with the other seed has not changed."""
    sync()
    write_predictions_of_baseline((5, 4))
    sync()
    gains = {
        run.data.params["seed"]: run for run in runs(client, "training") if "target/gain" in run.data.metrics
    }
    assert math.isnan(gains["0"].data.metrics["target/gain"])
    assert math.isnan(gains["0"].data.metrics["uncertainty/target_gain_low"])
    assert gains["1"].data.metrics["target/gain"] == pytest.approx(1 / 3)
    notes = {seed: run.data.tags["mlflow.note.content"] for seed, run in gains.items()}
    assert "difference from" not in notes["0"]
    assert "difference from" in notes["1"]
    assert sync().outcomes["complete"] == 4
    write_summary()
    sync()
    gains = {
        run.data.params["seed"]: run for run in runs(client, "training") if "target/gain" in run.data.metrics
    }
    assert gains["0"].data.metrics["target/gain"] == pytest.approx(1 / 6)


def write_predictions_of_baseline(right: tuple[int, int]) -> Path:
    cell = next(cell for cell in read_study().cells() if cell.method.is_baseline and cell.seed == 0)
    path = cell.folder / EVALUATED / PREDICTIONS["label_free"]
    path.unlink()
    evaluation.write_predictions(predictions(right), path)
    return path


def trainings_of_study() -> StudyTrainings:
    found = read_trainings("Run `mergershift summary`.")
    assert found is not None
    return found


def test_the_predictions_of_source_only_are_read_once_for_all_gains(
    study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = trainings_of_study()
    training, gain = next(iter(trainings.gains.items()))
    own = trainings.predictions[training].digest
    read: list[Path] = []
    read_bytes = Path.read_bytes

    def remembered(path: Path) -> bytes:
        read.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", remembered)
    for _ in range(3):
        assert trainings.gain(training, own)["gain"] == pytest.approx(1 / 3)
    assert read == [trainings.predictions[gain.baseline].path]
    assert trainings.gain(training, predictions_digest(b"others")) == {}
    read[0].unlink()
    assert trainings_of_study().gain(training, own) == {}


def test_a_table_that_does_not_name_the_baselines_is_refused_with_a_remedy(study: str) -> None:
    path = Path("outputs/summary/trainings.csv")
    path.write_text(path.read_text().replace(",baseline", ",former", 1))
    with pytest.raises(DamagedFile, match=r"no column baseline(.|\n)*mergershift summary"):
        trainings_of_study()
