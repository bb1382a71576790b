"""What MLflow's pages show of a training, a trial and a search."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cells.samples import CONF
from tracking.samples import CONFIG, HASH, SCORES, TRAINING, choosing, varying

from mergershift.cells.records import RunSpec
from mergershift.config import compose, varied
from mergershift.evaluation import ORACLE
from mergershift.tracking.colours import COLOURS, method_colour
from mergershift.tracking.data_sets import data_inputs
from mergershift.tracking.description import description
from mergershift.tracking.notes import note_tags
from mergershift.tracking.presentation import metric_name, parameters, run_name, shown_tags

SPACE = {
    "training": {"optimizer": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}},
    "adaptation": {"weighting": {"trade_off": {"choices": {"small": 0.1, "large": 1.0}}}},
}
SEARCH = replace(
    TRAINING,
    name="tuned_mmd",
    config={**CONFIG, "tuning": {"objectives": ["target_entropy"], "space": SPACE}},
    tags={"study": "tuned_mmd"},
)
TRIAL = replace(varying(lr=0.00123456, epochs=7), parent="t0")
TRIAL = replace(TRIAL, tags={**TRIAL.tags, "trial": "7", "study": "tuned_mmd"})
ORACLE_TRIAL = replace(TRIAL, tags={**TRIAL.tags, "study": "oracle_tuned_mmd-three"})
ORACLE_TRAINING = choosing(labelled="oracle_target", transfer="oracle_target_only", adaptation="source_only")
UNKNOWN = RunSpec("t", "e", "some training", {"seed": 3}, {})


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (TRAINING, "mmd · three · pristine→noisy · s0"),
        (ORACLE_TRAINING, "oracle · three · pristine→noisy · s0"),
        (choosing(experiment="tuned_mmd"), "tuned_mmd · three · pristine→noisy · s0"),
        (
            choosing(network="resnet18", split="published_leaky"),
            "mmd · three · pristine→noisy · s0 · resnet18 · published_leaky",
        ),
        (
            varying(epochs=3, lr=0.01, augment=False, patience=2),
            "mmd · three · pristine→noisy · s0 · epochs=3 · lr=0.01 · augment=false",
        ),
        (
            replace(TRAINING, tags={"dvc_experiment": "lanky-moth"}),
            "mmd · three · pristine→noisy · s0 · lanky-moth",
        ),
        (TRIAL, "trial 7 · lr=0.001235 · epochs=7"),
        (SEARCH, "search · mmd · three · pristine→noisy"),
        (
            replace(SEARCH, config={**SEARCH.config, "tuning": {"objectives": [ORACLE]}}),
            "oracle search · mmd · three · pristine→noisy",
        ),
        (ORACLE_TRIAL, "oracle trial 7 · lr=0.001235 · epochs=7"),
        (replace(ORACLE_TRAINING, parent="t0", tags={"trial": "1"}), "oracle trial 1"),
        (choosing(experiment="oracle_tuned_mmd"), "oracle_tuned_mmd · three · pristine→noisy · s0"),
        (
            choosing(experiment="deepmerge_2020", adaptation="source_only"),
            "deepmerge_2020 · source_only · three · pristine→noisy · s0",
        ),
        (
            choosing(experiment="tuned_mmd", adaptation="coral"),
            "tuned_mmd · coral · three · pristine→noisy · s0",
        ),
        (replace(TRAINING, name="study · demo", tags={"kind": "study"}), "study · demo"),
        (UNKNOWN, "some training"),
    ],
)
def test_a_run_is_named_by_what_distinguishes_it(spec: RunSpec, name: str) -> None:
    assert run_name(spec) == name


def test_parameters_are_what_people_compare() -> None:
    found = parameters(varying(epochs=18))
    assert found.pop("settings")
    assert found == {
        "method": "mmd",
        "adaptation": "mmd",
        "filters": "three",
        "source": "pristine",
        "target": "noisy",
        "labels": "pristine",
        "network": "deepmerge",
        "trade_off": "1",
        "learning_rate": "0.001",
        "epochs": "18",
        "batch_size": "128",
        "seed": "0",
        "experiment": "default",
        "training": "demo",
        "split": "by_galaxy",
        "data": "mock, seed 100",
        "varied": "training.epochs=18",
    }
    assert parameters(ORACLE_TRAINING)["labels"] == "noisy"
    for tuned in (choosing(experiment="oracle_tuned_mmd"), ORACLE_TRIAL):
        assert parameters(tuned)["labels"] == "pristine; tuned on noisy"
    other = parameters(choosing(experiment="deepmerge_2020", adaptation="coral"))
    assert (other["method"], other["adaptation"]) == ("deepmerge_2020", "coral")
    assert {"trade_off", "learning_rate"}.isdisjoint(parameters(SEARCH)), "it tries many values of these"
    assert parameters(UNKNOWN) == {}


def test_trainings_that_differ_in_their_seeds_alone_have_the_same_settings() -> None:
    def settings(data: str = "d", **changed: object) -> str:
        config = {**TRAINING.config, **changed}
        return parameters(replace(TRAINING, config=config, tags={**TRAINING.tags, "data_hash": data}))[
            "settings"
        ]

    training = {**TRAINING.config["training"], "epochs": 7}
    assert settings(seed=5) == settings(trainer={"threads": 9}) == settings()
    assert (
        len({settings(), settings(training=training), settings(split={"kind": "other"}), settings("e")}) == 4
    )


def test_runs_have_the_parameters_by_which_views_group_them() -> None:
    untagged = parameters(replace(TRAINING, tags={}))
    assert untagged["data"] == "unknown"
    assert untagged["varied"] == "none"
    assert untagged.keys() == parameters(TRAINING).keys()


def test_tags_are_few() -> None:
    assert shown_tags(TRAINING, SCORES) == {
        "mergershift.training": "t1",
        "kind": "training",
        "data": "mock",
        "target_95": ".66 [.58, .72]",
        "mlflow.user": "ann",
        "mlflow.runColor": COLOURS["mmd"],
    }
    assert shown_tags(TRIAL, {})["kind"] == "trial"
    assert shown_tags(TRIAL, {})["search"] == "tuned_mmd"
    assert shown_tags(SEARCH, {})["kind"] == "search"


def test_metrics_are_grouped_and_those_that_nobody_compares_left_out() -> None:
    assert {plain: shown for plain in SCORES if (shown := metric_name(plain)) is not None} == {
        "source.unique.balanced_accuracy": "source/balanced_accuracy",
        "target.unique.balanced_accuracy": "target/balanced_accuracy",
        "target.unique.balanced_accuracy.low": "uncertainty/target_balanced_accuracy_low",
        "target.unique.balanced_accuracy.high": "uncertainty/target_balanced_accuracy_high",
        "target.unique.auc": "target/auc",
        "gain": "target/gain",
        "gain.low": "uncertainty/target_gain_low",
        "gain.high": "uncertainty/target_gain_high",
        "selected_epoch": "validators/epoch",
        "threshold": "validators/threshold",
        "target_entropy": "validators/target_entropy",
    }
    assert metric_name("best_target_entropy") == metric_name("target_entropy"), "of a search and its trials"
    assert metric_name("train_loss", epoch=True) == "train/loss"
    assert metric_name("penalty_weight", epoch=True) == "train/penalty_weight"
    assert metric_name("source_val_accuracy", epoch=True) == "validation/source_accuracy"
    assert metric_name("target_entropy", epoch=True) == "validation/target_entropy"
    assert metric_name("system/cpu_utilization_percentage", epoch=True).startswith("system/")


def test_a_description_gives_data_scores_with_intervals_and_the_study() -> None:
    text = description(TRAINING, SCORES, "#/study")
    assert text is not None
    what, scores, where = text.split("\n\n")
    assert "MOCK images" in what
    assert "without theirs" in what
    assert "target .66 [.58, .72], source .80" in scores
    assert "difference from source-only +.16 [-.05, .22]. 90 test galaxies, 360 renderings, 1 seed." in scores
    assert "(#/study)" in where
    before = description(ORACLE_TRAINING, {})
    assert before is not None
    assert "labels of noisy images" in before
    assert "Not evaluated yet." in before
    assert "without theirs" not in before
    assert "Not finished yet." in str(description(SEARCH, {}))
    found = description(SEARCH, {"best_target_entropy": -0.5, "completed": 6, "pruned": 2, "failed": 0})
    assert "6 completed, 2 pruned, 0 failed; best target_entropy -0.5000." in str(found)
    assert description(UNKNOWN, {}) is None


@pytest.mark.parametrize("method", ["source_only", "noise_injection", "fisher", "mmd", "adabn"])
@pytest.mark.parametrize("experiment", ["default", "deepmerge_2020", "tuned_source_only"])
def test_adaptation_is_claimed_only_where_target_images_were_used(method: str, experiment: str) -> None:
    spec = choosing(adaptation=method, experiment=experiment)
    adapted = method in ("mmd", "adabn")
    assert ("adapted to noisy ones" in str(description(spec, {}))) == adapted
    assert ("target training (no labels)" in data_inputs(spec, evaluated=False)) == adapted


def test_nothing_is_claimed_of_a_method_that_is_not_known() -> None:
    gone = {"penalty": {"_target_": "mergershift.adaptation.mmd.Gone"}}
    for adaptation in (gone, {}):
        spec = replace(TRAINING, config={**CONFIG, "adaptation": adaptation})
        assert "adapted" not in str(description(spec, {}))
        assert data_inputs(spec, evaluated=False).keys() == {"source training"}


@pytest.mark.parametrize(
    "spec",
    [
        replace(SEARCH, config={**SEARCH.config, "tuning": {"objectives": ["target_entropy", ORACLE]}}),
        ORACLE_TRIAL,
        choosing(experiment="oracle_tuned_mmd"),
    ],
)
def test_whatever_was_tuned_on_target_labels_says_so(spec: RunSpec) -> None:
    assert "its hyper-parameters were tuned with the labels of noisy images" in str(description(spec, {}))
    assert run_name(spec).startswith("oracle")
    for honest in (TRAINING, TRIAL, SEARCH):
        assert "tuned with the labels" not in str(description(honest, {}))
        assert not run_name(honest).startswith("oracle")


def test_every_method_has_a_colour_of_its_own() -> None:
    methods = [path.stem for path in (CONF / "adaptation").glob("*.yaml")]
    colours = {method: method_colour(method) for method in methods}
    assert colours == {method: COLOURS[method] for method in methods}
    assert len({*colours.values(), method_colour("source_only", labels_of_target=True)}) == len(methods) + 1
    assert method_colour("a_new_one") == method_colour("a_new_one") != method_colour("another")


def test_data_sets_are_those_that_were_used() -> None:
    def used(spec: RunSpec, *, evaluated: bool = False) -> dict[str, str]:
        found = data_inputs(spec, evaluated=evaluated)
        assert {entry.dataset.digest for entry in found.values()} <= {HASH[:16]}
        return {context: entry.dataset.name for context, entry in found.items()}

    both = {
        "source training": "mock-100-three-pristine",
        "target training (no labels)": "mock-100-three-noisy",
    }
    tests = {"source test": "mock-100-three-pristine-test", "target test": "mock-100-three-noisy-test"}
    assert used(TRAINING) == both
    assert used(TRAINING, evaluated=True) == both | tests
    assert used(choosing(adaptation="source_only")) == {"source training": "mock-100-three-pristine"}
    assert used(ORACLE_TRAINING) == {"target training": "mock-100-three-noisy"}
    assert used(replace(TRAINING, tags={})) == {}


def test_a_description_that_a_user_has_edited_stays() -> None:
    first = note_tags("ours", {})
    assert note_tags("ours", first) == {}
    assert note_tags("better", first)["mlflow.note.content"] == "better"
    assert note_tags("better", first | {"mlflow.note.content": "a user's"}) == {}
    assert note_tags("better", first | {"mlflow.note.content": ""}) == {}, "emptied"
    assert note_tags("ours", {"mlflow.note.content": "a user's"}) == {}


def test_settings_vary_if_no_file_gives_them() -> None:
    assert varied(compose(["adaptation=mmd", "seed=3", "training.epochs=4"])) == {"training.epochs": 4}
    assert varied(compose(["training=demo", "network=resnet18", "adaptation=coral"])) == {}
