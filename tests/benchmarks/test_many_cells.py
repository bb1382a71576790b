import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from report.study_sample import FORWARD, METHODS, mark_as, write_study

from mergershift.cells.finished import FinishedTraining
from mergershift.cells.records import Shift
from mergershift.cells.summary_files import read_table
from mergershift.stages.summary import write_summary

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import many_cells

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_copies_make_a_finished_study_whose_cells_differ(
    tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(CHECKOUT / "conf", project / "conf")
    shutil.copy(CHECKOUT / "dvc.yaml", project)
    shutil.copytree(sample, project / "data", copy_function=os.link)
    mark_as("mock", project)
    monkeypatch.chdir(project)
    write_study(METHODS[:1])
    original = tmp_path / "original"
    (project / "outputs/cells/two" / FORWARD / "source_only/default/seed0").rename(original)
    training = FinishedTraining.read(original).record.training
    source, target = [[0.0, 1.0]], [[2.0, 3.0]]
    shift = Shift(training=training, mmd=0.5, proxy_a=1.5, source=source, target=target, explained=[0.5, 0.1])
    shift.write(original / "evaluation/shift.json")

    transfers = (FORWARD, "noisy_to_pristine")
    methods: list[dict[str, object]] = [
        {"transfer": transfer, "adaptation": name, "experiment": "default"}
        for transfer in transfers
        for name in ("source_only", "mmd")
    ]
    study = many_cells.write_lists(project, ["two"], methods, [0, 1])
    many_cells.fill(project, study, {"two": original})
    trainings = [FinishedTraining.read(cell.folder) for cell in study.cells()]
    assert len({training.record.training for training in trainings}) == len(trainings) == 8
    for cell, finished in zip(study.cells(), trainings, strict=True):
        assert finished.config.seed == cell.seed
        assert finished.config.choices["adaptation"] == cell.method.adaptation
        assert finished.trained.config_hash == finished.config.digest()
        assert finished.selection.training == finished.record.training
        assert finished.shift is not None
        assert set(finished.target["domain"]) == {str(finished.config.transfer.target)}
    models = {training.model_file(training.selection.epoch).read_bytes() for training in trainings}
    assert len(models) == len(trainings)
    write_summary()
    scores = read_table("transfer", "")
    scores = scores[(scores["role"] == "target") & (scores["metric"] == "auc")]
    assert np.unique(scores["value"]).size > len(methods)
