"""Who lives in the mock universe: mergers and non-mergers drawn one by one, each from its own random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergershift.archive.facts import RowStructure
from mergershift.archive.mock.bodies import draw_body
from mergershift.archive.mock.cameras import picture
from mergershift.archive.mock.encounters import draw_orbit, meet
from mergershift.archive.mock.light import Stars, interacting, isolated
from mergershift.archive.mock.recipe import Recipe
from mergershift.archive.mock.vectors import Floats, isotropic

GALAXIES, NOISE = 0, 1
"""First numbers of the keys that random numbers are spawned with."""


@dataclass(frozen=True)
class MergerHistory:
    """What a galaxy is: its class, stellar mass and encounter, if it has one."""

    merger: bool
    log_mass: float
    """log10 of solar masses: of the primary before coalescence, of the remnant after it."""
    mass_ratio: float = float("nan")
    """Stellar mass of the lighter over the heavier galaxy; NaN without an encounter."""
    time: float = float("nan")
    """Myr since coalescence, negative before it; NaN without an encounter."""

    @property
    def encounter(self) -> bool:
        """Whether another galaxy takes part."""
        return self.time == self.time


def generator(seed: int, purpose: int, merger: bool, place: int) -> np.random.Generator:
    """Random numbers that belong to one galaxy alone, whatever else is drawn before it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, int(merger), place)))


def draw_history(rng: np.random.Generator, merger: bool, recipe: Recipe) -> MergerHistory:
    """Draw mass and encounter of a galaxy of a class; masses follow one distribution in both classes."""
    log_mass = recipe.mass_limit + 1.0
    while log_mass > recipe.mass_limit:
        log_mass = recipe.mass_start + float(rng.gamma(recipe.mass_shape, recipe.mass_scale))
    window, lowest = recipe.label_window, np.log10(recipe.lowest_ratio)
    ratio = float(10 ** rng.uniform(lowest, 0))
    if merger:
        past = rng.random() < recipe.past_fraction
        time = float(rng.uniform(0, window) if past else -rng.uniform(0, window))
        return MergerHistory(True, log_mass, ratio, time)
    kind = rng.random()
    if kind < recipe.older:
        return MergerHistory(False, log_mass, ratio, float(rng.uniform(window, recipe.oldest)))
    if kind < recipe.older + recipe.ahead:
        return MergerHistory(False, log_mass, ratio, -float(rng.uniform(window, recipe.furthest_ahead)))
    if kind < recipe.older + recipe.ahead + recipe.minor:
        ratio = float(10 ** rng.uniform(np.log10(recipe.smallest_ratio), lowest))
        return MergerHistory(False, log_mass, ratio, float(rng.uniform(-window, window)))
    return MergerHistory(False, log_mass)


def light_up(rng: np.random.Generator, history: MergerHistory, recipe: Recipe) -> Stars:
    """Make the stars of a galaxy, its companion's included, about the middle of the picture."""
    if not history.encounter:
        return isolated(rng, draw_body(rng, history.log_mass, recipe), recipe)
    share = 1 / (1 + history.mass_ratio)
    heavier = history.log_mass + (np.log10(share) if history.time >= 0 else 0.0)
    bodies = (
        draw_body(rng, heavier, recipe),
        draw_body(rng, heavier + float(np.log10(history.mass_ratio)), recipe),
    )
    orbit = draw_orbit(rng, *bodies, recipe)
    pair = meet(rng, bodies, orbit, history.time, (share, 1 - share), recipe)
    return interacting(rng, bodies, pair, history.time, recipe)


def neighbours(rng: np.random.Generator, history: MergerHistory, recipe: Recipe) -> list[Stars]:
    """Draw other galaxies of the same group, which stay apart from the one in the middle."""
    near, far = recipe.neighbour_distance
    low, high = np.log10(recipe.neighbour_ratio)
    found = []
    for _ in range(rng.poisson(recipe.neighbours)):
        log_mass = history.log_mass + low + (high - low) * float(rng.beta(1.0, 1.8))
        distance = near + (far - near) * np.sqrt(rng.random(1))
        body = draw_body(rng, log_mass, recipe)
        found.append(
            isolated(rng, body, recipe, recipe.neighbour_particles).moved(isotropic(rng, distance)[:, 0])
        )
    return found


def render_galaxy(seed: int, merger: bool, place: int, recipe: Recipe) -> tuple[Floats, MergerHistory]:
    """Render one galaxy: uncalibrated surface brightness `(4 cameras, 3 filters, 75, 75)` and what it shows."""
    rng = generator(seed, GALAXIES, merger, place)
    history = draw_history(rng, merger, recipe)
    stars = light_up(rng, history, recipe)
    everything = Stars.join([stars, *neighbours(rng, history, recipe)])
    offsets = rng.uniform(-recipe.centring, recipe.centring, (RowStructure.CAMERAS, 2))
    return picture(everything, offsets), history
