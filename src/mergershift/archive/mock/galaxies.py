"""The population of the mock universe: mergers and non-mergers, each drawn from its own random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergershift.archive.facts import IMAGE_SIZE, RowStructure
from mergershift.archive.mock.bodies import draw_body
from mergershift.archive.mock.cameras import render_stars
from mergershift.archive.mock.encounters import draw_orbit, meet
from mergershift.archive.mock.light import Stars, interacting, isolated
from mergershift.archive.mock.recipe import Recipe
from mergershift.archive.mock.vectors import Floats, isotropic

GALAXIES, NOISE = 0, 1
"""First components of the spawn keys of random number generators."""


@dataclass(frozen=True)
class MergerHistory:
    """The history of a galaxy: its class, its stellar mass and its encounter, if it has one."""

    merger: bool
    log_mass: float
    """log10 of the stellar mass in solar masses: of the primary before coalescence, of the remnant after it."""
    mass_ratio: float = float("nan")
    """Stellar mass of the less massive over that of the more massive galaxy; NaN without an encounter."""
    time: float = float("nan")
    """Time since coalescence in Myr, negative before it; NaN without an encounter."""

    @property
    def encounter(self) -> bool:
        """Whether the galaxy has an encounter; its time is NaN otherwise."""
        return self.time == self.time


def generator(seed: int, purpose: int, merger: bool, place: int) -> np.random.Generator:
    """Create the random number generator of one galaxy, which is independent of all other galaxies."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, int(merger), place)))


def draw_history(rng: np.random.Generator, merger: bool, recipe: Recipe) -> MergerHistory:
    """Draw the mass and encounter of a merger or non-merger; both classes have the same distribution of masses."""
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


def make_stars(rng: np.random.Generator, history: MergerHistory, recipe: Recipe) -> Stars:
    """Make the stars of a galaxy and of its companion, if any, about the centre of the image."""
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
    """Draw other galaxies of the same group, which do not interact with the central one."""
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


def render_galaxy(
    seed: int, merger: bool, place: int, recipe: Recipe, size: int = IMAGE_SIZE
) -> tuple[Floats, MergerHistory]:
    """Render one galaxy: returns its uncalibrated brightness `(4 cameras, 3 filters, size, size)` and its history."""
    rng = generator(seed, GALAXIES, merger, place)
    history = draw_history(rng, merger, recipe)
    stars = make_stars(rng, history, recipe)
    everything = Stars.join([stars, *neighbours(rng, history, recipe)])
    offsets = rng.uniform(-recipe.centring, recipe.centring, (RowStructure.CAMERAS, 2))
    return render_stars(everything, offsets, size), history
