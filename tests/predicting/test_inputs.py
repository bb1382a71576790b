"""Reading of files, folders and patterns of every format as one sequence of images."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from archive.samples import STRUCTURE, write_sample
from archive.samples import write_fits as write_sample_fits
from astropy.io import fits
from numpy.typing import NDArray
from registry.samples import facts_of, stamps

from mergershift.archive import DATA_SETS, Domain, open_images
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import FileInputs, ahead
from mergershift.predicting.planes import Given, Identity
from mergershift.predicting.rows import BATCH, Batch, Row
from mergershift.predicting.units import Refused

FACTS = facts_of()
BUNIT = {"BUNIT": "uJy/arcsec2"}


def gathered(inputs: FileInputs) -> tuple[NDArray[np.float32], list[tuple[str, int]], list[str]]:
    """Read all images that are not refused, with their file, index and conversion."""
    batches = list(inputs.batches())
    assert all(len(batch.images) == len(batch.rows) == BATCH for batch in batches[:-1])
    images = np.concatenate([np.empty((0, 2, 75, 75), np.float32), *(batch.images for batch in batches)])
    rows = [row for batch in batches for row in batch.rows]
    used = [number for number, row in enumerate(rows) if not row.refused]
    assert np.isnan(images[[number for number, row in enumerate(rows) if row.refused]]).all()
    return (
        images[used],
        [(rows[number].identity.file, rows[number].index) for number in used],
        [rows[number].conversion for number in used],
    )


def refused(inputs: FileInputs) -> dict[str, str]:
    """Reasons of the refused rows by the name of their file, without its folder."""
    rows = (row for batch in inputs.batches() for row in batch.rows)
    return {Path(row.identity.file).name: row.refused for row in rows if row.refused}


def read(*names: str | Path, given: Given | None = None) -> FileInputs:
    return FileInputs.of_files(find_files(names), given or Given(), FACTS)


def write_fits(path: Path, images: NDArray[np.generic], header: Mapping[str, object]) -> Path:
    fits.PrimaryHDU(images, fits.Header(dict(header))).writeto(path)
    return path


@pytest.mark.parametrize("form", ["f8", "f4", ">f4", "fortran", "single", "fits", "fits.gz", "fz", "hdu"])
def test_every_format_gives_the_same_images(tmp_path: Path, form: str) -> None:
    images = stamps(5)
    if form == "single":
        images = images[:1]
        np.save(path := tmp_path / "one.npy", images[0])
    elif form.startswith("fits"):
        path = write_fits(tmp_path / f"cube.{form}", images.astype(">f8"), BUNIT)
    elif form == "fz":
        hdu = fits.CompImageHDU(images, fits.Header(BUNIT), compression_type="GZIP_2", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path := tmp_path / "cube.fits.fz")
    elif form == "hdu":
        weights = fits.ImageHDU(np.ones_like(images), name="WHT")
        science = fits.ImageHDU(images, fits.Header(BUNIT), name="SCI")
        fits.HDUList([fits.PrimaryHDU(), weights, science]).writeto(path := tmp_path / "cube.fits")
    else:
        dtype = "f4" if form == "fortran" else form
        stored = images.astype(dtype, order="F" if form == "fortran" else "C")
        np.save(path := tmp_path / "stack.npy", stored)
    made, rows, notes = gathered(read(path))
    np.testing.assert_array_equal(made, images)
    assert rows == [(str(path), number) for number in range(len(images))]
    assert set(notes) == {"as is"}


def test_files_of_the_archive_work_unchanged_and_labels_are_skipped(tmp_path: Path) -> None:
    write_sample(tmp_path, formats=("npy", "fits"))
    inputs = read(tmp_path)
    assert not refused(inputs)
    assert inputs.count == 4 * STRUCTURE.rows
    made, rows, notes = gathered(inputs)
    assert {(Path(name).suffix, note) for (name, _), note in zip(rows, notes, strict=True)} == {
        (".npy", ""),
        (".fits", ""),
    }
    for domain in Domain:
        data_set = DATA_SETS["two", domain]
        expected = np.load(tmp_path / data_set.images_name).astype(np.float32)
        for name in (data_set.images_name, data_set.fits_name):
            mine = [place for place, (file, _) in enumerate(rows) if Path(file).name == name]
            assert [rows[place][1] for place in mine] == list(range(STRUCTURE.rows))
            np.testing.assert_array_equal(made[mine], expected)


THREE = DATA_SETS["three", Domain.NOISY]
ASSUMED = "channels assumed to be f814w, f160w, f356w"


@pytest.mark.parametrize("name", [*THREE.fits_names, "copy.fits", "copy", "copy.fits.gz"])
def test_the_archives_fits_files_are_read_under_any_name_without_an_option(tmp_path: Path, name: str) -> None:
    images = stamps(3, channels=3)
    write_sample_fits(path := tmp_path / "made", images.astype(np.float64), np.array([1, 0, 0]))
    content = path.read_bytes()
    path.unlink()
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    # Options give way to what the archive publishes.
    other = Given("MJy/sr", 1.0, 0.1)
    for given in (None, other):
        made, _, notes = gathered(read(tmp_path / name, given=given))
        np.testing.assert_array_equal(made, images[:, :2])
        assert set(notes) == {f"{ASSUMED}; channels selected by filter"}
    three = facts_of(filter_set="three", filters=("f814w", "f160w", "f356w"))
    batch = next(FileInputs.of_files([str(tmp_path / name)], Given(), three).batches())
    np.testing.assert_array_equal(batch.images, images)
    assert {row.conversion for row in batch.rows} == {ASSUMED}


def test_a_copy_without_the_collections_name_is_recognised_by_its_hdus(tmp_path: Path) -> None:
    images = stamps(2, channels=3).astype(np.float64)
    write_sample_fits(path := tmp_path / "copy.fits", images, np.array([1, 0]))
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["HLSPID"]
    assert set(gathered(read(path))[2]) == {f"{ASSUMED}; channels selected by filter"}
    with fits.open(path, mode="update") as hdus:
        del hdus[1]
    assert "3 channels, but the model needs 2" in refused(read(path))[path.name]


def test_two_filters_of_the_archive_are_too_few_for_a_model_of_three(tmp_path: Path) -> None:
    write_sample_fits(tmp_path / "copy.fits", stamps(2).astype(np.float64), np.array([1, 0]))
    three = facts_of(filter_set="three", filters=("f814w", "f160w", "f356w"))
    inputs = FileInputs.of_files([str(tmp_path / "copy.fits")], Given(), three)
    assert "the model needs f814w, f160w, f356w" in refused(inputs)["copy.fits"]
    assert set(gathered(read(tmp_path / "copy.fits"))[2]) == {""}


@pytest.mark.parametrize("form", ["npy", "fits"])
def test_channels_of_the_archives_files_are_those_that_the_pixels_show(tmp_path: Path, form: str) -> None:
    write_sample(tmp_path, filter_sets=("two", "three"), formats=(form,))
    path = tmp_path / (THREE.images_name if form == "npy" else THREE.fits_name)
    before, _, notes = gathered(read(path))
    assert not [note for note in notes if "assumed" in note]
    images = open_images(tmp_path, THREE)[:][:, [0, 2, 1]]
    if form == "npy":
        np.save(path, images)
    else:
        write_sample_fits(path, images, STRUCTURE.labels)
    after, _, notes = gathered(read(path))
    np.testing.assert_array_equal(after, before)
    assert all(note.endswith("channels selected by filter") for note in notes)


@pytest.mark.parametrize("name", THREE.images_names)
def test_the_archives_npy_files_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    images = stamps(2, channels=3)
    np.save(tmp_path / name, images)
    np.save(tmp_path / name.replace("-x", "-labels-y"), [1, 0])
    made, rows, notes = gathered(read(tmp_path))
    np.testing.assert_array_equal(made, images[:, :2])
    assert {Path(file).name for file, _ in rows} == {name}
    assert set(notes) == {f"{ASSUMED}; channels selected by filter"}


def test_the_archives_facts_are_not_taken_for_other_images(tmp_path: Path) -> None:
    cards = {"BUNIT": "microjanskies/arcsec^2", "EXTNAME": "Images"}
    images = np.full((1, 2, 160, 160), 4.0)
    write_fits(tmp_path / "own.fits", images, cards)
    write_fits(tmp_path / "part.fits", images[..., :60, :60], cards | {"HLSPID": "DEEPMERGE"})
    write_fits(tmp_path / "plane.fits", images[:, :1, :75, :75], cards | {"HLSPID": "DEEPMERGE"})
    reasons = refused(read(tmp_path))
    assert "unknown scale" in reasons["own.fits"]
    assert "unknown scale" in reasons["part.fits"]
    assert "one image" in reasons["plane.fits"]


@pytest.mark.parametrize(
    ("keyword", "value", "comment", "used"),
    [
        ("PIXSIZE", 0.1, "arcsec", True),
        ("PIXSIZE", 100.0, "[mas/pixel] scale of the image", True),
        ("PIXSIZE", 0.1, "pixel size in arcsec", True),
        ("PIXSIZE", 100.0, "", False),
        ("PIXSIZE", 15.0, "micron", False),
        ("PIXSIZE", 15.0, "[um] size of the pixels of the detector", False),
        ("PIXSCALE", 0.1, "of the detector", True),
        ("PIXSCALE", 0.1 / 3600, "[deg]", True),
    ],
)
def test_the_unit_of_a_pixel_scale_is_read_from_its_comment(
    tmp_path: Path, keyword: str, value: float, comment: str, used: bool
) -> None:
    header = fits.Header({"BUNIT": "uJy/arcsec2", "REDSHIFT": 2.0})
    header[keyword] = value, comment
    fits.PrimaryHDU(np.ones((1, 2, 160, 160)), header).writeto(tmp_path / "a.fits")
    inputs = read(tmp_path / "a.fits")
    if used:
        assert set(gathered(inputs)[2]) == {"re-binned from 160 x 160 pixels of 0.1 arcsec at z = 2"}
    else:
        assert "of unknown scale" in refused(inputs)["a.fits"]


def test_the_hdu_of_images_is_found_in_any_case(tmp_path: Path) -> None:
    science, weights = (fits.ImageHDU(stamps(1), fits.Header(BUNIT)) for _ in range(2))
    science.header["EXTNAME"] = "Sci"
    weights.header["EXTNAME"] = "Weights"
    fits.HDUList([fits.PrimaryHDU(), weights, science]).writeto(tmp_path / "a.fits")
    assert not refused(read(tmp_path / "a.fits"))


def test_folders_and_patterns_are_expanded_in_a_stable_order(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.npy", "a.fits", "in/c.npy", "in/.hidden.npy", "notes.txt", ".git/d.npy", "odd[1].npy"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    everything = ["a.fits", "b.npy", "in/c.npy", "odd[1].npy"]
    assert find_files(["."]) == everything
    assert find_files(["b.npy", "."]) == ["b.npy", "a.fits", "in/c.npy", "odd[1].npy"]
    assert find_files(["**/*.npy", "in"]) == ["b.npy", "in/c.npy", "odd[1].npy"]
    assert find_files(["odd[1].npy", "none*.npy", "gone.npy"]) == ["odd[1].npy", "none*.npy", "gone.npy"]
    assert find_files(["."], leave_out=[tmp_path / "a.fits"]) == everything[1:]


def test_small_files_share_batches(tmp_path: Path) -> None:
    images = stamps(BATCH + 30)
    edges = [0, 1, 8, BATCH - 3, BATCH + 2, BATCH + 30]
    for number, (start, stop) in enumerate(pairwise(edges)):
        np.save(tmp_path / f"{number}.npy", images[start:stop])
    made, rows, _ = gathered(read(tmp_path))
    np.testing.assert_array_equal(made, images)
    assert [index for _, index in rows] == [
        index for start, stop in pairwise(edges) for index in range(stop - start)
    ]


WORLD = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"}
TURN = np.array([[-0.8, 0.6], [0.6, 0.8]]) * 0.1 / 3600


@pytest.mark.parametrize(
    "scale",
    [
        WORLD | {"CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600},
        WORLD | {f"CD{i + 1}_{j + 1}": TURN[i, j] for i in (0, 1) for j in (0, 1)},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec"}
        | {"CDELT1": -0.1, "CDELT2": 0.1},
        {"CDELT1": 0.1 / 3600, "CDELT2": 0.1 / 3600},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CUNIT1": "mas", "CUNIT2": "mas"}
        | {"CDELT1": 100.0, "CDELT2": 100.0},
        {"PIXSCALE": 0.1},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CDELT1": 1.0, "CDELT2": 1.0, "PIXELSCL": 0.1},
        {"CDELT1": 1.0, "CDELT2": 1.0, "PIXSCALE": 0.1},
        {"PC1_1": 1.0, "PC2_2": 1.0, "PIXSCALE": 0.1},
    ],
)
def test_the_pixel_scale_is_read_from_any_known_keyword(tmp_path: Path, scale: dict[str, object]) -> None:
    images = np.full((1, 2, 160, 160), 4.0)
    path = write_fits(tmp_path / "a.fits", images, {"BUNIT": "nJy/pixel", "REDSHIFT": 2.0} | scale)
    inputs = read(path)
    assert not refused(inputs)
    made, _, (note,) = gathered(inputs)
    np.testing.assert_allclose(made, 4e-3 / 0.1**2, rtol=1e-5)
    assert note == "re-binned from 160 x 160 pixels of 0.1 arcsec at z = 2; converted from nJy/pixel"


def test_the_default_scale_of_1_is_ignored(tmp_path: Path) -> None:
    none = BUNIT | {"CTYPE1": "", "CTYPE2": "", "CDELT1": 1.0, "CDELT2": -1.0}
    _, _, notes = gathered(read(write_fits(tmp_path / "a.fits", stamps(1), none)))
    assert notes == ["as is"]
    inputs = read(write_fits(tmp_path / "b.fits", stamps(1), none | {"Z": 0.1}))
    assert refused(inputs)["b.fits"].endswith("of unknown scale; give it with --pixel-arcsec")
    degree = none | WORLD | {"Z": 0.1}
    inputs = read(write_fits(tmp_path / "c.fits", stamps(1), degree))
    assert "3600 arcsec" in refused(inputs)["c.fits"]


def test_scales_of_oblong_pixels_belong_to_the_right_axes(tmp_path: Path) -> None:
    header = WORLD | BUNIT | {"CDELT1": 0.1 / 3600, "CDELT2": 0.2 / 3600, "Z": 2.0}
    image = np.zeros((1, 2, 80, 160))
    image[..., :, 80:] = 1.0
    made, _, _ = gathered(read(write_fits(tmp_path / "a.fits", image, header)))
    np.testing.assert_allclose(made[0, 0, :, 38:], 1.0)
    np.testing.assert_allclose(made[0, 0, :, :37], 0.0)
    assert refused(read(write_fits(tmp_path / "b.fits", image.swapaxes(2, 3), header)))


def test_scaled_integers_and_blanks(tmp_path: Path) -> None:
    stored = np.arange(2 * 75 * 75, dtype=np.int16).reshape(1, 2, 75, 75)
    hdu = fits.PrimaryHDU(stored, fits.Header(BUNIT))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 3.0, 7
    hdu.header.tofile(tmp_path / "a.fits")
    raw = stored.astype(">i2").tobytes()
    with (tmp_path / "a.fits").open("ab") as file:
        file.write(raw + b"\0" * (-len(raw) % 2880))
    made, _, _ = gathered(read(tmp_path / "a.fits"))
    expected = stored * 0.5 + 3
    assert np.isnan(made[0, 0, 0, 7])
    np.testing.assert_array_equal(np.nan_to_num(made, nan=expected[0, 0, 0, 7]), expected)


def test_filters_are_found_under_their_names(tmp_path: Path) -> None:
    images = stamps(3)
    names = {"FILTER1": "WFC3/F160W", "FILTER2": "ACS_F814W"}
    made, _, notes = gathered(read(write_fits(tmp_path / "a.fits", images, BUNIT | names)))
    np.testing.assert_array_equal(made, images[:, ::-1])
    assert notes[0] == "as is; channels selected by filter"
    made, _, _ = gathered(read(write_fits(tmp_path / "b.fits", images, BUNIT | {"FILTERS": "f814w,f160w"})))
    np.testing.assert_array_equal(made, images)


def test_unusable_files_are_refused_and_the_others_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", stamps(2))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", stamps(1).astype(complex))
    np.save(tmp_path / "flat.npy", stamps(1)[0, 0])
    np.save(tmp_path / "none.npy", stamps(1)[:0])
    (tmp_path / "torn.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-8])
    (tmp_path / "text.fits").write_text("<html>")
    write_fits(tmp_path / "bare.fits", stamps(1), {})
    write_fits(tmp_path / "plane.fits", stamps(1)[0, 0], BUNIT)
    fits.BinTableHDU.from_columns([fits.Column("a", "D", array=[1.0])]).writeto(tmp_path / "table.fits")
    inputs = read(tmp_path, tmp_path / "gone.npy")
    assert gathered(inputs)[1] == [(str(tmp_path / "good.npy"), 0), (str(tmp_path / "good.npy"), 1)]
    reasons = refused(inputs)
    expected = {
        "objects.npy": "pickled Python objects",
        "complex.npy": "complex",
        "flat.npy": "(75, 75)",
        "none.npy": "(0, 2, 75, 75)",
        "torn.npy": "truncated",
        "text.fits": "not a FITS file",
        "bare.fits": "BUNIT",
        "plane.fits": "one image (filter unknown)",
        "table.fits": "no image",
        "gone.npy": "no such file",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name]


@pytest.mark.parametrize("form", ["fits", "fits.gz", "fits after its header was read"])
def test_a_truncated_file_is_refused_once_that_is_noticed(tmp_path: Path, form: str) -> None:
    path = write_fits(tmp_path / "a.fits", np.repeat(stamps(4), 200, axis=0), BUNIT)
    late = form.endswith("read")
    if form == "fits.gz":
        path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
        path = path.with_suffix(".fits.gz")
    inputs = read(path) if late else None
    path.write_bytes(path.read_bytes()[:-9000])
    inputs = inputs or read(path)
    _, rows, _ = gathered(inputs)
    assert (0 < len(rows) < 800) == late
    lost = [row for batch in inputs.batches() for row in batch.rows if row.refused]
    assert {row.identity.file for row in lost} == {str(path)}
    assert [row.index for row in lost] == (list(range(len(rows), 800)) if late else [0])


def test_tensors_and_arrays_give_the_same_images() -> None:
    import torch

    images = stamps(4)
    for array in (images, torch.from_numpy(images).requires_grad_()):
        made, rows, notes = gathered(FileInputs.of_array(array, Given(), FACTS))
        np.testing.assert_array_equal(made, images)
        assert rows == [("", number) for number in range(4)]
        assert set(notes) == {"as is"}
    with pytest.raises(Refused, match="3 channels"):
        FileInputs.of_array(stamps(1, channels=3), Given(), FACTS)


@pytest.mark.parametrize("form", ["npy", "fits"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, form: str) -> None:
    peaks = []
    for count in (1200, 4800):
        path = tmp_path / f"{count}.{form}"
        if form == "npy":
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, 2, 75, 75))
        else:
            header = fits.PrimaryHDU(np.zeros((1, 2, 75, 75), np.float32), fits.Header(BUNIT)).header
            header["NAXIS4"] = count
            header.tofile(path)
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size + -(-count * 45000 // 2880) * 2880)
        inputs = read(path)
        tracemalloc.start()
        assert sum(len(batch.images) for batch in inputs.batches()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < 4800 * 45000


def test_reading_ahead_is_limited_to_one_batch_and_raises_errors() -> None:
    begun: list[int] = []

    def batches() -> Iterator[Batch]:
        for number in range(5):
            begun.append(number)
            yield Batch(stamps(1), np.ones((1, 2), np.float32), [Row(Identity("", ""), number)])
        raise MemoryError("no more")

    seen = []

    def walk() -> None:
        for batch in ahead(batches()):
            seen.append(batch.rows[0].index)
            assert len(begun) <= len(seen) + 1

    with pytest.raises(MemoryError, match="no more"):
        walk()
    assert seen == list(range(5))
