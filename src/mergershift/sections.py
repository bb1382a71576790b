"""The parts of the configuration, typed and checked: one class for each group in conf/."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mergershift.archive import Domain

Target = dict[str, Any]
"""A `_target_` and its arguments, for `hydra.utils.instantiate`."""


class Section(BaseModel):
    """A part of the configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchiveConfig(Section):
    """Where the published files come from; here they always lie in data/."""

    address: str


class FiltersConfig(Section):
    """Which filter set is used."""

    name: Literal["two", "three"]


class SplitConfig(Section):
    """How rows fall into training, validation and test."""

    kind: Literal["by_galaxy", "published_leaky"]
    seed: int = Field(ge=0, lt=2**32)
    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    disjoint_domains: bool

    @model_validator(mode="after")
    def _leaves_a_test(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError("train + validation leave nothing to test on; their sum has to stay under 1")
        if self.disjoint_domains and self.kind != "by_galaxy":
            raise ValueError("disjoint_domains needs split=by_galaxy")
        return self


class TransferConfig(Section):
    """Which domain is labelled and which one the network has to survive."""

    source: Domain
    target: Domain
    labelled: Literal["source", "oracle_target"]

    @model_validator(mode="after")
    def _two_domains(self) -> Self:
        if self.source == self.target:
            raise ValueError("source and target have to be different domains")
        return self

    @property
    def labelled_domain(self) -> Domain:
        """The domain whose training labels are used."""
        return self.source if self.labelled == "source" else self.target


class TrainingConfig(Section):
    """Steps, optimiser, stopping rule and what happens to an image on its way in."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    optimizer: Target
    schedule: Literal["constant", "one_cycle", "triangular"]
    cycle_length: int = Field(ge=1)
    patience: int = Field(ge=1)
    stop_on: Literal["source_val_loss", "source_val_accuracy", "source_val_balanced_accuracy"]
    keep_best: Literal["source_val_loss", "source_val_accuracy", "source_val_balanced_accuracy"]
    class_weights: Literal["none", "balanced"]
    validation_rows: Literal["unique", "all"]
    augment: bool
    stretch: Literal["linear", "asinh"]
    softening: float = Field(gt=0)
    candidates: int = Field(ge=0)


class TrainerConfig(Section):
    """The machine's part: device, precision, threads."""

    accelerator: Literal["cpu", "gpu", "auto"]
    precision: Literal["32-true", "bf16-mixed"]
    threads: int = Field(ge=1)


class TrackingConfig(Section):
    """Where runs are recorded."""

    uri: str | None
    experiment: str


class AdaptationConfig(Section):
    """A penalty and how its weight develops over training."""

    penalty: Target
    weighting: Target
    source: Domain | None = None
    """The source domain that the method is made for; None where it is made for any."""


LabelFree = Literal[
    "source_validation_risk",
    "target_entropy",
    "information_maximisation",
    "soft_neighbourhood_density",
    "importance_weighted_risk",
]


class SelectionConfig(Section):
    """Which epoch of a training and which method is taken, and from what probability an image is called a merger."""

    validator: LabelFree | Literal["kept"]
    best_by: LabelFree
    threshold: Literal["source_validation", "half"]
