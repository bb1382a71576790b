"""Spreading processes that train over the machine's GPUs, without importing PyTorch."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA's own variable: the devices that a process sees, by number or UUID. SLURM sets it for a job."""
_GPU = re.compile(r"GPU (?P<number>\d+): .*\(UUID: (?P<uuid>[^)]+)\)")
_MIG = re.compile(r"\s+MIG .*Device\s+(?P<number>\d+): \(UUID: (?P<uuid>[^)]+)\)")


@dataclass(frozen=True)
class Spread:
    """Which process uses which GPU."""

    variables: tuple[dict[str, str], ...]
    """Environment variables to add for each process."""
    note: str
    """A line to print; empty if there is nothing to say."""


def spread(
    accelerator: str, processes: int, environ: Mapping[str, str] = os.environ, each: int = 1
) -> Spread:
    """Assign the visible GPUs, round robin, to a number of processes that each train on `each` devices.

    The GPUs are those of `CUDA_VISIBLE_DEVICES` or, if it is not set, those that ``nvidia-smi -L`` lists; of a GPU
    that is partitioned, its MIG devices. Nothing is assigned to a single process, for another accelerator, or if no
    GPU is known.

    Args:
        accelerator: accelerator of the trainer: cpu, gpu or auto.
        processes: number of processes.
        environ: environment that the processes will inherit.
        each: number of devices of each process, which are different ones. If there are fewer in all, nothing is
            assigned, and the training says so.
    """
    nothing: tuple[dict[str, str], ...] = tuple({} for _ in range(processes))
    if accelerator == "cpu" or processes < 2:
        return Spread(nothing, "")
    devices = _visible(environ[VISIBLE]) if VISIBLE in environ else _listed(environ)
    if devices is None:
        known = "nvidia-smi lists no GPUs, so all processes use the first one that PyTorch finds."
        return Spread(nothing, known if accelerator == "gpu" else "")
    if len(devices) < each:
        return Spread(nothing, "")
    names = list(devices)
    chosen = [
        [names[(process * each + number) % len(names)] for number in range(each)]
        for process in range(processes)
    ]
    parts = [
        f"{name} for process {', '.join(str(n + 1) for n, own in enumerate(chosen) if name in own)}"
        for name in names[: processes * each]
    ]
    shared = "; processes on the same GPU share its memory" if processes * each > len(names) else ""
    variables = tuple({VISIBLE: ",".join(devices[name] for name in own)} for own in chosen)
    return Spread(variables, f"{', '.join(parts)}{shared}")


def _visible(value: str) -> dict[str, str]:
    """Return the devices in `CUDA_VISIBLE_DEVICES` by the name to print; CUDA ignores those after an invalid one."""
    devices: dict[str, str] = {}
    for entry in map(str.strip, value.split(",")):
        if not entry or entry.startswith("-"):
            break
        devices[f"GPU {entry}" if entry.isdecimal() else entry] = entry
    return devices


def _listed(environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the UUIDs of the devices that nvidia-smi lists, by the name to print; None if there are none.

    UUIDs, because CUDA's own numbers follow another order than nvidia-smi's, and do not exist for MIG devices.
    """
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], env=dict(environ), capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    devices: dict[str, str] = {}
    gpu = ""
    for line in done.stdout.splitlines():
        if found := _GPU.match(line):
            gpu = f"GPU {found['number']}"
            devices[gpu] = found["uuid"]
        elif found := _MIG.match(line):
            devices.pop(gpu, None)  # the whole of a partitioned GPU cannot be used
            devices[f"{gpu} MIG {found['number']}"] = found["uuid"]
    return devices or None
