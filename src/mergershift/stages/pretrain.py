"""The step that learns a network's features from unlabelled images, and measures what a linear probe finds in them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from mergershift.archive import Domain
from mergershift.cells.layout import CONFIG, PRETRAINED, PRETRAINING
from mergershift.config import Config
from mergershift.config.schema import SplitConfig
from mergershift.core.checkout import root, shown
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_directory, write_text
from mergershift.core.words import counted
from mergershift.images.locate import prepared_images

if TYPE_CHECKING:
    from mergershift.classifier.classifier import Classifier
    from mergershift.images import Prepared


class Pretraining(BaseModel):
    """The record of a pre-training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    """That of the configuration."""
    data_hash: str
    data_kind: str
    split: SplitConfig
    source: Domain
    losses: tuple[float, ...]
    """Mean loss of every epoch."""
    images: int
    """Number of images of both domains together."""
    linear_probe: float
    """Balanced accuracy of a logistic regression on the features, on the labelled domain's validation images."""
    untrained_probe: float
    """The same for the features of the network before the pre-training."""


def pretrained_folder(config: Config) -> Path:
    """Folder of a pre-training, unique to the configuration."""
    names = [config.choices[group] for group in ("filters", "transfer", "network")]
    folder = "-".join([*names, f"seed{config.seed}", config.digest()[:8]])
    return root() / "outputs" / "pretrained" / folder


def pretrain_step(config: Config, output: Path) -> str:
    """Pre-train a network and write it to the folder `output` with its record; returns lines to print.

    After an interruption at any moment, the same call resumes the pre-training. Raises UserError if the configuration
    has no `pretraining`.
    """
    import torch

    from mergershift.classifier.classifier import build_classifier, load_classifier
    from mergershift.classifier.requirements import require_trainable
    from mergershift.training.pretraining import pretrained, unlabelled_images

    if config.pretraining is None:
        raise UserError(
            f"experiment={config.choices['experiment']} has no pretraining.\nUse experiment=pretrained."
        )
    prepared = prepared_images(config)
    require_trainable(config, prepared)
    output, started = output.resolve(), time.monotonic()
    unfinished = output.with_name(f"{output.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    weights, losses = pretrained(config, prepared, unfinished)
    classifier = load_classifier(weights, config)
    torch.manual_seed(config.seed)
    untrained = build_classifier(config)
    untrained.stretch.load_state_dict(classifier.stretch.state_dict())
    record = Pretraining(
        digest=config.digest(),
        data_hash=prepared.facts["data_hash"],
        data_kind=prepared.facts["provenance"]["kind"],
        split=config.split,
        source=config.transfer.source,
        losses=tuple(losses),
        images=sum(map(len, unlabelled_images(config, prepared))),
        linear_probe=linear_probe(config, prepared, classifier),
        untrained_probe=linear_probe(config, prepared, untrained),
    )
    with atomic_directory(output) as folder:
        weights.rename(folder / PRETRAINED)
        config.write(folder / CONFIG)
        write_text(folder / PRETRAINING, record.model_dump_json(indent=2))
    for path in unfinished.iterdir():
        path.unlink()
    unfinished.rmdir()
    return (
        f"{shown(output)}: {counted(len(losses), 'epoch')} on {record.images} unlabelled images of both domains in "
        f"{time.monotonic() - started:.0f} s, loss {losses[0]:.2f} to {losses[-1]:.2f}\n"
        f"A linear probe reaches a balanced accuracy of {record.linear_probe:.3f} on {config.transfer.labelled_domain} "
        f"validation images ({record.untrained_probe:.3f} before the pre-training).\n"
        f"Next: mergershift train --init {shlex.quote(shown(output))}, or add training.frozen_features=true to it"
    )


def linear_probe(config: Config, prepared: Prepared, classifier: Classifier) -> float:
    """Return a linear probe's balanced accuracy on the labelled domain's validation images.

    The probe is a logistic regression with balanced classes on standardised features of the labelled training images,
    each rendering once.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from mergershift.classifier.inference import activations
    from mergershift.classifier.validation import compute_options

    found, domain = {}, config.transfer.labelled_domain
    for split, rows in (
        ("train", prepared.rows("train", domain=domain, trains="source", unique=True)),
        ("validation", prepared.rows("validation", domain=domain, unique=True)),
    ):
        images, labels = prepared.labelled(domain, rows)
        found[split] = activations(classifier, images, **compute_options(config))[0], labels.numpy()
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    )
    probe.fit(*found["train"])
    validated, truth = found["validation"]
    return float(balanced_accuracy_score(truth, probe.predict(validated)))
