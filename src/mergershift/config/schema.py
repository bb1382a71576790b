"""The parts of the configuration, typed and checked: one class for each group in conf/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mergershift.archive import FILTER_SETS, Domain

Target = dict[str, Any]
"""A `_target_` and its arguments, for `hydra.utils.instantiate`."""


def _label_free(name: str) -> str:
    from mergershift.evaluation import VALIDATORS  # takes a while, and not every command chooses a validator

    return _one_of(name, VALIDATORS)


def _epoch_chooser(name: str) -> str:
    return name if name == KEPT else _label_free(name)


def _objective(name: str) -> str:
    from mergershift.evaluation import DOMAIN_DISTANCE, ORACLE, SOURCE_ACCURACY, VALIDATORS

    return _one_of(name, (*VALIDATORS, SOURCE_ACCURACY, DOMAIN_DISTANCE, ORACLE))


def _filter_set(name: str) -> str:
    return _one_of(name, FILTER_SETS)


def _one_of(name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise ValueError(f"expected one of {', '.join(known)}")
    return name


ORACLE_PREFIX = "oracle_"


def sees_target_labels(*names: str) -> bool:
    """Whether one of these files in conf/, experiments, validators or models is an oracle: it is named so."""
    return any(name.startswith(ORACLE_PREFIX) for name in names)


KEPT = "kept"
"""Chooses the epoch that the training itself kept as its best."""
LabelFree = Annotated[str, AfterValidator(_label_free)]
"""Name of a validator that sees no label of the target."""
Objective = Annotated[str, AfterValidator(_objective)]
FilterSetName = Annotated[str, AfterValidator(_filter_set)]


class Section(BaseModel):
    """A part of the configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchiveConfig(Section):
    """Where the published files come from; here they always lie in data/."""

    address: str


class FiltersConfig(Section):
    """Which filter set is used."""

    name: FilterSetName


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

    @property
    def rule(self) -> str:
        """What is split and who trains on what, in short."""
        return f"{self.kind}, {'disjoint' if self.disjoint_domains else 'shared'} domains"

    def __str__(self) -> str:
        by = "by galaxy" if self.kind == "by_galaxy" else "by image, as published (leaks galaxies)"
        domains = (
            "each domain trains on its own half of the galaxies"
            if self.disjoint_domains
            else "both domains show the same galaxies"
        )
        return (
            f"{by}: {self.train:.0%} training, {self.validation:.0%} validation, the rest test; {domains}; "
            f"seed {self.seed}"
        )


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
    model: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the registered model."""


class AdaptationConfig(Section):
    """A penalty and how its weight develops over training."""

    penalty: Target
    weighting: Target
    source: Domain | None = None
    """The source domain that the method is made for; None where it is made for any."""


class RangeConfig(Section):
    """Where a value is searched: from `low` to `high`, whole numbers if both are, or among `choices`."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: dict[str, Any] | None = None
    """Name -> value."""

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if self.choices is not None:
            if not self.choices or (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("expected either choices or low and high")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"expected low < high or choices, found low {self.low} and high {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"expected low above 0 on a logarithmic scale, found {self.low}")
        return self


class TuningConfig(Section):
    """A search for better values: where, by what, how long, and where the study is kept."""

    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=2)
    trials: int = Field(ge=1)
    pruning: bool
    seed: int = Field(ge=0, lt=2**32)
    storage: str | None
    name: str | None = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    heartbeat: int = Field(ge=1)
    retries: int = Field(ge=0)
    space: dict[str, Any]

    @property
    def ranges(self) -> dict[str, RangeConfig]:
        """The search ranges by key, for instance ``training.optimizer.lr``."""
        return dict(_ranges(self.space))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.ranges:
            raise ValueError("space is empty, so there is nothing to search")
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"the same objective twice: {', '.join(self.objectives)}")
        return self

    @property
    def oracle(self) -> bool:
        """Whether the search looks at target labels."""
        return sees_target_labels(*self.objectives)


def _ranges(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, RangeConfig]]:
    for key, value in node.items():
        if value is None:  # taken out of the search
            continue
        if not isinstance(value, dict):
            raise ValueError(f"space.{prefix}{key}: expected low and high, or choices, found {value!r}")
        if value.keys() & RangeConfig.model_fields.keys():
            try:
                yield f"{prefix}{key}", RangeConfig.model_validate(value)
            except ValidationError as error:
                raise ValueError(f"space.{prefix}{key}: {error.errors()[0]['msg']}") from error
        else:
            yield from _ranges(value, f"{prefix}{key}.")


class SelectionConfig(Section):
    """Which epoch of a training and which method is taken, and from what probability an image is called a merger."""

    validator: Annotated[str, AfterValidator(_epoch_chooser)]
    best_by: LabelFree
    threshold: Literal["source_validation", "half"]
