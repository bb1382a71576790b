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
from mergershift.registry import WEIGHTS, ExportableModel, ModelFacts, fit_distance
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
        "distance_unit": 1.2,
        "views": 8,
        "one_view": {"threshold": 0.45, "temperature": 1.5, "distance_unit": 1.0},
        "members": [
            {name: str(name) for name in ("name", "training", "config_hash")} | {"seed": 0, "epoch": 3}
        ],
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
    """The program of an untrained classifier."""
    classifier = classifier_of(network, seed)
    features = []
    for sample in (1, 2):
        with torch.inference_mode():
            output = classifier(torch.from_numpy(stamps(images, sample)))
        features.append(output.features.double().numpy())
    return ExportableModel([classifier], [fit_distance(*features)])


class EarlierProgram(ExportableModel):
    """The program of one network as earlier versions exported it: two probabilities and a distance of one view."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the three columns, `(N, 3)`."""
        odds, distance = super().forward(images).unbind(1)
        return torch.stack([torch.sigmoid(odds), torch.sigmoid(odds / 1.7), distance], dim=1)


def earlier_program_of(images: int = 150) -> EarlierProgram:
    """The program of `program_of` as earlier versions exported it."""
    made = program_of(images=images)
    return EarlierProgram(list(made.classifiers), list(made.distances))  # type: ignore[arg-type]


def write_package(folder: Path, facts: ModelFacts, program: ExportableModel) -> Path:
    """Write a model to `folder`/model as `mergershift register` does."""
    folder.mkdir(exist_ok=True)
    facts.write(folder)
    first, *_ = program.classifiers
    assert isinstance(first, Classifier)
    save_classifier(first, folder / WEIGHTS)
    save_program(
        program, stamps(2), list(facts.columns), folder / "model", [folder / "facts.json", folder / WEIGHTS]
    )
    return folder / "model"


def ensemble_of(*seeds: int) -> tuple[ModelFacts, ExportableModel]:
    """Facts and program of several untrained classifiers, the first of which is that of `program_of`."""
    programs = [program_of(seed=seed, images=20) for seed in seeds]
    member = facts_of().members[0]
    facts = facts_of(members=[member.model_copy(update={"seed": seed}) for seed in seeds])
    classifiers, distances = (
        [next(iter(getattr(program, name))) for program in programs] for name in ("classifiers", "distances")
    )
    return facts, ExportableModel(classifiers, distances)
