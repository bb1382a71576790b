"""Trainings are reproducible, independent of target labels and test rows, and can be resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images.samples import write_prepared
from training.samples import config_of

from mergershift.archive import Domain
from mergershift.cells.layout import model_epochs, model_file
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.config import Config, compose
from mergershift.images import Prepared, prepare
from mergershift.training.callbacks import Epochs, OnEpoch
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
    """Replace the images of the rows by NaN and flip their labels."""
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
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(archive, adaptation):
    config = compose([*SMALL, f"adaptation={adaptation}"])
    data = prepared(archive, config)
    first = train(config, data, archive / "a")
    assert same(first, train(config, data, archive / "b"))
    assert not same(first, train(config.model_copy(update={"seed": 1}), data, archive / "c"))


@pytest.mark.slow
def test_target_labels_and_test_rows_never_reach_training(archive):
    """With all target labels flipped and all test rows spoilt in both domains, the weights stay identical."""
    config = compose([*SMALL, "adaptation=mmd"])
    data = prepared(archive, config)
    honest = train(config, data, archive / "a")
    flip(data, "noisy", np.concatenate([data.rows("train"), data.rows("validation")]))
    for domain in ("pristine", "noisy"):
        spoil(data, domain, data.rows("test"))
    assert same(honest, train(config, data, archive / "b"))


@pytest.mark.slow
def test_source_labels_and_target_images_do_change_the_training(archive):
    """Otherwise the previous test could not fail."""
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
def test_an_oracle_trains_on_target_labels_and_is_named_an_oracle(archive):
    config = compose([*SMALL, "transfer=oracle_target_only"])
    data = prepared(archive, config)
    honest = train(config, data, archive / "a")
    flip(data, "noisy", data.rows("train")[:50])
    assert not same(honest, train(config, data, archive / "b"))
    assert config.choices["transfer"].startswith("oracle_")


class Killed(Exception):
    """Simulates that the process was killed."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [["adaptation=mmd"], ["network=deepmerge_2020", "training.schedule=constant"]],
    ids=["mmd", "dropout"],
)
def test_a_killed_training_ends_like_an_uninterrupted_one(archive, extra):
    config = compose([*SMALL, "training.epochs=4", *extra])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")

    def kill(epochs, _classifier):
        if len(epochs) == 3:
            raise Killed

    with pytest.raises(Killed):
        train(config, data, archive / "b", kill)
    counts: list[int] = []
    resumed = train(config, data, archive / "b", lambda epochs, _classifier: counts.append(len(epochs)))
    assert counts == [3, 4], "only the epoch that was killed before its checkpoint is trained again"
    assert same(whole, resumed)
    assert whole.epochs == resumed.epochs


@pytest.mark.slow
def test_a_training_whose_patience_has_run_out_is_not_continued(archive):
    config = compose([*SMALL, "training.epochs=30", "training.patience=1", "training.optimizer.lr=0.05"])
    data = prepared(archive, config)
    first = train(config, data, archive / "a")
    assert len(first.epochs) < 30
    again = train(config, data, archive / "a")
    assert again.epochs == first.epochs
    assert same(first, again)


@pytest.mark.slow
def test_a_classifier_can_be_written_and_read_again(archive):
    config = compose([*SMALL, "training.epochs=1"])
    data = prepared(archive, config)
    result = train(config, data, archive / "a")
    (archive / "out").mkdir()
    result.write(archive / "out")
    images = data.images(Domain.NOISY, np.arange(4))
    written = load_classifier(model_file(archive / "out", result.best_epoch), config)
    torch.testing.assert_close(written(images).logits, result.classifier(images).logits)


@pytest.mark.slow
def test_candidates_are_spread_evenly_and_survive_an_interruption(archive):
    config = compose([*SMALL, "training.epochs=7", "training.candidates=3"])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")
    assert set(whole.models) == {2, 4, 6, whole.best_epoch}
    with pytest.raises(Killed):
        train(config, data, archive / "b", kill_after(4))
    resumed = train(config, data, archive / "b")
    for epoch, path in whole.models.items():
        assert path.read_bytes() == resumed.models[epoch].read_bytes()
    (archive / "out").mkdir()
    whole.write(archive / "out")
    assert model_epochs(archive / "out") == sorted(whole.models)


