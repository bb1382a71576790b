"""What a registered model is, as one typed record beside its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from mergershift.config import SplitConfig
from mergershift.core.errors import UserError

FACTS, WEIGHTS = "facts.json", "classifier.safetensors"
COLUMNS = {
    "probability": "probability of a merger as the network gives it; a merger from the threshold on",
    "calibrated_probability": "the same with a temperature that was fitted on labelled validation images",
    "out_of_domain": "distance of the image's features from those of the training images, in units of the "
    "distance within which 99 % of held-out images of the same domains stay; above 1 = unlike what the "
    "model was trained for",
}
"""What the model says of an image, in the order of its output, and what that means."""


class ModelFacts(BaseModel):
    """What a model takes, gives and comes from; all that its user has to know to feed it rightly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """The training's folder, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    filter_set: str
    filters: tuple[str, ...]
    """In the order of the channels."""
    unit: str
    """Of the pixels, in the notation of `astropy.units`."""
    image_size: int
    """Pixels a side."""
    field_kpc: float
    """Physical kiloparsecs a side."""
    pixel_arcsec: float
    redshift: float
    threshold: float = Field(ge=0, le=1)
    """An image is called a merger where its probability (the first column) is at least this."""
    threshold_rule: str
    temperature: float = Field(gt=0)
    """Of the second column (`evaluation.best_temperature`)."""
    classes: Literal["equally frequent", "as frequent as in the archive"]
    """For what proportion of mergers the probabilities are meant."""
    domains: tuple[str, ...]
    """Domains whose training images the training saw; distances (the third column) are from these."""
    source: str
    target: str
    labelled: str
    """Domain whose labels it was trained on; threshold, temperature and perhaps the epoch were chosen by them too."""
    oracle: bool
    """Whether labels of the target took part: it was trained on them, or its values were tuned by them."""
    network: str
    adaptation: str
    transfer: str
    experiment: str | None
    """Names of the files in conf/."""
    seed: int
    epoch: int
    validator: str
    """What chose the epoch."""
    training: str
    """Id of the training, by which its run is found."""
    data_hash: str
    data_kind: str
    """mock or archive."""
    split: SplitConfig
    config_hash: str

    def write(self, folder: Path) -> None:
        """Write `FACTS` into `folder`."""
        (folder / FACTS).write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote; raises UserError where the folder holds no such model."""
        path = folder / FACTS
        try:
            return cls.model_validate_json(path.read_text())
        except (OSError, ValueError) as error:  # what is not UTF-8 too
            raise UserError(
                f"{folder}: no model of mergershift ({FACTS}: {type(error).__name__}).\n"
                "Name one that `mergershift register` made, as a folder or as models:/NAME@ALIAS."
            ) from error

    def fingerprint(self, weights: Path) -> str:
        """SHA-256 of these facts and of the weights in a safetensors file: what makes two models the same one."""
        digest = hashlib.sha256(self.model_dump_json().encode())
        for name, values in sorted(load_file(weights).items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()
