"""Candidates for `validators.py`: short trainings on small mocks, and what validators may know about each of them.

A mock's galaxies are split into training (a quarter mergers), a pool of validation galaxies, and test galaxies whose
labels give the true balanced accuracy on the target. Several methods are trained, and of several epochs the logits of
the pool are kept, with its features along the leading principal components of the training images' features.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from bench_data import prepare_mock
from numpy.typing import NDArray

from mergershift.adaptation import Adaptation
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.classifier.validation import Validation
from mergershift.config import Config, compose, instantiate
from mergershift.evaluation import oracle_target_balanced_accuracy
from mergershift.images import Prepared
from mergershift.images.split import first_renderings
from mergershift.training.fit import train

GALAXIES = {"train": (30, 90), "validation": (60, 80), "test": (30, 50)}
"""Numbers of mergers and of other galaxies in each part of a mock."""
METHODS = ("source_only", "mmd", "dann", "noise_injection", "mcc")
FITTED = {"adabn": "source_only"}
"""Methods that only fit a trained network, by the method whose networks they fit."""
COMPONENTS = 50
"""Number of principal components of the features that are kept."""
SETTINGS = (
    "filters=two", "training.epochs=10", "training.patience=10", "training.candidates=4", "training.batch_size=48",
    "training.optimizer.lr=2e-3",
)  # fmt: skip


def make_mock(folder: Path, seed: int) -> None:
    """Write the prepared images of the mock with this seed into `folder`, unless they are there."""
    if folder.is_dir():
        return
    mergers, others = (sum(counts) for counts in zip(*GALAXIES.values(), strict=True))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        partial = Path(temporary) / "prepared"
        split = compose(["filters=two"]).split
        prepare_mock(partial, "two", split, seed=seed, mergers=mergers, non_mergers=others, workers=1)
        table = pd.read_csv(partial / "rows.csv")
        part = _parts(mergers)[table["galaxy"]]
        table["split"] = np.where(first_renderings(table), part, "unused")
        table["trains"] = np.where(table["split"] == "train", "both", "")
        table.to_csv(partial / "rows.csv", index=False)
        os.replace(partial, folder)


def _parts(mergers: int) -> NDArray[np.object_]:
    """Name the part of each galaxy; the mergers come first."""
    names = np.array(list(GALAXIES), dtype=object)
    by_class = [np.repeat(names, counts) for counts in zip(*GALAXIES.values(), strict=True)]
    assert len(by_class[0]) == mergers
    return np.concatenate(by_class)


def make_candidates(folder: Path, seed: int, method: str) -> None:
    """Train a method on the mock in `folder`/mock and write one file for each kept epoch of it."""
    prepared = Prepared(folder / "mock")
    config = _config(method, seed)
    with tempfile.TemporaryDirectory(dir=folder) as state:
        result = train(config, prepared, Path(state))
        for name in (method, *(fitted for fitted, trained in FITTED.items() if trained == method)):
            own = _config(name, seed)
            validation = Validation(own, prepared)
            for epoch, path in sorted(result.models.items()):
                classifier = load_classifier(path, own)
                if name != method:
                    _fit_to_target(classifier, own, prepared)
                _store(folder / f"{name}-epoch{epoch:03d}.npz", classifier, validation, prepared, own)
    (folder / f"{method}.done").touch()


def _config(method: str, seed: int) -> Config:
    return compose([f"adaptation={method}", f"seed={seed}", "trainer=cpu_one_thread", *SETTINGS])


def _fit_to_target(classifier: Classifier, config: Config, prepared: Prepared) -> None:
    images = prepared.images(config.transfer.target, prepared.rows("train"))
    batches = (classifier.stretched(part) for part in images.split(128))
    instantiate(config.adaptation.penalty, Adaptation).after_training(classifier.network, batches)


def _store(
    path: Path, classifier: Classifier, validation: Validation, prepared: Prepared, config: Config
) -> None:
    evidence = validation.evidence(copy.deepcopy(classifier))
    assert evidence.source_train_features is not None
    assert evidence.target_train_features is not None
    train = np.concatenate([evidence.source_train_features, evidence.target_train_features])
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    varying = deviation > 1e-9 * np.abs(train).max(initial=1e-300)
    scaled = (train[:, varying] - mean[varying]) / deviation[varying]
    axes = np.linalg.svd(scaled, full_matrices=False)[2][:COMPONENTS].T
    names = ("source_features", "target_features", "source_train_features", "target_train_features")
    features = {
        name: (((getattr(evidence, name)[:, varying] - mean[varying]) / deviation[varying]) @ axes).astype(
            "f4"
        )
        for name in names
    }
    rows = prepared.rows("validation")
    test = prepared.labelled(config.transfer.target, prepared.rows("test"))
    _, logits = inference.activations(classifier, test.images)
    labels = prepared.labelled(config.transfer.target, rows).labels.numpy()
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
        np.savez_compressed(
            file,
            truth=oracle_target_balanced_accuracy(test.labels.numpy(), logits),
            test_logits=logits,
            test_labels=test.labels.numpy(),
            galaxies=prepared.table["galaxy"].to_numpy()[rows],
            source_logits=evidence.source_logits,
            target_logits=evidence.target_logits,
            labels=labels,
            **features,
        )
    os.replace(file.name, path)


def pieces(folder: Path, seeds: range) -> Iterator[tuple[Path, int, str]]:
    """Yield the trainings that are still to be done: folder, seed of the mock, method."""
    for seed in seeds:
        for method in METHODS:
            if not (folder / f"seed{seed}" / f"{method}.done").is_file():
                yield folder / f"seed{seed}", seed, method