@pytest.mark.slow
def test_a_method_may_change_labelled_images_and_the_trained_network(archive):
    """Noise on labelled images changes the training; statistics estimated on the target change only its result."""
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


def test_a_missing_gpu_is_reported_in_two_lines(archive, monkeypatch):
    from mergershift.core.errors import UserError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = compose([*SMALL, "trainer=gpu"])
    with pytest.raises(UserError, match=r"finds no GPU on this machine\.\nUse trainer=cpu") as caught:
        train(config, prepared(archive, config), archive / "a")
    assert str(caught.value).count("\n") == 1


def kill_after(epochs: int) -> OnEpoch:
    def kill(history: Epochs, _classifier: Classifier) -> None:
        if len(history) == epochs:
            raise Killed

    return kill


@pytest.mark.slow
def test_a_training_resumes_after_its_folder_has_moved(archive):
    """The best epoch so far must be remembered, or a worse one would overwrite it."""
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
def test_a_damaged_checkpoint_restarts_the_training(archive, name, caplog):
    config = compose([*SMALL, "training.epochs=3"])
    data = prepared(archive, config)
    whole = train(config, data, archive / "a")
    with pytest.raises(Killed):
        train(config, data, archive / "b", kill_after(3))
    damaged = archive / "b" / name
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert same(whole, train(config, data, archive / "b"))
    assert "training restarts from the first epoch" in caplog.text


@pytest.mark.slow
def test_the_triangular_rate_rises_and_falls_in_every_cycle(archive):
    extra = ["training.schedule=triangular", "training.cycle_length=4", "training.epochs=8"]
    config = compose([*SMALL, *extra, "training.optimizer.lr=0.001", "training.patience=8"])
    rates = train(config, prepared(archive, config), archive / "a").table["learning_rate"]
    assert rates.max() <= 0.001
    assert rates.min() >= 0.0001
    np.testing.assert_allclose(rates[:4], rates[4:], rtol=0.2)
    assert rates[0] < rates[1]
    assert rates[3] < rates[2]


# The tests below train on 14 images of 8 x 8 pixels, which takes a few hundredths of a second.

DEEP_MERGE = {"_target_": "mergershift.networks.deepmerge.DeepMerge", "image_size": 8, "dropout": 0.2}
MMD = {"_target_": "mergershift.adaptation.mmd.MedianMMD", "factors": [0.5, 1.0, 2.0]}
ONE = {"_target_": "mergershift.adaptation.weighting.Fixed", "trade_off": 1.0}
ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.3}


@pytest.fixture
def tiny(tmp_path: Path) -> Prepared:
    return write_prepared(tmp_path / "tiny", disjoint=True)


def deep_config(seed: int = 0, **training: Any) -> Config:
    """A real network with dropout and a real method, augmented images and several steps per epoch."""
    settings = {"epochs": 2, "batch_size": 4, "augment": True, "optimizer": ADAM, "schedule": "one_cycle"}
    return config_of(DEEP_MERGE, MMD, ONE, seed, **settings | training)


