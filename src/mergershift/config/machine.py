"""The trainer that suits this machine's processor, which `auto` stands for."""

from __future__ import annotations

from pathlib import Path

AUTO = "auto"
"""Name of the file in conf/trainer/, and of the precision in it, that stands for one of `PRECISIONS`."""
PRECISIONS = {"cpu_bf16": "bf16-mixed", "cpu_one_thread": "32-true"}
"""Precision by the name of a file in conf/trainer/."""
_PROCESSORS = Path("/proc/cpuinfo")


def trainer_of_this_machine() -> str:
    """Return cpu_bf16 where the processor multiplies matrices of 16 bits (AMX, on Linux), else cpu_one_thread."""
    flags = _PROCESSORS.read_text().split() if _PROCESSORS.is_file() else []
    return "cpu_bf16" if "amx_bf16" in flags else "cpu_one_thread"
