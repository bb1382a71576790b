from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archive.samples import LARGER, STRUCTURE, write_fits, write_sample
from astropy.io import fits

from mergershift.archive import DATA_SETS, DataSet, Domain, RowStructure, open_images
from mergershift.archive.headers import mark_as_mock
from mergershift.archive.manifest import published_files, take
from mergershift.archive.provenance import ArchiveProvenance, MockProvenance, write_provenance
from mergershift.archive.renderings import digest
from mergershift.archive.verification.findings import Level, Report
from mergershift.archive.verification.scan import scan
from mergershift.archive.verification.verify import bytes_to_read, verify
from mergershift.core.errors import UserError

PRISTINE = DATA_SETS["two", Domain.PRISTINE]
NOISY = DATA_SETS["two", Domain.NOISY]


def change_images(folder: Path, data_set: DataSet, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    path = folder / data_set.images_name
    images = np.load(path)
    changed = change(images)
    np.save(path, images if changed is None else changed)


def errors(report: Report, text: str = "") -> list[str]:
    return _files(report, "error", text)


def warnings(report: Report, text: str) -> list[str]:
    return _files(report, "warning", text)


def _files(report: Report, level: Level, text: str) -> list[str]:
    return [finding.file for finding in report.findings if finding.level == level and text in str(finding)]


def test_a_sound_archive_has_no_error(sound: Path) -> None:
    read: list[int] = []
    report = verify(sound, read.append)
    assert report.sound
    assert not errors(report)
    assert {row.filter for row in report.statistics} == {"f814w", "f160w"}
    assert 0 < sum(read) <= bytes_to_read(sound)
    row = next(row for row in report.statistics if row.file == NOISY.images_name and row.filter == "f160w")
    images = np.load(sound / NOISY.images_name)[:, 1]
    np.testing.assert_allclose([row.mean, row.std], [images.mean(), images.std()], rtol=1e-10)


def test_an_empty_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="data mock"):
            verify(folder)


def test_truncated(data: Path) -> None:
    path = data / PRISTINE.images_name
    path.write_bytes(path.read_bytes()[:-8])
    assert errors(verify(data), "truncated") == [PRISTINE.images_name]


def test_pickled(data: Path) -> None:
    np.save(data / NOISY.images_name, np.array([None]), allow_pickle=True)
    assert errors(verify(data), "pickled") == [NOISY.images_name]


def test_wrongly_shaped(data: Path) -> None:
    change_images(data, PRISTINE, lambda images: images[:, :, :, :74])
    assert errors(verify(data), "shape") == [PRISTINE.images_name]


def test_files_of_another_filter_set_under_a_name(data: Path, tmp_path: Path) -> None:
    three = write_sample(tmp_path / "three", filter_sets=("three",))
    shutil.copy(three / DATA_SETS["three", Domain.PRISTINE].images_name, data / PRISTINE.images_name)
    assert errors(verify(data), "shape") == [PRISTINE.images_name]


def test_fewer_images_than_labels(data: Path) -> None:
    change_images(data, PRISTINE, lambda images: images[:-4])
    assert PRISTINE.labels_names[0] in errors(verify(data), "the number of images")


def test_nan_and_infinite_pixels(data: Path) -> None:
    def spoil(images: np.ndarray) -> None:
        images[100, 1, 5:7, 5] = [np.nan, np.inf]

    change_images(data, NOISY, spoil)
    report = verify(data)
    assert errors(report) == [NOISY.images_name]
    assert "2 pixels in 1 images are NaN or infinite, first in row 100" in str(report.findings)


@pytest.mark.parametrize(("data_set", "level"), [(PRISTINE, "error"), (NOISY, "warning")])
def test_one_flipped_bit_in_a_merger(data: Path, data_set: DataSet, level: str) -> None:
    images = open_images(data, data_set)
    row = STRUCTURE.block_rows + 3
    with (data / data_set.images_name).open("r+b") as file:
        file.seek(images._layout.offset + row * 2 * 75 * 75 * 8 + 12345)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    findings = [finding for finding in verify(data).findings if "turned copies" in finding.found]
    assert [finding.level for finding in findings] == [level]
    assert f"1 of {4 * STRUCTURE.block_rows} turned copies" in findings[0].found
    assert f"first in row {row}" in findings[0].found


