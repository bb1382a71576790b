"""Rows of the benchmark's table: two forms of the same work, measured in turns, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Sample:
    """What one execution took."""

    wall: float
    """Wall time in seconds, or any other quantity of which less is better."""
    cpu: float | None = None
    """CPU time in seconds of all threads and child processes; it hardly depends on what else the machine does."""

    def per(self, count: int) -> Sample:
        """Return the share of one of `count` equal parts."""
        return Sample(self.wall / count, None if self.cpu is None else self.cpu / count)


@dataclass(frozen=True)
class Row:
    """A line of the table: what the plain form of some work takes in units of what ours takes."""

    group: str
    name: str
    plain: str
    """Description of the plain form."""
    unit: str
    """Unit of both medians: s or MB."""
    plain_median: float
    ours_median: float
    ratio: float
    """Median over the repeats of plain / ours; above 1, ours is the better one."""
    low: float
    """Lowest ratio of a repeat."""
    high: float
    """Highest ratio of a repeat."""
    cpu_ratio: float | None
    """The same median of CPU times."""
    repeats: int

    def plainly(self) -> dict[str, Any]:
        """Return the row as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class Options:
    """What all groups of the benchmark need to know."""

    scratch: Path
    quick: bool
    repeats: int
    threads: int
    networks: Sequence[str]
    methods: Sequence[str]
    cells: Sequence[int]


def in_turns(forms: Mapping[str, Callable[[], Sample]], repeats: int) -> dict[str, list[Sample]]:
    """Execute all forms in turns, `repeats` times; a change of the machine's load then meets all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in forms}
    for _ in range(repeats):
        for name, form in forms.items():
            samples[name].append(form())
    return samples


def row_of(
    group: str, name: str, plain: str, slow: Sequence[Sample], fast: Sequence[Sample], unit: str = "s"
) -> Row:
    """Compare the samples of two forms that were measured in turns, turn by turn."""
    ratios = [one.wall / other.wall for one, other in zip(slow, fast, strict=True)]
    cpu = [one.cpu / other.cpu for one, other in zip(slow, fast, strict=True) if one.cpu and other.cpu]
    return Row(
        group=group,
        name=name,
        plain=plain,
        unit=unit,
        plain_median=statistics.median(sample.wall for sample in slow),
        ours_median=statistics.median(sample.wall for sample in fast),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        cpu_ratio=statistics.median(cpu) if len(cpu) == len(ratios) else None,
        repeats=len(ratios),
    )


def timed(work: Callable[[], object]) -> Sample:
    """Execute `work` in this process."""
    wall, cpu = time.perf_counter(), time.process_time() + _of_children()
    work()
    return Sample(time.perf_counter() - wall, time.process_time() + _of_children() - cpu)


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed_command(command: Sequence[str], folder: Path = ROOT, **variables: str) -> Sample:
    """Run a command to its end; raises subprocess.CalledProcessError, with its output, if it fails."""
    wall, cpu = time.perf_counter(), _of_children()
    run(command, folder, **variables)
    return Sample(time.perf_counter() - wall, _of_children() - cpu)


def run(command: Sequence[str], folder: Path = ROOT, **variables: str) -> str:
    """Run a command with the code of the checkout in `folder`; returns what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src")} | variables
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])
    done.check_returncode()
    return done.stdout


def machine(threads: int) -> dict[str, Any]:
    """Describe this machine, and the software that a timing depends on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "instructions": [name for name in INSTRUCTIONS if name in _flags()],
        "onednn_isa": onednn_isa(),
        "aten_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": run(["git", "describe", "--always", "--dirty"]).strip(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "unknown")


def _flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return set(next((line.split(": ", 1)[1] for line in lines if line.startswith("flags")), "").split())


def onednn_isa() -> str:
    """Return the instruction set that oneDNN says it uses, with ONEDNN_MAX_CPU_ISA where that is set."""
    multiply = (
        "import torch; a = torch.ones(32, 32); torch.nn.functional.conv2d(a[None, None], a[None, None])"
    )
    said = run([sys.executable, "-c", multiply], ONEDNN_VERBOSE="1")
    return next((line.rsplit("isa:", 1)[1] for line in said.splitlines() if "isa:" in line), "unknown")
