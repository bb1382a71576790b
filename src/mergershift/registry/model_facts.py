"""The facts about a registered model, as a typed record that is stored with its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from mergershift.config import SplitConfig
from mergershift.core.reading import damaged, read_json

FACTS, WEIGHTS = "facts.json", "classifier.safetensors"
COLUMNS = {
    "probability": "merger probability as the network outputs it; a merger if at least the threshold",
    "calibrated_probability": "the same probability with a temperature fitted on labelled validation images",
    "out_of_domain": "distance of the image's features from those of the training images, in units of the "
    "distance that contains 99 % of held-out images of the same domains; above 1 = unlike the images that the "
    "model was trained for",
}
"""Columns of the model's output for an image, in their order, and their meaning."""


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
    """Smallest probability (the first column) at which an image is classified as a merger."""
    threshold_rule: str
    temperature: float = Field(gt=0)
    """Temperature of the second column (`evaluation.best_temperature`)."""
    classes: Literal["equally frequent", "as frequent as in the archive"]
    """Proportion of mergers for which the probabilities hold."""
    domains: tuple[str, ...]
    """Domains whose images the training used; distances (the third column) are measured from these."""
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

    def fingerprint(self, weights: Path) -> str:
        """Compute the SHA-256 of these facts and of the weights in a safetensors file, equal for identical models."""
        digest = hashlib.sha256(self.model_dump_json().encode())
        for name, values in sorted(load_file(weights).items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()
