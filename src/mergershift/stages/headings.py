"""What the figures of a training state: method, filters, direction, seed, whose images, and how many."""

from __future__ import annotations

from mergershift.archive import images_of
from mergershift.config import Config
from mergershift.config.study import PLAIN, Method
from mergershift.evaluation.figures import Heading
from mergershift.images import Prepared


def heading_of(config: Config, kind: str) -> Heading:
    """Compose what every figure of a training states; `kind` is the kind of its images' provenance."""
    choices, transfer = config.choices, config.transfer
    method = Method(
        transfer=choices["transfer"],
        adaptation=choices["adaptation"],
        experiment=choices.get("experiment", PLAIN),
    )
    parts = [
        "oracle" if transfer.labelled == "oracle_target" else method.title,
        f"{config.filters.name} filters",
        f"{transfer.source} → {transfer.target}",
        f"seed {config.seed}",
    ]
    return Heading(" · ".join(parts), images_of(kind))


def labelled_domain(config: Config) -> tuple[str, str]:
    """Return the role and the name of the domain whose labels a training learns from."""
    role = "source" if config.transfer.labelled == "source" else "target"
    return role, str(config.transfer.labelled_domain)


def labelled_sizes(config: Config, prepared: Prepared) -> str:
    """Count the labelled images and galaxies that a training learns from and is validated on."""
    training, domain = config.training, config.transfer.labelled_domain
    once = {"train": training.training_rows == "unique", "validation": training.validation_rows == "unique"}
    rows = {
        "training": prepared.rows("train", domain=domain, trains="source", unique=once["train"]),
        "validation": prepared.rows("validation", domain=domain, unique=once["validation"]),
    }
    table = prepared.table.set_index("row")
    return ", ".join(
        f"{use} images: {len(part)} (galaxies: {table.loc[part, 'galaxy'].nunique()})"
        for use, part in rows.items()
    )
