"""Which filter a channel shows is found from the pixels, whatever order a file has."""

from __future__ import annotations

import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from archive.samples import images_of, write_sample
from astropy.io import fits

from mergershift.archive import DATA_SETS, DataSet, Domain, RowStructure, channel_order, open_images
from mergershift.archive.channel_evidence import showing, with_brightness, with_noise

SMALL = RowStructure(mergers=2, non_mergers=12)
TWO = DATA_SETS["two", Domain.PRISTINE]
PRISTINE, NOISY = (DATA_SETS["three", domain] for domain in Domain)
NAMED = PRISTINE.filter_set.filter_names
ORDERS = list(permutations(NAMED))
SCRAMBLED = ("f356w", "f814w", "f160w")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sound"), SMALL, filter_sets=("two", "three"))


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))


def reorder(folder: Path, data_set: DataSet, order: tuple[str, ...]) -> None:
    """Store the channels of a file in another order."""
    path = folder / data_set.images_name
    named = data_set.filter_set.filter_names
    np.save(path, np.load(path)[:, [named.index(name) for name in order]])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("data_set", [PRISTINE, NOISY])
def test_the_two_filter_file_decides_and_images_are_read_in_the_named_order(
    sound: Path, data: Path, data_set: DataSet, order: tuple[str, ...]
) -> None:
    before = np.load(sound / data_set.images_name)
    reorder(data, data_set, order)
    found = channel_order(data, data_set)
    assert found.stored == order
    assert found.evidence.startswith("the same images as in")
    images = open_images(data, data_set)
    np.testing.assert_array_equal(images[:], before)
    np.testing.assert_array_equal(images[3], before[3])
    np.testing.assert_array_equal(images[np.array([5, 2])], before[[5, 2]])
    np.testing.assert_array_equal(next(images.blocks(7))[1], before[:7])


def test_noise_and_the_noisy_file_decide_between_the_written_orders(data: Path) -> None:
    for domain in Domain:
        (data / DATA_SETS["two", domain].images_name).unlink()
    for order in (NAMED, ("f814w", "f356w", "f160w")):
        for data_set in (PRISTINE, NOISY):
            images = images_of(data_set, SMALL)
            np.save(data / data_set.images_name, images)
            reorder(data, data_set, order)
        found = channel_order(data, NOISY)
        assert (found.stored, found.evidence) == (order, "the published noise")
        found = channel_order(data, PRISTINE)
        assert found.stored == order
        assert NOISY.images_name in found.evidence


def test_undecided_pixels_give_a_warning_with_the_assumption(data: Path) -> None:
    for data_set in (*(DATA_SETS["two", domain] for domain in Domain), NOISY):
        (data / data_set.images_name).unlink()
    found = channel_order(data, PRISTINE)
    assert not found.decided
    assert found.stored == NAMED
    assert "undecided" in found.warning
    assert "f814w, f160w, f356w is assumed" in found.warning
    assert "assumed" in str(found)
    # Nothing contradicts the name of a two-filter file, so its order needs no proof.
    np.save(data / TWO.images_name, np.zeros(TWO.shape(SMALL.rows)))
    assert not channel_order(data, TWO).warning


def test_published_means_and_deviations_decide_if_images_have_them() -> None:
    random = np.random.default_rng(0)
    facts = PRISTINE.filter_set.filters
    brightness = random.lognormal(0, 1, (100, 1, 1, 1))
    shape = (100, 3, 75, 75)
    stds, means = (
        np.array(values)[:, None, None]
        for values in zip(*((f.published_std[Domain.PRISTINE], f.published_mean) for f in facts), strict=True)
    )
    lit = random.random(shape) < 0.01
    share = means**2 / (0.01 * (means**2 + stds**2))
    images = np.where(lit & (random.random(shape) < share), brightness * (means**2 + stds**2) / means, 0.0)
    for order in ORDERS:
        places = [NAMED.index(name) for name in order]
        assert with_brightness(images[:, places], PRISTINE, ORDERS) == [order]


def test_noise_identifies_f160w_and_pristine_images_have_none() -> None:
    noise = np.random.default_rng(0).normal(size=(50, 3, 75, 75))
    noise *= np.array([facts.noise_std for facts in NOISY.filter_set.filters])[:, None, None]
    assert {order.index("f160w") for order in with_noise(noise, NOISY, ORDERS)} == {1}
    assert with_noise(noise[:, [0, 2, 1]], NOISY, ORDERS)[0][2] == "f160w"
    assert with_noise(noise, PRISTINE, ORDERS) == ORDERS


def test_other_galaxies_in_the_rows_decide_nothing(sound: Path) -> None:
    images = np.load(sound / PRISTINE.images_name)[: SMALL.block_rows]
    images = np.concatenate([images, np.load(sound / PRISTINE.images_name)[SMALL.merger_rows :]])
    assert showing(images[:, :2], NAMED[:2], images, ORDERS) == [NAMED]
    assert showing(images[::-1, :2], NAMED[:2], images, ORDERS) == ORDERS


def test_the_comment_in_the_header_is_described(data: Path) -> None:
    header = fits.Header()
    header["NAME3"] = ("filter", "F814W,F356W,F160W")
    images = np.load(data / PRISTINE.images_name)
    fits.PrimaryHDU(images, header).writeto(data / PRISTINE.fits_name)
    found = channel_order(data, PRISTINE, "fits")
    assert found.header == ("f814w", "f356w", "f160w")
    assert found.stored == NAMED
    assert "by the name: f814w, f160w, f356w; by the header: f814w, f356w, f160w" in found.description()
