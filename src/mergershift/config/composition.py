"""Composition of conf/ into one typed, validated `Config`; the only module that uses Hydra's composition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, field_validator, model_validator

from mergershift.archive import FILTER_SETS
from mergershift.config.conf_files import check_files
from mergershift.config.overrides import check_overrides, fault_of_value, overrides_for, unknown_key
from mergershift.config.pretraining import PretrainingConfig
from mergershift.config.schema import (
    AdaptationConfig,
    ArchiveConfig,
    FiltersConfig,
    Section,
    SelectionConfig,
    SplitConfig,
    StartConfig,
    TrackingConfig,
    TrainerConfig,
    TrainingConfig,
    TransferConfig,
    sees_target_labels,
)
from mergershift.config.targets import Target
from mergershift.config.tuning_schema import TuningConfig
from mergershift.core.errors import UserError, first_line
from mergershift.core.reading import damaged, fault_of
from mergershift.core.redaction import public
from mergershift.core.yaml_files import read_yaml

_CHOSEN = ("filters", "split", "transfer", "network", "adaptation", "experiment")
"""Groups of which every configuration has to name a file."""
_TRAIN_AGAIN = "Restore the file, or train and evaluate again to replace it."


class Config(Section):
    """The complete configuration of a training, its evaluation and its tuning."""

    seed: int = Field(ge=0, lt=2**32)
    archive: ArchiveConfig
    filters: FiltersConfig
    split: SplitConfig
    transfer: TransferConfig
    network: Target
    adaptation: AdaptationConfig
    training: TrainingConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    selection: SelectionConfig | None = None
    """How the evaluation selects an epoch and a method; None in the record of a training, which does not use it."""
    tuning: TuningConfig | None = None
    """How a method is tuned; None except in a search."""
    pretraining: PretrainingConfig | None = None
    """How the network is pre-trained without labels before the training; None if it is not."""
    start: StartConfig | None = None
    """What the training starts from; None if it starts anew."""
    choices: dict[str, str]
    """Name of the file chosen in each group, for instance ``{"adaptation": "mmd"}``."""

    @field_validator("choices")
    @classmethod
    def _complete(cls, choices: dict[str, str]) -> dict[str, str]:
        missing = [group for group in _CHOSEN if group not in choices]
        if missing:
            raise ValueError(f"no file of {', '.join(missing)} is chosen")
        return choices

    @model_validator(mode="after")
    def _oracle_has_its_prefix(self) -> Self:
        named_oracle = sees_target_labels(self.choices["transfer"])
        if named_oracle != (self.transfer.labelled == "oracle_target"):
            raise ValueError(
                f"transfer={self.choices['transfer']} has labelled: {self.transfer.labelled}; "
                "expected a name that starts with oracle_ if, and only if, labelled is oracle_target"
            )
        return self

    @model_validator(mode="after")
    def _method_fits_the_source(self) -> Self:
        if self.adaptation.source not in (None, self.transfer.source):
            raise ValueError(
                f"adaptation={self.choices['adaptation']} is made for {self.adaptation.source} source images, "
                f"but transfer={self.choices['transfer']} has {self.transfer.source} ones"
            )
        return self

    @model_validator(mode="after")
    def _oracle_needs_no_penalty(self) -> Self:
        if self.transfer.labelled == "oracle_target" and self.choices["adaptation"] != "source_only":
            raise ValueError(
                f"transfer={self.choices['transfer']} trains on the target's labels, "
                f"expected adaptation=source_only, found {self.choices['adaptation']}"
            )
        return self

    @property
    def is_oracle(self) -> bool:
        """Whether target labels were used, either to train the network or to tune its hyper-parameters."""
        return sees_target_labels(self.choices["transfer"], self.choices.get("experiment", ""))

    @property
    def channels(self) -> int:
        """Number of filters C of the images."""
        return len(FILTER_SETS[self.filters.name].filters)

    def dump(self) -> dict[str, Any]:
        """Return the configuration of a training as plain dictionaries, lists and scalars, for YAML and JSON.

        The result is written to files and sent to servers, so it contains the address of the tracking server
        without its password.
        """
        unset = {name for name in ("start", "pretraining") if getattr(self, name) is None}
        unused = {"selection", "tuning"} | unset
        plain = self.model_dump(mode="json", exclude=unused)
        plain["choices"] = {group: name for group, name in plain["choices"].items() if group not in unused}
        if self.tracking.uri is not None:
            plain["tracking"]["uri"] = public(self.tracking.uri)
        return plain

    def digest(self) -> str:
        """Return the SHA-256 of everything that determines the result of a training.

        The address of the archive and the place where runs are recorded are not included.
        """
        ignored = {"archive", "tracking"}
        kept = {key: value for key, value in self.dump().items() if key not in ignored}
        kept["choices"] = {key: value for key, value in kept["choices"].items() if key not in ignored}
        text = json.dumps(kept, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the configuration of a training, see `dump`, to `path` as YAML."""
        path.write_text(yaml.safe_dump(self.dump(), sort_keys=False))

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a file written by `write`; raises DamagedFile if it is missing or damaged."""
        content = read_yaml(path, dict[str, Any], _TRAIN_AGAIN, written=True)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise damaged(path, fault_of(error), _TRAIN_AGAIN) from error


def compose(overrides: Sequence[str] = (), conf: Path | None = None) -> Config:
    """Compose conf/ with Hydra overrides.

    Raises UserError, in two lines, if an override or a file in conf/ is not valid.
    """
    from mergershift.core.checkout import root

    conf = conf or root() / "conf"
    check_files(conf, check_overrides(conf, overrides))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        try:
            composed = hydra_compose("config", overrides=list(overrides), return_hydra_config=True)
        except yaml.YAMLError as error:
            raise UserError(
                f"conf/ contains a file that is not YAML: {' '.join(str(error).split())}.\nFix that file."
            ) from error
        except (HydraException, ValueError, RecursionError) as error:
            # Without overrides, since conf/ itself may be what is wrong.
            unknown = None
            with suppress(HydraException, ValueError, RecursionError):
                unknown = unknown_key(conf, hydra_compose("config"), overrides)
            if unknown is not None:
                raise unknown from error
            raise UserError(
                f"The configuration cannot be composed: {first_line(error)}\n"
                "Fix the override or the file in conf/."
            ) from error
    choices = {
        k: str(v) for k, v in composed.hydra.runtime.choices.items() if v and not k.startswith("hydra/")
    }
    try:
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        plain = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(plain, dict)
        if "start" in plain:
            raise UserError("start: not a configuration key.\nUse `mergershift train --resume` or `--init`.")
        if isinstance(training := plain.get("training"), dict):
            # A record that does not say so was trained on all rows; a file in conf/ that does not say so is not.
            training.setdefault("training_rows", "unique")
        return Config.model_validate(plain | {"choices": choices})
    except OmegaConfBaseException as error:
        raise UserError(
            f"The configuration cannot be resolved: {first_line(error)}\nFix the override or the file in conf/."
        ) from error
    except ValidationError as error:
        raise fault_of_value(error, overrides, choices) from error


def compose_selection(overrides: Sequence[str] = ()) -> SelectionConfig:
    """Compose how an epoch of a finished training is selected.

    Raises UserError if an override concerns anything else.
    """
    foreign = [override for override in overrides if not override.startswith(("selection=", "selection."))]
    if foreign:
        raise UserError(
            f"'{foreign[0]}' would change the training, but it is finished: expected overrides of selection only.\n"
            "Give all other overrides to `mergershift train`."
        )
    selection = compose(overrides).selection
    if selection is None:
        raise UserError(
            "conf/config.yaml: no selection in its defaults.\nAdd `- selection: label_free` to them."
        )
    return selection


def meant_by(option: str, value: str | None, *, exact: bool) -> list[str]:
    """Return the overrides that somebody may have meant who wrote ``--option value``; see `overrides_for`.

    Empty outside a checkout and if conf/ itself cannot be composed.
    """
    from mergershift.core.checkout import root

    try:
        conf = root() / "conf"
    except UserError:
        return []
    GlobalHydra.instance().clear()
    with (
        initialize_config_dir(str(conf.resolve()), version_base="1.3"),
        suppress(HydraException, ValueError, RecursionError, yaml.YAMLError),
    ):
        return overrides_for(conf, hydra_compose("config"), option, value, exact=exact)
    return []
