"""Self-supervised pre-training: what it sees, what it learns, and that it can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from images import samples
from images.samples import NOISY, numbers
from safetensors.torch import load_file
from torch import Generator
from training.samples import CONF, config_of
from yaml import safe_load

from mergershift.cells.layout import PRETRAINED
from mergershift.classifier.classifier import build_classifier
from mergershift.config import Config
from mergershift.config.pretraining import PretrainingConfig
from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.networks import feature_weights
from mergershift.training import pretraining
from mergershift.training.fit import train
from mergershift.training.pretraining import (
    UNFINISHED,
    pretrained,
    projector,
    unlabelled_images,
    views,
)

NETWORK = {"_target_": "mergershift.networks.deepmerge.DeepMerge", "image_size": 8}
SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-2},
    "projector": (16, 8),
    "shift": 1,
    "brightness": 0.2,
    "noise": 0.5,
}


def write_prepared(folder: Path, *, disjoint: bool = False) -> Prepared:
    prepared = samples.write_prepared(folder, disjoint=disjoint)
    facts = {"data_hash": "d" * 64, "provenance": {"kind": "mock"}, "split": {}}
    (folder / "prepared.json").write_text(json.dumps(facts))
    return prepared


def configured(seed: int = 0, training: dict[str, Any] | None = None, **changed: Any) -> Config:
    settings = PretrainingConfig.model_validate(SETTINGS | changed)
    config = config_of(network=NETWORK, seed=seed, **training or {})
    return config.model_copy(update={"pretraining": settings})


@pytest.mark.parametrize("disjoint", [False, True])
def test_sees_the_training_images_of_both_domains_once(tmp_path: Path, disjoint: bool) -> None:
    source, target = unlabelled_images(configured(), write_prepared(tmp_path / "images", disjoint=disjoint))
    ours, theirs = [0, 1, 16, 17, 18], [2, 3, 19, 20, 21]
    if not disjoint:
        ours = theirs = sorted(ours + theirs)
    assert numbers(source) == ours
    assert numbers(target) == [NOISY + row for row in theirs]


def test_reads_no_label(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "images")
    for path in prepared.folder.glob("*-labels.npy"):
        path.unlink()
    path, losses = pretrained(configured(epochs=1), prepared, tmp_path)
    assert path.is_file()
    assert len(losses) == 1


def test_learns_the_features_and_leaves_the_head(tmp_path: Path) -> None:
    config = configured(epochs=30)
    path, losses = pretrained(config, write_prepared(tmp_path / "images"), tmp_path)
    assert losses[-1] < 0.8 * losses[0]
    torch.manual_seed(config.seed)
    before, after = build_classifier(config).state_dict(), load_file(path)
    for name in before:
        if name.endswith("weight"):
            assert torch.equal(before[name], after[name]) == name.startswith("network.head"), name


def test_an_interrupted_one_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = write_prepared(tmp_path / "images")
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, losses = pretrained(configured(), prepared, tmp_path / "whole")

    def stopped(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    epoch = pretraining._Run.epoch
    with monkeypatch.context() as patch:
        patch.setattr(
            pretraining._Run, "epoch", lambda run: stopped() if len(run.losses) == 2 else epoch(run)
        )
        with pytest.raises(KeyboardInterrupt):
            pretrained(configured(), prepared, tmp_path / "parts")
    assert not (tmp_path / "parts" / PRETRAINED).exists()
    torch.manual_seed(99)
    resumed, again = pretrained(configured(), prepared, tmp_path / "parts")
    assert again == losses
    expected = load_file(whole)
    assert all(torch.equal(value, expected[name]) for name, value in load_file(resumed).items())


@pytest.mark.parametrize("fault", ["damaged", "of another seed"])
def test_a_checkpoint_that_does_not_fit_is_left_aside(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = write_prepared(tmp_path / "images")
    pretrained(configured(seed=int(fault == "of another seed")), prepared, tmp_path)
    if fault == "damaged":
        (tmp_path / UNFINISHED).write_bytes(b"PK")
    _, losses = pretrained(configured(), prepared, tmp_path)
    assert len(losses) == 3
    assert "starts from the first epoch" in caplog.text


def test_views_differ_as_configured() -> None:
    images = torch.randn(4, 2, 8, 8)
    rows = torch.tensor([2, 0])
    still = PretrainingConfig.model_validate(SETTINGS | {"shift": 0, "brightness": 0.0, "noise": 0.0})
    for view in views(images, rows, Generator().manual_seed(0), still):
        for image, original in zip(view, images[rows], strict=True):
            turned = [original.rot90(k, (1, 2)) for k in range(4)]
            symmetries = [*turned, *(one.flip(2) for one in turned)]
            assert any(torch.equal(image, symmetry) for symmetry in symmetries)
    flat = torch.ones(500, 1, 8, 8)
    bright = PretrainingConfig.model_validate(SETTINGS | {"noise": 0.0})
    factors = torch.cat(
        [view[:, 0, 0, 0] for view in views(flat, torch.arange(500), Generator().manual_seed(0), bright)]
    )
    assert factors.log().std().item() == pytest.approx(0.2, rel=0.1)
    noisy = PretrainingConfig.model_validate(SETTINGS | {"brightness": 0.0})
    first, second = views(flat, torch.arange(500), Generator().manual_seed(0), noisy)
    deviations = (first - 1).std((1, 2, 3))
    assert 0 < deviations.min() < 0.1
    assert deviations.mean().item() == pytest.approx(0.25, rel=0.1)
    assert abs(np_correlation(first, second)) < 0.02


def np_correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def test_projector_ends_without_normalisation() -> None:
    layers = projector(5, (7, 3))
    assert [type(layer).__name__ for layer in layers] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert layers(torch.randn(4, 5)).shape == (4, 3)


def test_too_few_images_raise_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"20 training images, expected at least two batches of 16"):
        pretrained(configured(batch_size=16), write_prepared(tmp_path / "images"), tmp_path)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_training_starts_from_it_and_can_freeze_the_features(tmp_path: Path, frozen: bool) -> None:
    rates = {
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01},
        "epochs": 2,
        "frozen_features": frozen,
    }
    config = configured(epochs=2, training=rates)
    prepared = write_prepared(tmp_path / "images")
    result = train(config, prepared, tmp_path / "state")
    start, end = load_file(tmp_path / "state" / PRETRAINED), result.classifier.state_dict()
    network = build_classifier(config).network.eval()
    features = {id(weight) for weight in feature_weights(network, torch.zeros(1, 2, 8, 8))}
    for name, weight in network.named_parameters():
        key = f"network.{name}"
        kept = frozen and id(weight) in features
        assert torch.equal(start[key], end[key]) == kept, name
    for name in start:
        if "running_" in name:
            assert torch.equal(start[name], end[name]) == frozen, name


def test_frozen_features_of_random_weights_raise_a_user_error(tmp_path: Path) -> None:
    config = config_of(network=NETWORK, frozen_features=True, epochs=1)
    with pytest.raises(UserError, match="but this one has none"):
        train(config, write_prepared(tmp_path / "images"), tmp_path / "state")


def test_both_experiments_pre_train_alike() -> None:
    first, second = (
        safe_load((CONF / "experiment" / f"{name}.yaml").read_text())
        for name in ("pretrained", "pretrained_frozen")
    )
    assert second == first | {"training": {"frozen_features": True}}
