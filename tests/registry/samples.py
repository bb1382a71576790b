"""Models of an untrained classifier, which are quick to make, and images to apply them to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mergershift import archive
from mergershift.archive import FILTER_SETS
from mergershift.classifier.classifier import Classifier, build_classifier, save_classifier
from mergershift.config import compose
from mergershift.registry import COLUMNS, WEIGHTS, ExportableModel, ModelFacts, fit_distance
from mergershift.tracking.exported_models import save_program

SPLIT = {"kind": "by_galaxy", "seed": 68, "train": 0.7, "validation": 0.1, "disjoint_domains": False}
CONF = Path(__file__).parents[2] / "conf"


def stamps(count: int, seed: int = 0, channels: int = 2) -> NDArray[np.float32]:
    """Draw images `(count, channels, 75, 75)` of blobs a few pixels wide on a noisy sky, in µJy/arcsec²."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:75, :75] - 37.0
    wide = random.uniform(3, 9, (count, 1, 1, 1))
    bright = random.lognormal(1.5, 0.5, (count, channels, 1, 1))
    ratio = random.uniform(0.5, 1.0, (count, 1, 1, 1))
    light = bright * np.exp(-np.sqrt(x**2 + (y / ratio) ** 2) / wide)
    return (light + random.normal(0, 0.2, light.shape)).astype(np.float32)


def facts_of(**changed: object) -> ModelFacts:
    """Facts of an imaginary training."""
    values: dict[str, object] = {
        "name": "cells/two/pristine_to_noisy/mmd/default/seed0",
        "filter_set": "two",
        "filters": FILTER_SETS["two"].filter_names,
        "unit": archive.UNIT,
        "image_size": archive.IMAGE_SIZE,
        "field_kpc": archive.FIELD_KPC,
        "pixel_arcsec": archive.PIXEL_ARCSEC,
        "redshift": archive.REDSHIFT,
        "threshold": 0.4,
        "threshold_rule": "source_validation",
        "temperature": 1.7,
        "classes": "equally frequent",
        "domains": ("pristine", "noisy"),
        "source": "pristine",
        "target": "noisy",
        "labelled": "pristine",
        "oracle": False,
        "network": "deepmerge",
        "adaptation": "mmd",
        "transfer": "pristine_to_noisy",
        "experiment": None,
        "seed": 0,
        "epoch": 3,
        "validator": "source_validation_risk",
        "training": "t" * 32,
        "data_hash": "d" * 64,
        "data_kind": "mock",
        "split": SPLIT,
        "config_hash": "c" * 64,
    }
    return ModelFacts.model_validate(values | changed)


def classifier_of(network: str = "deepmerge", seed: int = 0) -> Classifier:
    """An untrained classifier for two filters, with its stretch fitted to stamps."""
    torch.manual_seed(seed)
    classifier = build_classifier(compose(["filters=two", f"network={network}"], CONF)).eval()
    classifier.stretch.fit(torch.from_numpy(stamps(50)))
    return classifier


def program_of(network: str = "deepmerge", seed: int = 0, images: int = 150) -> ExportableModel:
    """The complete program of an untrained classifier."""
    classifier = classifier_of(network, seed)
    features = []
    for sample in (1, 2):
        with torch.inference_mode():
            output = classifier(torch.from_numpy(stamps(images, sample)))
        features.append(output.features.double().numpy())
    return ExportableModel(classifier, 1.7, fit_distance(*features))


def write_package(folder: Path, facts: ModelFacts, program: ExportableModel) -> Path:
    """Write a model to `folder`/model as `mergershift register` does."""
    folder.mkdir(exist_ok=True)
    facts.write(folder)
    save_classifier(program.classifier, folder / WEIGHTS)
    save_program(
        program, stamps(2), list(COLUMNS), folder / "model", [folder / "facts.json", folder / WEIGHTS]
    )
    return folder / "model"
