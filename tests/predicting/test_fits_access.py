"""Headers and windows of FITS files in all the ways in which they are stored."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from mergershift.predicting import fits_layout
from mergershift.predicting.fits_access import FitsPixels, read_headers
from mergershift.predicting.units import Refused


def test_headers_say_what_every_hdu_is(tmp_path: Path) -> None:
    cube = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    science = fits.ImageHDU(cube, name="sci")
    science.header["EXTVER"] = "F814W"
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=np.arange(3.0))], name="cat")
    packed = fits.CompImageHDU(cube[0], name="wht", compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), science, table, packed]).writeto(path := tmp_path / "a.fits")
    found = [(hdu.number, hdu.name, hdu.version, hdu.shape, hdu.kind) for hdu in read_headers(str(path))]
    assert found == [
        (0, "PRIMARY", "", (), "image"),
        (1, "SCI", "F814W", (2, 3, 4, 5), "image"),
        (2, "CAT", "", (), "table"),
        (3, "WHT", "", (3, 4, 5), "image"),
    ]
    block = next(FitsPixels(str(path), 3, (1, 3, 4, 5)).blocks([0], slice(1, 3), slice(0, 5)))
    np.testing.assert_array_equal(block[0], cube[0, :1, 1:3])
    blocks = FitsPixels(str(path), 1, (2, 3, 4, 5)).blocks([2, 0], slice(1, 3), slice(2, 5))
    np.testing.assert_array_equal(np.concatenate(list(blocks)), cube[:, [2, 0], 1:3, 2:5])
    with pytest.raises(Refused, match="no such file"):
        read_headers(str(tmp_path / "b.fits"))


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2"])
def test_stored_integers_and_tables_between_images_are_read_as_astropy_reads_them(
    tmp_path: Path, packed: str
) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, (6, 7), dtype=np.uint32)
    scaled = fits.ImageHDU(rng.normal(size=(2, 6, 7)), name="SCI")
    scaled.scale("int16", bscale=0.001, bzero=1.0)
    scaled.header["COMMENT"] = "x" * 5000
    table = fits.BinTableHDU.from_columns([fits.Column("a", "PD()", array=[[1.0], [2.0, 3.0]])])
    parts = [fits.PrimaryHDU(), table, scaled, fits.ImageHDU(bits, name="DQ")]
    fits.HDUList(parts).writeto(path := tmp_path / f"a.fits{packed}")
    assert [hdu.name for hdu in read_headers(str(path))] == ["PRIMARY", "", "SCI", "DQ"]
    with fits.open(path) as hdus:
        block = next(FitsPixels(str(path), 2, (1, 2, 6, 7)).blocks([0, 1], slice(0, 6), slice(0, 7)))
        np.testing.assert_allclose(block[0], hdus[2].data, atol=1e-6)  # astropy scales in single precision
    block = next(FitsPixels(str(path), 3, (1, 1, 6, 7)).blocks([0], slice(1, 4), slice(2, 7)))
    np.testing.assert_array_equal(block[0, 0], bits[1:4, 2:7])


@pytest.mark.parametrize("length", [0, 1000, 2880, 4000, 8640 - 2880])
def test_damaged_files_are_refused(tmp_path: Path, length: int) -> None:
    fits.PrimaryHDU(np.ones((10, 10, 10))).writeto(path := tmp_path / "a.fits")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(Refused, match=r"truncated|not a FITS file|cannot be read"):
        read_headers(str(path))


def test_a_packed_file_is_unpacked_once_for_its_headers_and_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    fits.PrimaryHDU(image).writeto(path := tmp_path / "a.fits.gz")
    read_headers(str(path))
    monkeypatch.setattr(gzip.GzipFile, "read", None)
    block = next(FitsPixels(str(path), 0, (1, 1, 3, 4)).blocks([0], slice(0, 3), slice(0, 4)))
    np.testing.assert_array_equal(block, image)


def test_a_packed_file_that_is_too_large_for_memory_is_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.arange(60 * 2 * 12, dtype=np.float32).reshape(60, 2, 3, 4)
    fits.PrimaryHDU(images).writeto(path := tmp_path / "a.fits.gz")
    monkeypatch.setattr(fits_layout, "MOST_UNPACKED", 1000)
    unpack, done = gzip.GzipFile.read1, []

    def read(file: gzip.GzipFile, size: int) -> bytes:
        done.append(file)
        return unpack(file, size)

    monkeypatch.setattr(gzip.GzipFile, "read", read)
    whole = slice(0, 3), slice(0, 4)
    stored = FitsPixels(str(path), 0, images.shape)
    np.testing.assert_array_equal(np.concatenate(list(stored.blocks([1], *whole))), images[:, 1:])
    with stored.opened(59, 0, slice(1, 3), slice(1, 4)) as rows:
        np.testing.assert_array_equal(rows(1, 2), images[59, 0, 2:, 1:])
    assert len({id(file) for file in done}) == 2  # One of them finds out how large it is.
