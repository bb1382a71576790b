"""The files of a registered model, made from a finished and evaluated training."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift import archive, evaluation
from mergershift.archive import FILTER_SETS
from mergershift.cells.domains import domains_seen
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import EVALUATED, PREDICTIONS, TRAINED
from mergershift.cells.run_content import run_spec
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.classifier.validation import Validation
from mergershift.config import Config
from mergershift.evaluation import Evidence
from mergershift.images import Prepared
from mergershift.registry.domains import domain_features
from mergershift.registry.model_card import CARD, write_card
from mergershift.registry.model_facts import WEIGHTS, ModelFacts
from mergershift.registry.out_of_domain import FeatureDistance, fit_distance
from mergershift.registry.program import ExportableModel
from mergershift.tracking.presentation import TARGET_SCORE, run_name, with_interval

VALIDATION, TEST = "validation.csv", PREDICTIONS["label_free"]
"""Files of a registered model: the table by which promotion compares models, and predictions on test galaxies."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finished and evaluated training and the images that it was trained on, as a model to register.

    Features, temperature and distances take a while and are computed on first access.
    """

    training: FinishedTraining
    prepared: Prepared

    @property
    def config(self) -> Config:
        """Configuration of the training."""
        return self.training.config

    @property
    def weights(self) -> Path:
        """Path of the classifier of the chosen epoch."""
        return self.training.model_file(self.training.selection.epoch)

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier of the chosen epoch, as it is used on the target."""
        return load_classifier(self.weights, self.config)

    @property
    def balanced(self) -> bool:
        """Whether the training gave both classes the same weight."""
        return self.config.training.class_weights == "balanced"

    @cached_property
    def evidence(self) -> Evidence:
        """Features and logits of the classifier on validation images."""
        validation = Validation(self.config, self.prepared)
        return validation.evidence(self.classifier, with_training_images=False)

    @cached_property
    def facts(self) -> ModelFacts:
        """The facts that are stored with the model."""
        config, transfer = self.config, self.config.transfer
        record, selection, trained = self.training.record, self.training.selection, self.training.trained
        odds = _log_odds(self.evidence.source_logits)
        temperature = evaluation.best_temperature(self.evidence.source_labels, odds, balanced=self.balanced)
        return ModelFacts(
            name=self.training.name,
            filter_set=config.filters.name,
            filters=FILTER_SETS[config.filters.name].filter_names,
            unit=archive.UNIT,
            image_size=archive.IMAGE_SIZE,
            field_kpc=archive.FIELD_KPC,
            pixel_arcsec=archive.PIXEL_ARCSEC,
            redshift=archive.REDSHIFT,
            threshold=selection.threshold,
            threshold_rule=selection.threshold_rule,
            # The last digits differ between machines, and the same model must have the same fingerprint on all.
            temperature=float(f"{temperature:.5g}"),
            classes="equally frequent" if self.balanced else "as frequent as in the archive",
            domains=domains_seen(config.dump()),
            source=transfer.source,
            target=transfer.target,
            labelled=transfer.labelled_domain,
            oracle=self.config.is_oracle,
            network=config.choices["network"],
            adaptation=config.choices["adaptation"],
            transfer=config.choices["transfer"],
            experiment=config.choices.get("experiment"),
            seed=config.seed,
            epoch=selection.epoch,
            validator=selection.validator,
            training=record.training,
            data_hash=trained.data_hash,
            data_kind=trained.provenance.kind,
            split=trained.split,
            config_hash=trained.config_hash,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of facts and weights, which are equal only for identical models."""
        return self.facts.fingerprint(self.weights)

    @cached_property
    def distance(self) -> FeatureDistance:
        """Distance of an image's features from those of the training images."""
        training, held_out = (
            domain_features(self.config, self.prepared, self.classifier, split)
            for split in ("train", "validation")
        )
        return fit_distance(training, held_out)

    @property
    def program(self) -> ExportableModel:
        """The program that maps raw images to the columns of the output."""
        return ExportableModel(self.classifier, self.facts.temperature, self.distance)

    @property
    def example(self) -> NDArray[np.float32]:
        """Two training images of the labelled domain, `(2, C, H, W)` in µJy/arcsec²."""
        rows = self.prepared.rows("train", trains="source")[[0, -1]]
        images = self.prepared.images(self.config.transfer.labelled_domain, rows)
        return np.asarray(images.numpy(), dtype=np.float32)

    @property
    def title(self) -> str:
        """Name of the model, which is that of its run."""
        return run_name(run_spec(self.training.folder / TRAINED, self.training.record))

    @property
    def accuracy(self) -> str:
        """Balanced accuracy on the target's test images with its 95 % interval, for instance ``.66 [.58, .72]``."""
        return with_interval(TARGET_SCORE, evaluation.flat(self.training.results))

    def validation_table(self) -> pd.DataFrame:
        """Build the table by which `evaluation.challenge` compares models; it contains no label of the target."""
        rows = self.prepared.rows("validation", unique=True)
        images = self.prepared.table.set_index("row").loc[rows, ["galaxy", "camera"]].reset_index()
        parts = {
            "source": (self.evidence.source_labels, self.evidence.source_logits),
            "target": (None, self.evidence.target_logits),
        }
        return pd.concat(
            [
                images.assign(role=role, label=labels, log_odds=_log_odds(logits))
                for role, (labels, logits) in parts.items()
            ],
            ignore_index=True,
        )

    def write(self, folder: Path, **card_values: Any) -> list[Path]:
        """Write all files of the model except its program into an empty folder; returns their paths.

        Args:
            folder: existing folder to write to.
            card_values: values of the model card that only the caller knows: choice, lineage, evaluations, references.
        """
        self.training.test_predictions("label_free")  # damaged ones are not copied
        self.facts.write(folder)
        shutil.copy(self.weights, folder / WEIGHTS)
        shutil.copy(self.training.folder / EVALUATED / PREDICTIONS["label_free"], folder / TEST)
        self.validation_table().to_csv(folder / VALIDATION, index=False, lineterminator="\n")
        odds, labels = _log_odds(self.evidence.source_logits), self.evidence.source_labels
        before, after = (
            evaluation.negative_log_likelihood(labels, odds, temperature, balanced=self.balanced)
            for temperature in (1.0, self.facts.temperature)
        )
        card = write_card(
            self.facts,
            self.training.results,
            title=self.title,
            validation_images=len(odds),
            risk_before=before,
            risk_after=after,
            components=self.distance.components,
            licence=metadata("mergershift")["License-Expression"],
            **card_values,
        )
        (folder / CARD).write_text(card)
        return sorted(folder.iterdir())


def _log_odds(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logits[:, 1] - logits[:, 0]
    return odds
