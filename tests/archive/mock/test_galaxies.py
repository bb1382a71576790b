import numpy as np

from mergershift.archive.mock.galaxies import GALAXIES, draw_history, generator
from mergershift.archive.mock.recipe import RECIPE

MERGERS, NON_MERGERS = (
    [draw_history(generator(0, GALAXIES, merger, place), merger, RECIPE) for place in range(2000)]
    for merger in (True, False)
)


def test_mergers_satisfy_the_definition_of_the_label() -> None:
    assert all(0.1 <= history.mass_ratio <= 1 and abs(history.time) <= 250 for history in MERGERS)
    past = np.mean([history.time >= 0 for history in MERGERS])
    assert abs(past - 301 / 406) < 0.04


def test_non_mergers_do_not_satisfy_the_definition_of_the_label() -> None:
    met = [history for history in NON_MERGERS if history.encounter]
    assert all(abs(history.time) >= 250 or history.mass_ratio < 0.1 for history in met)
    assert 0.05 < len(met) / len(NON_MERGERS) < 0.5


def test_stellar_masses_are_like_the_published_galaxies_in_both_classes() -> None:
    # These are the 5th, 50th and 95th percentiles of the 2233 published galaxies.
    for histories in (MERGERS, NON_MERGERS):
        found = np.percentile([history.log_mass for history in histories], [5, 50, 95])
        np.testing.assert_allclose(found, [9.91, 10.24, 10.98], atol=0.1)
