from functools import partial
from pathlib import Path

import numpy as np
import pytest
from archive.samples import COARSE
from astropy.io import fits

from mergershift.archive import (
    DATA_SETS,
    Domain,
    RowStructure,
    open_images,
    read_labels,
    read_metadata,
    read_rows,
)
from mergershift.archive.headers import images_header, is_mock
from mergershift.archive.mock import Universe, render_universe, write, write_archive
from mergershift.core.errors import UserError

STRUCTURE = RowStructure(2, 3)


def test_every_data_set_is_written_in_both_formats_and_nothing_else(archive: Path) -> None:
    names = {"metadata.ecsv"}
    for data_set in DATA_SETS.values():
        names |= {data_set.images_name, data_set.labels_name, data_set.fits_name}
        npy, from_fits = (open_images(archive, data_set, form)[:] for form in ("npy", "fits"))
        assert npy.shape == data_set.shape(STRUCTURE.rows)
        assert npy.dtype == np.float64
        np.testing.assert_array_equal(npy, from_fits)
        np.testing.assert_array_equal(read_labels(archive, data_set, "npy"), STRUCTURE.labels)
        np.testing.assert_array_equal(read_labels(archive, data_set, "fits"), STRUCTURE.labels)
        assert np.load(archive / data_set.labels_name).dtype == np.int64
    assert {path.name for path in archive.iterdir()} == names
    assert read_rows(archive, data_set) == STRUCTURE


def test_fits_files_have_the_archives_headers_and_say_that_they_are_mocks(archive: Path) -> None:
    for data_set in DATA_SETS.values():
        path = archive / data_set.fits_name
        with fits.open(path) as hdus:
            header = hdus[0].header
            expected = images_header(data_set, STRUCTURE.rows)
            assert {name: header[name] for name in expected} == dict(expected)
            listed = {"two": "F814W,F160W", "three": "F814W,F356W,F160W"}[data_set.filter_set.name]
            assert header.comments["NAME3"] == listed
            assert "MOCK IMAGES, NOT THE ARCHIVE" in str(header["COMMENT"])
            assert hdus[1].columns.names == ["MergerLabel"]
            assert hdus[1].columns.formats == ["D"]
            assert hdus[1].header["EXTNAME"] == "MergerLabel"
        assert is_mock(path)


@pytest.mark.parametrize("domain", list(Domain))
def test_five_blocks_hold_dihedral_copies_of_the_same_rendering(archive: Path, domain: Domain) -> None:
    images = open_images(archive, DATA_SETS["three", domain])[:]
    first = images[: STRUCTURE.block_rows]
    copies = [
        first,
        np.flip(first, 2),
        np.flip(first, 3),
        np.rot90(first, axes=(2, 3)),
        np.rot90(first, 2, (2, 3)),
    ]
    np.testing.assert_array_equal(images[: STRUCTURE.merger_rows], np.concatenate(copies))


def test_filter_sets_show_the_same_renderings(archive: Path) -> None:
    for domain in Domain:
        two, three = (open_images(archive, DATA_SETS[name, domain])[:] for name in ("two", "three"))
        np.testing.assert_array_equal(two, three[:, :2])


@pytest.fixture(scope="module")
def rendered() -> Universe:
    """What the archive shows."""
    return render_universe(2, 3, 1, workers=1)


def test_rows_are_the_galaxies_of_the_universe(archive: Path, rendered: Universe) -> None:
    images = {domain: open_images(archive, DATA_SETS["three", domain])[:] for domain in Domain}
    for row in (1, 6, STRUCTURE.merger_rows + 9):
        galaxy, camera = STRUCTURE.galaxy[row], STRUCTURE.camera[row]
        pristine = rendered.pristine(galaxy)
        np.testing.assert_array_equal(images[Domain.PRISTINE][row], pristine[camera])
        np.testing.assert_array_equal(images[Domain.NOISY][row], (pristine + rendered.noise(galaxy))[camera])


def test_metadata_tell_what_each_row_shows(archive: Path, rendered: Universe) -> None:
    histories = rendered.histories
    table = read_metadata(archive)
    assert table is not None
    np.testing.assert_array_equal(table["galaxy"], STRUCTURE.galaxy)
    for row in range(STRUCTURE.rows):
        history = histories[STRUCTURE.galaxy[row]]
        assert table["log_mstar"][row] == pytest.approx(history.log_mass)
        stage = ("past" if history.time >= 0 else "future") if history.merger else ""
        assert table["stage"][row] == stage
        assert np.isnan(table["mass_ratio"][row]) == (not history.merger)


def test_the_irregular_galaxy_has_two_renderings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "render_universe", partial(render_universe, recipe=COARSE))
    write_archive(tmp_path, mergers=1, non_mergers=31, seed=0, filter_sets=["two"], progress=False)
    data_set = DATA_SETS["two", Domain.PRISTINE]
    structure = read_rows(tmp_path, data_set)
    assert isinstance(structure, RowStructure)
    assert structure.irregular
    assert len(open_images(tmp_path, data_set)) == structure.rows == 20 + 31 * 4 - 2
    assert not (tmp_path / DATA_SETS["three", Domain.PRISTINE].images_name).exists()


def test_mistakes_are_reported_before_anything_is_written(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(UserError, match="is not empty"):
        write_archive(archive, mergers=1, non_mergers=1, seed=0)
    with pytest.raises(UserError, match="no such folder"):
        write_archive(tmp_path / "elsewhere", mergers=1, non_mergers=1, seed=0)
    with pytest.raises(UserError, match="0 mergers"):
        write_archive(tmp_path, mergers=0, non_mergers=1, seed=0)
    with pytest.raises(UserError, match="no filter set 'four'"):
        write_archive(tmp_path, mergers=1, non_mergers=1, seed=0, filter_sets=["four"])
    assert not list(tmp_path.iterdir())
