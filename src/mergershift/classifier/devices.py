"""The devices that a training needs."""

from __future__ import annotations

import torch

from mergershift.config import Config
from mergershift.core.errors import UserError
from mergershift.core.words import counted


def accelerator(config: Config) -> str:
    """Return what several processes of a training train on: cuda or cpu.

    Apple's GPU cannot be shared by processes.
    """
    chosen = config.trainer.accelerator
    return "cuda" if chosen == "gpu" or (chosen == "auto" and torch.cuda.is_available()) else "cpu"


def device_of(config: Config, rank: int) -> torch.device:
    """Return where the process with this rank trains, on a machine with CUDA, or else the CPU."""
    return torch.device("cuda", rank) if accelerator(config) == "cuda" else torch.device("cpu")


def require_devices(config: Config) -> None:
    """Raise UserError if the trainer needs a GPU and PyTorch finds none, or fewer than there are processes."""
    processes, name = config.trainer.processes, config.choices.get("trainer", "gpu")
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            f"trainer={name} needs a GPU, but PyTorch finds none on this machine.\n"
            "Use trainer=cpu, or install a PyTorch build that supports your GPU."
        )
    if processes > 1 and accelerator(config) == "cuda" and torch.cuda.device_count() < processes:
        raise UserError(
            f"trainer={name} needs {processes} GPUs, one for each process, but PyTorch finds "
            f"{counted(torch.cuda.device_count(), 'GPU')}.\n"
            "Use trainer=gpu, trainer.processes=N for fewer processes, or trainer.accelerator=cpu."
        )
