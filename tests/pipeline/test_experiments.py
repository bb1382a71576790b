"""DVC's own commands on a study: experiments, metrics, and a study edited or pulled without `mergershift repro`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from checkouts import commit
from studies import cell_of, environment, ran, repro, stages, write_study

pytestmark = pytest.mark.system

CELLS = ["two-source_only-s0", "two-mmd-s0"]


def dvc(project: Path, *arguments: str) -> CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment(project))


def test_an_experiment_runs_what_it_changes_and_is_compared_by_a_few_metrics(studied: Path) -> None:
    commit(studied)
    change = ("-n", "half", "-S", "conf/adaptation/mmd.yaml:weighting.trade_off=0.5")
    done = dvc(studied, "exp", "run", *change, "summary")
    assert ran(done) == ["code", "train@two-mmd-s0", "evaluate@two-mmd-s0", "summary"]
    tags = json.loads((cell_of(studied, "mmd") / "train/run.json").read_text())["tags"]
    assert (tags["dvc_experiment"], tags["dvc_stage"]) == ("half", "train@two-mmd-s0")

    shown = json.loads(dvc(studied, "exp", "show", "--json").stdout)
    (baseline,) = (entry for entry in shown if entry["experiments"])
    (experiment,) = baseline["experiments"]
    assert experiment["name"] == "half"
    (revision,) = experiment["revs"]
    metrics = revision["data"]["metrics"]
    assert set(metrics) == {f"outputs/metrics/{cell}.json" for cell in CELLS}
    figures = metrics["outputs/metrics/two-mmd-s0.json"]["data"]
    assert set(figures) == {"source", "target", "target_auc", "gain", "images"}

    table = dvc(studied, "metrics", "show").stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == sorted(f"outputs/metrics/{cell}.json" for cell in CELLS)
    assert max(map(len, table)) <= 100
    changed = json.loads(dvc(studied, "metrics", "diff", "--all", "--json", "HEAD", "half").stdout)
    assert changed["outputs/metrics/two-mmd-s0.json"]["source"]["new"] == figures["source"]
    page = dvc(studied, "plots", "diff", "HEAD", "half").stdout.strip().removeprefix("file://")
    assert "http" not in Path(page).read_text(), "it shows without a network"
    status = subprocess.run(["git", "status", "--short"], cwd=studied, capture_output=True, text=True)
    assert "dvc_plots" not in status.stdout


def test_dvc_stops_at_an_edited_study_and_then_runs_its_cells(studied: Path) -> None:
    write_study(studied, "source_only", "coral")
    stopped = dvc(studied, "repro", "train@two-mmd-s0")
    assert stages(stopped.stdout) == ["code"]
    assert "Error: conf/study.yaml was edited: conf/cells.yaml now lists its 2 cells." in stopped.stderr
    assert "Run the same command again" in stopped.stderr
    assert ran(dvc(studied, "repro", "code")) == ["code"]
    assert "train@two-coral-s0" in dvc(studied, "stage", "list", "--name-only").stdout.split()
    (studied / "conf/cells.yaml").write_text("cells: {}\nsearches: {}\n")
    done = repro(studied, "--dry", "code")
    assert done.returncode == 0, done.stderr
    assert "conf/cells.yaml now lists its 2 cells" in done.stdout


def test_results_under_the_numbers_of_former_stage_names_are_kept(studied: Path) -> None:
    lock = studied / "dvc.lock"
    text = lock.read_text()
    for number, cell in enumerate(CELLS):
        text = text.replace(f"@{cell}:", f"@two-method{number}-0:")
    lock.write_text(text)
    assert ran(repro(studied, "evaluate")) == []
    assert dvc(studied, "status", *(f"evaluate@{cell}" for cell in CELLS)).stdout.startswith(
        "Data and pipelines are up"
    )
