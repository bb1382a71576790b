"""Which training is registered, under which name, and what its card and its tags contain."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from archive.samples import LARGER, write_sample
from mlflow import MlflowClient

from mergershift import evaluation
from mergershift.cells.layout import model_file
from mergershift.cells.records import RunRecord
from mergershift.cells.summary_files import read_trainings
from mergershift.classifier import inference
from mergershift.classifier.classifier import load_classifier
from mergershift.config import Config, compose
from mergershift.config.study import read_study
from mergershift.core.errors import UserError
from mergershift.evaluation.calibration import HIGHEST
from mergershift.images.locate import prepared_images
from mergershift.registry import RegisteredModel
from mergershift.registry.choice import choose
from mergershift.registry.promote import promote_step
from mergershift.registry.register import register_step
from mergershift.stages.evaluate import evaluate_step
from mergershift.stages.prepare import prepare_step
from mergershift.stages.summary import write_summary
from mergershift.stages.train import train_step
from mergershift.tracking import fetch_model, tracking_address
from mergershift.tracking.find_run import TRAINING_TAG
from mergershift.tracking.model_files import files_hash
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.presentation import TARGET_SCORE, with_interval

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[2]
SMALL = ["filters=two", "training.epochs=1", "trainer=cpu_one_thread"]
METHOD = {"transfer": "pristine_to_noisy", "adaptation": "source_only", "experiment": "default"}


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one method and two seeds on a mock; the second seed is a copy of the first with a better score."""
    folder = tmp_path_factory.mktemp("registering")
    shutil.copytree(CHECKOUT / "conf", folder / "conf")
    for name in ("dvc.yaml", "CITATION.cff"):
        shutil.copy(CHECKOUT / name, folder)
    write_sample(folder / "data", LARGER, ("two",))
    provenance = {"kind": "mock", "seed": 3, "mergers": 12, "non_mergers": 60, "mock_version": 1}
    (folder / "data/PROVENANCE.json").write_text(
        json.dumps(provenance | {"filter_sets": ["two"], "fits": False})
    )
    path = folder / "conf/study.yaml"
    listed = yaml.safe_load(path.read_text()) | {"filters": ["two"], "methods": [METHOD], "seeds": [0, 1]}
    path.write_text(yaml.safe_dump(listed))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        config = compose(SMALL)
        assert config.selection is not None
        first, second = (folder / cell.folder for cell in read_study().cells())
        prepare_step(config)
        train_step(config, first)
        evaluate_step(first, config.selection)
        copy_training(first, second, "second")
        table = pd.read_csv(second / "evaluation/validators.csv")
        table.assign(balanced_transport_judged=1.5).to_csv(second / "evaluation/validators.csv", index=False)
        write_summary()
        output = f"{second.relative_to(folder)}/evaluation"
        stages = {
            "evaluate@two-source_only-s1": {"cmd": "x", "outs": [{"path": output, "md5": "0", "size": 1}]}
        }
        (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
        yield folder


def copy_training(cell, other, training):
    """Copy a training under a different id and with a separate run."""
    shutil.copytree(cell, other)
    change(other / "train/run.json", training=training)
    change(other / "evaluation/selection.json", training=training)
    client = MlflowClient(tracking_uri=tracking_address(None))
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    client.create_run(experiment.experiment_id, tags={TRAINING_TAG: training})


@pytest.fixture(scope="module")
def registry(study):
    return Registry(tracking_address(None))


@pytest.fixture(scope="module")
def folder(registry):
    """The best training as a registered model; its study has a run."""
    trainings = read_trainings("Do this.")
    assert trainings is not None
    client = MlflowClient(tracking_uri=tracking_address(None))
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    client.create_run(experiment.experiment_id, tags={TRAINING_TAG: trainings.study}, run_name="the study")
    assert ": registered as models:/mergershift_candidates/1" in register(("filters=two",), None)
    return fetch_model(tracking_address(None), "models:/mergershift_candidates/1")


def register(overrides, cell):
    """Register a training as the command does."""
    config = compose(overrides)
    return register_step(config, choose(config, [cell] if cell else []))


def seed_folder(study, seed):
    return study / read_study().cells()[seed].folder


def test_the_best_seed_of_the_best_method_is_registered_once(study, registry, folder):
    assert RegisteredModel.read(folder).facts.training == "second"
    # The tests share the registry and may run in any order.
    before = registry.versions("mergershift_candidates")
    already = "already registered as models:/mergershift_candidates/1"
    assert already in register(("filters=two",), None)
    assert already in register((), seed_folder(study, 1))
    assert registry.versions("mergershift_candidates") == before


def test_its_tags_are_few_and_short_and_its_card_has_the_whole_lineage(study, registry, folder):
    version = registry.resolve("models:/mergershift_candidates/1")
    record = RunRecord.read(seed_folder(study, 1) / "train/run.json")
    assert record.trained is not None
    facts = RegisteredModel.read(folder).facts
    fingerprint = facts.fingerprint(folder / "classifier.safetensors")
    tested = evaluation.read_predictions(folder / "predictions.csv")
    scores = evaluation.flat(evaluation.evaluate(tested))
    lineage = {name: value for name, value in version.tags.items() if not name.startswith("promotion")}
    assert lineage == {
        "data": "mock",
        "dvc_stage": "evaluate@two-source_only-s1",
        "commit": "none",
        "fingerprint": fingerprint[:12],
        "files": files_hash(folder),
        "target_95": with_interval(TARGET_SCORE, scores),
    }
    card = (folder / "model_card.md").read_text()
    for value in (record.training, record.trained.data_hash, record.trained.config_hash, fingerprint):
        assert f"`{value}`" in card
    run = MlflowClient(tracking_uri=tracking_address(None)).get_run(version.run_id)
    assert run.data.tags[TRAINING_TAG] == "second"


def test_its_page_links_its_run_and_its_study_and_says_how_it_is_used(study, registry, folder):
    client = MlflowClient(tracking_uri=tracking_address(None))
    version = registry.resolve("models:/mergershift_candidates/1")
    run = client.get_run(version.run_id)
    (of_study,) = client.search_runs([run.info.experiment_id], "run_name = 'the study'")
    runs, kind = f"(#/experiments/{run.info.experiment_id}/runs", "?workflowType=machine_learning)"
    assert f"[Run of the training]{runs}/{version.run_id}{kind}" in version.description
    page = f"{of_study.info.run_id}/artifacts/report/index.html"
    assert f"[Page of the study]{runs}/{page}{kind}" in version.description
    assert version.description.startswith("source_only · two · pristine→noisy · s0 · epochs=1\n===\n")
    use = client.get_registered_model("mergershift_candidates").description
    assert "mergershift predict" in use
    assert "export MLFLOW_TRACKING_URI=sqlite:///mlflow.db\nmlflow models serve" in use


def test_it_predicts_as_in_the_evaluation_and_is_calibrated_on_the_source(study, folder):
    package, cell = RegisteredModel.read(folder), seed_folder(study, 1)
    config = Config.read(cell / "train/config.yaml")
    prepared = prepared_images(config)
    tested = evaluation.read_predictions(cell / "evaluation/predictions.csv")
    as_used = evaluation.read_predictions(folder / "predictions.csv")
    for table, used in ((tested, package.with_views(1)), (as_used, package)):
        of_target = table[table["role"] == "target"]
        made = used.predict(prepared.images(config.transfer.target, of_target["row"].to_numpy()))
        np.testing.assert_allclose(made[:, 0], of_target["probability"], atol=1e-6)
        assert used.facts.threshold == of_target["threshold"].iloc[0]
    package = package.with_views(1)
    assert package.facts.domains == ("pristine",)
    # By its definition, the temperature minimises the balanced cross-entropy on the source.
    rows = prepared.rows("validation", unique=True)
    images, labels = prepared.labelled(config.transfer.source, rows)
    classifier = load_classifier(model_file(cell / "train", package.facts.epoch), config)
    chance = inference.predict(classifier, images)
    odds = np.log(chance / (1 - chance))
    risks = [
        evaluation.negative_log_likelihood(
            labels.numpy(), odds, factor * package.facts.temperature, balanced=True
        )
        for factor in (0.97, 1.0, 1.03)
    ]
    # On so few images of noise the best temperature may lie beyond the search's upper limit.
    at_limit = package.facts.temperature == pytest.approx(HIGHEST)
    assert risks == sorted(risks, reverse=True) if at_limit else risks[1] == min(risks)
    # The farthest held-out image of the domain sets the unit, because there are few validation images.
    assert package.predict(images)[:, -1].max() == pytest.approx(1, abs=1e-4)


def test_its_table_of_validation_images_has_no_target_label(folder):
    table = pd.read_csv(folder / "validation.csv")
    source, target = (table[table["role"] == role] for role in ("source", "target"))
    assert target["label"].isna().all()
    assert set(source["label"]) == {0, 1}
    assert source["row"].tolist() == target["row"].tolist()


def test_its_card_reports_its_results_and_its_provenance(study, folder):
    card = (folder / "model_card.md").read_text()
    results = evaluation.evaluate(evaluation.read_predictions(folder / "predictions.csv"))
    accuracy = results["target"]["unique"]["balanced_accuracy"]
    galaxies = results["target"]["unique"]["galaxies"]["value"]
    for text in (
        "MOCK IMAGES, NOT THE ARCHIVE",
        f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]",
        f"{galaxies:.0f} galaxies",
        "there had been 2 test evaluations on these data",
        "1 method by the mean of balanced_transport over seeds, then 2 seeds by the same validator",
        "equally frequent",
        "Apache-2.0",
        "arXiv:2103.01373",
        "70% training",
        "evaluate@two-source_only-s1",
    ):
        assert text in card
    client = MlflowClient(tracking_uri=tracking_address(None))
    description = client.get_model_version("mergershift_candidates", "1").description
    assert description is not None
    assert "MOCK images" in description
    assert f"{accuracy['value']:.3f}" in description


