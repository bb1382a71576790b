"""Small studies under DVC, and the commands that run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML

from mergershift.core.database_files import sqlite_address

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
EPOCHS = 3


def write_study(project: Path, *adaptations: str) -> None:
    """Let the project's study train these methods on one filter set, one seed and few epochs."""
    yaml, path = YAML(), project / "conf" / "study.yaml"
    document = yaml.load(path.read_text())
    document["filters"] = ["two"]
    document["methods"] = [
        {"transfer": "pristine_to_noisy", "adaptation": name, "experiment": "default"} for name in adaptations
    ]
    yaml.dump(document, path)
    (project / "conf/training/demo.yaml").write_text(
        f"defaults: [default, _self_]\nepochs: {EPOCHS}\ncandidates: 2\n"
    )


def leave_page_out(project: Path) -> None:
    """Remove the page from the pipeline: it has tests of its own and takes its time."""
    yaml, path = YAML(), project / "dvc.yaml"
    document = yaml.load(path.read_text())
    del document["stages"]["report"]
    yaml.dump(document, path)


def cell_of(project: Path, adaptation: str) -> Path:
    """Where a method of such a study is trained and evaluated."""
    return project / "outputs/cells/two/pristine_to_noisy" / adaptation / "default/seed0"


def checkpoint(project: Path, adaptation: str) -> Path:
    """The last checkpoint of a method's training while it is under way."""
    return project / "state/cells/two/pristine_to_noisy" / adaptation / "default/seed0/checkpoints/last.ckpt"


def repro(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mergershift repro` with the code that lies in the project, as an installed checkout has it."""
    return subprocess.run(
        [sys.executable, "-m", "mergershift", "repro", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        env=environment(project),
    )


def begin_repro(project: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The same in the background and in a session of its own."""
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "mergershift", "repro", *arguments],
            cwd=project,
            stdout=file,
            stderr=file,
            env=environment(project),
            start_new_session=True,
        )


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of a process and all that it has started, so that none of them finds out that another was killed."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in reversed(family):
        member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=30)  # DVC honours the lock of a process that is not yet buried


def environment(project: Path) -> dict[str, str]:
    """Variables of a process that shall find this Python's commands and the project's code."""
    return ENVIRONMENT | {"PYTHONPATH": str(project / "src")}


def dvc(project: Path, *arguments: str) -> str:
    """What a DVC command says."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stages(said: str) -> list[str]:
    """The stages that DVC says it has run."""
    return re.findall(r"Running stage '(.*)'", said)


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The stages that a command ran, which has to have ended well."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return stages(done.stdout)


def client(project: Path) -> MlflowClient:
    """On the project's own tracking database."""
    return MlflowClient(tracking_uri=sqlite_address(project / "mlflow.db"))


def runs(project: Path) -> list[Run]:
    """All runs of the project's trainings."""
    experiment = client(project).get_experiment_by_name("mergershift")
    assert experiment is not None
    return list(client(project).search_runs([experiment.experiment_id]))


def steps(project: Path, run: Run) -> list[int]:
    """The epochs that a run has a training loss of."""
    return sorted(each.step for each in client(project).get_metric_history(run.info.run_id, "train/loss"))
