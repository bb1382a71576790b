"""The typed and validated configuration of a hyper-parameter search (conf/tuning/)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from mergershift.config.schema import ORACLE_PREFIX, Section, one_of, sees_target_labels
from mergershift.core.reading import fault_of


def _objective(name: str) -> str:
    from mergershift.evaluation import DOMAIN_DISTANCE, ORACLE, SOURCE_ACCURACY, VALIDATORS

    return one_of(name, (*VALIDATORS, SOURCE_ACCURACY, DOMAIN_DISTANCE, ORACLE))


Objective = Annotated[str, AfterValidator(_objective)]


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