def test_the_promoted_candidate_is_the_champion(study, registry, folder):
    assert "is now the champion" in promote_step(compose(), None)
    champion = fetch_model(tracking_address(None), "models:/mergershift@champion")
    assert (champion / "facts.json").read_bytes() == (folder / "facts.json").read_bytes()
    register((), seed_folder(study, 0))
    with pytest.raises(UserError, match=r"\+0\.000 \[\+0\.000, \+0\.000\]"):  # the same weights
        promote_step(compose(), None)


def test_all_seeds_of_a_method_are_registered_as_one_model(study, registry):
    config = compose(("filters=two",))
    made = register_step(config, choose(config, ensemble=True))
    uri = made.partition("registered as ")[2].partition(",")[0]
    folder = fetch_model(tracking_address(None), uri)
    package = RegisteredModel.read(folder)
    assert package.facts.members[0].training == "second"
    assert len({member.training for member in package.facts.members}) == 2
    prepared = prepared_images(Config.read(seed_folder(study, 0) / "train/config.yaml"))
    images = prepared.images(config.transfer.target, prepared.rows("test", unique=True))
    columns = dict(zip(package.facts.columns, package.predict(images).T, strict=True))
    np.testing.assert_allclose(columns["training_scatter"], 0, atol=1e-6)  # the second seed is a copy
    tested = evaluation.read_predictions(folder / "predictions.csv")
    np.testing.assert_allclose(
        columns["probability"], tested[tested["role"] == "target"]["probability"], atol=1e-6
    )
    assert "ensemble of 2 seeds" in (folder / "model_card.md").read_text()


