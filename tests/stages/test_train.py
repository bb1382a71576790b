"""Stages reject inputs that do not match and repeat no finished work."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from archive.samples import LARGER, write_sample
from checkouts import copy, link
from mlflow import MlflowClient

from mergershift import evaluation
from mergershift.cells import ledger
from mergershift.cells.layout import RUN, TRAINED, default_output, model_file
from mergershift.cells.records import RunRecord
from mergershift.classifier import inference
from mergershift.classifier.classifier import load_classifier
from mergershift.config import SelectionConfig, compose, compose_selection
from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.images.locate import prepared_folder
from mergershift.registry.choice import choose
from mergershift.stages.evaluate import evaluate_step
from mergershift.stages.prepare import prepare_step
from mergershift.stages.train import train_step
from mergershift.tracking import Run

pytestmark = pytest.mark.slow
SMALL = ["filters=two", "training.epochs=1", "trainer.threads=1"]


@pytest.fixture(scope="module")
def finished(committed, sample, tmp_path_factory):
    """A project with a training, made once, of which every test gets a copy."""
    folder = tmp_path_factory.mktemp("trained") / "project"
    copy(committed, folder)
    link(sample, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        config = compose(SMALL)
        prepare_step(config)
        cell = default_output(config)
        train_step(config, cell)
    shutil.rmtree(folder / "data")
    return folder, config, cell.relative_to(folder)


@pytest.fixture
def trained(archive, finished):
    folder, config, cell = finished
    for name in ("outputs", "state", "mlartifacts", "mlflow.db"):
        copy(folder / name, archive / name)
    return config, archive / cell


def mark_as_mock(project, seed):
    provenance = {"kind": "mock", "seed": seed, "mergers": 12, "non_mergers": 60, "mock_version": 1}
    provenance |= {"filter_sets": ["two", "three"], "fits": False}
    (project / "data/PROVENANCE.json").write_text(json.dumps(provenance))


def test_a_model_is_not_evaluated_on_images_of_another_archive(archive, trained):
    config, cell = trained
    write_sample(archive / "data", LARGER, ("two",), seed=7)
    prepare_step(config)
    with pytest.raises(UserError, match="trained on images other than"):
        evaluate_step(cell, compose_selection())


def test_images_prepared_from_another_archive_are_rejected(archive, trained):
    config, cell = trained
    mark_as_mock(archive, 3)
    with pytest.raises(UserError, match="prepared from another archive"):
        train_step(config, cell)


def test_additional_files_in_the_archive_do_not_change_the_prepared_images(archive):
    config = compose(SMALL)
    mark_as_mock(archive, 3)
    prepare_step(config)
    before = (prepared_folder(config) / "prepared.json").read_bytes()
    provenance = json.loads((archive / "data/PROVENANCE.json").read_text())
    (archive / "data/PROVENANCE.json").write_text(json.dumps(provenance | {"files": {"x": "0" * 64}}))
    prepare_step(config)
    assert (prepared_folder(config) / "prepared.json").read_bytes() == before


def test_a_kill_before_the_result_was_stored_creates_no_second_run(archive, trained):
    """DVC deletes outputs that it has not stored; the training is resumed and writes the same ones."""
    config, cell = trained
    first = json.loads((cell / "train/run.json").read_text())
    weights = (cell / "train/models/epoch000.safetensors").read_bytes()
    shutil.rmtree(cell / "train")
    train_step(config, cell)
    assert json.loads((cell / "train/run.json").read_text())["run_id"] == first["run_id"]
    assert (cell / "train/models/epoch000.safetensors").read_bytes() == weights
    client = MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db")
    assert [m.step for m in client.get_metric_history(first["run_id"], "train/loss")] == [0]
    evaluate_step(cell, compose_selection())
    assert not list((archive / "state").rglob("*.ckpt"))


def test_a_deleted_run_does_not_prevent_the_evaluation(archive, trained):
    _, cell = trained
    run_id = json.loads((cell / "train/run.json").read_text())["run_id"]
    MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db").delete_run(run_id)
    evaluate_step(cell, compose_selection())
    assert (cell / "evaluation/metrics.json").is_file()


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "models/epoch000.safetensors"])
def test_the_damaged_file_of_a_training_is_named(trained, name):
    _, cell = trained
    (cell / "train" / name).write_text("{")
    with pytest.raises(UserError, match=name):
        evaluate_step(cell, compose_selection())


def choice_of(cell):
    return json.loads((cell / "evaluation/selection.json").read_text())


def test_an_epoch_is_chosen_by_the_validator_and_the_oracles_beside_it(archive):
    config = compose([*SMALL, "training.epochs=4", "training.candidates=4", "training.optimizer.lr=0.01"])
    prepare_step(config)
    cell = default_output(config)
    train_step(config, cell)
    for validator in ("source_validation_risk", "information_maximisation", "kept"):
        evaluate_step(
            cell,
            SelectionConfig(validator=validator, best_by="target_entropy", threshold="source_validation"),
        )
        choice, scores = choice_of(cell), pd.read_csv(cell / "evaluation/validators.csv").set_index("epoch")
        assert list(scores.index) == list(range(4))
        oracle = scores["oracle_target_balanced_accuracy"]
        assert oracle[choice["oracle_epoch"]] == oracle.max()
        if validator == "kept":
            assert (
                choice["epoch"] == json.loads((cell / "train/run.json").read_text())["trained"]["best_epoch"]
            )
        else:
            assert scores.loc[choice["epoch"], validator] == scores[validator].max()
        for name, prefix in (("predictions", ""), ("oracle_predictions", "oracle_")):
            table = pd.read_csv(cell / f"evaluation/{name}.csv")
            assert (table["threshold"] == choice[f"{prefix}threshold"]).all()
            assert (table["prediction"] == (table["probability"] >= table["threshold"])).all()


def test_the_choice_does_not_depend_on_the_targets_labels(archive):
    """With the target's validation and test labels flipped, only the values of the oracle change."""
    config = compose([*SMALL, "training.epochs=3", "training.candidates=3", "training.optimizer.lr=0.01"])
    prepare_step(config)
    cell = default_output(config)
    train_step(config, cell)
    evaluate_step(cell, compose_selection())
    before = choice_of(cell), pd.read_csv(cell / "evaluation/validators.csv")
    tested = evaluation.read_predictions(cell / "evaluation/predictions.csv")
    path = prepared_folder(config) / "noisy-labels.npy"
    labels = np.load(path)
    np.save(path, 1 - labels)
    evaluate_step(cell, compose_selection())
    after = choice_of(cell), pd.read_csv(cell / "evaluation/validators.csv")
    label_free = [name for name in before[0] if not name.startswith("oracle_")]
    assert [before[0][name] for name in label_free] == [after[0][name] for name in label_free]
    columns = [name for name in map(str, before[1].columns) if not name.startswith("oracle_")]
    pd.testing.assert_frame_equal(before[1][columns], after[1][columns])
    flipped = evaluation.read_predictions(cell / "evaluation/predictions.csv")
    of_target = tested["role"] == "target"
    expected = tested["label"].where(~of_target, 1 - tested["label"])
    assert (flipped["label"] == expected).all(), "the flipped labels were read"
    for name in ("probability", "threshold", "prediction"):
        assert (flipped[name] == tested[name]).all()


