"""Trainings that resume a finished one, and trainings that start with the weights of a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cells.samples import prepare_tiny, write_checkout
from registry.samples import facts_of

from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import default_output
from mergershift.cells.records import RunRecord
from mergershift.classifier.classifier import build_classifier, load_classifier, save_classifier
from mergershift.config import Config, compose
from mergershift.core.errors import UserError
from mergershift.images.locate import prepared_folder
from mergershift.registry import WEIGHTS
from mergershift.stages.initial import initialised
from mergershift.stages.resume import resumed
from mergershift.stages.start import ANEW, Start
from mergershift.stages.train import train_step
from mergershift.tracking import Run

SMALL = [
    "filters=two",
    "network.image_size=8",
    "training.batch_size=8",
    "trainer.threads=1",
    "tracking.uri='http://127.0.0.1:9'",
    "training.schedule=constant",
    "training.optimizer.lr=0.02",
    "training.candidates=2",
    "adaptation=mmd",
]
TRACKING = "tracking.uri='http://127.0.0.1:9'"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    checkout = write_checkout(tmp_path / "checkout")
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    prepare_tiny(compose(SMALL))
    return checkout


def train(config: Config, start: Start = ANEW) -> FinishedTraining:
    """Train to the end, and drop the state as the evaluation does."""
    cell = default_output(config)
    train_step(config, cell, start)
    training = FinishedTraining.read(cell)
    shutil.rmtree(Path("state") / training.name)
    return training


def of(*overrides: str) -> Config:
    return compose([*SMALL, *overrides])


def weights(training: FinishedTraining, epoch: int) -> dict[str, bytes]:
    classifier = load_classifier(training.model_file(epoch), training.config)
    return {name: value.numpy().tobytes() for name, value in classifier.state_dict().items()}


@pytest.mark.parametrize("schedule", ["constant", "triangular"])
def test_a_resumed_training_equals_an_uninterrupted_one_of_as_many_epochs(
    project: Path, schedule: str
) -> None:
    chosen = [f"training.schedule={schedule}", "training.cycle_length=2"]
    short, whole = (train(of(*chosen, f"training.epochs={epochs}")) for epochs in (3, 6))
    config, start = resumed(str(short.folder), ["training.epochs=6", TRACKING])
    longer = train(config, start)
    assert longer.folder not in (short.folder, whole.folder)
    assert longer.epochs.equals(whole.epochs)
    assert longer.trained.best_epoch == whole.trained.best_epoch
    for epoch in (whole.trained.best_epoch, 5):
        assert weights(longer, epoch) == weights(whole, epoch)
    assert set(longer.model_epochs) == {1, 2, 5, longer.trained.best_epoch}, "candidates of both"
    assert longer.record.tags["resumed.training"] == short.record.training
    assert longer.config.start is not None
    assert longer.config.start.training == short.record.training
    # It can be made longer in turn, named by its id as well as by its folder.
    config, start = resumed(longer.record.training, ["training.epochs=7", TRACKING])
    assert len(train(config, start).epochs) == 7


def test_schedules_made_for_fewer_epochs_end_and_another_cycle_begins(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    short = train(of("training.epochs=3", "training.schedule=one_cycle", "adaptation=entropy"))
    config, start = resumed(str(short.folder), ["training.epochs=6", TRACKING])
    (said,) = (record.getMessage() for record in caplog.records if "another cycle" in record.getMessage())
    assert "in the 3 further epochs" in said
    assert "the penalty's weight (Ramp) goes on where it ended" in said
    longer = train(config, start)
    before, rates = short.epochs, longer.epochs["learning_rate"].tolist()
    assert longer.epochs.iloc[:3].equals(before)
    assert rates[3:] == pytest.approx(rates[:3]), "the same cycle over the other three epochs"
    ramp = longer.epochs["penalty_weight"]
    assert ramp[3:].tolist() == pytest.approx([ramp.max()] * 3)

    # Interrupted in the second cycle, it goes on in that cycle.
    shutil.rmtree(longer.folder)

    def interrupted(run: Run, epochs: list[dict[str, float]]) -> None:
        if len(epochs) == 5:
            raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_epochs", interrupted)
        with pytest.raises(RuntimeError):
            train(config, start)
    again = train(config, start)
    assert again.epochs.equals(longer.epochs)
    assert weights(again, 5) == weights(longer, 5)


def test_a_triangular_rate_goes_on_where_the_penaltys_weight_has_ended(project: Path) -> None:
    chosen = ["training.schedule=triangular", "training.cycle_length=4", "adaptation=entropy"]
    short, whole = (train(of(*chosen, f"training.epochs={epochs}")) for epochs in (3, 6))
    config, start = resumed(str(short.folder), ["training.epochs=6", TRACKING])
    longer = train(config, start)
    assert longer.epochs["learning_rate"].tolist() == whole.epochs["learning_rate"].tolist()
    assert longer.epochs["penalty_weight"][3:].tolist() == pytest.approx(
        [longer.epochs["penalty_weight"].max()] * 3
    )


def test_more_patience_continues_a_training_that_had_stopped(project: Path) -> None:
    fast = ("training.epochs=30", "training.optimizer.lr=0.03")
    stopped, whole = (train(of(*fast, f"training.patience={patience}")) for patience in (1, 3))
    assert stopped.trained.epochs < whole.trained.epochs
    with pytest.raises(UserError, match="patience of 1 had run out"):
        resumed(str(stopped.folder), ["training.epochs=40"])
    config, start = resumed(str(stopped.folder), ["training.patience=3", TRACKING])
    assert train(config, start).epochs.equals(whole.epochs)


@pytest.mark.parametrize(
    ("trained", "overrides", "message"),
    [
        ([], ["training.epochs=9", "adaptation=coral"], "adaptation=coral.*--resume continues"),
        ([], ["training.epochs=2"], "has 2 epochs, found training.epochs=2"),
        ([], ["training.epochs=9", "training.patience=1"], "patience=1: .* patience of 60"),
    ],
)
def test_what_would_be_another_training_is_refused_by_name(
    project: Path, trained: list[str], overrides: list[str], message: str
) -> None:
    short = train(of("training.epochs=2", *trained))
    with pytest.raises(UserError, match=f"(?s){message}"):
        resumed(str(short.folder), overrides)


def test_without_its_own_checkpoint_a_training_is_not_resumed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@x")  # as in the pipeline, which keeps no checkpoints
    short = train(of("training.epochs=1"))
    assert not (short.folder / "train/checkpoints").exists()
    with pytest.raises(UserError, match="no checkpoint"):
        resumed(str(short.folder), ["training.epochs=2"])
    monkeypatch.delenv("DVC_STAGE")
    other = train(of("training.epochs=1", "seed=1"))
    shutil.copytree(other.folder / "train/checkpoints", short.folder / "train/checkpoints")
    with pytest.raises(UserError, match="belongs to another training"):
        resumed(str(short.folder), ["training.epochs=2"])
    (other.folder / "train/checkpoints/best.ckpt").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"best.ckpt cannot be read .*\n.*--init"):
        resumed(str(other.folder), ["training.epochs=2"])
    for name in ("0" * 32, "nowhere"):
        with pytest.raises(UserError, match=f"{name}: no"):
            resumed(name, ["training.epochs=2"])


def test_a_training_starts_with_the_weights_of_another_but_fits_its_own_stretch(project: Path) -> None:
    first = train(of("training.epochs=2"))
    still = ["training.epochs=1", "training.optimizer._target_=torch.optim.SGD", "training.optimizer.lr=0.0"]
    config, start = initialised(str(first.folder / "train"), [*SMALL, *still, "training.stretch=linear"])
    second = train(config, start)
    before, after = weights(first, first.trained.best_epoch), weights(second, 0)
    learned = [
        name for name in before if name.startswith("network.") and "running" not in name and "num" not in name
    ]
    assert learned
    assert all(before[name] == after[name] for name in learned)
    assert before["stretch.mean"] != after["stretch.mean"]
    anew = of(*still, "training.stretch=linear")
    assert default_output(anew) != second.folder
    assert RunRecord.read(second.folder / "train/run.json").tags["initialised.from"].startswith(first.name)


def test_a_registered_model_is_a_start_too(project: Path, tmp_path: Path) -> None:
    first = train(of("training.epochs=1"))
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(first.model_file(0), model / WEIGHTS)
    facts = facts_of(split=first.trained.split, data_kind="unknown", training=first.record.training)
    facts.write(model)
    config, start = initialised(str(model), [*SMALL, "training.epochs=1"])
    assert config.start is not None
    assert config.start.training == first.record.training
    assert start.weights == model / WEIGHTS
    assert train(config, start).record.tags["initialised.from"] == str(model)
    facts.model_copy(update={"labelled": "noisy"}).write(model)
    with pytest.raises(UserError, match="labels of noisy images"):
        initialised(str(model), SMALL)


def test_weights_of_another_network_are_refused(project: Path) -> None:
    first = train(of("training.epochs=1"))
    with pytest.raises(UserError, match=r"another network: .* expected .*\n.*network=") as error:
        initialised(str(first.folder), [*SMALL, "network=deepmerge_2020"])
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize(
    ("trained", "wanted", "message"),
    [
        (["transfer=noisy_to_pristine"], [], "labels of noisy images"),
        (["transfer=oracle_target_only", "adaptation=source_only"], [], "an oracle"),
        (["split.seed=7"], [], "another split"),
    ],
)
def test_a_network_that_has_seen_target_labels_or_test_galaxies_is_refused(
    project: Path, trained: list[str], wanted: list[str], message: str
) -> None:
    config = of("training.epochs=1", *trained)
    prepare_tiny(config)
    first = train(config)
    prepare_tiny(of())
    with pytest.raises(UserError, match=message):
        initialised(str(first.folder), [*SMALL, *wanted])


@pytest.mark.parametrize(
    ("trained", "present", "others"),
    [
        ("unknown", "archive", False),
        ("archive", "unknown", False),
        ("mock", "mock", False),
        ("mock", "archive", True),
        ("unknown", "mock", True),
    ],
)
def test_images_of_unknown_provenance_can_be_the_archives(
    project: Path, tmp_path: Path, trained: str, present: str, others: bool
) -> None:
    config = of()
    model = tmp_path / "model"
    model.mkdir()
    save_classifier(build_classifier(config), model / WEIGHTS)
    facts_of(split=config.split.model_copy(update={"seed": 7}), data_kind=trained).write(model)
    path = prepared_folder(config) / "prepared.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": {"kind": present}}))
    if others:
        initialised(str(model), SMALL)
    else:
        with pytest.raises(UserError, match="another split"):
            initialised(str(model), SMALL)


def test_the_start_is_set_by_the_commands_alone(project: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        of("+start.kind=init", "+start.training=x")
