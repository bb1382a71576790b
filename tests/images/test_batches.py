"""Tests of the pairing of labelled source images with unlabelled target images."""

import inspect
from typing import Any

import pytest
import torch

from mergershift.images import Batches, LabelledImages, PairedBatch, PairedBatches, joined


def numbered(count: int, first: int = 0) -> torch.Tensor:
    """Images whose pixels all have the image's number as their value."""
    return (
        torch.arange(first, first + count, dtype=torch.float32)
        .view(-1, 1, 1, 1)
        .expand(count, 1, 5, 5)
        .clone()
    )


def epoch(
    number: int = 0, *, source: int = 40, target: int = 40, batch: int = 8, seed: int = 3
) -> list[PairedBatch]:
    labels = torch.arange(source) % 2
    data = LabelledImages(numbered(source), labels)
    return list(
        PairedBatches(data, numbered(target, 1000), batch_size=batch, seed=seed, epoch=number, augment=False)
    )


def numbers(images: torch.Tensor | None) -> list[int]:
    assert images is not None
    return images[:, 0, 0, 0].long().tolist()


def test_an_epoch_shows_every_source_image_once_with_its_label():
    seen = [
        (n, label)
        for pair in epoch()
        for n, label in zip(numbers(pair.source_images), pair.source_labels.tolist(), strict=True)
    ]
    assert sorted(seen) == [(n, n % 2) for n in range(40)]


def test_target_order_is_independent_of_the_source():
    for pair in epoch():
        assert numbers(pair.source_images) != [n - 1000 for n in numbers(pair.target_images)]
    assert sorted(n for pair in epoch() for n in numbers(pair.target_images)) == list(range(1000, 1040))


def test_source_order_does_not_depend_on_the_target():
    """If both were drawn from one stream, a method without a target would see different batches."""
    alone = epoch(target=40)
    longer = epoch(target=64)
    assert [numbers(p.source_images) for p in alone] == [numbers(p.source_images) for p in longer]


def test_the_order_depends_on_epoch_and_seed_and_is_reproducible():
    first = [numbers(p.source_images) for p in epoch(0)]
    assert first == [numbers(p.source_images) for p in epoch(0)]
    assert first != [numbers(p.source_images) for p in epoch(1)]
    assert first != [numbers(p.source_images) for p in epoch(0, seed=4)]


def test_a_shorter_target_is_repeated_evenly():
    seen = [n for pair in epoch(target=12) for n in numbers(pair.target_images)]
    counts = [seen.count(n) for n in range(1000, 1012)]
    assert min(counts) >= 3
    assert max(counts) <= 4


def test_a_target_batch_has_neither_labels_nor_rows():
    assert PairedBatch._fields == ("source_images", "source_labels", "target_images")
    assert inspect.signature(PairedBatches).parameters["target"].annotation == "Tensor | None"


def test_a_source_smaller_than_a_batch_gives_one_batch():
    (pair,) = epoch(source=5, batch=8)
    assert sorted(numbers(pair.source_images)) == list(range(5))
    assert len(numbers(pair.target_images)) == 5


def test_validation_batches_keep_every_image_in_order():
    data = LabelledImages(numbered(11), torch.arange(11))
    parts = list(Batches(data, 4))
    assert [len(p.labels) for p in parts] == [4, 4, 3]
    assert torch.cat([p.labels for p in parts]).tolist() == list(range(11))


def turned(images: torch.Tensor) -> torch.Tensor:
    """The images `(8, C, H, W)` under all eight symmetries of the square of an image `(C, H, W)`."""
    mirrored = [images, images.flip(-1)]
    return torch.stack([torch.rot90(side, quarters, (-2, -1)) for side in mirrored for quarters in range(4)])


def symmetries(images: torch.Tensor | None, original: torch.Tensor) -> list[int]:
    """Return which of the eight symmetries of the original each image is."""
    assert images is not None
    same = (images[:, None] == turned(original)).all((2, 3, 4))
    assert same.sum(1).tolist() == [1] * len(images), "images are changed by symmetries only"
    return same.int().argmax(1).tolist()


def test_both_domains_are_augmented_or_neither() -> None:
    """If only one domain were augmented, the domains would differ by more than noise."""
    first, second = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    source = LabelledImages(first.expand(64, 2, 5, 5), torch.arange(64) % 2)
    target = second.expand(64, 2, 5, 5)
    for augment, expected in ((True, set(range(8))), (False, {0})):
        (pair,) = PairedBatches(source, target, batch_size=64, seed=0, epoch=0, augment=augment)
        of_source, of_target = symmetries(pair.source_images, first), symmetries(pair.target_images, second)
        assert set(of_source) == set(of_target) == expected
        assert not augment or of_source != of_target, "symmetries are drawn independently for each image"


def of_kind(kind: Any, images: int = 20, number: int = 0) -> list[PairedBatch]:
    data = LabelledImages(numbered(images), torch.arange(images) % 2)
    options: dict[str, Any] = {"batch_size": 8, "seed": 3, "epoch": number, "augment": False}
    return list(PairedBatches(data, numbered(30, 1000), kind=kind, **options))


def test_the_incomplete_batch_is_used_if_configured():
    batches = of_kind("all")
    assert [len(numbers(batch.source_images)) for batch in batches] == [8, 8, 4]
    assert [len(numbers(batch.target_images)) for batch in batches] == [8, 8, 4]
    assert sorted(n for batch in batches for n in numbers(batch.source_images)) == list(range(20))
    for batch, full in zip(batches, of_kind("full"), strict=False):
        assert torch.equal(batch.source_images, full.source_images), "the others are the same"


def test_batches_can_be_drawn_anew_in_every_step():
    """As many as with the incomplete one, all full, each without repetition, whatever earlier ones contained."""
    batches = of_kind("drawn_anew")
    for name in ("source_images", "target_images"):
        rows = [numbers(getattr(batch, name)) for batch in batches]
        assert [len(set(part)) for part in rows] == [8, 8, 8]
        assert len(set().union(*rows)) < 20, "some images come twice in an epoch, others not at all"
    everything = [
        n for epoch in range(400) for batch in of_kind("drawn_anew", number=epoch) for n in numbers(batch[0])
    ]
    shares = torch.bincount(torch.tensor(everything)) / len(everything)
    assert float((shares - 1 / 20).abs().max()) < 0.008
    assert torch.equal(of_kind("drawn_anew")[2].source_images, batches[2].source_images)


@pytest.mark.parametrize("augment", [True, False])
def test_both_domains_of_a_batch_are_joined_without_a_copy(augment):
    data = LabelledImages(numbered(20), torch.zeros(20, dtype=torch.long))
    for pair in PairedBatches(data, numbered(20), batch_size=8, seed=1, epoch=0, augment=augment):
        assert pair.target_images is not None
        both = joined([pair.source_images, pair.target_images])
        assert both.data_ptr() == pair.source_images.data_ptr()
        assert both.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(both, torch.cat([pair.source_images, pair.target_images]))


def test_images_that_lie_elsewhere_or_need_a_gradient_are_joined_by_a_copy():
    whole = numbered(12)
    first, second, third = whole.split(4)
    learnt = second.clone().requires_grad_()
    turned = second.transpose(2, 3)
    for other in (third, second.clone(), learnt, turned):
        assert torch.equal(joined([first, other]), torch.cat([first, other]))
    assert torch.equal(joined([second, first]), torch.cat([second, first]))
    joined([first, learnt]).sum().backward()
    assert learnt.grad is not None
    assert joined([first]) is first
