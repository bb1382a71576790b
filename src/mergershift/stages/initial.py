"""A training that starts with the weights of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergershift.cells.layout import EVALUATED, PRETRAINED, PRETRAINING, SELECTION
from mergershift.config import Config, SplitConfig, compose
from mergershift.config.schema import StartConfig
from mergershift.core.errors import UserError
from mergershift.core.model_uri import SCHEME
from mergershift.core.reading import read_json
from mergershift.images.locate import prepared_images
from mergershift.stages.pretrain import Pretraining
from mergershift.stages.start import Start
from mergershift.tracking.find_training import find_training


def initialised(source: str, overrides: Sequence[str]) -> tuple[Config, Start]:
    """Configure a training that starts with the weights of a network.

    Args:
        source: models:/NAME@ALIAS or models:/NAME/VERSION, folder or MLflow run id of a finished training, of which
            the epoch that its evaluation chose is used (or else its best), folder of a registered model, or folder
            of a pre-training.
        overrides: overrides of conf/.

    Raises UserError if there are no such weights, if they are another network's, if the training would pre-train its
    network as well, and if the network has seen what this training or its evaluation must not use: labels of the
    target, or test galaxies.
    """
    from mergershift.classifier.classifier import build_classifier, load_network

    config = compose(overrides)
    if config.pretraining is not None:
        raise UserError(
            f"experiment={config.choices['experiment']} pre-trains its network, and --init {source} gives it another.\n"
            "Leave out one of them; training.frozen_features=true freezes the features of --init as well."
        )
    origin = _registered(source, config) or _pretrained(source, config) or _trained(source)
    _require_unseen(origin, config)
    load_network(build_classifier(config), origin.weights)
    digest = hashlib.sha256(origin.weights.read_bytes()).hexdigest()
    start = StartConfig(kind="init", training=origin.training, weights=digest)
    tags = {"initialised.training": origin.training, "initialised.from": origin.name}
    return config.model_copy(update={"start": start}), Start(weights=origin.weights, tags=tags)


@dataclass(frozen=True)
class _Origin:
    """A network and what it has seen."""

    name: str
    weights: Path
    training: str
    data_kind: str
    split: SplitConfig
    labelled: str | None
    """Domain whose labels it has seen; None if it has seen no label."""
    oracle: bool


def _pretrained(source: str, config: Config) -> _Origin | None:
    """Return a pre-training; None if `source` is not the folder of one."""
    folder = Path(source)
    if not (folder / PRETRAINING).is_file():
        return None
    record = read_json(folder / PRETRAINING, Pretraining, "Run `mergershift pretrain` again.")
    if record.split.disjoint_domains and record.source != config.transfer.source:
        raise UserError(
            f"--init {source}: pre-trained on {record.source} images of the galaxies that transfer="
            f"{config.choices['transfer']} keeps for the other domain.\nPre-train with the same transfer."
        )
    return _Origin(
        name=source,
        weights=folder / PRETRAINED,
        training=record.digest,
        data_kind=record.data_kind,
        split=record.split,
        labelled=None,
        oracle=False,
    )


def _registered(source: str, config: Config) -> _Origin | None:
    """Return a registered model; None if `source` does not name one."""
    from mergershift import tracking
    from mergershift.registry import FACTS, WEIGHTS, ModelFacts

    if source.startswith(SCHEME):
        folder = tracking.fetch_model(tracking.tracking_address(config.tracking.uri), source)
    elif (Path(source) / FACTS).is_file():
        folder = Path(source)
    else:
        return None
    facts = ModelFacts.read(folder)
    return _Origin(
        name=source,
        weights=folder / WEIGHTS,
        training=facts.training,
        data_kind=facts.data_kind,
        split=facts.split,
        labelled=facts.labelled,
        oracle=facts.oracle,
    )


def _trained(source: str) -> _Origin:
    training = find_training(source)
    evaluated = (training.folder / EVALUATED / SELECTION).is_file()
    epoch = training.selection.epoch if evaluated else training.trained.best_epoch
    return _Origin(
        name=f"{training.name}, epoch {epoch}",
        weights=training.model_file(epoch),
        training=training.record.training,
        data_kind=training.trained.provenance.kind,
        split=training.trained.split,
        labelled=training.config.transfer.labelled_domain,
        oracle=training.config.is_oracle,
    )


def _require_unseen(origin: _Origin, config: Config) -> None:
    """Raise UserError if the network has seen target labels or test galaxies of the present archive."""
    if origin.oracle and not config.is_oracle:
        raise UserError(
            f"--init {origin.name}: trained or tuned with labels of the target, an oracle.\n"
            "Start from a network that has not seen them."
        )
    present = prepared_images(config).facts["provenance"]["kind"]
    if (origin.data_kind == "mock") != (present == "mock"):
        return  # other galaxies; those of unknown provenance can be the archive's
    if origin.labelled not in (None, config.transfer.labelled_domain):
        raise UserError(
            f"--init {origin.name}: trained with labels of {origin.labelled} images, which "
            f"transfer={config.choices['transfer']} must not use.\n"
            f"Start from a network that was trained with labels of {config.transfer.labelled_domain} images."
        )
    if origin.split != config.split:
        raise UserError(
            f"--init {origin.name}: trained with another split ({origin.split}), so it may have seen test galaxies.\n"
            "Use its split, or start from a network that was trained with this one."
        )
