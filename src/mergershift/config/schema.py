"""The typed and validated parts of the configuration, one class per group in conf/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from mergershift.archive import FILTER_SETS, Domain
from mergershift.config.targets import Target
from mergershift.core.reading import fault_of


def _label_free(name: str) -> str:
    from mergershift.evaluation import VALIDATORS  # slow to import, and not every command needs a validator

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
    """Return whether a file in conf/, experiment, validator or model of these names is an oracle.

    Oracles are recognised by the prefix of their names, `ORACLE_PREFIX`.
    """
    return any(name.startswith(ORACLE_PREFIX) for name in names)


KEPT = "kept"
"""Validator that selects the epoch which the training itself kept as its best."""
LabelFree = Annotated[str, AfterValidator(_label_free)]
"""Name of a label-free validator, which sees no target label."""
Objective = Annotated[str, AfterValidator(_objective)]
FilterSetName = Annotated[str, AfterValidator(_filter_set)]


class Section(BaseModel):
    """A part of the configuration, which is immutable and rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArchiveConfig(Section):
    """Where the published files are downloaded from; locally they are always in data/."""

    address: str


class FiltersConfig(Section):
    """The filter set of the images."""

    name: FilterSetName


class SplitConfig(Section):
    """How the rows of the archive are split into training, validation and test."""

    kind: Literal["by_galaxy", "published_leaky"]
    seed: int = Field(ge=0, lt=2**32)
    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    disjoint_domains: bool

    @model_validator(mode="after")
    def _leaves_a_test(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train + validation is {self.train + self.validation:g}, which leaves nothing to test on; "
                "expected less than 1"
            )
        if self.disjoint_domains and self.kind != "by_galaxy":
            raise ValueError(f"disjoint_domains requires split=by_galaxy, found kind {self.kind}")
        return self

    @property
    def rule(self) -> str:
        """Short description: what is split, and whether the domains share their training galaxies."""
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
    """The source and the target domain, and which of them is labelled."""

    source: Domain
    target: Domain
    labelled: Literal["source", "oracle_target"]

    @model_validator(mode="after")
    def _two_domains(self) -> Self:
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source}, expected two different domains")
        return self

    @property
    def labelled_domain(self) -> Domain:
        """The domain whose training labels are used."""
        return self.source if self.labelled == "source" else self.target


class TrainingConfig(Section):
    """Number of epochs, optimiser, stopping rule and preprocessing of the images."""

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
    """Device, precision, number of processes, and number of threads of each."""

    accelerator: Literal["cpu", "gpu", "auto"]
    precision: Literal["32-true", "bf16-mixed"]
    threads: int = Field(ge=1)
    processes: int = Field(default=1, ge=1)
    """Number of processes that share each batch; a GPU each, if they train on GPUs."""

    @model_serializer(mode="wrap")
    def _without_the_usual(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a single process, so that records made before there were several keep their hashes."""
        fields: dict[str, Any] = plain(self)
        return {key: value for key, value in fields.items() if key != "processes" or value > 1}


class StartConfig(Section):
    """What a training starts from if it does not start anew; set by the command, not by conf/."""

    kind: Literal["resume", "init"]
    """resume: after the last epoch of a finished training; init: with the weights of a network."""
    training: str
    """Id of the training that is resumed, or that the network came from."""
    weights: str | None = None
    """SHA-256 of the network's file; None if a training is resumed."""
    done: int = 0
    """Number of epochs after which the schedules begin anew; 0 if they go on as they were."""
    scheduled: int = 0
    """Number of epochs that they were made for before."""


class TrackingConfig(Section):
    """Where MLflow runs are recorded."""

    uri: str | None
    experiment: str
    model: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the registered model."""
    system_metrics: bool = True
    """Whether a training logs the load of the machine with every epoch."""


class AdaptationConfig(Section):
    """A method's penalty, and the weighting that sets its weight over the course of training."""

    penalty: Target
    weighting: Target
    source: Domain | None = None
    """The only source domain that the method is made for; None if it is made for any."""


class RangeConfig(Section):
    """The search range of a value: from `low` to `high` (integers if both are), or one of `choices`."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: dict[str, Any] | None = None
    """Mapping from the name of each choice to its value."""

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if self.choices is not None:
            if not self.choices or (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("expected either choices, or low and high")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"expected low < high or choices, found low {self.low} and high {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"expected low above 0 on a logarithmic scale, found {self.low}")
        return self


class TuningConfig(Section):
    """A hyper-parameter search: its objectives, budget, search space and storage."""

    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=2)
    trials: int = Field(ge=1)
    pruning: bool
    seed: int = Field(ge=0, lt=2**32)
    storage: str | None
    name: str | None = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    heartbeat: int = Field(ge=1)
    retries: int = Field(ge=0)
    patience: int = Field(ge=0)
    space: dict[str, Any]

    @property
    def ranges(self) -> dict[str, RangeConfig]:
        """Search ranges by configuration key, for instance ``training.optimizer.lr``."""
        return dict(_ranges(self.space))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.ranges:
            raise ValueError("space is empty, so there is nothing to search")
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"objectives contain the same objective twice: {', '.join(self.objectives)}")
        if self.oracle and self.name is not None and not sees_target_labels(self.name):
            raise ValueError(
                f"name is {self.name}, but {', '.join(self.objectives)} uses target labels; "
                f"expected a name that starts with {ORACLE_PREFIX}"
            )
        return self

    @property
    def oracle(self) -> bool:
        """Whether the search uses target labels."""
        return sees_target_labels(*self.objectives)


def _ranges(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, RangeConfig]]:
    for key, value in node.items():
        if value is None:  # excluded from the search
            continue
        if not isinstance(value, dict):
            raise ValueError(f"space.{prefix}{key}: expected low and high, or choices, found {value!r}")
        if value.keys() & RangeConfig.model_fields.keys():
            try:
                yield f"{prefix}{key}", RangeConfig.model_validate(value)
            except ValidationError as error:
                raise ValueError(f"space.{prefix}{key}: {fault_of(error)}") from error
        else:
            yield from _ranges(value, f"{prefix}{key}.")


class SelectionConfig(Section):
    """How an epoch of a training and the best method are selected, and how the decision threshold is set."""

    validator: Annotated[str, AfterValidator(_epoch_chooser)]
    best_by: LabelFree
    threshold: Literal["source_validation", "half"]
