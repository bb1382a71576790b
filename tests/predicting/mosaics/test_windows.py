"""Windows of remote mosaics, and how much of the file is fetched for them."""

from pathlib import Path

import numpy as np
import pytest
from archive.server import serving
from astropy.io import fits
from predicting.mosaics.samples import DEC, RA, drizzled, tangent_plane

from mergershift.predicting.fits_access import read_headers
from mergershift.predicting.mosaics.layer import Layer
from mergershift.predicting.mosaics.windows import Windows
from mergershift.predicting.units import Refused

IMAGE = np.random.default_rng(2).normal(size=(60, 60_000)).astype(np.float32)


def test_only_the_bytes_of_a_window_are_fetched(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "wide.fits", IMAGE)
    with serving(tmp_path) as server:
        name = f"{server.address}/wide.fits"
        windows = Windows(name, read_headers(name)[0])
        windows.read(slice(0, 1), slice(0, 1))
        server.asked.clear()
        found = windows.read(slice(20, 35), slice(7000, 7100))
        np.testing.assert_array_equal(found, IMAGE[20:35, 7000:7100])
        ends = [part.removeprefix("bytes=").split("-") for part in server.gets("wide.fits") if part]
        assert len(ends) == 15
        assert sum(int(stop) - int(start) + 1 for start, stop in ends) == found.nbytes
        windows.close()


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_remote_mosaic_gives_the_stamps_of_a_local_one(tmp_path: Path, suffix: str) -> None:
    wcs = tangent_plane((200, 200), 0.06, turned=20)
    path = drizzled(tmp_path / f"mosaic{suffix}", IMAGE[:, :1000].reshape(-1)[:40_000].reshape(200, 200), wcs)
    expected = Layer.open("f160w", [str(path)]).stamp(RA, DEC, 4.5, 24)
    with serving(tmp_path) as server:
        remote = Layer.open("f160w", [f"{server.address}/{path.name}"])
        np.testing.assert_array_equal(remote.stamp(RA, DEC, 4.5, 24).values, expected.values)
        remote.close()


def test_a_mosaic_that_vanishes_is_refused_with_its_address(tmp_path: Path) -> None:
    drizzled(tmp_path / "mosaic.fits", np.ones((200, 200), np.float32), tangent_plane((200, 200), 0.06))
    with serving(tmp_path) as server:
        name = f"{server.address}/mosaic.fits"
        layer = Layer.open("f160w", [name])
        server.files.clear()
        with pytest.raises(Refused, match=r"mosaic\.fits: cannot be read"):
            layer.stamp(RA, DEC, 4.5, 24)
        with pytest.raises(Refused, match=r"mosaic\.fits: "):
            Layer.open("f160w", [name])


def test_integers_are_scaled_and_blank_ones_have_no_value(tmp_path: Path) -> None:
    stored = np.arange(12, dtype=np.int16).reshape(3, 4)
    header = fits.Header({"BLANK": 5, "BSCALE": 0.5, "BZERO": 10.0})
    hdu = fits.PrimaryHDU(stored, header, do_not_scale_image_data=True)
    hdu.header.update(header)
    hdu.writeto(tmp_path / "a.fits")
    windows = Windows(str(tmp_path / "a.fits"), read_headers(str(tmp_path / "a.fits"))[0])
    expected = np.where(stored == 5, np.nan, stored * 0.5 + 10)
    np.testing.assert_array_equal(windows.read(slice(1, 3), slice(0, 3)), expected[1:3, :3])
    windows.close()
