"""Galleries hold the same images as a sort of the whole set, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from mergershift.predicting.page.galleries import SHOWN, Gallery, name_of
from mergershift.predicting.planes import Identity
from mergershift.predicting.rows import Row


def offered(keys: np.ndarray, size: int) -> Gallery:
    gallery = Gallery()
    for start in range(0, len(keys), size):
        batch = keys[start : start + size]
        rows = [Row(Identity("f.npy", "f"), start + number) for number in range(len(batch))]
        images = np.full((len(batch), 2, 3, 3), start, np.float32)
        gallery.offer(batch, rows, images, batch, batch)
    return gallery


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_lowest_keys_are_held_in_order(size: int) -> None:
    keys = np.random.default_rng(3).integers(0, 40, 500).astype(float)
    keys[::5] = np.nan
    expected = np.argsort(keys, kind="stable")[:SHOWN]
    gallery = offered(keys, size)
    assert [example.row.index for example in gallery.examples] == expected.tolist()
    assert gallery.count == 400


def test_an_image_that_is_held_does_not_hold_its_batch() -> None:
    assert all(example.image.base is None for example in offered(np.arange(20.0), 10).examples)


@pytest.mark.parametrize(
    ("identity", "index", "name"),
    [
        (Identity("a/COSMOS-1.fits", "COSMOS-1"), 0, "COSMOS-1"),
        (Identity("a/stack.npy", "galaxy 12"), 12, "galaxy 12"),
        (Identity("", ""), 4, "image 4"),
        (Identity("", "a" * 20 + "b" * 20), 4, "aaaaaaaaaa…bbbbbbbbbbb"),
        (Identity("", "two\nlines"), 4, r"two\nlines"),
    ],
)
def test_images_are_named_by_id_or_number(identity: Identity, index: int, name: str) -> None:
    assert name_of(Row(identity, index)) == name
