"""Adding a method takes three new files and one line in the study; no other file is edited."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from ruamel.yaml import YAML
from studies import EPOCHS, cell_of, client, environment, ran, repro, write_study

pytestmark = pytest.mark.system

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


def test_three_files_make_a_method(studied):
    files = {
        "src/mergershift/adaptation/mean_difference.py": METHOD,
        "conf/adaptation/mean_difference.yaml": CONFIGURATION,
        "tests/adaptation/test_mean_difference.py": TEST,
    }
    for name, text in files.items():
        (studied / name).parent.mkdir(parents=True, exist_ok=True)
        (studied / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/adaptation"]
    tested = subprocess.run(command, cwd=studied, capture_output=True, text=True, env=environment(studied))
    assert tested.returncode == 0, tested.stdout
    write_study(studied, "source_only", "mean_difference")
    key = "two-mean_difference-s0"
    assert sorted(ran(repro(studied))) == ["code", f"evaluate@{key}", "report", "summary", f"train@{key}"]

    trained = cell_of(studied, "mean_difference")
    run_id = json.loads((trained / "train/run.json").read_text())["run_id"]
    assert client(studied).list_artifacts(run_id, "report"), "the page's figures of the method are in its run"
    assert json.loads((trained / "evaluation/selection.json").read_text())["epoch"] in range(EPOCHS)
    summary = studied / "outputs/summary"
    assert "mean_difference" in set(pd.read_csv(summary / "transfer.csv")["adaptation"])
    compared = pd.read_csv(summary / "comparison.csv").set_index("adaptation")
    assert compared.loc["mean_difference", ["difference", "p", "p_holm"]].notna().all()
    (best,) = json.loads((summary / "best.json").read_text())
    named = YAML(typ="safe").load((studied / "conf/selection/label_free.yaml").read_text())
    assert best["validator"] == named["best_by"]
    assert best["best"] == max(best["scores"], key=best["scores"].get)
    assert set(best["scores"]) == {"source_only", "mean_difference"}
    assert "mean_difference" in (studied / "outputs/report/index.html").read_text()