def test_every_test_evaluation_is_counted(archive, trained):
    config, cell = trained
    facts = json.loads((prepared_folder(config) / "prepared.json").read_text())
    split = config.split.model_dump(mode="json")
    assert ledger.count(facts["data_hash"], split) == 0
    for evaluations in (1, 2):
        evaluate_step(cell, compose_selection())
        assert ledger.count(facts["data_hash"], split) == evaluations
    with (archive / ledger.LEDGER).open("a") as file:
        file.write('{"torn')
    assert ledger.count(facts["data_hash"], split) == 2
    assert ledger.count("other data", split) == ledger.count(facts["data_hash"], {"kind": "other"}) == 0


def test_progress_is_written_for_the_dashboard(archive):
    config = compose([*SMALL, "training.epochs=2"])
    prepare_step(config)
    cell = archive / "outputs/cells/two/here"
    train_step(config, cell)
    assert json.loads((archive / "state/cells/two/here/progress.json").read_text()) == {
        "epoch": 2,
        "epochs": 2,
    }


def test_there_is_one_test_prediction_per_row_and_domain(archive, trained):
    config, cell = trained
    evaluate_step(cell, compose_selection())
    table = pd.read_csv(cell / "evaluation/predictions.csv")
    rows = pd.read_csv(prepared_folder(config) / "rows.csv")
    test = rows.loc[rows["split"] == "test", "row"].to_numpy()
    for _, part in table.groupby("domain"):
        np.testing.assert_array_equal(part["row"], test)
        np.testing.assert_array_equal(part["label"], LARGER.labels[test])


