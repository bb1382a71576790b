"""Adding a method takes three new files and one line in the study; no other file is edited."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

METHOD = '''
"""Distance between the mean features of the two domains."""

from torch import Tensor, nn

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.networks import Activations


class MeanDifference(Adaptation):
    """Squared distance between the source's and the target's mean features after a learned linear projection."""

    def build(self, feature_size: int, classes: int) -> None:
        self.view = nn.Linear(feature_size, 4, bias=False)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        check_features(source.features, target.features)
        means = [self.view(activations.features).mean(0) for activations in (source, target)]
        return (means[0] - means[1]).square().sum()
'''
CONFIGURATION = """
penalty:
  _target_: mergershift.adaptation.mean_difference.MeanDifference
weighting:
  _target_: mergershift.adaptation.weighting.Ramp
  trade_off: 0.1
"""
TEST = """
import torch

from mergershift.adaptation.mean_difference import MeanDifference
from mergershift.networks import Activations


def test_zero_for_equal_batches():
    penalty = MeanDifference()
    penalty.build(feature_size=3, classes=2)
    same = Activations(torch.randn(5, 3), torch.randn(5, 2))
    assert penalty(same, same, torch.zeros(5)).item() == 0
"""


def run(project: Path, *command: str) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def study(project: Path, *adaptations: str) -> None:
    yaml = YAML()
    document = yaml.load((project / "conf/study.yaml").read_text())
    document["filters"] = ["two"]
    document["methods"] = [
        {"transfer": "pristine_to_noisy", "adaptation": name, "experiment": "default"} for name in adaptations
    ]
    yaml.dump(document, project / "conf/study.yaml")


def test_three_files_make_a_method(archive):
    (archive / "conf/training/demo.yaml").write_text(
        "defaults: [default, _self_]\nepochs: 2\ncandidates: 2\n"
    )
    study(archive, "source_only")
    run(archive, "dvc", "repro", "evaluate")

    files = {
        "src/mergershift/adaptation/mean_difference.py": METHOD,
        "conf/adaptation/mean_difference.yaml": CONFIGURATION,
        "tests/adaptation/test_mean_difference.py": TEST,
    }
    for name, text in files.items():
        (archive / name).parent.mkdir(parents=True, exist_ok=True)
        (archive / name).write_text(text)
    run(archive, "pytest", "-q", "-p", "no:cacheprovider", "tests/adaptation/test_mean_difference.py")
    study(archive, "source_only", "mean_difference")
    stages = re.findall(r"Running stage '(.*)'", run(archive, "mergershift", "repro"))
    key = "two-method1-0"
    assert sorted(stages) == ["code", f"evaluate@{key}", "report", "summary", f"train@{key}"]

    cell = archive / "outputs/cells/two/pristine_to_noisy/mean_difference/default/seed0"
    run_id = json.loads((cell / "train/run.json").read_text())["run_id"]
    client = MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db")
    assert client.list_artifacts(run_id, "report"), "the report's figures of the method are in its run"
    assert json.loads((cell / "evaluation/selection.json").read_text())["epoch"] in (0, 1)
    summary = archive / "outputs/summary"
    assert "mean_difference" in set(pd.read_csv(summary / "transfer.csv")["adaptation"])
    compared = pd.read_csv(summary / "comparison.csv").set_index("adaptation")
    assert compared.loc["mean_difference", ["difference", "p", "p_holm"]].notna().all()
    (best,) = json.loads((summary / "best.json").read_text())
    named = YAML(typ="safe").load((archive / "conf/selection/label_free.yaml").read_text())
    assert best["validator"] == named["best_by"]
    assert best["best"] == max(best["scores"], key=best["scores"].get)
    assert set(best["scores"]) == {"source_only", "mean_difference"}
    assert "mean_difference" in (archive / "outputs/report/index.html").read_text()
