"""Galaxies that share a part of the sky are found by their pixels, and kept on one side of a split."""

from pathlib import Path

import numpy as np
import pytest
from archive.samples import write_sample
from numpy.typing import NDArray

from mergershift.archive import DATA_SETS, IMAGE_SIZE, Domain, RowStructure, open_images
from mergershift.archive.arrangement import FoundRows
from mergershift.config import SplitConfig
from mergershift.images import Prepared, prepare, row_table
from mergershift.images.leakage import shared_sky
from mergershift.images.near_duplicates import near_duplicates, similarity
from mergershift.images.split import leaders

STRUCTURE = RowStructure(mergers=4, non_mergers=12)
RULE = SplitConfig(
    kind="by_galaxy", seed=68, train=0.6, validation=0.2, disjoint_domains=False, near_duplicates="together"
)
PRISTINE = DATA_SETS["two", Domain.PRISTINE]
KPC = 1.6
"""Side of a pixel."""
OFFSET = (13.4, -20.7)
"""From the first member of a pair to the second, in pixels."""
Clumps = NDArray[np.float64]


def clumps(random: np.random.Generator, count: int = 14) -> Clumps:
    """A clumpy galaxy around (0, 0): rows of offset, width and brightness in two filters."""
    offsets = random.normal(0, 7, (count, 2))
    offsets[0] = 0
    widths = random.uniform(1.0, 4.0, count)
    light = random.lognormal(0, 0.7, (count, 2))
    light[0] = 6 * random.lognormal(0, 0.3, 2)
    return np.column_stack([offsets, widths, light])


def moved(galaxy: Clumps, row: float, column: float) -> Clumps:
    return galaxy + np.array([row, column, 0, 0, 0])


def seen(sky: Clumps) -> NDArray[np.float64]:
    """The image `(2, 75, 75)` of clumps, each a Gaussian."""
    pixels = np.arange(IMAGE_SIZE) - IMAGE_SIZE // 2
    rows, columns, widths = (sky[:, number, None] for number in range(3))
    down = np.exp(-((pixels - rows) ** 2) / (2 * widths**2))
    across = np.exp(-((pixels - columns) ** 2) / (2 * widths**2))
    return np.einsum("nc,nh,nw->chw", sky[:, 3:], down, across)