def test_each_domain_has_its_own_statistics_under_adabn(archive):
    """The kept network is adapted to the target; the source is tested with a copy adapted to source images."""
    config = compose([*SMALL, "adaptation=adabn", "training.optimizer.lr=0.01", "training.candidates=0"])
    prepare_step(config)
    cell = default_output(config)
    train_step(config, cell)
    evaluate_step(cell, SelectionConfig(validator="kept", best_by="target_entropy", threshold="half"))
    table = evaluation.read_predictions(cell / "evaluation/predictions.csv")
    kept = load_classifier(model_file(cell / "train", 0), config)
    prepared = Prepared(prepared_folder(config))
    same = {}
    for role, part in table.groupby("role"):
        images = prepared.images(part["domain"].iloc[0], part["row"].to_numpy())
        same[role] = np.allclose(inference.predict(kept, images, threads=1), part["probability"], atol=1e-5)
    assert same == {"source": False, "target": True}


def test_the_published_protocol_tests_all_rows_of_a_split_for_each_domain(archive):
    """Plain accuracy at one half over all rows of a domain's own test, on images normalised by those of the domain."""
    config = compose(["experiment=mmd_2021", "filters=two", "training.epochs=1", "trainer.threads=1"])
    prepare_step(config)
    cell = default_output(config)
    train_step(config, cell)
    assert config.selection is not None
    evaluate_step(cell, config.selection)
    table = evaluation.read_predictions(cell / "evaluation/predictions.csv")
    results = evaluation.read_results(cell / "evaluation")
    network = load_classifier(model_file(cell / "train", 0), config).network
    prepared = Prepared(prepared_folder(config))
    tested = []
    for role, domain, column in (("source", "pristine", "split"), ("target", "noisy", "split_noisy")):
        part = table[table["role"] == role]
        rows = prepared.table.loc[prepared.table[column] == "test", "row"].to_numpy()
        np.testing.assert_array_equal(part["row"], rows)
        images = np.load(prepared.folder / f"{domain}-images.npy")
        mean, deviation = (
            getattr(images.astype(float), name)((0, 2, 3), keepdims=True) for name in ("mean", "std")
        )
        normalised = ((images[rows] - mean) / deviation).astype(np.float32)
        with torch.no_grad():
            probability = network(torch.from_numpy(normalised)).logits.softmax(1)[:, 1].numpy()
        np.testing.assert_allclose(part["probability"], probability, atol=1e-4)
        score = results[role]["all_rows"]
        assert score["images"]["value"] == len(rows) > results[role]["unique"]["images"]["value"]
        right = (part["probability"] >= 0.5) == (part["label"] == 1)
        assert score["accuracy"]["value"] == pytest.approx(right.mean())
        tested.append(set(rows))
    assert tested[0] != tested[1]
    with pytest.raises(UserError, match="those of the test included"):
        choose(config, [cell])


def test_how_the_archives_files_were_read_is_recorded_in_the_run(trained):
    _, cell = trained
    record = RunRecord.read(cell / TRAINED / RUN)
    assert record.trained is not None
    assert record.trained.reading["galaxies"] == record.tags["read.galaxies"] == "published order"
    assert record.trained.reading["channels.noisy"] == record.tags["read.channels.noisy"]
    assert record.tags["read.channels.noisy"].startswith("f814w,f160w (")


def test_a_git_worktree_trains_the_same_cell_while_another_training_is_interrupted(
    archive, sample, monkeypatch
):
    config = compose([*SMALL, "training.epochs=2"])
    prepare_step(config)

    def weights(name):
        return model_file(archive / "outputs" / name / "train", 1).read_bytes()

    train_step(config, archive / "outputs/uninterrupted")

    def interrupted(_, epochs):
        if len(epochs) == 2:
            raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_epochs", interrupted)
        with pytest.raises(RuntimeError, match="interrupted"):
            train_step(config, archive / "outputs/cell")
    (state,) = (archive / "state/cell/checkpoints").glob("last.ckpt")

    other = archive.with_name("other")
    subprocess.run(["git", "worktree", "add", "-q", other], cwd=archive, check=True)
    link(sample, other / "data")
    monkeypatch.chdir(other)
    changed = compose([*SMALL, "training.optimizer.lr=0.01"])
    prepare_step(changed)
    train_step(changed, other / "outputs/cell")
    evaluate_step(other / "outputs/cell", compose_selection())
    assert state.exists()
    assert ledger.count(prepared_facts(config)["data_hash"], config.split.model_dump(mode="json")) == 1

    monkeypatch.chdir(archive)
    assert "2 epochs" in train_step(config, archive / "outputs/cell")
    assert weights("cell") == weights("uninterrupted")
    client = MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db")
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert ledger.count(prepared_facts(config)["data_hash"], config.split.model_dump(mode="json")) == 1


def prepared_facts(config):
    return Prepared(prepared_folder(config)).facts
