"""The typed and validated parts of the configuration, one class per group in conf/."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from mergershift.archive import FILTER_SETS, Domain
from mergershift.config.machine import AUTO, PRECISIONS, trainer_of_this_machine
from mergershift.config.targets import Target


def _label_free(name: str) -> str:
    from mergershift.evaluation import VALIDATORS  # slow to import, and not every command needs a validator

    return one_of(name, VALIDATORS)


def _epoch_chooser(name: str) -> str:
    return name if name == KEPT else _label_free(name)


def _filter_set(name: str) -> str:
    return one_of(name, FILTER_SETS)


def one_of(name: str, known: Iterable[str]) -> str:
    """Return the name; raises ValueError unless it is known."""
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
FilterSetName = Annotated[str, AfterValidator(_filter_set)]


class Section(BaseModel):
    """A part of the configuration, which is immutable and rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that records made by earlier versions lack: left out of records while they have their defaults, so that
    those records keep their hashes."""

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = plain(self)
        usual = {name: type(self).model_fields[name].default for name in self.later}
        return {key: value for key, value in fields.items() if key not in usual or value != usual[key]}


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
    later = frozenset({"independent_domains", "near_duplicates"})
    independent_domains: bool = False
    """Whether the noisy images have a split by image of their own, as in the code released in 2021."""
    near_duplicates: Literal["together", "ignored"] = "ignored"
    """Whether galaxies whose images overlap are in the same part; earlier splits ignored it."""

    @model_validator(mode="after")
    def _leaves_a_test(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train + validation is {self.train + self.validation:g}, which leaves nothing to test on; "
                "expected less than 1"
            )
        if self.disjoint_domains and self.kind != "by_galaxy":
            raise ValueError(f"disjoint_domains requires split=by_galaxy, found kind {self.kind}")
        if self.independent_domains and self.kind != "published_leaky":
            raise ValueError(f"independent_domains requires kind published_leaky, found {self.kind}")
        return self

    @property
    def rule(self) -> str:
        """Short description: what is split, and whether the domains share their training galaxies."""
        domains = "independent" if self.independent_domains else "shared"
        return f"{self.kind}, {'disjoint' if self.disjoint_domains else domains} domains"

    def __str__(self) -> str:
        by = "by galaxy" if self.kind == "by_galaxy" else "by image, as published (leaks galaxies)"
        domains = (
            "each domain trains on its own half of the galaxies"
            if self.disjoint_domains
            else "each domain is split on its own"
            if self.independent_domains
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
    schedule: Literal["constant", "one_cycle", "triangular", "triangular_2021"]
    cycle_length: int = Field(ge=1)
    patience: int = Field(ge=1)
    stop_on: Literal[
        "source_val_loss",
        "source_val_penalised_loss",
        "source_val_accuracy",
        "source_val_balanced_accuracy",
        "random_batches_2021",
    ]
    keep_best: Literal["source_val_loss", "source_val_accuracy", "source_val_balanced_accuracy"]
    class_weights: Literal["none", "balanced"]
    validation_rows: Literal["unique", "all"]
    training_rows: Literal["unique", "all"] = "all"
    """Which rows both domains train on. Records made before there was a choice have none: they trained on all."""
    target_galaxies: Literal["own", "source"] = "own"
    """Whether the target trains on its own half of the galaxies under disjoint domains, or on the source's half."""
    augment: bool
    stretch: Literal["linear", "asinh"]
    softening: float = Field(gt=0)
    candidates: int = Field(ge=0)
    later = frozenset({"normalisation", "batches", "training_rows", "target_galaxies", "frozen_features"})
    normalisation: Literal["labelled_training", "each_domain", "none"] = "labelled_training"
    """Images whose mean and deviation normalise the pixels: the labelled training images; all images of the domain,
    as in the code released in 2021; or none, as in that of 2020."""
    batches: Literal["full", "all", "drawn_anew"] = "full"
    """full: an epoch's permutation without its last, incomplete batch; all: with it, as in Keras; drawn_anew: as many
    full batches as an epoch has with the incomplete one, each a draw of its own, as in the code released in 2021."""
    frozen_features: bool = False
    """Whether the weights before the features stay as they are, those that the training starts from."""

    @property
    def target_trains(self) -> str:
        """The domain whose training galaxies the unlabelled target shows, see `images.store.Prepared.rows`."""
        return "target" if self.target_galaxies == "own" else "source"


class TrainerConfig(Section):
    """Device, precision, number of processes, and number of threads of each."""

    accelerator: Literal["cpu", "gpu", "auto"]
    later = frozenset({"processes"})
    precision: Literal["32-true", "bf16-mixed"]
    threads: int = Field(ge=1)
    processes: int = Field(default=1, ge=1)
    """Number of processes that share each batch; a GPU each, if they train on GPUs."""

    @model_validator(mode="before")
    @classmethod
    def _for_this_machine(cls, content: Any) -> Any:
        """Replace the precision `auto` by that of the trainer that suits this machine."""
        if isinstance(content, dict) and content.get("precision") == AUTO:
            return content | {"precision": PRECISIONS[trainer_of_this_machine()]}
        return content


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


class SelectionConfig(Section):
    """How an epoch of a training and the best method are selected, and how the decision threshold is set."""

    validator: Annotated[str, AfterValidator(_epoch_chooser)]
    best_by: LabelFree
    threshold: Literal["source_validation", "half"]
    later = frozenset({"all_rows"})
    all_rows: bool = False
    """Whether to add scores over all test rows, where every copy of a merger counts, as in the published papers."""
