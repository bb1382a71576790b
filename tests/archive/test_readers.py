from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from archive.samples import STRUCTURE, write_fits, write_sample
from astropy.io import fits

from mergershift.archive import DATA_SETS, Domain, available, open_images, read_labels, read_rows
from mergershift.archive.manifest import published_files
from mergershift.core.errors import UserError

TWO = DATA_SETS["two", Domain.PRISTINE]
THREE = DATA_SETS["three", Domain.NOISY]


@pytest.fixture(scope="module")
def both_formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("data"), formats=("npy", "fits"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    np.save(tmp_path / TWO.images_name, np.zeros((3, 2, 75, 75)))
    np.save(tmp_path / TWO.labels_names[0], np.array([1, 0, 0]))
    return tmp_path


def test_npy_and_fits_give_identical_arrays(both_formats: Path) -> None:
    npy, fits_file = (open_images(both_formats, TWO, format) for format in ("npy", "fits"))
    assert npy.shape == fits_file.shape == TWO.shape(STRUCTURE.rows)
    for rows in (slice(10, 30), 7, np.array([40, 3, 3, 0])):
        assert fits_file[rows].dtype == np.dtype("=f8")
        np.testing.assert_array_equal(npy[rows], fits_file[rows])
    np.testing.assert_array_equal(np.load(both_formats / TWO.images_name), np.asarray(fits_file))
    labels = [read_labels(both_formats, TWO, format) for format in ("npy", "fits")]
    np.testing.assert_array_equal(labels[0], labels[1])
    assert read_rows(both_formats, TWO) == STRUCTURE


def test_fits_is_read_if_there_is_no_npy(tmp_path: Path) -> None:
    write_sample(tmp_path, formats=("fits",))
    assert open_images(tmp_path, TWO).path.suffix == ".fits"
    assert read_labels(tmp_path, TWO).sum() == STRUCTURE.merger_rows
    assert available(tmp_path) == [DATA_SETS["two", domain] for domain in Domain]


@pytest.mark.parametrize("lost", ["images", "labels"])
def test_images_and_labels_come_from_the_same_format(
    both_formats: Path, tmp_path: Path, lost: Literal["images", "labels"]
) -> None:
    np.save(tmp_path / TWO.labels_name, 1 - STRUCTURE.labels)
    np.save(tmp_path / TWO.images_name, np.zeros((3, 2, 75, 75)))
    (tmp_path / (TWO.images_name if lost == "images" else TWO.labels_name)).unlink()
    shutil.copy(both_formats / TWO.fits_name, tmp_path)
    assert open_images(tmp_path, TWO).path.name == TWO.fits_name
    np.testing.assert_array_equal(read_labels(tmp_path, TWO), STRUCTURE.labels)


def test_blocks_cover_every_row_once_and_own_their_memory(both_formats: Path) -> None:
    images = open_images(both_formats, TWO)
    blocks = list(images.blocks(rows=50))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), np.load(images.path))
    assert [rows.start for rows, _ in blocks] == list(range(0, len(images), 50))
    for _, block in blocks:
        assert type(block) is np.ndarray
        assert block.base is None


def test_fortran_order_gives_the_same_values(small: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 75, 75))
    np.save(small / TWO.images_name, np.asfortranarray(values))
    np.testing.assert_array_equal(open_images(small, TWO)[1:], values[1:])


@pytest.mark.parametrize("name", TWO.labels_names)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_labels_are_read_in_every_published_form(
    tmp_path: Path, name: str, dtype: type, shape: tuple
) -> None:
    np.save(tmp_path / name, STRUCTURE.labels.astype(dtype).reshape(shape))
    labels = read_labels(tmp_path, TWO)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, STRUCTURE.labels)


@pytest.mark.parametrize("stem", THREE.stems)
@pytest.mark.parametrize("ending", ["-x.npy", ".fits"])
def test_files_are_found_under_both_spellings(tmp_path: Path, stem: str, ending: str) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 75, 75))
    if ending == ".fits":
        write_fits(tmp_path / f"{stem}.fits", images, np.array([1, 0]))
    else:
        np.save(tmp_path / f"{stem}-x.npy", images)
        np.save(tmp_path / f"{THREE.stems[0]}-labels-y.npy", [1, 0])
    assert available(tmp_path) == [THREE]
    assert open_images(tmp_path, THREE).path.name == stem + ending
    np.testing.assert_array_equal(open_images(tmp_path, THREE)[:], images)
    assert read_labels(tmp_path, THREE).tolist() == [1, 0]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in published_files(tmp_path)}


def test_a_file_under_two_names_is_read_only_if_both_are_equal(tmp_path: Path) -> None:
    images = np.zeros((2, 3, 75, 75))
    for name in THREE.images_names:
        np.save(tmp_path / name, images)
    assert len(open_images(tmp_path, THREE)) == 2
    images[1, 2, 3, 4] = 1
    np.save(tmp_path / THREE.images_names[1], images)
    with pytest.raises(UserError, match=f"(?s){THREE.images_names[0]}.*{THREE.images_names[1]}"):
        open_images(tmp_path, THREE)
    for name, labels in zip(THREE.labels_names[:2], ([1, 0], [0, 1]), strict=True):
        np.save(tmp_path / name, labels)
    with pytest.raises(UserError, match="differs from"):
        read_labels(tmp_path, THREE)


def tables(path: Path, **columns: list[float]) -> Path:
    """Write a FITS file of one image with a table for each of the columns, named like it but for a final digit."""
    made = [
        fits.BinTableHDU.from_columns([fits.Column(name.rstrip("0123456789"), "D", array=np.array(values))])
        for name, values in columns.items()
    ]
    for name, table in zip(columns, made, strict=True):
        table.header["EXTNAME"] = name.rstrip("0123456789")
    fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2, 75, 75))), *made]).writeto(path)
    return path


