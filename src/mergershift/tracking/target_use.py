"""What a run used of the target, by the facts that it recorded: images, and labels for training or tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergershift.cells.domains import domains_seen
from mergershift.cells.records import RunSpec
from mergershift.config.schema import sees_target_labels
from mergershift.core.errors import UserError


def choices_of(spec: RunSpec) -> Mapping[str, str]:
    """Return the name of the file chosen in each group of conf/; none if the record has no configuration."""
    found = spec.config.get("choices")
    return {str(group): str(name) for group, name in found.items()} if isinstance(found, Mapping) else {}


def tuning_of(spec: RunSpec) -> Mapping[str, Any]:
    """Return the settings of a search; none for a training and a trial."""
    found = spec.config.get("tuning")
    return found if isinstance(found, Mapping) else {}


def trained_on_labels_of_target(spec: RunSpec) -> bool:
    """Return whether the network was trained with the target's labels."""
    transfer = spec.config.get("transfer")
    return isinstance(transfer, Mapping) and transfer.get("labelled") == "oracle_target"


def tuned_on_labels_of_target(spec: RunSpec) -> bool:
    """Return whether the hyper-parameters of a search, a trial or a tuned training are chosen by target labels."""
    search = spec.tags.get("study") or ""  # a trial's record has its search's name, but not its objectives
    return sees_target_labels(
        search, choices_of(spec).get("experiment", ""), *tuning_of(spec).get("objectives", ())
    )


def adapted_to_target(spec: RunSpec) -> bool:
    """Return whether the training used images of the target without their labels; False if its method is unknown."""
    if trained_on_labels_of_target(spec):
        return False
    try:
        return spec.config["transfer"]["target"] in domains_seen(spec.config)
    except (KeyError, TypeError, ValueError, UserError):  # a method, or a record, of another version
        return False
