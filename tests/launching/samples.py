"""Programs that print what SLURM's do, and record how they were called."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from mergershift.config.launcher import LauncherConfig
from mergershift.launching.jobs import Task
from mergershift.launching.slurm import SlurmJob

CONFIG = LauncherConfig(hours=2, memory="8G", cpus=3, parallel=2, requeues=1)
# What a program prints is in a file of its name, what it says as it fails in one that ends in .error.
_PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> {folder}/calls
[ "{name}$SQUEUE_USERS" != "squeue" ] && [ {name} = squeue ] && echo "squeue saw the environment" >> {folder}/calls
[ {name} = sbatch ] && env | grep -E "^(SBATCH|SLURM)_" > {folder}/variables
if [ -f {folder}/{name}.error ]; then cat {folder}/{name}.error >&2; exit 1; fi
[ {name} = sbatch ] && cp "$1" {folder}/script
cat {folder}/{name}
"""


class Programs:
    """SLURM's programs in a folder: `says` sets what one prints from now on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        for name in ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"):
            self.says(name, "Submitted batch job 123\n" if name == "sbatch" else "")
            program = folder / "bin" / name
            program.write_text(_PROGRAM.format(folder=folder, name=name))
            program.chmod(0o755)

    def says(self, name: str, text: str) -> None:
        (self.folder / f"{name}.error").unlink(missing_ok=True)
        (self.folder / name).write_text(text)

    def fails(self, name: str, message: str) -> None:
        (self.folder / f"{name}.error").write_text(message)

    def calls(self, name: str) -> list[str]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]

    @property
    def script(self) -> str:
        """What the last array of jobs runs."""
        return (self.folder / "script").read_text()


def task(folder: Path, name: str = "a") -> Task:
    return Task(name, ("true",), folder, {"SECRET": "hidden"}, folder / f"{name}.log")


def leave_result(job: SlurmJob, value: object, outcome: str = "success") -> None:
    """Write what submitit writes when the function of a job has returned, or has raised an error."""
    path = job.submission.folder / f"{job.number}_0_result.pkl"
    path.write_bytes(pickle.dumps((outcome, value)))


def path_with(folder: Path) -> str:
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