@pytest.mark.parametrize("name", ["MergerLabel", "MergerLabels", "MERGERLABEL", "label"])
def test_the_table_of_labels_may_have_either_name(tmp_path: Path, name: str) -> None:
    others = {} if name == "label" else {"Mass": [5.0]}
    tables(tmp_path / TWO.fits_name, **others, **{name: [1.0, 0.0]})
    assert read_labels(tmp_path, TWO).tolist() == [1, 0]


def test_tables_of_the_same_name_have_to_agree(tmp_path: Path) -> None:
    tables(tmp_path / TWO.fits_name, MergerLabel1=[1.0, 0.0], MergerLabel2=[1.0, 0.0])
    assert read_labels(tmp_path, TWO).tolist() == [1, 0]
    (tmp_path / TWO.fits_name).unlink()
    tables(tmp_path / TWO.fits_name, MergerLabel1=[1.0, 0.0], MergerLabel2=[0.0, 1.0])
    with pytest.raises(UserError, match=r"2 tables .* with different content"):
        read_labels(tmp_path, TWO)


def test_a_file_with_unreadable_headers_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(tmp_path / TWO.fits_name, MergerLabel=[1.0, 0.0])
    opened: list[fits.HDUList] = []

    def damaged(hdus: fits.HDUList) -> None:
        opened.append(hdus)
        raise KeyError("NAXIS1")

    monkeypatch.setattr(fits.HDUList, "readall", damaged)
    with pytest.raises(UserError, match="not a FITS file"):
        read_labels(tmp_path, TWO)
    assert opened[0]._file.closed


def test_missing_files_are_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"(?s){TWO.images_name}.*{TWO.fits_name}.*data fetch"):
        open_images(tmp_path, TWO)
    assert available(tmp_path) == []


def test_images_without_labels_are_not_available(small: Path) -> None:
    assert available(small) == [TWO]
    (small / TWO.labels_names[0]).unlink()
    assert available(small) == []


def test_truncated_npy(small: Path) -> None:
    path = small / TWO.images_name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="truncated, 269128 bytes; expected 270128 bytes"):
        open_images(small, TWO)


def test_surplus_bytes(small: Path) -> None:
    with (small / TWO.images_name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="270129 bytes; expected 270128 bytes"):
        open_images(small, TWO)


def test_truncated_fits(both_formats: Path, tmp_path: Path) -> None:
    content = (both_formats / TWO.fits_name).read_bytes()
    (tmp_path / TWO.fits_name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="truncated"):
        open_images(tmp_path, TWO)
    with pytest.raises(UserError, match="MergerLabel"):
        read_labels(tmp_path, TWO)


def test_objects_in_npy_are_never_unpickled(small: Path) -> None:
    for name, read in ((TWO.images_name, open_images), (TWO.labels_names[0], read_labels)):
        np.save(small / name, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(UserError, match="pickled Python objects"):
            read(small, TWO)


@pytest.mark.parametrize(
    "content", [pickle.dumps([1, 2]), b"", b"<html>not found</html>", b"\x93NUMPY\x01\x00\x06\x00{'de"]
)
def test_files_that_are_not_npy(small: Path, content: bytes) -> None:
    for name, read in ((TWO.images_name, open_images), (TWO.labels_names[0], read_labels)):
        (small / name).write_bytes(content)
        with pytest.raises(UserError, match="not an npy file"):
            read(small, TWO)


def test_files_that_are_not_fits(tmp_path: Path) -> None:
    (tmp_path / TWO.fits_name).write_bytes(b"<html>not found</html>")
    for read in (open_images, read_labels):
        with pytest.raises(UserError, match="not a FITS file"):
            read(tmp_path, TWO)


@pytest.mark.parametrize("shape", [(3, 3, 75, 75), (3, 2, 75, 74), (3, 2 * 75 * 75), (), (0, 2, 75, 75)])
def test_wrong_shape(small: Path, shape: tuple[int, ...]) -> None:
    np.save(small / TWO.images_name, np.zeros(shape))
    with pytest.raises(UserError, match=r"expected \(N, 2, 75, 75\)"):
        open_images(small, TWO)


@pytest.mark.parametrize("dtype", ["f4", "i8", "c16"])
def test_wrong_type(small: Path, dtype: str) -> None:
    np.save(small / TWO.images_name, np.zeros((3, 2, 75, 75), dtype))
    with pytest.raises(UserError, match="expected float64"):
        open_images(small, TWO)


def test_wrong_type_and_scaling_in_fits(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((3, 2, 75, 75), np.float32)).writeto(tmp_path / TWO.fits_name)
    with pytest.raises(UserError, match="type >f4; expected float64"):
        open_images(tmp_path, TWO)
    fits.PrimaryHDU(np.zeros((3, 2, 75, 75), np.uint16)).writeto(tmp_path / TWO.fits_name, overwrite=True)
    with pytest.raises(UserError, match="BSCALE"):
        open_images(tmp_path, TWO)


@pytest.mark.parametrize("labels", [[0, 2], [0.5, 1.0], [np.nan, 1.0], [-1, 0]])
def test_labels_other_than_0_and_1(small: Path, labels: list[float]) -> None:
    np.save(small / TWO.labels_names[0], np.array(labels))
    with pytest.raises(UserError, match="expected 0 or 1"):
        read_labels(small, TWO)


@pytest.mark.parametrize("labels", [np.zeros((3, 2)), np.zeros((0,)), np.array(["a", "b"])])
def test_labels_of_wrong_shape_or_type(small: Path, labels: np.ndarray) -> None:
    np.save(small / TWO.labels_names[0], labels)
    with pytest.raises(UserError, match="expected"):
        read_labels(small, TWO)
