"""Files as archives lay them out, opened by their headers: planes, masks and galaxies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from mergershift.predicting.fits_access import FitsPixels
from mergershift.predicting.flags import Flag
from mergershift.predicting.image_files import find_files, passed_over
from mergershift.predicting.opening import open_files
from mergershift.predicting.planes import Pixels
from mergershift.predicting.sources import Source, Unusable

SIZE = 8


def plane(value: float = 0.0, size: int = SIZE) -> np.ndarray:
    return np.full((size, size), value, np.float32)


def hdu(value: float, name: str = "", **cards: object) -> fits.ImageHDU:
    made = fits.ImageHDU(plane(value), fits.Header({"BUNIT": "uJy/arcsec2"}))
    if name:
        made.header["EXTNAME"] = name
    for key, card in cards.items():
        made.header[key] = card
    return made


def write(path: Path, *hdus: fits.ImageHDU, **primary: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary)), *hdus]).writeto(path)
    return path


def opened(*paths: Path) -> list[Source | Unusable]:
    return list(open_files([str(path) for path in paths]))


def sources(*paths: Path) -> list[Source]:
    made = opened(*paths)
    assert all(isinstance(entry, Source) for entry in made), made
    return [entry for entry in made if isinstance(entry, Source)]


def only(*paths: Path) -> Source:
    (source,) = sources(*paths)
    return source


def stored_in(pixels: Pixels) -> tuple[str, int]:
    """Name of the file, and number of the HDU."""
    assert isinstance(pixels, FitsPixels)
    return Path(pixels.name).stem, pixels.number


def reason(*paths: Path) -> str:
    (entry, *_) = opened(*paths)
    assert isinstance(entry, Unusable), entry
    return entry.reason


def filters(source: Source) -> list[str | None]:
    return [plane.filter for plane in source.description.planes]


def values(source: Source) -> list[float]:
    """First pixel of each plane, as stored."""
    whole = slice(0, SIZE)
    blocks = [next(iter(p.pixels.blocks([p.plane], whole, whole))) for p in source.planes]
    return [float(block[0, 0, 0, 0]) for block in blocks]


def test_a_drizzled_image_of_each_filter_is_one_galaxy(tmp_path):
    wheels = {"TELESCOP": "HST", "INSTRUME": "ACS", "FILTER1": "CLEAR1L", "FILTER2": "F814W"}
    infrared = {"TELESCOP": "HST", "INSTRUME": "WFC3", "FILTER": "F160W"}
    first = write(tmp_path / "g_f160w_drz.fits", hdu(1, "SCI"), hdu(9, "WHT"), hdu(7, "CTX"), **infrared)
    second = write(tmp_path / "g_f814w_drz.fits", hdu(2, "SCI"), hdu(9, "WHT"), hdu(7, "CTX"), **wheels)
    source = only(first, second)
    assert filters(source) == ["f160w", "f814w"]
    assert values(source) == [1, 2]
    assert [[mask.kind for mask in p.masks] for p in source.planes] == [["weight"], ["weight"]]
    assert source.identities[0].id == "g_drz"
    assert source.identities[0].file == str(first)


def test_folders_of_filters_are_joined_by_the_names_of_files(tmp_path):
    paths = [
        write(tmp_path / name / f"{galaxy}.fits", hdu(1), FILTER=name.upper())
        for name in ("f160w", "f814w")
        for galaxy in ("a", "b")
    ]
    assert [filters(source) for source in sources(*paths)] == [["f160w", "f814w"]] * 2
    assert [source.identities[0].file for source in sources(*paths)] == [str(path) for path in paths[:2]]


def test_files_of_other_names_are_joined_by_the_id_in_their_headers(tmp_path):
    ids = {"x1": "G1", "x2": "G2", "y8": "G2", "y9": "G1"}
    paths = [
        write(tmp_path / f"{name}.fits", hdu(1), FILTER="F160W" if name < "y" else "F814W", OBJECT=galaxy)
        for name, galaxy in ids.items()
    ]
    made = sources(*paths)
    assert [[stored_in(p.pixels)[0] for p in source.planes] for source in made] == [
        ["x1", "y9"],
        ["x2", "y8"],
    ]
    assert [source.description.flags for source in made] == [(Flag("joined by name"),)] * 2


def test_files_whose_names_or_positions_agree_are_not_joined_by_the_id_alone(tmp_path):
    named = [write(tmp_path / f"g_{band}.fits", hdu(1), OBJECT="G") for band in ("f160w", "f814w")]
    placed = [
        write(tmp_path / f"{name}.fits", hdu(1), FILTER=band, OBJECT="H", RA_OBJ=150.1, DEC_OBJ=2.2)
        for name, band in (("x", "F160W"), ("y", "F814W"))
    ]
    for paths in (named, placed):
        (source,) = sources(*paths)
        assert len(source.planes) == 2
        assert source.description.flags == ()


def test_an_id_that_all_files_share_joins_nothing(tmp_path):
    paths = [
        write(tmp_path / f"{name}.fits", hdu(1), FILTER=band, TARGNAME="FIELD")
        for name, band in (("p", "F160W"), ("q", "F814W"), ("r", "F160W"), ("s", "F814W"))
    ]
    assert [filters(source) for source in sources(*paths)] == [["f160w"], ["f814w"], ["f160w"], ["f814w"]]


@pytest.mark.parametrize("ra", [150.0, 0.0])
@pytest.mark.parametrize("shift", [0.0, 0.4, 0.8, 1.2, 1.6])
def test_files_of_other_names_are_joined_by_their_position_wherever_it_is(tmp_path, ra, shift):
    paths = [
        write(
            tmp_path / f"{name}.fits", hdu(1), FILTER=band, RA=(ra + (east + shift) / 3600) % 360, DEC=shift
        )
        for name, band, east in (("p", "F160W", -0.4), ("q", "F814W", 0.4), ("r", "F814W", 5.0))
    ]
    assert [filters(source) for source in sources(*paths)] == [["f160w", "f814w"], ["f814w"]]


def test_positions_that_are_near_a_third_one_alike_join_nothing(tmp_path):
    bands = ("F606W", "F814W", "F160W")
    paths = [
        write(tmp_path / f"{'pqr'[number]}.fits", hdu(1), FILTER=band, RA=150.0, DEC=number * 1.5 / 3600)
        for number, band in enumerate(bands)
    ]
    assert len(sources(*paths)) == 3


def test_a_filter_twice_is_refused_with_the_names_of_its_files(tmp_path):
    paths = [
        write(tmp_path / f"g_{name}_{number}.fits".replace("_0", ""), hdu(1), FILTER=name.upper())
        for name, number in (("f160w", 0), ("f814w", 0))
    ]
    paths.append(write(tmp_path / "g_F160W.fits", hdu(1), FILTER="F160W"))
    assert "several files of one galaxy in f160w (g_f160w.fits, g_F160W.fits)" in reason(*paths)


def test_files_of_one_name_at_two_positions_are_refused(tmp_path):
    paths = [
        write(tmp_path / f"g_{name}.fits", hdu(1), FILTER=name.upper(), RA=150.0, DEC=dec)
        for name, dec in (("f160w", 2.0), ("f814w", 2.01))
    ]
    assert "36.0 arcsec apart" in reason(*paths)


def test_hdus_of_filters_are_planes_in_their_order_and_have_their_own_masks(tmp_path):
    made = write(
        tmp_path / "g.fits",
        hdu(1, "SCI", EXTVER="F160W"),
        hdu(0, "WHT", EXTVER="F160W"),
        hdu(2, "SCI", EXTVER="F814W"),
        hdu(5, "WHT", EXTVER="F814W"),
    )
    source = only(made)
    assert filters(source) == ["f160w", "f814w"]
    assert [stored_in(p.masks[0].pixels)[1] for p in source.planes] == [2, 4]


@pytest.mark.parametrize("names", [("F160W", "F814W"), ("SCI_F160W", "SCI_F814W"), ("F160W-CLEAR", "F814W")])
def test_filters_are_read_from_the_names_of_hdus(tmp_path, names):
    assert filters(only(write(tmp_path / "g.fits", *(hdu(1, name) for name in names)))) == ["f160w", "f814w"]


def test_planes_of_context_bits_are_no_images(tmp_path):
    bits = fits.ImageHDU(np.ones((2, SIZE, SIZE), np.int32), name="CON")
    source = only(write(tmp_path / "g_i2d.fits", hdu(3, "SCI"), bits, FILTER="F356W", PUPIL="CLEAR"))
    assert filters(source) == ["f356w"]
    assert values(source) == [3]


def test_image_mask_and_uncertainty_as_ccddata_writes_them(tmp_path):
    cube = np.ones((2, SIZE, SIZE), np.float32)
    fits.HDUList(
        [
            fits.PrimaryHDU(cube, fits.Header({"FILTERS": "F814W,F160W", "BUNIT": "uJy/arcsec2"})),
            fits.ImageHDU(cube.astype(np.uint8), name="MASK"),
            fits.ImageHDU(cube, name="UNCERT"),
        ]
    ).writeto(tmp_path / "g.fits")
    source = only(tmp_path / "g.fits")
    assert [(mask.kind, mask.plane) for mask in source.planes[1].masks] == [("bad", None), ("error", None)]


def test_weights_in_files_of_their_own_belong_to_the_image_of_that_name(tmp_path):
    image = write(tmp_path / "g_f160w_sci.fits", hdu(1), FILTER="F160W")
    weight = write(tmp_path / "g_f160w_wht.fits", hdu(1), FILTER="F160W")
    assert [mask.kind for mask in only(weight, image).planes[0].masks] == ["weight"]
    assert "named like a map of weights" in reason(weight)


def test_galaxies_in_hdus_are_rows_with_the_names_of_the_hdus(tmp_path):
    cube = np.zeros((2, SIZE, SIZE), np.float32)
    header = fits.Header({"FILTERS": "F814W,F160W"})
    cubes = [fits.ImageHDU(cube + number, header, name=f"GAL{number}") for number in range(3)]
    made = sources(write(tmp_path / "all.fits", *cubes))
    assert [(source.identities[0].id, source.first) for source in made] == [
        ("GAL0", 0),
        ("GAL1", 1),
        ("GAL2", 2),
    ]
    assert values(made[2]) == [2, 2]


def test_many_images_of_one_filter_in_a_file_are_refused(tmp_path):
    made = write(tmp_path / "g.fits", *(hdu(1, "SCI", EXTVER=number, FILTER="F160W") for number in (1, 2)))
    assert reason(made) == "several images a filter (2 of f160w), expected one of each galaxy"


def test_files_without_an_image_of_the_sky_are_refused(tmp_path):
    made = write(tmp_path / "g.fits", hdu(1, "WHT"), hdu(1, "ERR"))
    assert reason(made) == "no HDU with an image of the sky, only WHT, ERR"


def test_npy_files_of_a_filter_are_one_galaxy(tmp_path):
    for name, value in (("f160w", 1), ("f814w", 2)):
        np.save(tmp_path / f"g_{name}.npy", plane(value))
    source = only(tmp_path / "g_f160w.npy", tmp_path / "g_f814w.npy")
    assert (filters(source), values(source)) == (["f160w", "f814w"], [1, 2])
    assert source.description.headerless


def test_channels_last_are_named_with_a_remedy(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 75, 75, 2), np.float32))
    assert "channels last" in reason(tmp_path / "a.npy")


def test_a_file_of_another_format_is_refused_with_those_that_are_read(tmp_path):
    (tmp_path / "a.tiff").write_bytes(b"II*\0" * 800)
    assert "images are read from files that end with .npy, .fits" in reason(tmp_path / "a.tiff")


def test_endings_count_in_any_case_and_what_is_passed_over_is_counted(tmp_path):
    for name in (
        "a.FITS",
        "b.fits.bz2",
        "c.fits.fz",
        "d.fits.gz",
        "e.npy",
        "f.tiff",
        "g.asdf",
        "h.asdf",
        ".x.fits",
    ):
        (tmp_path / name).touch()
    assert [Path(file).name for file in find_files([tmp_path])] == [
        "a.FITS",
        "b.fits.bz2",
        "c.fits.fz",
        "d.fits.gz",
        "e.npy",
    ]
    assert passed_over([tmp_path]) == {".asdf": 2, ".tiff": 1}
    assert find_files(["s3://bucket/a.fits"]) == ["s3://bucket/a.fits"]


def test_masks_are_those_of_the_filter_in_their_header(tmp_path: Path) -> None:
    hdus: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU()]
    for kind in ("SCI", "WHT"):
        for name in ("F814W", "F160W"):
            header = fits.Header({"FILTER": name, "BUNIT": "uJy/arcsec2"})
            hdus.append(fits.ImageHDU(np.ones((9, 9), "f4"), header, name=kind, ver=1))
    fits.HDUList(hdus).writeto(tmp_path / "g.fits")
    (source,) = open_files([str(tmp_path / "g.fits")])
    assert isinstance(source, Source)
    assert [[mask.pixels.number for mask in plane.masks] for plane in source.planes] == [[3], [4]]  # type: ignore[attr-defined]
