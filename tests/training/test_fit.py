"""Trainings are reproducible, independent of target labels and test rows, and can be resumed."""

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images.samples import write_prepared
from training.samples import config_of

from mergershift.adaptation.adabn import AdaBN
from mergershift.archive import Domain
from mergershift.cells.layout import model_epochs, model_file
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.config import Config, compose
from mergershift.images import Prepared
from mergershift.training.callbacks import Epochs, OnEpoch
from mergershift.training.fit import Result, train

CONF = Path(__file__).parents[2] / "conf"
SMALL = [
    "filters=two",
    "network.image_size=8",
    "training.epochs=2",
    "training.batch_size=8",
    "trainer.threads=1",
]


@pytest.fixture
def data(tmp_path: Path) -> Prepared:
    """28 images of 8 x 8 pixels, on which a training takes some hundredths of a second."""
    return write_prepared(tmp_path / "images")


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


@pytest.mark.parametrize("adaptation", ["source_only", "mmd"])
def test_same_seed_same_weights_other_seed_others(tmp_path, data, adaptation):
    config = compose([*SMALL, f"adaptation={adaptation}"], CONF)
    first = train(config, data, tmp_path / "a")
    assert same(first, train(config, data, tmp_path / "b"))
    assert not same(first, train(config.model_copy(update={"seed": 1}), data, tmp_path / "c"))


def test_target_labels_and_test_rows_never_reach_training(tmp_path, data):
    """All target labels flipped and all test rows spoilt in both domains: not a bit of the weights changes."""
    config = compose([*SMALL, "adaptation=mmd"], CONF)
    honest = train(config, data, tmp_path / "a")
    everything, test = data.rows("train"), data.rows("test")
    flip(data, "noisy", np.concatenate([everything, data.rows("validation")]))
    for domain in ("pristine", "noisy"):
        spoil(data, domain, test)
    assert same(honest, train(config, data, tmp_path / "b"))


@pytest.mark.parametrize("adaptation", ["mmd", "adabn"])
def test_repeated_rows_never_reach_training(tmp_path, data, adaptation):
    """The copies of mergers spoilt in both domains: not a bit of the weights changes, unless all rows are used."""
    configs = [
        compose([*SMALL, f"adaptation={adaptation}", f"training.training_rows={rule}"], CONF)
        for rule in ("unique", "all")
    ]
    before = [train(config, data, tmp_path / f"{number}") for number, config in enumerate(configs)]
    copies = np.setdiff1d(data.rows("train"), data.rows("train", unique=True))
    for domain in ("pristine", "noisy"):
        images = np.load(data.folder / f"{domain}-images.npy", mmap_mode="r+")
        images[copies] *= 3
        del images
    unique, published = (train(config, data, tmp_path / f"{n}-again") for n, config in enumerate(configs))
    assert same(before[0], unique)
    assert not same(before[1], published)


def test_the_checks_above_would_notice(tmp_path, data):
    """Source labels and target images do matter, else the test before could not fail."""
    config = compose([*SMALL, "adaptation=mmd"], CONF)
    honest = train(config, data, tmp_path / "a")
    flip(data, "pristine", data.rows("train")[:2])
    assert not same(honest, train(config, data, tmp_path / "b"))
    flip(data, "pristine", data.rows("train")[:2])
    images = np.load(data.folder / "noisy-images.npy", mmap_mode="r+")
    images[data.rows("train")[:5]] *= 3
    del images
    assert not same(honest, train(config, data, tmp_path / "c"))


def test_oracle_trains_on_the_targets_labels_and_says_so(tmp_path, data):
    config = compose([*SMALL, "transfer=oracle_target_only"], CONF)
    honest = train(config, data, tmp_path / "a")
    flip(data, "noisy", data.rows("train")[:2])
    assert not same(honest, train(config, data, tmp_path / "b"))
    assert config.choices["transfer"].startswith("oracle_")


class Killed(Exception):
    """Simulates that the process was killed."""


