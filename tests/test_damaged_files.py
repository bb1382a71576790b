"""Whatever happens to a file of conf/ or of a training, whoever reads it names it, and nothing else is raised."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells.samples import config_of, prepare_tiny, write_checkout, write_selection, write_training

from mergershift import evaluation
from mergershift.archive import Domain
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.records import RunRecord
from mergershift.cells.run_content import run_content
from mergershift.cells.summary_files import TABLES, read_best, read_table
from mergershift.classifier.classifier import load_classifier
from mergershift.config import compose
from mergershift.config.study import read_named_study, read_study
from mergershift.config.targets import allowed_packages
from mergershift.core.citation import references
from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.images.locate import prepared_images
from mergershift.registry import ModelFacts
from mergershift.registry.comparison import _table
from mergershift.registry.register import _stage

CELL = Path("outputs/cells/x")
PREPARED = Path("outputs/prepared/two-by_galaxy")
MODEL = Path("model")


def in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


MUTATIONS: dict[str, Callable[[bytes], bytes | None]] = {
    "not UTF-8": lambda content: b"\xff\xfe\x00" + content,
    "empty": lambda content: b"",
    "a list": lambda content: b"[]\n",
    "a number": lambda content: b"5\n",
    "null": lambda content: b"null\n",
    "torn": in_half,
    "torn before its end": lambda content: content[:-2],
    "a folder": lambda content: None,
}


def training() -> FinishedTraining:
    return FinishedTraining.read(CELL.resolve())


def numbers(prepared: Prepared) -> None:
    prepared.labelled(Domain.PRISTINE, np.array([0]))


READERS: dict[Path, Callable[[], object]] = {
    CELL / "train/run.json": training,
    CELL / "train/config.yaml": training,
    CELL / "train/epochs.csv": lambda: training().epochs,
    CELL / "train/models/epoch001.safetensors": lambda: load_classifier(
        training().model_file(1), training().config
    ),
    CELL / "evaluation/selection.json": lambda: training().selection,
    CELL / "evaluation/validators.csv": lambda: training().validators,
    CELL / "evaluation/metrics.json": lambda: training().results,
    CELL / "evaluation/predictions.csv": lambda: training().target,
    Path("outputs/summary/best.json"): lambda: read_best("Do this."),
    **{Path(f"outputs/summary/{name}.csv"): partial(read_table, name, "Do this.") for name in TABLES},
    PREPARED / "prepared.json": lambda: prepared_images(config_of()),
    PREPARED / "rows.csv": lambda: prepared_images(config_of()).table,
    PREPARED / "pristine-images.npy": lambda: numbers(prepared_images(config_of())),
    PREPARED / "pristine-labels.npy": lambda: numbers(prepared_images(config_of())),
    Path("conf/config.yaml"): compose,
    Path("conf/network/deepmerge.yaml"): compose,
    Path("conf/adaptation/mmd.yaml"): lambda: compose(["adaptation=mmd"]),
    Path("conf/training/default.yaml"): lambda: compose(["training=demo"]),
    Path("conf/study.yaml"): read_study,
    Path("conf/studies/demo.yaml"): lambda: read_named_study("demo"),
    Path("conf/allowed_targets.yaml"): allowed_packages,
    Path("CITATION.cff"): references,
    Path("dvc.lock"): lambda: _stage(CELL.resolve()),
    MODEL / "facts.json": lambda: ModelFacts.read(MODEL),
    MODEL / "validation.csv": lambda: _table(MODEL / "validation.csv"),
}
SOUND = {
    ("conf/allowed_targets.yaml", "a list"),
    ("conf/allowed_targets.yaml", "null"),
    ("conf/allowed_targets.yaml", "empty"),
}
"""What is a valid file of its kind."""
WRITTEN_BY_USERS = ("conf", "CITATION.cff", "dvc.lock")
"""Where half of a file may be a valid one, as far as anyone can know."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with one of every file that `READERS` read, as the working directory."""
    folder = write_checkout(tmp_path_factory.mktemp("damaged") / "checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_cell(folder / CELL)
        write_summary(folder / "outputs/summary")
        prepare_tiny(config_of())
        write_model(folder / MODEL)
        shutil.copy(Path(__file__).parents[1] / "CITATION.cff", folder)
        (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  evaluate:\n    outs:\n    - path: a\n")
        yield folder


def write_cell(cell: Path) -> None:
    write_training(cell, config_of(), {1: 16.0})
    (cell / "train/epochs.csv").write_text("epoch,source_val_loss\n0,0.5\n1.0,0.25\n2,\n")
    scores = {"information_maximisation": [0.6, 0.5, 0.4]}
    write_selection(cell, scores)
    table = pd.DataFrame(
        {"row": range(4), "galaxy": range(4), "camera": 0, "block": 0, "label": [0, 1, 0, 1]}
    )
    parts = [
        table.assign(role=role, domain=domain, probability=0.9, threshold=0.4)
        for role, domain in (("source", "pristine"), ("target", "noisy"))
    ]
    predictions = evaluation.join(parts)
    evaluation.write_predictions(predictions, cell / "evaluation/predictions.csv")
    evaluation.write_results(evaluation.evaluate(predictions, resamples=20), cell / "evaluation")


def write_summary(folder: Path) -> None:
    folder.mkdir()
    method = {"transfer": "pristine_to_noisy", "adaptation": "mmd", "experiment": "default"}
    setting = {"filters": "two", "source": "pristine", "target": "noisy"}
    ranking = {"validator": "target_entropy", "best": "mmd", "method": method, "scores": {"mmd": 0.5}}
    (folder / "best.json").write_text(json.dumps([setting | ranking]))
    for name, columns in TABLES.items():
        row = {column: "a" if kind is str else 1 for column, kind in columns.items()}
        pd.DataFrame([row, row]).to_csv(folder / f"{name}.csv", index=False)


def write_model(folder: Path) -> None:
    folder.mkdir()
    facts = {
        **dict.fromkeys(("name", "unit", "threshold_rule", "source", "target", "labelled", "network"), "a"),
        **dict.fromkeys(("adaptation", "transfer", "validator", "training", "data_hash", "data_kind"), "a"),
        **dict.fromkeys(("image_size", "field_kpc", "pixel_arcsec", "redshift", "temperature"), 1),
        **{
            "filter_set": "two",
            "filters": ["a"],
            "threshold": 0.5,
            "classes": "equally frequent",
            "domains": ["a"],
        },
        **{"oracle": False, "experiment": None, "seed": 0, "epoch": 1, "config_hash": "a"},
        "split": config_of().split.model_dump(mode="json"),
    }
    ModelFacts.model_validate(facts).write(folder)
    row = {"role": "source", "row": 1, "galaxy": 1, "camera": 0, "label": 1, "log_odds": 0.5}
    pd.DataFrame([row, row]).to_csv(folder / "validation.csv", index=False)


@dataclass
class Damaged:
    """Puts something else in the place of a file and, at the end, the file back."""

    path: Path
    content: bytes | None

    def __enter__(self) -> None:
        self.before = self.path.read_bytes()
        self.path.unlink()
        if self.content is None:
            self.path.mkdir()
        else:
            self.path.write_bytes(self.content)

    def __exit__(self, *_: object) -> None:
        if self.content is None:
            self.path.rmdir()
        self.path.write_bytes(self.before)


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("file", READERS, ids=str)
def test_a_damaged_file_is_named(checkout: Path, file: Path, mutation: str) -> None:
    if (str(file), mutation) in SOUND or (mutation.startswith("torn") and file.parts[0] in WRITTEN_BY_USERS):
        return
    with (
        Damaged(checkout / file, MUTATIONS[mutation]((checkout / file).read_bytes())),
        pytest.raises(UserError) as raised,
    ):
        READERS[file]()
    message = str(raised.value)
    assert file.name in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("file", READERS, ids=str)
def test_an_undamaged_file_is_read(checkout: Path, file: Path) -> None:
    READERS[file]()


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("file", [file for file in READERS if CELL in file.parents], ids=str)
def test_no_file_of_a_training_stops_a_sync_otherwise(checkout: Path, file: Path, mutation: str) -> None:
    """`run_content` raises a UserError or, for a file that it only passes on, nothing."""
    content = MUTATIONS[mutation]((checkout / file).read_bytes())
    with Damaged(checkout / file, content), suppress(UserError):
        run_content(checkout / CELL / "train")


@pytest.mark.parametrize(
    ("entry", "value", "found"),
    [
        ("epoch", "one", "found 'one', expected a valid integer"),
        ("epoch", "1", "found '1', expected a valid integer"),
        ("epoch", -1, "found -1, expected a value greater than or equal to 0"),
        ("threshold", 5, "found 5"),
        ("threshold", float("nan"), "found nan"),
        ("oracle_threshold", float("inf"), "found inf"),
        ("best_by", "beauty", "found 'beauty', expected one of"),
        ("validator", None, "found None, expected a valid string"),
        ("training", [], "found [], expected a valid string"),
    ],
)
def test_a_wrong_choice_is_refused(checkout: Path, entry: str, value: object, found: str) -> None:
    path = checkout / CELL / "evaluation/selection.json"
    content = json.dumps(json.loads(path.read_text()) | {entry: value}).encode()
    with Damaged(path, content), pytest.raises(UserError) as raised:
        training().selection  # noqa: B018
    assert f"selection.json: {entry}: {found}" in str(raised.value)


def test_a_choice_without_its_validator_is_refused(checkout: Path) -> None:
    path = checkout / CELL / "evaluation/selection.json"
    facts = json.loads(path.read_text())
    del facts["validator"]
    with Damaged(path, json.dumps(facts).encode()), pytest.raises(UserError, match="validator: missing"):
        training().selection  # noqa: B018


@pytest.mark.parametrize(
    "scores",
    [[1], {"source": []}, {"source": {"unique": {"auc": None}}}, {"source": {"unique": {"auc": {"low": 1}}}},
     {"source": {"unique": {"auc": {"value": "high"}}}}, {"elsewhere": {"unique": {}}}, {}],
)  # fmt: skip
def test_scores_of_another_shape_are_refused(checkout: Path, scores: object) -> None:
    with (
        Damaged(checkout / CELL / "evaluation/metrics.json", json.dumps(scores).encode()),
        pytest.raises(UserError, match=r"metrics\.json: "),
    ):
        training().results  # noqa: B018


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("evaluation/validators.csv", "\n1,", "\n7,"),
        ("evaluation/validators.csv", "\n2,", "\n1,"),
        ("evaluation/validators.csv", "target_entropy", "beauty"),
        ("evaluation/predictions.csv", "target,", "source,"),
        ("evaluation/predictions.csv", "\n0,0,0,0,0,target", "\n9,0,0,0,0,target"),
        ("train/epochs.csv", "0.25", "low"),
        ("train/epochs.csv", "0.25", "0.25,1"),
        ("train/config.yaml", "transfer: pristine_to_noisy\n", ""),
    ],
)
def test_a_table_that_does_not_fit_is_refused(checkout: Path, file: str, old: str, new: str) -> None:
    path = checkout / CELL / file
    content = path.read_text()
    assert old in content
    with Damaged(path, content.replace(old, new).encode()), pytest.raises(UserError, match=path.name):
        READERS[CELL / file]()


def test_a_record_is_written_as_it_is_read(checkout: Path, tmp_path: Path) -> None:
    record = training().record.model_copy(update={"epoch_times": {3: 7}, "metrics": {"a": float("nan")}})
    record.write(tmp_path / "run.json")
    read = RunRecord.read(tmp_path / "run.json")
    assert read.epoch_times == {3: 7}
    assert np.isnan(read.metrics["a"])
