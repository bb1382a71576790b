import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
from archive.samples import COARSE

from mergershift.archive import FILTER_SETS, Domain
from mergershift.archive.mock import Universe, render_universe
from mergershift.archive.mock import universe as universe_module
from mergershift.archive.mock.recipe import RECIPE

FILTERS = FILTER_SETS["three"].filters


def _archive_pixels(universe: Universe, noisy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and standard deviation per filter over the archive's rows, counting mergers five times."""
    rows = np.bincount(universe.structure.galaxy)
    sums, squares = np.zeros(3), np.zeros(3)
    for galaxy, weight in enumerate(rows / rows.min()):
        images = universe.pristine(galaxy) + (universe.noise(galaxy) if noisy else 0)
        sums += weight * images.mean(axis=(0, 2, 3))
        squares += weight * (images**2).mean(axis=(0, 2, 3))
    total = (rows / rows.min()).sum()
    return sums / total, np.sqrt(squares / total - (sums / total) ** 2)


@pytest.mark.parametrize("domain", list(Domain))
def test_brightness_is_as_published(universe: Universe, domain: Domain) -> None:
    mean, deviation = _archive_pixels(universe, domain is Domain.NOISY)
    np.testing.assert_allclose(mean, [facts.published_mean for facts in FILTERS], rtol=0.2)
    np.testing.assert_allclose(deviation, [facts.published_std[domain] for facts in FILTERS], rtol=0.05)


def test_noise_is_white_and_as_strong_as_published(universe: Universe) -> None:
    noise = np.stack([universe.noise(galaxy) for galaxy in range(len(universe.histories))])
    deviations = noise.std(axis=(0, 1, 3, 4))
    np.testing.assert_allclose(deviations, [facts.noise_std for facts in FILTERS], rtol=0.01)
    np.testing.assert_allclose(deviations, [0.418, 0.544, 0.418], rtol=0.03)
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean(axis=(0, 1, 3, 4)) / deviations**2
    assert np.abs(neighbours).max() < 0.01


def test_light_is_positive_and_finite(universe: Universe) -> None:
    assert np.isfinite(universe.raw).all()
    assert universe.raw.min() >= 0
    assert universe.raw.mean(axis=(1, 2, 3, 4)).min() > 0


def test_the_galaxy_is_in_the_middle(universe: Universe) -> None:
    light = sum(universe.pristine(galaxy).mean(axis=0).sum(axis=0) / universe.pristine(galaxy).sum()
                for galaxy in range(len(universe.histories)))  # fmt: skip
    assert np.unravel_index(np.argmax(light), light.shape) == (37, 37)


def test_result_is_independent_of_processes_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    several = render_universe(3, 3, 7, workers=2, recipe=COARSE)
    assert not multiprocessing.active_children()
    monkeypatch.setattr(universe_module, "CHUNK", 1)
    alone = render_universe(3, 3, 7, workers=1, recipe=COARSE)
    np.testing.assert_array_equal(several.raw, alone.raw)
    np.testing.assert_array_equal(several.factors, alone.factors)
    assert repr(several.histories) == repr(alone.histories)


def test_seeds_differ_and_galaxies_do_not_depend_on_their_number() -> None:
    sizes = (1, 1, 3), (1, 1, 4), (2, 1, 3)
    one, two, more = (render_universe(*size, workers=1, recipe=COARSE) for size in sizes)
    assert not np.array_equal(one.raw, two.raw)
    np.testing.assert_array_equal(one.raw, more.raw[[0, 2]])
    np.testing.assert_array_equal(one.noise(1), more.noise(2))


def test_an_error_in_a_process_ends_all_of_them() -> None:
    with pytest.raises(ValueError, match="negative"):
        render_universe(
            4, 8, 0, workers=2, recipe=replace(RECIPE, particles=-100_000_000, neighbour_particles=-1)
        )
    assert not multiprocessing.active_children()
