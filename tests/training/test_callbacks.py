"""A checkpoint that has been moved, and the choice of the candidates."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from mergershift.training.callbacks import Candidates, Checkpoint


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(folder, filename="best", monitor="loss", mode="min", enable_version_counter=False)


@pytest.mark.parametrize("folder", ["original", "moved"])
def test_the_best_score_is_remembered_even_if_the_folder_has_moved(tmp_path: Path, folder: str) -> None:
    """Otherwise a worse epoch would overwrite the best one."""
    before, now = checkpoint(tmp_path / "original"), checkpoint(tmp_path / folder)
    path, best = f"{tmp_path / 'original'}/best.ckpt", torch.tensor(0.25)
    before.best_model_path = before.kth_best_model_path = path
    before.best_model_score = before.kth_value = best
    before.best_k_models = {path: best}
    now.load_state_dict(before.state_dict())

    assert now.best_model_score == best
    assert now.best_model_path == f"{tmp_path / folder}/best.ckpt"
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert not now.check_monitor_top_k(trainer, torch.tensor(0.3))
    assert now.check_monitor_top_k(trainer, torch.tensor(0.2))


@pytest.mark.parametrize(
    ("epochs", "count", "expected"), [(6, 3, {1, 3, 5}), (7, 3, {2, 4, 6}), (2, 6, {0, 1}), (5, 1, {4})]
)
def test_candidates_are_spread_evenly_to_the_last_epoch(epochs: int, count: int, expected: set[int]) -> None:
    assert Candidates(epochs, count, lambda _: None).chosen == expected