def turned(image: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """The image as the archive holds it in a block of the mergers."""
    views = (image, image[:, ::-1], image[..., ::-1], np.rot90(image, 1, (1, 2)), np.rot90(image, 2, (1, 2)))
    return views[block]


def write_archive(folder: Path, pair: tuple[int, int] | None = None, noise: float = 0.0) -> Path:
    """An archive of clumpy galaxies, of which two may be members of a pair, 21 and 33 kpc apart along the axes."""
    random = np.random.default_rng(3)
    write_sample(folder, STRUCTURE)
    images = np.load(folder / PRISTINE.images_name)
    for camera in range(4):
        skies = [clumps(random) for _ in range(STRUCTURE.mergers + STRUCTURE.non_mergers)]
        if pair is not None:
            one, other = (skies[galaxy] for galaxy in pair)
            skies[pair[0]] = np.concatenate([one, moved(other, *OFFSET)])
            skies[pair[1]] = moved(skies[pair[0]], -OFFSET[0], -OFFSET[1])
        for row in np.flatnonzero(STRUCTURE.camera == camera):
            images[row] = turned(seen(skies[STRUCTURE.galaxy[row]]), int(STRUCTURE.block[row]))
    for domain, level in ((Domain.PRISTINE, noise), (Domain.NOISY, 0.05)):
        seen_with = images + level * random.normal(size=images.shape)
        np.save(folder / DATA_SETS["two", domain].images_name, seen_with)
    return folder


def pairs_in(folder: Path) -> list[tuple[int, int]]:
    return [pair.galaxies for pair in near_duplicates(open_images(folder, PRISTINE), STRUCTURE)]


def found_elsewhere() -> FoundRows:
    """The same rows, as if the order of the file were not the published one."""
    columns = (STRUCTURE.galaxy, STRUCTURE.camera, STRUCTURE.block)
    return FoundRows(STRUCTURE.labels, *columns, "metadata")


def test_galaxies_that_share_no_sky_are_not_reported(tmp_path: Path) -> None:
    assert pairs_in(write_archive(tmp_path)) == []


@pytest.mark.parametrize("pair", [(0, 1), (2, 10), (5, 14)])
def test_both_members_of_a_pair_are_found(tmp_path: Path, pair: tuple[int, int]) -> None:
    """Two mergers, a merger with a non-merger, and two non-mergers; shifted by parts of a pixel, under some noise."""
    (found,) = near_duplicates(open_images(write_archive(tmp_path, pair, noise=0.02), PRISTINE), STRUCTURE)
    assert found.galaxies == pair
    assert found.similarity > 0.95
    assert found.offset_kpc == pytest.approx(KPC * np.hypot(*OFFSET), abs=KPC)
    assert tuple(STRUCTURE.galaxy[list(found.rows)]) == pair
    assert len(set(STRUCTURE.camera[list(found.rows)])) == 1


def test_a_member_is_found_in_any_orientation(tmp_path: Path) -> None:
    """In files whose rows are in another order, the copy that comes first may be a turned one."""
    write_archive(tmp_path, (2, 10))
    images = np.load(tmp_path / PRISTINE.images_name)
    rows = np.flatnonzero(STRUCTURE.galaxy == 10)
    images[rows] = np.rot90(images[rows, ..., ::-1], 1, (2, 3))
    np.save(tmp_path / PRISTINE.images_name, images)
    aligned, unknown = STRUCTURE, found_elsewhere()
    assert near_duplicates(open_images(tmp_path, PRISTINE), aligned) == []
    found = near_duplicates(open_images(tmp_path, PRISTINE), unknown)
    assert [pair.galaxies for pair in found] == [(2, 10)]


def test_blank_and_broken_images_are_no_pairs(tmp_path: Path) -> None:
    """A row without values is reported when images are prepared."""
    write_archive(tmp_path)
    images = np.load(tmp_path / PRISTINE.images_name)
    images[:3] = np.nan
    images[5:9] = 0
    images[11, 0, 3, 3] = np.inf
    np.save(tmp_path / PRISTINE.images_name, images)
    assert pairs_in(tmp_path) == []
    images[:] = 1
    np.save(tmp_path / PRISTINE.images_name, images)
    assert pairs_in(tmp_path) == []


def test_alike_is_not_the_same() -> None:
    """Another brightness or colour distinguishes galaxies of the same shape."""
    image = seen(clumps(np.random.default_rng(0))).astype(np.float32)
    assert similarity(image, image) == pytest.approx(1)
    assert similarity(image, 2 * image) == pytest.approx(0.8)
    assert similarity(image, image * np.array([1, 3], np.float32)[:, None, None]) < 0.9
    assert similarity(image, np.zeros_like(image)) == 0


def test_connected_galaxies_have_one_leader() -> None:
    assert leaders([(3, 1), (4, 3), (6, 5)], 8).tolist() == [0, 1, 2, 1, 1, 5, 5, 7]


@pytest.mark.parametrize("disjoint", [False, True])
def test_a_split_keeps_pairs_on_one_side(disjoint: bool) -> None:
    rule = RULE.model_copy(update={"disjoint_domains": disjoint})
    apart = row_table(STRUCTURE, rule).groupby("galaxy")[["split", "trains"]].first()
    inside, outside = (apart.index[(apart["split"] == "train") == part].tolist() for part in (True, False))
    pairs = [(inside[0], outside[0]), (outside[0], inside[-1]), (outside[-1], outside[-2])]
    together = row_table(STRUCTURE, rule, pairs).groupby("galaxy")[["split", "trains"]].first()
    chain, joined = [inside[0], outside[0], inside[-1]], outside[-2:]
    assert together.loc[chain].drop_duplicates().shape[0] == 1
    assert together.loc[joined].drop_duplicates().shape[0] == 1
    assert together.drop(chain + joined).equals(apart.drop(chain + joined))
    assert not together.equals(apart)


def test_prepared_images_have_no_pair_on_both_sides(tmp_path: Path) -> None:
    """Without the rule, this pair is in training and in test."""
    part = row_table(STRUCTURE, RULE).groupby("galaxy")["split"].first()
    train, test = (int(part.index[part == name][0]) for name in ("train", "test"))
    pair = (min(train, test), max(train, test))
    folder = write_archive(tmp_path / "data", pair)
    for rule, parts in (("together", 1), ("ignored", 2)):
        prepare(folder, "two", RULE.model_copy(update={"near_duplicates": rule}), tmp_path / rule)
        prepared = Prepared(tmp_path / rule)
        split = prepared.table.groupby("galaxy")["split"].first()
        assert split.loc[list(pair)].nunique() == parts
        assert prepared.facts["near_duplicates"] == ([list(pair)] if rule == "together" else [])
    lines = shared_sky(open_images(folder, PRISTINE), STRUCTURE, RULE)
    assert f"galaxies {pair[0]} and {pair[1]} share a part of the sky" in lines[0]
    assert "1 of 1 such pairs" in lines[-1]
