"""The files in outputs/summary/ that other commands read: their contents, and how they are read and checked."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict

from mergershift.cells.layout import BEST, EVALUATED, PREDICTIONS, SUMMARY
from mergershift.config import LabelFree
from mergershift.config.study import Cell, Method, study_file
from mergershift.core.checkout import root
from mergershift.core.files import write_text
from mergershift.core.reading import Columns, damaged, read_csv, read_json

PAGE_RECORD, STUDY_COPY = "study.json", "study.yaml"
"""Files beside the study's page: what it was made from (`PageRecord`), and conf/study.yaml as it was then."""
_METHOD: Columns = dict.fromkeys(("filters", "transfer", "adaptation", "experiment", "source", "target"), str)
TABLES: dict[str, Columns] = {
    "transfer": {
        **_METHOD,
        **dict.fromkeys(("choice", "role", "rows", "metric", "data", "split"), str),
        **dict.fromkeys(("value", "low", "high"), float),
        **dict.fromkeys(("galaxies", "seeds"), int),
    },
    "comparison": {
        **_METHOD,
        **dict.fromkeys(("difference", "low", "high", "p", "p_holm"), float),
        **dict.fromkeys(
            ("won_back", "won_back_low", "won_back_high", "drop", "drop_low", "drop_high"), float
        ),
    },
    "validators": {
        **dict.fromkeys(("filters", "source", "target", "among", "validator"), str),
        **dict.fromkeys(("agreement", "agreement_std", "regret"), float),
    },
    "trainings": {
        **dict.fromkeys(("filters", "transfer", "adaptation", "experiment"), str),
        "seed": int,
        **dict.fromkeys(("training", "predictions", "baseline"), str),
        **dict.fromkeys(("gain", "gain_low", "gain_high"), float),
    },
}
"""Columns of each table, by the name of its CSV file, that other commands use."""

GAIN = ("gain", "gain.low", "gain.high")
"""Names of the metrics with a training's gain and the bounds of its 95 % interval."""


class Gain(NamedTuple):
    """A training's gain in balanced accuracy on the target's test over source-only with the same seed."""

    value: float
    low: float
    high: float
    baseline: str
    """Id of that source-only training."""


class PredictionsFile(NamedTuple):
    """A file of test predictions, as it was when the study was summarised."""

    path: Path
    digest: str
    """See `predictions_digest`."""


@dataclass(frozen=True)
class StudyTrainings:
    """The trainings that the study's summary was made from."""

    study: str
    """Id of the study: it is another one as soon as one of the trainings is."""
    trainings: frozenset[str]
    """Their ids."""
    gains: Mapping[str, Gain] = field(default_factory=dict)
    """Gain by the training's id; source-only has none."""
    predictions: Mapping[str, PredictionsFile] = field(default_factory=dict)
    """Test predictions of each training by its id, from which the gains were computed."""
    _present: dict[str, str | None] = field(default_factory=dict, init=False, compare=False)
    """Digests of the baselines' files as they are now: each is compared with many trainings, and read once."""

    def gain(self, training: str, predictions: str) -> dict[str, float]:
        """Return the training's gain and its bounds as metrics.

        There are none if the training's test predictions, of which `predictions` is the digest, or those of source-only
        are no longer those that the gain was computed from.
        """
        found = self.gains.get(training)
        if found is None or self.predictions[training].digest != predictions or self._changed(found.baseline):
            return {}
        named = zip(GAIN, (found.value, found.low, found.high), strict=True)
        return {name: value for name, value in named if math.isfinite(value)}

    def _changed(self, baseline: str) -> bool:
        file = self.predictions.get(baseline)
        if file is None:
            return True
        if baseline not in self._present:
            try:
                self._present[baseline] = predictions_digest(file.path.read_bytes())
            except OSError:  # removed, or about to be written again
                self._present[baseline] = None
        return self._present[baseline] != file.digest


class BestMethod(BaseModel):
    """An entry of best.json: the method that ranks first for a filter set and direction."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    filters: str
    source: str
    target: str
    validator: LabelFree
    """The validator that was named beforehand to compare methods."""
    best: str | None
    """Title of the method; None if no method has a finite score."""
    method: Method | None
    scores: dict[str, float]
    """Mean score of each label-free method by its title, where it is finite."""


def read_best(remedy: str) -> list[BestMethod]:
    """Read best.json; raises DamagedFile, with `remedy`, if it is missing or damaged."""
    path = root() / SUMMARY / BEST
    entries = read_json(path, list[BestMethod], remedy)
    if not entries:
        raise damaged(path, "no entries, expected one for each filter set and direction", remedy)
    return entries


def read_table(name: str, remedy: str) -> pd.DataFrame:
    """Read one of `TABLES`; raises DamagedFile, with `remedy`, if it is missing or damaged.

    A study without a method to compare has no rows of `comparison`, and such a table has no columns either.
    """
    return read_csv(
        root() / SUMMARY / f"{name}.csv", TABLES[name], remedy, rows=int(name in ("transfer", "trainings"))
    )


class PageRecord(BaseModel):
    """study.json beside the study's page: what the page was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    study: str
    """Id of the study (`study_id`)."""
    summary: str
    """Digest of the summary (`summary_digest`)."""
    experiment: str
    """MLflow experiment of its trainings."""


def write_page_record(folder: Path, trainings: Iterable[str], experiment: str) -> None:
    """Record in the folder of the study's page what the page was made from: trainings, the summary, conf/study.yaml."""
    record = PageRecord(study=study_id(trainings), summary=summary_digest(), experiment=experiment)
    write_text(folder / PAGE_RECORD, record.model_dump_json(indent=2) + "\n")
    shutil.copyfile(study_file(), folder / STUDY_COPY)


def summary_digest() -> str:
    """Digest of the files in outputs/summary/, whatever their order on disk."""
    digest = hashlib.sha256()
    for path in summary_files():
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def summary_files() -> list[Path]:
    """Return the tables of the study in outputs/summary/, by name."""
    folder = root() / SUMMARY
    return sorted(path for path in folder.glob("*") if path.suffix in (".csv", ".json"))


def study_id(trainings: Iterable[str]) -> str:
    """Identify a study by the ids of all its trainings."""
    text = "\n".join(sorted(trainings))
    return f"study-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def predictions_digest(content: bytes) -> str:
    """Digest of a file of test predictions, by which a gain computed from other predictions is recognised."""
    return hashlib.sha256(content).hexdigest()[:16]


def read_trainings(remedy: str) -> StudyTrainings | None:
    """Read trainings.csv; None if the study has no summary yet. Raises DamagedFile, with `remedy`, if it is damaged."""
    if not (root() / SUMMARY / "trainings.csv").exists():
        return None
    table = read_table("trainings", remedy)
    gains, predictions = {}, {}
    for row in table.to_dict("records"):
        training = str(row["training"])
        method = Method.model_construct(**{name: row[name] for name in Method.model_fields})
        tested = root() / Cell(row["filters"], method, row["seed"]).folder / EVALUATED
        predictions[training] = PredictionsFile(tested / PREDICTIONS["label_free"], str(row["predictions"]))
        if math.isfinite(row["gain"]):
            gains[training] = Gain(row["gain"], row["gain_low"], row["gain_high"], str(row["baseline"]))
    ids = frozenset(predictions)
    return StudyTrainings(study_id(ids), ids, gains, predictions)
