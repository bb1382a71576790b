"""The colours of galaxies and the places of their stamps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from mergershift.archive import FILTER_SETS, IMAGE_SIZE
from mergershift.images import Prepared
from mergershift.report.stamps import WHITE, Sheet, Stamps, field
from mergershift.report.study_results import Setting


def stamps(filters: str, images: np.ndarray | None = None) -> Stamps:
    read = SimpleNamespace(images=lambda domain, rows: torch.from_numpy(images[rows]))  # type: ignore[index]
    return Stamps(cast(Setting, SimpleNamespace(filters=filters)), cast(Prepared, read))


def noise_of(filters: str) -> np.ndarray:
    return np.array([facts.noise_std for facts in FILTER_SETS[filters].filters])


@pytest.mark.parametrize(("filters", "channels"), [("three", [2, 1, 0]), ("two", [1, None, 0])])
def test_filters_are_colours_in_the_order_of_their_wavelengths(
    filters: str, channels: list[int | None]
) -> None:
    noise = noise_of(filters)
    for channel in range(len(noise)):
        image = np.zeros((1, len(noise), 1, 1))
        image[0, channel] = WHITE * noise[channel]
        expected = [255 if own == channel else 0 for own in channels]
        shown = stamps(filters).coloured(image)[0, 0, 0].tolist()
        mixed = [index for index, own in enumerate(channels) if own is None]
        assert all(0 < shown[index] < 255 for index in mixed)
        assert [shown[i] for i in range(3) if i not in mixed] == [
            expected[i] for i in range(3) if i not in mixed
        ]


@pytest.mark.parametrize("filters", ["two", "three"])
def test_the_stretch_is_common_and_noise_has_no_hue(filters: str) -> None:
    noise = noise_of(filters)[None, :, None, None]
    levels = np.array([-3.0, 0.0, 1.0, 2.0, 10.0, WHITE, 100.0])
    shown = stamps(filters).coloured(levels * noise.repeat(1, axis=-1))[0, 0].astype(int)
    assert (shown == shown[:, :1]).all()
    brightness = shown[:, 0].tolist()
    assert brightness[:2] == [0, 0]
    assert brightness[-2:] == [255, 255]
    assert brightness[1:-1] == sorted(set(brightness[1:-1]))


def test_the_centre_is_shown_with_row_0_at_the_bottom() -> None:
    images = np.zeros((3, 2, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    first = (IMAGE_SIZE - 51) // 2
    images[1, :, first, first] = 100
    shown = stamps("two", images).images("noisy", [1, 2], 51)
    assert shown.shape == (2, 51, 51, 3)
    assert np.argwhere(shown[0, ..., 0]).tolist() == [[50, 0]]
    assert not shown[1].any()
    assert field(IMAGE_SIZE) == "14″ (120 kpc)"
    assert field(51) == "10″ (82 kpc)"


def test_the_caption_names_the_filter_of_each_colour() -> None:
    assert "F814W blue, F160W green, F356W red" in stamps("three").caption
    assert "F814W blue, the mean of both green, F160W red" in stamps("two").caption


def test_stamps_fill_the_sheet_without_overlap() -> None:
    sheet = Sheet(3, rows=2, left=14, gap=5, labels=(13, 13))
    for column in range(3):
        for row in range(2):
            sheet.stamp(column, row, np.zeros((5, 5, 3), dtype=np.uint8))
    extents: list[Any] = [image.get_extent() for image in sheet.axes.images]
    width, height = (72 * inches for inches in sheet.figure.get_size_inches())
    for left, right, bottom, top in extents:
        assert right - left == pytest.approx(bottom - top)
        assert 0 <= left < right <= width + 1e-6
        assert 0 <= top < bottom <= height + 1e-6
    lefts = sorted({round(extent[0], 6) for extent in extents})
    assert np.diff(lefts) == pytest.approx(sheet.size + 5)


def test_contours_lie_where_the_evidence_is() -> None:
    sheet = Sheet(2, rows=1, left=0, gap=0, labels=(0, 0))
    evidence = np.zeros((40, 40))
    evidence[30:35, 5:10] = 1.0  # near the upper left, because row 0 is at the bottom
    sheet.outline(1, 0, evidence, (0.5, 0.8))
    x, y = sheet.corner(1, 0)
    (lines,) = sheet.axes.collections
    corners = np.concatenate([found.vertices for found in lines.get_paths()])
    assert corners[:, 0].min() > x + 4 / 40 * sheet.size
    assert corners[:, 0].max() < x + 11 / 40 * sheet.size
    assert corners[:, 1].max() < y + 11 / 40 * sheet.size