def test_a_training_on_target_labels_needs_the_name_of_an_oracle(study, registry):
    cell = study / "outputs/runs/oracle"
    copy_training(seed_folder(study, 0), cell, "oracle")
    compose([*SMALL, "transfer=oracle_target_only"]).write(cell / "train/config.yaml")
    with pytest.raises(UserError, match=r"tracking\.model=oracle_mergershift"):
        register((), cell)
    assert "models:/oracle_mergershift_candidates/1" in register(("tracking.model=oracle_mergershift",), cell)
    facts = RegisteredModel.read(
        fetch_model(tracking_address(None), "models:/oracle_mergershift_candidates/1")
    ).facts
    assert facts.oracle
    assert facts.domains == ("noisy",)


def test_what_cannot_be_registered_is_refused_in_two_lines(study, registry, tmp_path):
    unknown = study / "outputs/runs/unknown"
    copy_training(seed_folder(study, 0), unknown, "unknown")
    client = MlflowClient(tracking_uri=tracking_address(None))
    client.delete_run(registry.run_of("unknown", "mergershift"))
    stale = study / "outputs/runs/stale"
    shutil.copytree(seed_folder(study, 0), stale)
    change(stale / "evaluation/selection.json", training="another")
    untested = study / "outputs/runs/untested"
    shutil.copytree(seed_folder(study, 0) / "train", untested / "train")
    for overrides, cell, message in (
        ((), unknown, "mergershift sync"),
        ((), stale, "belongs to a training other than"),
        ((), untested, "mergershift evaluate"),
        (
            ("filters=three",),
            None,
            "no best method for filters=three.*\nIt contains filters=two pristine to noisy",
        ),
    ):
        with pytest.raises(UserError, match=message) as caught:
            register(overrides, cell)
        assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("training", None, "training: missing"),
        ("trained", None, "trained: missing"),
        ("trained.data_hash", None, "trained.data_hash: missing"),
        ("trained.provenance", {}, "trained.provenance.kind"),
        ("trained.split", {"kind": "by_galaxy"}, "trained.split"),
        ("format", 2, "format: found 2, expected 1"),
    ],
)
def test_a_damaged_record_is_refused_in_two_lines(study, key, value, found):
    cell = study / "outputs/runs/foreign"
    shutil.copytree(seed_folder(study, 0), cell, dirs_exist_ok=True)
    record = json.loads((cell / "train/run.json").read_text())
    *groups, name = key.split(".")
    part = record
    for group in groups:
        part = part[group]
    del part[name]
    part |= {} if value is None else {name: value}
    (cell / "train/run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=rf"run\.json: {found}") as caught:
        register((), cell)
    assert str(caught.value).count("\n") == 1
    shutil.copy(seed_folder(study, 0) / "train/run.json", cell / "train")
    (cell / "evaluation/selection.json").write_text("[]")
    with pytest.raises(UserError, match=r"selection\.json: found \[\], expected an object"):
        register((), cell)
