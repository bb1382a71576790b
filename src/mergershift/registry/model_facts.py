"""The facts about a registered model, as a typed record that is stored with its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from mergershift.config import SplitConfig
from mergershift.core.reading import damaged, read_json
from mergershift.registry.reference import Reference

FACTS, WEIGHTS = "facts.json", "classifier.safetensors"
COLUMNS = {
    "probability": "merger probability: the mean over the eight turned and mirrored views of the image, and over the "
    "networks of an ensemble; a merger if at least the threshold",
    "probability_scatter": "standard deviation of the probability over the eight views, a lower limit on its error; "
    "NaN if there is one view",
    "training_scatter": "sample standard deviation of the probability over the networks of an ensemble, which were "
    "trained alike from different seeds",
    "calibrated_probability": "the probability with a temperature that was fitted on labelled validation images",
    "feature_distance": "distance of the image's features from those of the training images, in units of the "
    "distance that contains 99 % of held-out images of the same domains; above 1, the network sees something that was "
    "rare in its training, mostly too much light or structure; below 1 is no sign that the probability is right: a "
    "missing band, blurring, a star or a sky that was left in can pass",
}
"""Columns of the model's output for an image, in their order, and their meaning."""
ENSEMBLES_ONLY = "training_scatter"
"""The column that a single network lacks."""


class Calibration(BaseModel):
    """What is fitted to the mean over a number of views, on held-out images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(ge=0, le=1)
    temperature: float = Field(gt=0)
    distance_unit: float = Field(gt=0)


class MemberFacts(BaseModel):
    """One of the trainings whose networks a model averages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    seed: int
    epoch: int
    training: str
    config_hash: str


class ModelFacts(BaseModel):
    """Input, output and provenance of a model: all that is needed to apply it correctly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of the training's cell, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    filter_set: str
    filters: tuple[str, ...]
    """Names of the filters, in the order of the channels."""
    unit: str
    """Unit of the pixels, in the notation of `astropy.units`."""
    image_size: int
    """Side of an image in pixels."""
    field_kpc: float
    """Side of an image in physical kiloparsecs."""
    pixel_arcsec: float
    redshift: float
    threshold: float = Field(ge=0, le=1)
    """Smallest probability at which an image is classified as a merger."""
    threshold_rule: str
    temperature: float = Field(gt=0)
    """Temperature of the calibrated probability (`evaluation.best_temperature`)."""
    distance_unit: float = Field(default=1.0, gt=0)
    """Mean distance, over the views and members, that contains 99 % of held-out images."""
    views: int = Field(default=1, ge=1, le=8)
    """Number of views whose mean it predicts, 8 or 1; threshold, temperature and distance unit were fitted to it."""
    one_view: Calibration | None = None
    """The same for predictions from one view; None for models of earlier versions, which know no other."""
    members: tuple[MemberFacts, ...] = ()
    """Trainings whose networks it averages, the first of which `name`, `seed`, `epoch`, `training` and `config_hash`
    describe; empty for models of earlier versions, whose program gives three columns."""
    classes: Literal["equally frequent", "as frequent as in the archive"]
    """Proportion of mergers for which the probabilities hold."""
    domains: tuple[str, ...]
    """Domains whose images the training used; distances are measured from these."""
    source: str
    target: str
    labelled: str
    """Domain with whose labels it was trained, and its threshold, temperature and possibly epoch were chosen."""
    oracle: bool
    """Whether target labels were used, to train it or to tune its hyperparameters."""
    network: str
    adaptation: str
    transfer: str
    experiment: str | None
    """Name of a file in conf/experiment/, as network, adaptation and transfer name files in their folders."""
    seed: int
    epoch: int
    validator: str
    """The validator that chose the epoch."""
    training: str
    """Id of the training, by which its MLflow run is found."""
    data_hash: str
    data_kind: str
    """Provenance of the images: mock, archive or unknown."""
    split: SplitConfig
    config_hash: str
    reference: Reference | None = None
    """Measures of the training images; None for a model that was registered before they were measured."""

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns of its output and their meaning."""
        ensemble = len(self.members) > 1
        return {name: text for name, text in COLUMNS.items() if ensemble or name != ENSEMBLES_ONLY}

    @property
    def calibrated(self) -> bool:
        """Whether threshold and temperature were fitted to the mean over as many views as it predicts from."""
        return bool(self.members) or self.views == 1

    def for_views(self, views: int) -> Self:
        """Return the facts of the same model as it predicts from 8 or 1 views.

        A model of an earlier version keeps the threshold and temperature of one view.
        """
        if views == self.views:
            return self
        fitted = self.one_view.model_dump() if self.one_view else {}
        return self.model_copy(update={**fitted, "views": views})

    def write(self, folder: Path) -> None:
        """Write the facts to the file `FACTS` in `folder`."""
        (folder / FACTS).write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote; raises DamagedFile if the folder does not contain the facts of a model."""
        remedy = "Name a model that `mergershift register` made, as a folder or as models:/NAME@ALIAS."
        if not (folder / FACTS).exists():
            raise damaged(folder, f"not a model of mergershift ({FACTS}: no such file)", remedy)
        return read_json(folder / FACTS, cls, remedy, strict=True)

    def fingerprint(self, *weights: Path) -> str:
        """Compute the SHA-256 of these facts and of the weights in safetensors files, equal for identical models."""
        # What is measured of the training images follows from the rest.
        digest = hashlib.sha256(self.model_dump_json(exclude={"reference"}).encode())
        for path in weights:
            for name, values in sorted(load_file(path).items()):
                digest.update(f"{name} {values.dtype} {values.shape}".encode())
                digest.update(values.tobytes())
        return digest.hexdigest()
