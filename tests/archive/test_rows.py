"""What rows show is found in any order of the rows, and what stays unknown is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from archive.samples import images_of, write_sample

from mergershift.archive import DATA_SETS, Domain, Rows, RowStructure, limits, read_rows, write_metadata
from mergershift.archive.arrangement import FoundRows
from mergershift.archive.authors_arrays import IDS_NAME, MASSES_NAME, STAGES_NAME, add_published_metadata
from mergershift.config import SplitConfig
from mergershift.core.errors import UserError
from mergershift.images import first_renderings, row_table

SMALL = RowStructure(mergers=8, non_mergers=16)
N, MERGERS, BLOCK = SMALL.rows, SMALL.merger_rows, SMALL.block_rows
PRISTINE = DATA_SETS["two", Domain.PRISTINE]
IMAGES = images_of(PRISTINE, SMALL)
RANDOM = np.random.default_rng(7)
RULE = SplitConfig(kind="by_galaxy", seed=1, train=0.6, validation=0.2, disjoint_domains=False)

BLOCKS = np.concatenate(
    [np.arange(MERGERS).reshape(5, BLOCK)[[3, 1, 4, 0, 2]].reshape(-1), np.arange(MERGERS, N)]
)
ORDERS = {
    "non-mergers first": np.roll(np.arange(N), -MERGERS),
    "blocks in another order": BLOCKS,
    "non-mergers first, blocks in another order": np.roll(BLOCKS, -MERGERS),
    "runs of four cameras anywhere": np.arange(N).reshape(-1, 4)[RANDOM.permutation(N // 4)].reshape(-1),
    "backwards": np.arange(N)[::-1],
    "runs of four within the classes": np.concatenate(
        [
            np.arange(MERGERS).reshape(-1, 4)[RANDOM.permutation(MERGERS // 4)].reshape(-1),
            np.arange(MERGERS, N).reshape(-1, 4)[RANDOM.permutation((N - MERGERS) // 4)].reshape(-1),
        ]
    ),
}
SHUFFLED = RANDOM.permutation(N)


def place(folder: Path, order: np.ndarray) -> Path:
    """Write the pristine file with its rows in another order."""
    np.save(folder / PRISTINE.images_name, IMAGES[order])
    np.save(folder / PRISTINE.labels_names[0], SMALL.labels[order])
    return folder


def same_groups(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of ids `(N,)` group the rows alike."""
    pairs = len(np.unique(np.stack([one, other]), axis=1).T)
    return pairs == len(np.unique(one)) == len(np.unique(other))


def renderings(rows: Rows) -> np.ndarray:
    """Number the rendering of each row."""
    return np.asarray(rows.galaxy * 1000 + rows.camera)


def assert_consistent(rows: Rows) -> None:
    """Mergers come first in the numbers of galaxies, and each rendering has one row in block 0."""
    assert set(rows.galaxy[rows.labels == 1]) == set(range(rows.mergers))
    assert set(rows.galaxy) == set(range(rows.mergers + rows.non_mergers))
    assert len(np.unique(renderings(rows)[rows.block == 0])) == np.count_nonzero(rows.block == 0)


@pytest.mark.parametrize("name", ORDERS)
def test_galaxies_are_recovered_where_runs_of_cameras_are_whole(tmp_path: Path, name: str) -> None:
    order = ORDERS[name]
    rows = read_rows(place(tmp_path, order))
    assert (rows.mergers, rows.non_mergers) == (8, 16)
    assert same_groups(rows.galaxy, SMALL.galaxy[order])
    assert same_groups(renderings(rows), renderings(SMALL)[order])
    assert_consistent(rows)
    # Blocks are copies in another orientation, so their order is no other order of the rows.
    assert (rows == SMALL) == (not limits(rows)) == (name == "blocks in another order")


def test_shuffled_rows_are_grouped_by_rendering_and_the_limit_is_said(tmp_path: Path) -> None:
    rows = read_rows(place(tmp_path, SHUFFLED))
    assert rows.found_by == "renderings"
    assert same_groups(rows.galaxy, renderings(SMALL)[SHUFFLED])
    assert_consistent(rows)
    assert "two cameras of a galaxy can be in training and in test" in limits(rows)
    table = row_table(rows, RULE)
    assert table.groupby(renderings(SMALL)[SHUFFLED])["split"].nunique().max() == 1
    assert first_renderings(table).sum() == 24 * 4


def test_cameras_torn_apart_in_one_class_only_are_not_joined(tmp_path: Path) -> None:
    order = np.concatenate([np.arange(MERGERS), RANDOM.permutation(np.arange(MERGERS, N))])
    # The labels and the copies of the mergers are as published, and 16 others are too few to show their order.
    assert read_rows(place(tmp_path, order)) == SMALL
    rows = read_rows(place(tmp_path, np.roll(order, -MERGERS)))
    assert rows.found_by == "renderings"


def test_mergers_in_another_order_under_published_labels_are_noticed(tmp_path: Path) -> None:
    order = np.concatenate([RANDOM.permutation(MERGERS), np.arange(MERGERS, N)])
    rows = read_rows(place(tmp_path, order))
    assert rows.found_by == "renderings"
    assert same_groups(rows.galaxy, renderings(SMALL)[order])


