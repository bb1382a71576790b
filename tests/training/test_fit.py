"""Training: reproducible, blind to target labels and test rows, and able to go on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mergershift.cells.layout import model_epochs, model_file
from mergershift.classifier.classifier import load_classifier
from mergershift.config import Config, compose
from mergershift.images import Prepared, prepare
from mergershift.training.fit import Result, train

SMALL = ["filters=two", "training.epochs=2", "training.batch_size=64", "trainer.threads=1"]


def prepared(project: Path, config: Config) -> Prepared:
    folder = project / "outputs" / "prepared" / "images"
    if not folder.exists():
        prepare(project / "data", "two", config.split, folder)
    return Prepared(folder)


def weights(result: Result) -> dict[str, torch.Tensor]:
    return result.classifier.state_dict()


def same(one: Result, other: Result) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def spoil(data: Prepared, domain: str, rows: np.ndarray) -> None:
    """Put rubbish into the images and wrong labels to the rows."""
    images = np.load(data.folder / f"{domain}-images.npy", mmap_mode="r+")
    images[rows] = np.nan
    del images
    flip(data, domain, rows)


def flip(data: Prepared, domain: str, rows: np.ndarray) -> None:
    labels = np.load(data.folder / f"{domain}-labels.npy")
    labels[rows] = 1 - labels[rows]
    np.save(data.folder / f"{domain}-labels.npy", labels)


@pytest.mark.slow
@pytest.mark.parametrize("adaptation", ["source_only", "mmd"])
def test_same_seed_same_weights_other_seed_others(archive, adaptation):
    config = compose([*SMALL, f"adaptation={adaptation}"])
    data = prepared(archive, config)
    first = train(config, data, archive / "a")
    assert same(first, train(config, data, archive / "b"))
    assert not same(first, train(config.model_copy(update={"seed": 1}), data, archive / "c"))


@pytest.mark.slow
def test_target_labels_and_test_rows_never_reach_training(archive):
    """All target labels flipped and all test rows spoilt in both domains: not a bit of the weights changes."""
    config = compose([*SMALL, "adaptation=mmd"])
    data = prepared(archive, config)
    honest = train(config, data, archive / "a")
    everything, test = data.rows("train"), data.rows("test")
    flip(data, "noisy", np.concatenate([everything, data.rows("validation")]))
    for domain in ("pristine", "noisy"):
        spoil(data, domain, test)
    assert same(honest, train(config, data, archive / "b"))


@pytest.mark.slow
def test_the_checks_above_would_notice(archive):
    """Source labels and target images do matter, else the test before could not fail."""
    config = compose([*SMALL, "adaptation=mmd"])
    data = prepared(archive, config)
    honest = train(config, data, archive / "a")
    flip(data, "pristine", data.rows("train")[:50])
    assert not same(honest, train(config, data, archive / "b"))
    flip(data, "pristine", data.rows("train")[:50])
    images = np.load(data.folder / "noisy-images.npy", mmap_mode="r+")
    images[data.rows("train")[:50]] *= 3
    del images
    assert not same(honest, train(config, data, archive / "c"))


@pytest.mark.slow
def test_oracle_trains_on_the_targets_labels_and_says_so(archive):
    config = compose([*SMALL, "transfer=oracle_target_only"])
    data = prepared(archive, config)
    honest = train(config, data, archive / "a")
    flip(data, "noisy", data.rows("train")[:50])
    assert not same(honest, train(config, data, archive / "b"))
    assert config.choices["transfer"].startswith("oracle_")


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [["adaptation=mmd"], ["network=deepmerge_2020", "training.schedule=constant"]],
    ids=["mmd", "dropout"],
)
def test_a_stopped_training_ends_as_an_uninterrupted_one(archive, extra):
    config = compose([*SMALL, "training.epochs=4", *extra])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")

    def kill(epochs, _classifier):
        if len(epochs) == 3:
            raise Killed

    with pytest.raises(Killed):
        train(config, data, archive / "b", kill)
    told = []
    resumed = train(config, data, archive / "b", lambda epochs, _classifier: told.append(len(epochs)))
    assert told == [3, 4], "the epoch that was killed before its checkpoint is trained again, no other"
    assert same(whole, resumed)
    assert whole.epochs == resumed.epochs


@pytest.mark.slow
def test_patience_that_had_run_out_is_remembered(archive):
    config = compose([*SMALL, "training.epochs=30", "training.patience=1", "training.optimizer.lr=0.05"])
    data = prepared(archive, config)
    first = train(config, data, archive / "a")
    assert len(first.epochs) < 30
    again = train(config, data, archive / "a")
    assert again.epochs == first.epochs
    assert same(first, again)


@pytest.mark.slow
def test_a_written_classifier_reads_back(archive):
    config = compose([*SMALL, "training.epochs=1"])
    data = prepared(archive, config)
    result = train(config, data, archive / "a")
    (archive / "out").mkdir()
    result.write(archive / "out")
    images = data.images("noisy", np.arange(4))
    written = load_classifier(model_file(archive / "out", result.best_epoch), config)
    torch.testing.assert_close(written(images).logits, result.classifier(images).logits)


@pytest.mark.slow
def test_candidates_are_spread_over_the_training_and_survive_an_interruption(archive):
    config = compose([*SMALL, "training.epochs=7", "training.candidates=3"])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")
    assert set(whole.models) == {2, 4, 6, whole.best_epoch}

    class Killed(Exception):
        pass

    def kill(epochs, _classifier):
        if len(epochs) == 4:
            raise Killed

    with pytest.raises(Killed):
        train(config, data, archive / "b", kill)
    resumed = train(config, data, archive / "b")
    for epoch, path in whole.models.items():
        assert path.read_bytes() == resumed.models[epoch].read_bytes()
    (archive / "out").mkdir()
    whole.write(archive / "out")
    assert model_epochs(archive / "out") == sorted(whole.models)


@pytest.mark.slow
def test_a_method_may_change_labelled_images_and_the_trained_network(archive):
    """Noise on labelled images alters the training; statistics re-estimated on the target alter only the outcome."""
    plain, noisy, adabn = (
        train(config, prepared(archive, config), archive / config.choices["adaptation"])
        for config in (
            compose([*SMALL, "training.optimizer.lr=0.01", f"adaptation={name}"])
            for name in ("source_only", "noise_injection", "adabn")
        )
    )
    assert noisy.epochs != plain.epochs
    assert adabn.epochs == plain.epochs
    ours, theirs = weights(plain), weights(adabn)
    changed = {name for name, value in ours.items() if not torch.equal(value, theirs[name])}
    assert changed == {name for name in ours if "running_" in name or "num_batches" in name} & changed
    assert any("running_mean" in name for name in changed)


def test_gpu_without_a_gpu_is_said_in_two_lines(archive, monkeypatch):
    from mergershift.core.errors import UserError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = compose([*SMALL, "trainer=gpu"])
    with pytest.raises(UserError, match="no GPU"):
        train(config, prepared(archive, config), archive / "a")


def kill_after(epochs: int):
    def kill(history, _classifier):
        if len(history) == epochs:
            raise Killed

    return kill


@pytest.mark.slow
def test_a_training_goes_on_after_its_folder_has_moved(archive):
    """The best epoch so far must not be forgotten, or a worse one would overwrite it."""
    extra = ["training.optimizer.lr=0.02", "training.epochs=6", "training.schedule=constant"]
    config = compose([*SMALL, *extra])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")
    with pytest.raises(Killed):
        train(config, data, archive / "b", kill_after(whole.best_epoch + 3 if whole.best_epoch < 3 else 5))
    (archive / "b").rename(archive / "moved")
    assert same(whole, train(config, data, archive / "moved"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_torn_checkpoint_costs_a_new_start_not_a_traceback(archive, name, caplog):
    config = compose([*SMALL, "training.epochs=3"])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")
    with pytest.raises(Killed):
        train(config, data, archive / "b", kill_after(3))
    torn = archive / "b" / name
    torn.write_bytes(torn.read_bytes()[:1000])
    assert same(whole, train(config, data, archive / "b"))
    assert "begins anew" in caplog.text


@pytest.mark.slow
def test_the_triangular_rate_goes_up_and_down_in_each_cycle(archive):
    extra = ["training.schedule=triangular", "training.cycle_length=4", "training.epochs=8"]
    config = compose([*SMALL, *extra, "training.optimizer.lr=0.001", "training.patience=8"])
    rates = train(config, prepared(archive, config), archive / "a").table["learning_rate"]
    assert rates.max() <= 0.001
    assert rates.min() >= 0.0001
    np.testing.assert_allclose(rates[:4], rates[4:], rtol=0.2)
    assert rates[0] < rates[1]
    assert rates[3] < rates[2]