@pytest.mark.parametrize(
    "extra",
    [["adaptation=mmd"], ["network=deepmerge_2020", "training.schedule=constant"]],
    ids=["mmd", "dropout"],
)
def test_a_stopped_training_ends_as_an_uninterrupted_one(tmp_path, data, extra):
    config = compose([*SMALL, "training.epochs=4", *extra], CONF)
    whole = train(config, data, tmp_path / "a")

    def kill(epochs, _classifier):
        if len(epochs) == 3:
            raise Killed

    with pytest.raises(Killed):
        train(config, data, tmp_path / "b", kill)
    counts: list[int] = []
    resumed = train(config, data, tmp_path / "b", lambda epochs, _classifier: counts.append(len(epochs)))
    assert counts == [3, 4], "the epoch that was killed before its checkpoint is trained again, no other"
    assert same(whole, resumed)
    assert whole.epochs == resumed.epochs


def test_patience_that_had_run_out_is_remembered(tmp_path, data):
    config = compose(
        [*SMALL, "training.epochs=30", "training.patience=1", "training.optimizer.lr=0.05"], CONF
    )
    first = train(config, data, tmp_path / "a")
    assert len(first.epochs) < 30
    again = train(config, data, tmp_path / "a")
    assert again.epochs == first.epochs
    assert same(first, again)


def test_a_written_classifier_reads_back(tmp_path, data):
    config = compose([*SMALL, "training.epochs=1"], CONF)
    result = train(config, data, tmp_path / "a")
    (tmp_path / "out").mkdir()
    result.write(tmp_path / "out")
    images = data.images("noisy", np.arange(4))
    written = load_classifier(model_file(tmp_path / "out", result.best_epoch), config)
    torch.testing.assert_close(written(images).logits, result.classifier(images).logits)


def test_candidates_are_spread_over_the_training_and_survive_an_interruption(tmp_path, data):
    config = compose([*SMALL, "training.epochs=7", "training.candidates=3"], CONF)
    whole = train(config, data, tmp_path / "a")
    assert set(whole.models) == {2, 4, 6, whole.best_epoch}
    with pytest.raises(Killed):
        train(config, data, tmp_path / "b", kill_after(4))
    resumed = train(config, data, tmp_path / "b")
    for epoch, path in whole.models.items():
        assert path.read_bytes() == resumed.models[epoch].read_bytes()
    (tmp_path / "out").mkdir()
    whole.write(tmp_path / "out")
    assert model_epochs(tmp_path / "out") == sorted(whole.models)


def test_a_method_may_change_labelled_images_and_the_trained_network(tmp_path, data):
    """Noise on labelled images alters the training; statistics re-estimated on the target alter only the outcome."""
    plain, noisy, adabn = (
        train(config, data, tmp_path / config.choices["adaptation"])
        for config in (
            compose([*SMALL, "training.optimizer.lr=0.01", f"adaptation={name}"], CONF)
            for name in ("source_only", "noise_injection", "adabn")
        )
    )
    assert noisy.epochs != plain.epochs
    assert adabn.epochs == plain.epochs
    ours, theirs = weights(plain), weights(adabn)
    changed = {name for name, value in ours.items() if not torch.equal(value, theirs[name])}
    assert changed == {name for name in ours if "running_" in name or "num_batches" in name} & changed
    assert any("running_mean" in name for name in changed)


@pytest.mark.parametrize("method", ["adabn", "deep_astro_uda"])
def test_a_network_is_adapted_on_images_stretched_as_in_its_training(tmp_path, data, method):
    """Statistics re-estimated on the target are those of the images that the network sees."""
    config = compose([*SMALL, f"adaptation={method}"], CONF)
    result = train(config, data, tmp_path)
    again = copy.deepcopy(result.classifier)
    rows = data.rows("train", trains="target", unique=True)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.seed))
    images = data.images(Domain.NOISY, rows[order.numpy()])
    AdaBN().after_training(again.network, [again.stretched(part) for part in images.split(8)])
    expected = again.state_dict()
    for name, value in load_classifier(result.models[result.best_epoch], config).state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_gpu_without_a_gpu_is_said_in_two_lines(tmp_path, data, monkeypatch):
    from mergershift.core.errors import UserError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = compose([*SMALL, "trainer=gpu"], CONF)
    with pytest.raises(UserError, match="needs a GPU"):
        train(config, data, tmp_path / "a")


