"""Steps refuse what does not belong together, and cost nothing twice."""

import json

import numpy as np
import pytest
from archive.samples import LARGER, write_sample
from mlflow import MlflowClient

from mergershift.config import compose
from mergershift.errors import UserError
from mergershift.published import reproduce
from mergershift.steps import default_output, evaluate_step, prepare_step, prepared_folder, train_step

pytestmark = pytest.mark.slow
SMALL = ["filters=two", "training.epochs=1", "trainer.threads=1"]


@pytest.fixture
def trained(archive):
    config = compose(SMALL)
    prepare_step(config)
    cell = default_output(config)
    train_step(config, cell)
    return config, cell


def mark_as_mock(project, seed):
    provenance = {"kind": "mock", "seed": seed, "mergers": 12, "non_mergers": 60, "mock_version": 1}
    provenance |= {"filter_sets": ["two", "three"], "fits": False}
    (project / "data/PROVENANCE.json").write_text(json.dumps(provenance))


def test_a_model_is_not_tested_on_images_of_another_archive(archive, trained):
    config, cell = trained
    write_sample(archive / "data", LARGER, ("two",), seed=7)
    prepare_step(config)
    with pytest.raises(UserError, match="trained on other images"):
        evaluate_step(cell)


def test_prepared_images_of_another_archive_are_noticed(archive, trained):
    config, cell = trained
    mark_as_mock(archive, 3)
    with pytest.raises(UserError, match="prepared from another archive"):
        train_step(config, cell)


def test_further_files_do_not_change_what_is_prepared(archive):
    config = compose(SMALL)
    mark_as_mock(archive, 3)
    prepare_step(config)
    before = (prepared_folder(config) / "prepared.json").read_bytes()
    provenance = json.loads((archive / "data/PROVENANCE.json").read_text())
    (archive / "data/PROVENANCE.json").write_text(json.dumps(provenance | {"files": {"x": "0" * 64}}))
    prepare_step(config)
    assert (prepared_folder(config) / "prepared.json").read_bytes() == before


def test_a_kill_before_the_result_was_stored_costs_no_second_run(archive, trained):
    """DVC deletes outputs that it has not stored; the same training gives them back."""
    config, cell = trained
    first = json.loads((cell / "train/run.json").read_text())
    weights = (cell / "train/model.safetensors").read_bytes()
    for path in (cell / "train").iterdir():
        path.unlink()
    train_step(config, cell)
    assert json.loads((cell / "train/run.json").read_text())["run_id"] == first["run_id"]
    assert (cell / "train/model.safetensors").read_bytes() == weights
    client = MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db")
    assert [m.step for m in client.get_metric_history(first["run_id"], "train_loss")] == [0]
    evaluate_step(cell)
    assert not list((archive / "state").rglob("*.ckpt"))


def test_a_run_that_was_deleted_does_not_stop_the_evaluation(archive, trained):
    _, cell = trained
    run_id = json.loads((cell / "train/run.json").read_text())["run_id"]
    MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db").delete_run(run_id)
    evaluate_step(cell)
    assert (cell / "evaluation/metrics.json").is_file()


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "model.safetensors"])
def test_a_damaged_training_is_named(trained, name):
    _, cell = trained
    (cell / "train" / name).write_text("{")
    with pytest.raises(UserError, match=name):
        evaluate_step(cell)


def test_the_published_experiment_notices_another_archive(archive, capsys):
    arguments = ["training.epochs=1", "trainer.threads=1"]
    reproduce("deepmerge_2020", arguments)
    cells = sorted((archive / "outputs/runs").iterdir())
    before = [json.loads((cell / "train/run.json").read_text()) for cell in cells]
    write_sample(archive / "data", LARGER, ("two",), seed=7)
    reproduce("deepmerge_2020", arguments)
    after = [json.loads((cell / "train/run.json").read_text()) for cell in cells]
    for old, new in zip(before, after, strict=True):
        assert old["data_hash"] != new["data_hash"]
        assert old["run_id"] != new["run_id"]


def test_test_predictions_are_one_a_row_and_domain(archive, trained):
    import pandas as pd

    config, cell = trained
    evaluate_step(cell)
    table = pd.read_csv(cell / "evaluation/predictions.csv")
    rows = pd.read_csv(prepared_folder(config) / "rows.csv")
    test = rows.loc[rows["split"] == "test", "row"].to_numpy()
    for _, part in table.groupby("domain"):
        np.testing.assert_array_equal(part["row"], test)
        np.testing.assert_array_equal(part["label"], LARGER.labels[test])
