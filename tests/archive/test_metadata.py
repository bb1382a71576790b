from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from archive.samples import STRUCTURE

from mergershift.archive import DATA_SETS, PUBLISHED_ROWS, Domain, RowStructure, read_metadata, write_metadata
from mergershift.archive.authors_arrays import IDS_NAME, MASSES_NAME, STAGES_NAME, add_published_metadata
from mergershift.archive.metadata import COLUMNS
from mergershift.core.errors import UserError

GALAXIES = STRUCTURE.mergers + STRUCTURE.non_mergers


def test_values_per_galaxy_are_expanded_to_rows(tmp_path: Path) -> None:
    stage = np.array(["past", "future"] + [""] * STRUCTURE.non_mergers)
    masses = np.linspace(9, 11, GALAXIES)
    ratio = np.where(stage == "", np.nan, 0.25)
    path = write_metadata(tmp_path, STRUCTURE, stage=stage, log_mstar=masses, mass_ratio=ratio)
    table = read_metadata(tmp_path)
    assert table is not None
    assert tuple(table.columns) == COLUMNS
    np.testing.assert_array_equal(table["galaxy"], STRUCTURE.galaxy)
    np.testing.assert_array_equal(table["stage"], stage[STRUCTURE.galaxy])
    np.testing.assert_array_equal(table["log_mstar"], masses[STRUCTURE.galaxy])
    np.testing.assert_array_equal(table["mass_ratio"].isna(), STRUCTURE.labels == 0)
    assert (table["subhalo"] == -1).all()
    assert list(tmp_path.iterdir()) == [path]


def test_a_linked_table_is_replaced_rather_than_modified(tmp_path: Path) -> None:
    stage = np.array(["past"] * 2 + [""] * STRUCTURE.non_mergers)
    path = write_metadata(tmp_path, STRUCTURE, stage=stage, log_mstar=np.zeros(GALAXIES))
    linked = tmp_path / "cache"
    linked.hardlink_to(path)
    before = linked.read_bytes()
    write_metadata(tmp_path, STRUCTURE, stage=stage, log_mstar=np.ones(GALAXIES))
    assert linked.read_bytes() == before != path.read_bytes()


def test_wrong_lengths_and_stages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log_mstar"):
        write_metadata(tmp_path, STRUCTURE, stage=[""] * GALAXIES, log_mstar=np.zeros(3))
    with pytest.raises(ValueError, match="present"):
        write_metadata(tmp_path, STRUCTURE, stage=["present"] * GALAXIES, log_mstar=np.zeros(GALAXIES))


def test_missing_and_broken_tables(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) is None
    (tmp_path / "metadata.ecsv").write_text("row,galaxy\n0,0\n")
    with pytest.raises(UserError, match=r"metadata\.ecsv"):
        read_metadata(tmp_path)


@pytest.fixture
def real(tmp_path: Path, published_metadata: Path) -> tuple[Path, Path]:
    """A folder with the published labels and dark images (a sparse file), and a copy of the real arrays."""
    data, arrays = tmp_path / "data", tmp_path / "arrays"
    data.mkdir()
    arrays.mkdir()
    data_set = DATA_SETS["two", Domain.PRISTINE]
    path = data / data_set.images_name
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=data_set.shape())
    np.save(data / data_set.labels_names[0], PUBLISHED_ROWS.labels)
    for name in (IDS_NAME, STAGES_NAME, MASSES_NAME):
        shutil.copy(published_metadata / name, arrays / name)
        (arrays / name).chmod(0o644)
    return data, arrays


def test_published_row_structure_agrees_with_the_real_arrays(published_metadata: Path) -> None:
    ids = np.load(published_metadata / IDS_NAME)
    merger, past, future = np.load(published_metadata / STAGES_NAME).T
    assert RowStructure.from_labels(merger) == PUBLISHED_ROWS
    pairs = np.unique(np.stack([PUBLISHED_ROWS.galaxy, ids], axis=1), axis=0)
    assert len(pairs) == len(np.unique(ids)) == 2233
    assert (past.sum(), future.sum()) == (6020, 2100)
    # This is the irregular galaxy.
    assert np.count_nonzero(ids == ids[8240]) == 2


def test_published_arrays_are_added(real: tuple[Path, Path]) -> None:
    data, arrays = real
    add_published_metadata(data, arrays)
    table = read_metadata(data)
    assert table is not None
    np.testing.assert_array_equal(table["subhalo"], np.load(arrays / IDS_NAME))
    np.testing.assert_array_equal(table["log_mstar"], np.load(arrays / MASSES_NAME))
    counts = table["stage"].value_counts()
    assert (counts["past"], counts["future"], counts[""]) == (6020, 2100, 7306)


def test_arrays_that_do_not_fit_are_refused(real: tuple[Path, Path]) -> None:
    data, arrays = real
    ids, classes = np.load(arrays / IDS_NAME), np.load(arrays / STAGES_NAME)
    exchanged = ids.copy()
    exchanged[[8122, 8126]] = exchanged[[8126, 8122]]
    merged = np.where(ids == ids[8120], ids[8124], ids)
    for wrong, message in ((exchanged, "subhalo id"), (merged, "2232 galaxies"), (ids[:-1], "shape")):
        np.save(arrays / IDS_NAME, wrong)
        with pytest.raises(UserError, match=message):
            add_published_metadata(data, arrays)
    np.save(arrays / IDS_NAME, ids)
    np.save(arrays / STAGES_NAME, classes[::-1])
    with pytest.raises(UserError, match="label 0 in row 0, expected 1"):
        add_published_metadata(data, arrays)
    (arrays / MASSES_NAME).unlink()
    with pytest.raises(UserError, match=r"logMstar\.npy: does not exist"):
        add_published_metadata(data, arrays)
    assert not (data / "metadata.ecsv").exists()