LAUNCHERS = {
    "slurm": {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "study",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "2",
        "SLURM_NODEID": "0",
    },
    "torchrun": {
        "TORCHELASTIC_RUN_ID": "none",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    },
    "mpi": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
    "lsf": {
        "LSB_JOBID": "1",
        "LSB_DJOB_RANKFILE": "/nowhere",
        "JSM_NAMESPACE_SIZE": "2",
        "JSM_NAMESPACE_LOCAL_RANK": "1",
    },
    "kubeflow": {
        "KUBERNETES_PORT": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
        "WORLD_SIZE": "2",
        "RANK": "1",
    },
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_training_is_one_process_under_any_launcher(tmp_path, data, monkeypatch, launcher):
    """It neither fails nor waits for others, writes its files as any other rank would not, and resumes from ours."""
    from pytorch_lightning.utilities import rank_zero_only

    config = compose(SMALL, CONF)
    whole = train(config, data, tmp_path / "a")
    for name, value in LAUNCHERS[launcher].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning sets it on import under these variables
    (tmp_path / "b").mkdir()
    (tmp_path / "b/hpc_ckpt_1.ckpt").write_bytes(b"of another program")
    assert same(whole, train(config, data, tmp_path / "b"))
    assert vars(rank_zero_only)["rank"] == 0
    assert os.environ.items() >= LAUNCHERS[launcher].items()


def kill_after(epochs: int) -> OnEpoch:
    def kill(history: Epochs, _classifier: Classifier) -> None:
        if len(history) == epochs:
            raise Killed

    return kill


def test_a_training_goes_on_after_its_folder_has_moved(tmp_path, data):
    """The best epoch so far must not be forgotten, or a worse one would overwrite it."""
    extra = ["training.optimizer.lr=0.02", "training.epochs=6", "training.schedule=constant"]
    config = compose([*SMALL, *extra], CONF)
    whole = train(config, data, tmp_path / "a")
    with pytest.raises(Killed):
        train(config, data, tmp_path / "b", kill_after(whole.best_epoch + 3 if whole.best_epoch < 3 else 5))
    (tmp_path / "b").rename(tmp_path / "moved")
    assert same(whole, train(config, data, tmp_path / "moved"))


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_torn_checkpoint_costs_a_new_start_not_a_traceback(tmp_path, data, name, caplog):
    config = compose([*SMALL, "training.epochs=3"], CONF)
    whole = train(config, data, tmp_path / "a")
    with pytest.raises(Killed):
        train(config, data, tmp_path / "b", kill_after(3))
    torn = tmp_path / "b" / name
    torn.write_bytes(torn.read_bytes()[:1000])
    assert same(whole, train(config, data, tmp_path / "b"))
    assert "restarts from the first epoch" in caplog.text


def test_the_triangular_rate_goes_up_and_down_in_each_cycle(tmp_path, data):
    extra = ["training.schedule=triangular", "training.cycle_length=4", "training.epochs=8"]
    config = compose([*SMALL, *extra, "training.optimizer.lr=0.001", "training.patience=8"], CONF)
    rates = train(config, data, tmp_path / "a").table["learning_rate"]
    assert rates.max() == pytest.approx(0.001)
    assert rates.min() == pytest.approx(0.0001)
    np.testing.assert_allclose(rates[:4], rates[4:], rtol=0.2)
    assert rates[0] < rates[1]
    assert rates[3] < rates[2]


# The tests below set everything that matters.

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