def test_one_flipped_bit_anywhere_differs_from_the_manifest(data: Path) -> None:
    provenance = MockProvenance(
        seed=0,
        mergers=STRUCTURE.mergers,
        non_mergers=STRUCTURE.non_mergers,
        mock_version=1,
        filter_sets=("two",),
        fits=False,
    )
    write_provenance(data, provenance.with_files(take(published_files(data))))
    assert verify(data).sound
    assert not warnings(verify(data), "PROVENANCE")
    path = data / NOISY.images_name
    content = bytearray(path.read_bytes())
    content[-20_000] ^= 4
    path.write_bytes(content)
    assert errors(verify(data), "SHA-256") == [NOISY.images_name]
    path.unlink()
    assert errors(verify(data), "SHA-256") == [NOISY.images_name]


def test_unknown_provenance_is_reported(data: Path) -> None:
    assert warnings(verify(data), "unknown") == ["PROVENANCE.json"]
    (data / "PROVENANCE.json").write_text('{"kind": "archive"}')
    assert errors(verify(data)) == ["PROVENANCE.json"]


def test_mislabelled(data: Path) -> None:
    labels = STRUCTURE.labels
    labels[[0, -1]] = labels[[-1, 0]]
    np.save(data / NOISY.labels_names[0], labels)
    report = verify(data)
    assert set(errors(report)) == {NOISY.labels_names[0]}
    assert errors(report, f"the labels of {PRISTINE.labels_names[0]}")


def test_rows_in_another_order_are_a_warning_with_a_remedy(tmp_path: Path) -> None:
    structure = RowStructure(mergers=8, non_mergers=16)
    data = write_sample(tmp_path, structure)
    for order, text in (
        (np.roll(np.arange(structure.rows), structure.merger_rows), "runs of four"),
        (np.random.default_rng(0).permutation(structure.rows), "two cameras of a galaxy"),
    ):
        for data_set in (PRISTINE, NOISY):
            for name in (data_set.images_name, data_set.labels_names[0]):
                np.save(data / name, np.load(data / name)[order])
        report = verify(data)
        assert report.sound, errors(report)
        assert warnings(report, text) == [PRISTINE.labels_names[0]]
        assert warnings(report, "data metadata --from DIR")


def test_labels_that_contradict_the_images_are_an_error(data: Path) -> None:
    labels = STRUCTURE.labels
    labels[[0, -1]] = labels[[-1, 0]]
    for data_set in (PRISTINE, NOISY):
        np.save(data / data_set.labels_names[0], labels)
    report = verify(data)
    rows = f"rows 0 and {STRUCTURE.block_rows} show the same image but have label 0 and 1"
    assert errors(report, rows) == [PRISTINE.labels_names[0]]


def test_labels_other_than_0_and_1(data: Path) -> None:
    np.save(data / NOISY.labels_names[0], STRUCTURE.labels * 2)
    assert errors(verify(data), "0 or 1") == [NOISY.labels_names[0]]


def test_misnamed(data: Path) -> None:
    (data / NOISY.images_name).rename(data / NOISY.images_name.replace("noisy", "noise"))
    report = verify(data)
    assert errors(report, "not a name of the archive") == [NOISY.images_name.replace("noisy", "noise")]
    assert NOISY.images_name in str([finding for finding in report.findings if "not a name" in finding.found])
    assert errors(report, "the images of this data set") == [NOISY.images_name]


def test_pristine_and_noisy_under_each_others_names(data: Path) -> None:
    one, other = data / PRISTINE.images_name, data / NOISY.images_name
    one.rename(data / "aside")
    other.rename(one)
    (data / "aside").rename(other)
    report = verify(data)
    assert errors(report, "have been exchanged") == [PRISTINE.images_name.replace("pristine", "noisy")] * 2
    assert warnings(report, "noise of")


def test_blocks_in_another_order(data: Path) -> None:
    size = STRUCTURE.block_rows

    def exchange_blocks(images: np.ndarray) -> None:
        images[size : 3 * size] = np.roll(images[size : 3 * size], size, axis=0)

    change_images(data, PRISTINE, exchange_blocks)
    assert warnings(verify(data), "turned in another way") == [PRISTINE.images_name]


def test_the_same_image_twice(data: Path) -> None:
    def repeat(images: np.ndarray) -> None:
        images[-1] = images[-40, :, ::-1]

    change_images(data, PRISTINE, repeat)
    rows = f"rows {STRUCTURE.rows - 40} and {STRUCTURE.rows - 1} are the same image"
    assert warnings(verify(data), rows) == [PRISTINE.images_name]


def test_npy_and_fits_that_differ(sound: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(sound, tmp_path / "data"))
    images = np.load(data / PRISTINE.images_name)
    write_fits(data / PRISTINE.fits_name, images, STRUCTURE.labels)
    assert verify(data).sound
    images[7, 0, 40, 40] += 1e-9
    write_fits(data / PRISTINE.fits_name, images, STRUCTURE.labels)
    assert PRISTINE.fits_name in errors(verify(data), "1 images differ from those in")


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("larger"), LARGER)


