from dataclasses import replace

import numpy as np
import pytest

from mergershift.archive.mock.bodies import Body, draw_body
from mergershift.archive.mock.encounters import draw_orbit, meet
from mergershift.archive.mock.light import NEAREST, draw_budget, interacting, isolated, reach
from mergershift.archive.mock.recipe import RECIPE

QUIET = replace(RECIPE, light_scatter=(0.0, 0.0, 0.0), common_scatter=0.0, burst_light=(0.0, 0.0, 0.0))
"""A recipe without scatter and starburst, so that light depends only on mass."""


@pytest.fixture
def bodies() -> tuple[Body, Body]:
    rng = np.random.default_rng(3)
    return draw_body(rng, 10.5, RECIPE), draw_body(rng, 10.2, RECIPE)


def test_components_add_up_to_the_luminosity(bodies: tuple[Body, Body]) -> None:
    luminosity = np.array([1.0, 2.0, 3.0])
    budget = draw_budget(np.random.default_rng(0), bodies[0], luminosity, RECIPE)
    np.testing.assert_allclose(budget.total, luminosity)
    for part in (budget.disc, budget.clumps, budget.bulge, budget.halo, budget.nucleus):
        assert (part > 0).all()
    # Clumps are young and bulges are old.
    clumps, bulge = budget.clumps / luminosity, budget.bulge / luminosity
    assert clumps[0] > clumps[1] > clumps[2]
    assert bulge[0] < bulge[1] < bulge[2]


def test_stars_carry_the_light_of_their_mass_isolated_or_merged(bodies: tuple[Body, Body]) -> None:
    slope = np.array(RECIPE.light_slope)
    alone = isolated(np.random.default_rng(0), bodies[0], QUIET)
    np.testing.assert_allclose(alone.light.sum(axis=1), 1.0)
    rng = np.random.default_rng(1)
    orbit = draw_orbit(rng, *bodies, QUIET)
    expected = {-200.0: 1 + 10 ** (-0.3 * slope), 200.0: (1 + 10**-0.3) ** slope}
    for time, light in expected.items():
        pair = meet(rng, bodies, orbit, time, (0.67, 0.33), QUIET)
        np.testing.assert_allclose(interacting(rng, bodies, pair, time, QUIET).light.sum(axis=1), light)


def test_a_starburst_is_bluest_and_strongest_at_coalescence(bodies: tuple[Body, Body]) -> None:
    loud = replace(QUIET, burst_light=RECIPE.burst_light)
    rng = np.random.default_rng(1)
    orbit = draw_orbit(rng, *bodies, QUIET)
    excess = []
    for time in (5.0, 240.0):
        pair = meet(rng, bodies, orbit, time, (0.67, 0.33), QUIET)
        quiet, burst = (
            interacting(np.random.default_rng(2), bodies, pair, time, recipe).light.sum(axis=1)
            for recipe in (QUIET, loud)
        )
        excess.append(burst / quiet - 1)
    assert (excess[0] > 3 * excess[1]).all()
    assert excess[0][0] > excess[0][1] > excess[0][2] > 0


def test_young_light_is_more_concentrated_than_old(bodies: tuple[Body, Body]) -> None:
    rng = np.random.default_rng(1)
    orbit = draw_orbit(rng, *bodies, QUIET)
    pair = meet(rng, bodies, orbit, 150.0, (0.67, 0.33), QUIET)
    stars = interacting(rng, bodies, pair, 150.0, QUIET)
    radius = np.sqrt((stars.positions**2).sum(axis=0))
    far = radius > 5 * bodies[0].scale
    outside = stars.light[:, far].sum(axis=1) / stars.light.sum(axis=1)
    assert outside[0] < 0.6 * outside[2]


@pytest.mark.parametrize("count", [5, NEAREST, 700])
def test_the_reach_of_a_star_is_the_distance_to_a_neighbour(count: int) -> None:
    """The star itself counts; of fewer stars than that, the farthest one is reached."""
    places = np.random.default_rng(3).normal(size=(3, count))
    x, y, z = (np.square(axis[:, None] - axis) for axis in places)
    distances = np.sort(np.sqrt(x + y + z), axis=1)
    np.testing.assert_allclose(reach(places), distances[:, min(NEAREST, count) - 1], rtol=1e-15)
