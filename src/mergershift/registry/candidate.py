"""The files of a registered model, made from one finished and evaluated training or from several."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
from mergershift.cells.layout import PREDICTIONS, TRAINED
from mergershift.cells.run_content import run_spec
from mergershift.classifier.validation import trained_labels
from mergershift.config import Config
from mergershift.evaluation import THRESHOLD, Results
from mergershift.evaluation.challenge import TRAINING_SHARE
from mergershift.images import Prepared
from mergershift.registry.domains import domain_measures
from mergershift.registry.feature_distance import unit_of
from mergershift.registry.member import Member
from mergershift.registry.model_card import CARD, write_card
from mergershift.registry.model_facts import WEIGHTS, Calibration, ModelFacts
from mergershift.registry.program import ExportableModel
from mergershift.tracking.named_columns import SYMMETRIES, mean_log_odds
from mergershift.tracking.presentation import SEPARATOR, TARGET_SCORE, run_name, with_interval

VALIDATION, TEST = "validation.csv", PREDICTIONS["label_free"]
"""Files of a registered model: the table by which promotion compares models, and predictions on test galaxies."""
Floats = NDArray[np.float64]
_LARGEST = 700.0
"""Beyond these log odds a probability is 0 or 1 in double precision."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Finished and evaluated trainings, alike except for their seeds, as a model to register.

    The model's probability is the mean over the eight views of an image and over the trainings. Results, temperature
    and distances take a while and are computed on first access.
    """

    trainings: Sequence[FinishedTraining]
    """The trainings; the first gives the model its name and its run."""
    prepared: Prepared

    @cached_property
    def members(self) -> list[Member]:
        """The trainings with their networks."""
        return [Member(training, self.prepared) for training in self.trainings]

    @property
    def training(self) -> FinishedTraining:
        """The first training."""
        return self.trainings[0]

    @property
    def config(self) -> Config:
        """Configuration of the first training."""
        return self.training.config

    @property
    def balanced(self) -> bool:
        """Whether the training gave both classes the same weight."""
        return self.config.training.class_weights == "balanced"

    @cached_property
    def labelled(self) -> tuple[NDArray[np.int64], Floats]:
        """Labels `(N,)` of the labelled validation images, and log odds `(8, N, M)` of their views."""
        images, labels = self.members[0].labelled_images(self._validation_rows)
        odds = [member.log_odds(images, labelled=True) for member in self.members]
        return labels.numpy(), np.stack(odds, axis=2)

    @cached_property
    def _validation_rows(self) -> NDArray[np.int64]:
        domain = self.config.transfer.labelled_domain
        return self.prepared.rows("validation", domain=domain, unique=True)

    def calibration(self, views: int) -> Calibration:
        """Fit threshold, temperature and unit of distance to the mean over this number of views."""
        labels, odds = self.labelled
        odds = mean_odds(odds[:views])
        selection = self.training.selection
        if selection.threshold_rule == "half":
            threshold = THRESHOLD
        elif views == len(self.trainings) == 1:
            threshold = selection.threshold
        else:
            threshold = evaluation.best_threshold(labels, _chance(odds))
        temperature = evaluation.best_temperature(labels, odds, balanced=self.balanced)
        # The last digits differ between machines, and the same model must have the same fingerprint on all.
        return Calibration(
            threshold=threshold if views == 1 else _rounded(threshold),
            temperature=_rounded(temperature),
            distance_unit=_rounded(unit_of(self._distances[:views].mean(axis=(0, 2)))),
        )

    @cached_property
    def _distances(self) -> Floats:
        return np.stack([member.distances() for member in self.members], axis=2)

    @cached_property
    def facts(self) -> ModelFacts:
        """The facts that are stored with the model."""
        config, transfer = self.config, self.config.transfer
        selection, trained = self.training.selection, self.training.trained
        members = tuple(member.facts for member in self.members)
        return ModelFacts(
            **members[0].model_dump(),
            **self.calibration(SYMMETRIES).model_dump(),
            views=SYMMETRIES,
            one_view=self.calibration(1),
            members=members,
            filter_set=config.filters.name,
            filters=FILTER_SETS[config.filters.name].filter_names,
            unit=archive.UNIT,
            image_size=archive.IMAGE_SIZE,
            field_kpc=archive.FIELD_KPC,
            pixel_arcsec=archive.PIXEL_ARCSEC,
            redshift=archive.REDSHIFT,
            threshold_rule=selection.threshold_rule,
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
            validator=selection.validator,
            data_hash=trained.data_hash,
            data_kind=trained.provenance.kind,
            split=trained.split,
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of facts and weights, which are equal only for identical models."""
        return self.facts.fingerprint(*(member.weights for member in self.members))

    @property
    def program(self) -> ExportableModel:
        """The program that maps raw images to the networks' answers."""
        return ExportableModel(
            [member.classifier for member in self.members], [member.distance for member in self.members]
        )

    @property
    def example(self) -> NDArray[np.float32]:
        """Two training images of the labelled domain, `(2, C, H, W)` in µJy/arcsec²."""
        domain = self.config.transfer.labelled_domain
        rows = self.prepared.rows("train", domain=domain, trains="source")[[0, -1]]
        images = self.prepared.images(domain, rows)
        return np.asarray(images.numpy(), dtype=np.float32)

    @property
    def title(self) -> str:
        """Name of the model: that of its run, with the number of trainings if there are several."""
        name = run_name(run_spec(self.training.folder / TRAINED, self.training.record))
        count = len(self.trainings)
        return name if count == 1 else f"{name}{SEPARATOR}ensemble of {count} seeds"

    @property
    def accuracy(self) -> str:
        """Balanced accuracy on the target's test images with its 95 % interval, for instance ``.66 [.58, .72]``."""
        return with_interval(TARGET_SCORE, evaluation.flat(self.results))

    @cached_property
    def tested(self) -> pd.DataFrame:
        """Predictions of the model as it is used, on test rows of both domains, each rendering once."""
        transfer, parts = self.config.transfer, []
        for role, domain in (("source", transfer.source), ("target", transfer.target)):
            rows = self.prepared.rows("test", domain=domain, unique=True)
            odds = np.stack([member.on_domain(domain, rows) for member in self.members], axis=2)
            described = self.prepared.table.iloc[rows][["row", "galaxy", "camera", "block"]].reset_index(
                drop=True
            )
            parts.append(
                described.assign(
                    role=role,
                    domain=str(domain),
                    label=self.prepared.labelled(domain, rows).labels.numpy(),
                    probability=_chance(mean_odds(odds)),
                    threshold=self.facts.threshold,
                )
            )
        return evaluation.join(parts)

    @cached_property
    def results(self) -> Results:
        """Metrics of the model as it is used, on the test rows."""
        return evaluation.evaluate(self.tested)

    def validation_table(self) -> pd.DataFrame:
        """Build the table by which `evaluation.challenge` compares models; it contains no label of the target."""
        rows, (labels, odds) = self._validation_rows, self.labelled
        images = self.prepared.table.set_index("row").loc[rows, ["galaxy", "camera"]].reset_index()
        target = self.prepared.images(self.config.transfer.target, rows)
        of_target = np.stack([member.log_odds(target, labelled=False) for member in self.members], axis=2)
        parts = {"source": (labels, odds), "target": (None, of_target)}
        weighed = {} if self.balanced else {TRAINING_SHARE: trained_labels(self.config, self.prepared).mean()}
        return pd.concat(
            [
                images.assign(role=role, label=known, log_odds=mean_odds(of_role), **weighed)
                for role, (known, of_role) in parts.items()
            ],
            ignore_index=True,
        )

    def write(self, folder: Path, **card_values: Any) -> list[Path]:
        """Write all files of the model except its program into an empty folder; returns their paths.

        Args:
            folder: existing folder to write to.
            card_values: values of the model card that only the caller knows: choice, lineage, evaluations, references.
        """
        reference = domain_measures(self.config, self.prepared, self.facts.filters)
        self.facts.model_copy(update={"reference": reference}).write(folder)
        for number, member in enumerate(self.members):
            shutil.copy(member.weights, folder / weights_name(number))
        evaluation.write_predictions(self.tested, folder / TEST)
        self.validation_table().to_csv(folder / VALIDATION, index=False, lineterminator="\n")
        labels, odds = self.labelled
        before, after = (
            evaluation.negative_log_likelihood(labels, mean_odds(odds), temperature, balanced=self.balanced)
            for temperature in (1.0, self.facts.temperature)
        )
        card = write_card(
            self.facts,
            self.results,
            title=self.title,
            validation_images=len(labels),
            risk_before=before,
            risk_after=after,
            components=self.members[0].distance.components,
            licence=metadata("mergershift")["License-Expression"],
            **card_values,
        )
        (folder / CARD).write_text(card)
        return sorted(folder.iterdir())


def weights_name(number: int) -> str:
    """Name the file of the weights of a member by its number."""
    return WEIGHTS if number == 0 else WEIGHTS.replace(".", f"-{number + 1}.")


def mean_odds(log_odds: Floats) -> Floats:
    """Return finite log odds `(N,)` of the mean probability over views and networks, from theirs `(V, N, M)`."""
    return np.clip(mean_log_odds(log_odds), -_LARGEST, _LARGEST)


def _chance(odds: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-odds))
    return chance


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