def test_cameras_in_adjacent_rows(larger: Path, tmp_path: Path) -> None:
    assert not warnings(verify(larger), "in adjacent rows")
    data = Path(shutil.copytree(larger, tmp_path / "data"))

    def slip(images: np.ndarray) -> None:
        images[LARGER.merger_rows :] = np.roll(images[LARGER.merger_rows :], 2, axis=0)

    change_images(data, PRISTINE, slip)
    report = verify(data)
    assert warnings(report, "in adjacent rows") == [PRISTINE.labels_name]


def test_domains_in_another_order_of_galaxies(larger: Path, tmp_path: Path) -> None:
    assert not warnings(verify(larger), "rank correlation")
    data = Path(shutil.copytree(larger, tmp_path / "data"))
    order = np.arange(LARGER.rows)
    order[LARGER.merger_rows :] = order[LARGER.merger_rows :][::-1]
    change_images(data, NOISY, lambda images: images[order])
    assert warnings(verify(data), "rank correlation") == [NOISY.images_name]


def test_channels_in_another_order_are_reported_and_read_in_the_named_one(tmp_path: Path) -> None:
    data = write_sample(tmp_path / "data", filter_sets=("two", "three"))
    three = DATA_SETS["three", Domain.PRISTINE]
    report = verify(data)
    assert not _files(report, "warning", "channels")
    assert [
        note for note in report.notes if three.images_name in note and "f814w, f160w, f356w (the same" in note
    ]
    before = [row for row in report.statistics if row.file == three.images_name]
    change_images(data, three, lambda images: images[:, [0, 2, 1]])
    report = verify(data)
    assert report.sound
    assert warnings(report, "by the pixels: f814w, f356w, f160w") == [three.images_name]
    after = [row for row in report.statistics if row.file == three.images_name]
    np.testing.assert_allclose([row.mean for row in after], [row.mean for row in before])


def test_digest_changes_with_any_bit_and_not_with_orientation() -> None:
    random = np.random.default_rng(0)
    # These have few significant digits, like float32 values stored as float64.
    image = random.normal(size=(1, 3, 75, 75)).astype(np.float32).astype(np.float64)
    before = digest(image)
    assert len(np.unique(before)) == 8
    for turned in (np.rot90(image, 3, axes=(2, 3)), image[..., ::-1], image.swapaxes(2, 3)):
        assert set(digest(turned)[0]) == set(before[0])
        assert digest(turned)[0, 0] != before[0, 0]
    for _ in range(50):
        changed = image.copy()
        bits = changed.view(np.uint64).reshape(-1)
        bits[random.integers(bits.size)] ^= np.uint64(1) << np.uint64(random.integers(64))
        assert not set(digest(changed)[0]) & set(before[0])
    assert digest(image[:, [1, 0, 2]])[0, 0] != before[0, 0]


def test_scan_does_not_depend_on_blocks(sound: Path) -> None:
    images = open_images(sound, NOISY)
    one, other = scan(images, rows=7), scan(images, rows=1000)
    np.testing.assert_array_equal(one.digests, other.digests)
    np.testing.assert_allclose(one.std, other.std, rtol=1e-12)
    stds = [facts.noise_std for facts in NOISY.filter_set.filters]
    np.testing.assert_allclose(one.noise, stds, rtol=0.05)


def test_a_file_under_two_names_is_reported_with_both(tmp_path: Path) -> None:
    data = write_sample(tmp_path / "data", filter_sets=["three"])
    real, by_rule = DATA_SETS["three", Domain.PRISTINE].images_names
    shutil.copy(data / real, data / by_rule)
    report = verify(data)
    assert report.sound
    assert warnings(report, f"has the same content as {real}") == [by_rule]
    np.save(data / by_rule, np.load(data / real)[::-1])
    assert errors(verify(data), f"differs from {real}") == [by_rule]


def test_a_mock_in_a_fetched_archive_is_an_error(data: Path) -> None:
    images = np.load(data / PRISTINE.images_name)
    write_fits(data / PRISTINE.fits_name, images, STRUCTURE.labels)
    assert not warnings(verify(data), "a mock, as its header says")
    with fits.open(data / PRISTINE.fits_name, mode="update") as hdus:
        mark_as_mock(hdus[0].header)
    assert warnings(verify(data), "a mock, as its header says") == [PRISTINE.fits_name]
    write_provenance(data, ArchiveProvenance(address="http://127.0.0.1", files=take(published_files(data))))
    assert errors(verify(data), "a mock, as its header says") == [PRISTINE.fits_name]