def test_the_initial_weights_depend_on_the_seed(tiny: Prepared, tmp_path: Path) -> None:
    """At a learning rate of 0, the final weights are the initial ones.

    If all seeds had the same ones, the scatter between seeds would be underestimated.
    """
    still = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0}, "schedule": "constant", "epochs": 1}
    first, again, other = (
        dict(train(deep_config(seed, **still), tiny, tmp_path / name).classifier.named_parameters())
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    drawn = [name for name, weight in first.items() if weight.ndim > 1]
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_the_stretch_is_fitted_only_to_labelled_training_images(tiny: Prepared, tmp_path: Path) -> None:
    """It is fitted neither to images of the target, which training uses too, nor to validation images."""
    for stretch in ("linear", "asinh"):
        config = config_of(penalty=MMD, epochs=1, stretch=stretch, softening=2.0)
        fitted = train(config, tiny, tmp_path / stretch).classifier.stretch
        images = tiny.images(config.transfer.source, tiny.rows("train", trains="source")).double()
        values = 2 * torch.asinh(images / 2) if stretch == "asinh" else images
        for found, expected in ((fitted.mean, values.mean((0, 2, 3))), (fitted.std, values.std((0, 2, 3)))):
            torch.testing.assert_close(found.flatten().double(), expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize("keep", ["source_val_loss", "source_val_balanced_accuracy"])
def test_the_best_epoch_is_kept_and_not_the_last(tiny: Prepared, tmp_path: Path, keep: str) -> None:
    """With flipped validation labels, every epoch is worse than the one before."""
    flip(tiny, "pristine", tiny.rows("validation"))
    brightness = {"_target_": "networks.samples.Brightness", "limit": 0.0, "slope": -1.0}
    config = config_of(brightness, epochs=8, patience=3, keep_best=keep, stop_on=keep, optimizer=SGD)
    seen: list[dict[str, torch.Tensor]] = []

    def remember(_: list[dict[str, float]], classifier: torch.nn.Module) -> None:
        seen.append({name: value.clone() for name, value in classifier.state_dict().items()})

    result = train(config, tiny, tmp_path / "state", remember)
    scores = result.table[keep]
    assert scores.nunique() > 1
    assert (scores if keep.endswith("loss") else -scores).is_monotonic_increasing
    assert result.best_epoch == 0
    assert result.best_score == scores[0]
    assert len(scores) < 8, "patience has run out"
    read = load_classifier(result.models[0], config).state_dict()
    for name, value in result.classifier.state_dict().items():
        torch.testing.assert_close(value, seen[0][name], rtol=0, atol=0)
        torch.testing.assert_close(read[name], seen[0][name], rtol=0, atol=0)
    assert not torch.equal(seen[0]["network.head.weight"], seen[-1]["network.head.weight"])


def test_weights_depend_on_source_labels_and_target_images_but_not_on_target_labels_or_test_rows(
    tiny: Prepared, tmp_path: Path
) -> None:
    results = {"honest": train(deep_config(), tiny, tmp_path / "honest")}
    for domain in Domain:
        spoil(tiny, str(domain), tiny.rows("test"))
    flip(tiny, "noisy", np.concatenate([tiny.rows("train"), tiny.rows("validation")]))
    results["blind"] = train(deep_config(), tiny, tmp_path / "blind")
    flip(tiny, "pristine", tiny.rows("train", trains="source")[:1])
    results["source label"] = train(deep_config(), tiny, tmp_path / "source label")
    flip(tiny, "pristine", tiny.rows("train", trains="source")[:1])
    images = np.load(tiny.folder / "noisy-images.npy", mmap_mode="r+")
    images[tiny.rows("train", trains="target")[:1]] *= 3
    del images
    results["target image"] = train(deep_config(), tiny, tmp_path / "target image")
    assert {name for name, result in results.items() if same(results["honest"], result)} == {
        "honest",
        "blind",
    }


@pytest.mark.parametrize("moved", [False, True])
def test_an_interrupted_training_ends_as_without_the_interruption(
    tiny: Prepared, tmp_path: Path, moved: bool
) -> None:
    """This holds even if its folder has moved meanwhile; the best epoch precedes the interruption."""
    flip(tiny, "pristine", tiny.rows("validation"))
    config = deep_config(epochs=4, candidates=2)
    whole = train(config, tiny, tmp_path / "whole")
    with pytest.raises(Killed):
        train(config, tiny, tmp_path / "broken", kill_after(3))
    state = (tmp_path / "broken").rename(tmp_path / "moved") if moved else tmp_path / "broken"
    resumed = train(config, tiny, state)
    assert same(whole, resumed)
    assert whole.epochs == resumed.epochs
    assert whole.best_epoch == resumed.best_epoch < 2
    assert whole.models.keys() == resumed.models.keys()
