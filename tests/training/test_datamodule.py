"""Images and batches that a training sees."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from images.samples import LABELS, NOISY, numbers, write_prepared
from torch import Tensor
from training.samples import config_of

from mergershift.images import PairedBatch
from mergershift.training.datamodule import TransferData, class_weights


def data_of(folder: Path, *, disjoint: bool = False, seed: int = 0, **training: Any) -> TransferData:
    prepared = write_prepared(folder, disjoint=disjoint)
    return TransferData(prepared, config_of(seed=seed, **training), uses_target=True)


def batches(data: TransferData, epoch: int = 0) -> list[PairedBatch]:
    """The batches that the trainer would get in this epoch."""
    trainer: Any = SimpleNamespace(current_epoch=epoch)
    data.trainer = trainer
    return list(data.train_dataloader())


def rows_of_batches(data: TransferData, epoch: int = 0) -> list[tuple[list[int], list[int]]]:
    """The source rows and the target rows of every batch of an epoch."""
    rows = []
    for pair in batches(data, epoch):
        assert pair.target_images is not None
        rows.append((numbers(pair.source_images), numbers(pair.target_images)))
    return rows


@pytest.mark.parametrize("disjoint", [False, True])
def test_each_domain_trains_on_its_own_galaxies(tmp_path: Path, disjoint: bool) -> None:
    data = data_of(tmp_path / "images", disjoint=disjoint)
    ours, theirs = [0, 1, 8, 9, 16, 17, 18], [2, 3, 10, 11, 19, 20, 21]
    if not disjoint:
        ours = theirs = sorted(ours + theirs)
    assert numbers(data.source.images) == ours
    assert data.source.labels.tolist() == LABELS[ours].tolist()
    assert data.target is not None
    noisy = [NOISY + row for row in theirs]
    assert numbers(data.target) == noisy
    assert sorted(row for part in data.target_batches() for row in numbers(part)) == noisy
    ((source, target),) = rows_of_batches(data)
    assert (sorted(source), sorted(target)) == (ours, noisy)


def shares(folder: Path, rule: str) -> list[float]:
    """The share of target images of merging galaxies, among those of an epoch and of the statistics after training."""
    data = data_of(folder, training_rows=rule, batch_size=4)
    epoch = [number for _, target in rows_of_batches(data) for number in target]
    statistics = [number for part in data.target_batches() for number in numbers(part)]
    return [float(np.mean(LABELS[np.array(seen) - NOISY])) for seen in (epoch, statistics)]


def test_the_shares_of_classes_in_the_target_cannot_be_read_off_its_repeated_images(tmp_path: Path) -> None:
    """Each rendering is seen once, so that the copies, of which only mergers have any, reveal no label."""
    data = data_of(tmp_path / "unique", training_rows="unique", batch_size=5)
    table = data._prepared.table
    renderings = list(zip(table["galaxy"], table["camera"], strict=True))
    once = sorted({renderings[row] for row in data._prepared.rows("train")})
    for seen in (
        [number for _, target in rows_of_batches(data) for number in target],
        [number for part in data.target_batches() for number in numbers(part)],
    ):
        assert sorted(renderings[number - NOISY] for number in seen) == once
    assert shares(tmp_path / "again", "unique") == pytest.approx([0.4, 0.4], abs=0.11)
    assert min(shares(tmp_path / "published", "all")) > 0.5


def test_as_a_control_the_target_shows_the_galaxies_of_the_source(tmp_path: Path) -> None:
    data = data_of(tmp_path / "images", disjoint=True, training_rows="unique", target_galaxies="source")
    rows = [0, 1, 16, 17, 18]
    assert numbers(data.source.images) == rows
    assert data.target is not None
    assert numbers(data.target) == [NOISY + row for row in rows]


def test_the_source_has_each_rendering_once_as_well(tmp_path: Path) -> None:
    """Both domains then have the same shares of the classes, which an alignment of the whole batches assumes."""
    data = data_of(tmp_path / "images", training_rows="unique")
    assert numbers(data.source.images) == [0, 1, 2, 3, 16, 17, 18, 19, 20, 21]
    assert data.steps_per_epoch == 1


def test_statistics_of_the_target_are_not_estimated_from_batches_of_a_single_class(tmp_path: Path) -> None:
    data = data_of(tmp_path / "images", training_rows="unique", batch_size=4)
    batches = [numbers(part) for part in data.target_batches()]
    assert batches == [numbers(part) for part in data.target_batches()]
    assert any(0 < LABELS[np.array(batch) - NOISY].mean() < 1 for batch in batches[:1])


@pytest.mark.parametrize(
    ("rule", "expected"), [("unique", [4, 5, 22, 23, 24]), ("all", [4, 5, 12, 13, 22, 23, 24])]
)
def test_rotated_copies_are_used_for_validation_only_if_configured(
    tmp_path: Path, rule: str, expected: list[int]
) -> None:
    (part,) = data_of(tmp_path / "images", validation_rows=rule).val_dataloader()
    assert numbers(part.images) == expected
    assert part.labels.tolist() == LABELS[expected].tolist()


def test_the_batches_depend_on_seed_and_epoch(tmp_path: Path) -> None:
    first, same, other = (
        data_of(tmp_path / str(number), seed=seed, batch_size=4) for number, seed in enumerate((1, 1, 2))
    )
    assert rows_of_batches(first) == rows_of_batches(same)
    assert rows_of_batches(first, epoch=3) == rows_of_batches(same, epoch=3)
    for domain in (0, 1):
        orders = [
            [row for batch in rows_of_batches(data, epoch) for row in batch[domain]]
            for data, epoch in ((first, 0), (first, 1), (first, 2), (other, 0))
        ]
        assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("augment", [False, True])
def test_images_are_rotated_and_flipped_if_configured(tmp_path: Path, augment: bool) -> None:
    (pair,) = batches(data_of(tmp_path / "images", augment=augment))
    for images in (pair.source_images, pair.target_images):
        assert images is not None
        upright = images[:, 0, 0, 0] == images.amin((1, 2, 3))
        assert bool(upright.all()) != augment


def test_class_weights_balance_both_classes() -> None:
    labels = torch.tensor([1, 1, 0, 1, 1, 1])
    weights = class_weights(labels)[labels]
    assert weights[labels == 0].sum().item() == pytest.approx(weights[labels == 1].sum().item())
    assert weights.mean().item() == pytest.approx(1)


@pytest.mark.parametrize(("free", "total", "fits"), [(2, 10, True), (1.9, 10, False), (9, 9.9, False)])
def test_images_are_held_on_a_gpu_if_they_fit_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, total: float, fits: bool
) -> None:
    data = data_of(tmp_path / "images")
    assert data.target is not None
    images = [data.source.images, data.validation.images, data.target]
    size = sum(part.numel() * part.element_size() for part in images)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * size, total * size))
    moved: list[torch.device] = []

    def to(tensor: Tensor, device: torch.device) -> Tensor:
        moved.append(device)
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", to)
    data.hold_on(torch.device("cuda", 1))
    assert moved == (5 * [torch.device("cuda", 1)] if fits else [])


def test_images_stay_in_the_memory_of_a_machine_without_a_gpu(tmp_path: Path) -> None:
    data = data_of(tmp_path / "images")
    before = data.source.images
    data.hold_on(torch.device("cpu"))
    assert data.source.images is before