CLASSES = {
    "mergers": RowStructure(mergers=20, non_mergers=2),
    "others": RowStructure(mergers=1, non_mergers=32),
}
TORN = {
    "any order": lambda rows: RANDOM.permutation(rows),
    "camera by camera": lambda rows: rows.reshape(-1, 4).T.reshape(-1),
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("how", TORN)
def test_cameras_torn_apart_under_published_labels_and_copies_are_noticed(
    tmp_path: Path, kind: str, how: str
) -> None:
    structure = CLASSES[kind]
    size, merger_rows = structure.block_rows, structure.merger_rows
    images, order = images_of(PRISTINE, structure), np.arange(structure.rows)
    np.save(tmp_path / PRISTINE.labels_name, structure.labels)
    np.save(tmp_path / PRISTINE.images_name, images)
    assert read_rows(tmp_path) == structure
    if kind == "mergers":
        # The same order in all five blocks, so that the copies are where they should be.
        torn = TORN[how](np.arange(size))
        order[:merger_rows] = (torn + size * np.arange(5)[:, None]).reshape(-1)
    else:
        others = order[merger_rows:].copy()
        order[merger_rows:] = np.concatenate([TORN[how](others[:120]), others[120:]])
    np.save(tmp_path / PRISTINE.images_name, images[order])
    rows = read_rows(tmp_path)
    assert rows.found_by == "renderings"
    assert "two cameras of a galaxy can be in training and in test" in limits(rows)
    # The authors' ids are of the rows as they are, and identify the galaxies again.
    np.save(tmp_path / IDS_NAME, structure.galaxy[order])
    np.save(tmp_path / STAGES_NAME, np.stack([structure.labels, structure.labels, 0 * order], axis=1))
    np.save(tmp_path / MASSES_NAME, np.full(structure.rows, 10.0))
    add_published_metadata(tmp_path, tmp_path)
    rows = read_rows(tmp_path)
    assert rows.found_by == "metadata"
    assert same_groups(rows.galaxy, structure.galaxy[order])


def test_a_damaged_or_dark_file_in_published_order_stays_in_it(tmp_path: Path) -> None:
    structure = CLASSES["others"]
    images = images_of(PRISTINE, structure)
    images[structure.merger_rows + 5, 0, 30, 30] = np.nan
    np.save(tmp_path / PRISTINE.labels_name, structure.labels)
    for pixels in (images, 0 * images_of(PRISTINE, structure)):
        np.save(tmp_path / PRISTINE.images_name, pixels)
        assert read_rows(tmp_path) == structure


def test_metadata_that_differ_from_the_published_order_are_followed(tmp_path: Path) -> None:
    order = np.concatenate([np.arange(MERGERS), RANDOM.permutation(np.arange(MERGERS, N))])
    folder = place(tmp_path, order)
    galaxy = SMALL.galaxy[order]
    shown = FoundRows(SMALL.labels, galaxy, SMALL.camera, SMALL.block, "metadata")
    write_metadata(folder, shown, stage=[""] * N, log_mstar=[0.0] * N)
    rows = read_rows(folder)
    assert rows.found_by == "metadata"
    assert same_groups(rows.galaxy, galaxy)
    # Other numbers for the same galaxies are no other order.
    place(tmp_path, np.arange(N))
    shown = FoundRows(SMALL.labels, 23 - SMALL.galaxy, SMALL.camera, SMALL.block, "metadata")
    write_metadata(folder, shown, stage=[""] * N, log_mstar=[0.0] * N)
    assert read_rows(folder) == SMALL


def test_metadata_identify_the_galaxies_of_shuffled_rows(tmp_path: Path) -> None:
    folder = place(tmp_path, SHUFFLED)
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    np.save(arrays / IDS_NAME, 5000 - SMALL.galaxy[SHUFFLED])
    merger = SMALL.labels[SHUFFLED]
    np.save(arrays / STAGES_NAME, np.stack([merger, merger, 0 * merger], axis=1))
    np.save(arrays / MASSES_NAME, np.full(N, 10.0))
    add_published_metadata(folder, arrays)
    rows = read_rows(folder)
    assert rows.found_by == "metadata"
    assert not limits(rows)
    assert same_groups(rows.galaxy, SMALL.galaxy[SHUFFLED])
    assert same_groups(renderings(rows), renderings(SMALL)[SHUFFLED])
    assert_consistent(rows)
    table = row_table(rows, RULE)
    assert table.groupby(SMALL.galaxy[SHUFFLED])["split"].nunique().max() == 1
    assert first_renderings(table).sum() == 24 * 4
    np.save(arrays / IDS_NAME, SMALL.galaxy)
    with pytest.raises(UserError, match="show the same image but have subhalo id"):
        add_published_metadata(folder, arrays)


def test_metadata_that_contradict_the_images_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, SHUFFLED)
    wrong = read_rows(folder)
    object.__setattr__(wrong, "galaxy", RANDOM.permutation(wrong.galaxy))
    write_metadata(folder, wrong, stage=[""] * N, log_mstar=[0.0] * N)
    with pytest.raises(UserError, match=r"have galaxy in metadata\.ecsv"):
        read_rows(folder)


def test_labels_that_contradict_the_images_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, SHUFFLED)
    labels = SMALL.labels[SHUFFLED]
    labels[np.flatnonzero(labels)[0]] = 0
    np.save(folder / PRISTINE.labels_names[0], labels)
    with pytest.raises(UserError, match="show the same image but have label"):
        read_rows(folder)


def test_inverted_labels_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path, np.arange(N))
    np.save(folder / PRISTINE.labels_names[0], 1 - SMALL.labels)
    with pytest.raises(UserError, match="labels are inverted"):
        read_rows(folder)


def test_one_damaged_copy_is_no_other_order(tmp_path: Path) -> None:
    write_sample(tmp_path, SMALL)
    images = np.load(tmp_path / PRISTINE.images_name, mmap_mode="r+")
    images[BLOCK + 3, 0, 30, 30] += 1
    del images
    assert read_rows(tmp_path) == SMALL
