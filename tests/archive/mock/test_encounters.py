import numpy as np
import pytest

from mergershift.archive.mock.bodies import Body, disc, draw_body
from mergershift.archive.mock.encounters import SOFTENING, Orbit, _follow, draw_orbit, meet
from mergershift.archive.mock.recipe import RECIPE


@pytest.fixture
def bodies() -> tuple[Body, Body]:
    rng = np.random.default_rng(3)
    return draw_body(rng, 10.5, RECIPE), draw_body(rng, 10.2, RECIPE)


def test_orbits_begin_parabolic_and_end_in_coalescence(bodies: tuple[Body, Body]) -> None:
    orbit = draw_orbit(np.random.default_rng(0), *bodies, RECIPE)
    distance = np.sqrt((orbit.path[:3] ** 2).sum(axis=0))
    speed = np.sqrt((orbit.path[3:] ** 2).sum(axis=0))
    gm = bodies[0].halo_gm + bodies[1].halo_gm
    scale = np.hypot(bodies[0].halo_scale, bodies[1].halo_scale)
    energy = 0.5 * speed**2 - gm / (distance + scale)
    assert abs(energy[0]) < 1e-9
    # Friction only removes energy, apart from the error of a leapfrog step.
    assert energy[-1] < energy[0] - 0.3 * gm / scale
    assert distance[orbit.coalescence :].max() < 3.0 < distance[orbit.coalescence - 1]
    assert 100 < (orbit.coalescence - orbit.entry(60.0)) * orbit.step < 3000


def test_undisturbed_disc_keeps_its_size(bodies: tuple[Body, Body]) -> None:
    places, speeds = disc(np.random.default_rng(1), bodies[0], 2000)
    far = np.zeros((6, 400))
    far[0] = 1e5
    orbit = Orbit(RECIPE.time_step, far, 400)
    weight = -bodies[1].halo_gm / (bodies[0].halo_gm + bodies[1].halo_gm)
    middle = np.array([[weight * 1e5], [0], [0]])
    after = _follow(places + middle, speeds, bodies, orbit, 0, 200) - middle
    before, now = (np.median(np.sqrt((x**2).sum(axis=0))) for x in (places, after))
    assert now == pytest.approx(before, rel=0.08)


def test_energy_of_a_star_is_conserved_in_a_static_potential(bodies: tuple[Body, Body]) -> None:
    places, speeds = disc(np.random.default_rng(1), bodies[0], 500)
    one = Orbit(RECIPE.time_step, np.zeros((6, 1)), 0)

    def energy(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        r = np.sqrt((x**2).sum(axis=0))
        return 0.5 * (v**2).sum(axis=0) - sum(body.halo_gm / (r + body.halo_scale) for body in bodies)

    # Energy is compared at the middle of one step, where the mean velocity of the step applies.
    there = _follow(places, speeds, bodies, one, 0, 1)
    velocity = (there - places) / RECIPE.time_step
    drift = energy(0.5 * (there + places), velocity) / energy(places, speeds) - 1
    assert np.median(np.abs(drift)) < 0.01


def test_a_close_passage_throws_stars_far_out(bodies: tuple[Body, Body]) -> None:
    rng = np.random.default_rng(2)
    orbit = draw_orbit(rng, *bodies, RECIPE)
    early = meet(
        rng, bodies, orbit, -(orbit.coalescence - orbit.entry(70.0)) * orbit.step, (0.67, 0.33), RECIPE
    )
    late = meet(rng, bodies, orbit, 100.0, (0.67, 0.33), RECIPE)

    def reach(stars: np.ndarray, centre: np.ndarray) -> float:
        return float(np.percentile(np.sqrt(((stars - centre[:, None]) ** 2).sum(axis=0)), 97))

    assert not early.coalesced
    assert late.coalesced
    assert np.linalg.norm(early.centres[1]) > 50
    assert np.linalg.norm(late.centres[1]) == 0
    assert reach(late.stars[1], late.centres[1]) > 2 * reach(early.stars[1], early.centres[1])


def test_stars_follow_the_leapfrog_to_the_last_bit(bodies: tuple[Body, Body]) -> None:
    """A mock archive is the same on every machine, and is pinned by its hash."""
    rng = np.random.default_rng(7)
    orbit = draw_orbit(rng, *bodies, RECIPE)
    places, speeds = (
        np.concatenate(parts, axis=1) for parts in zip(*(disc(rng, body, 50) for body in bodies), strict=True)
    )
    total = bodies[0].halo_gm + bodies[1].halo_gm
    given = places.copy(), speeds.copy()

    def acceleration(index: int) -> np.ndarray:
        relative, pull = orbit.at(index)[0], np.zeros_like(places)
        for body, weight in zip(bodies, (-bodies[1].halo_gm / total, bodies[0].halo_gm / total), strict=True):
            offset = places - (weight * relative)[:, None]
            distance = np.sqrt(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2 + SOFTENING**2)
            pull += offset * (-body.halo_gm / (distance * (distance + body.halo_scale) ** 2))
        return pull

    start, stop = orbit.coalescence - 30, orbit.coalescence + 5
    found = _follow(places, speeds, bodies, orbit, start, stop)
    np.testing.assert_array_equal((places, speeds), given)
    pull = acceleration(start)
    for index in range(start, stop):
        speeds = speeds + 0.5 * orbit.step * pull
        places = places + orbit.step * speeds
        pull = acceleration(index + 1)
        speeds = speeds + 0.5 * orbit.step * pull
    np.testing.assert_array_equal(found, places)
