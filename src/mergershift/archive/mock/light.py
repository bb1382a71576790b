"""How much light the stars of a mock galaxy give in each filter, and where young stars are.

Filters in the order of the three-filter set: F814W, F160W and F356W see rest-frame 2700 Å (young stars), 5300 Å
and 1.2 µm (old stars) at z = 2. Luminosities are relative; calibration sets µJy/arcsec².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mergershift.archive.mock.bodies import Body, bulge, disc, draw_body, stellar_halo
from mergershift.archive.mock.encounters import GalaxyPair
from mergershift.archive.mock.recipe import Recipe
from mergershift.archive.mock.vectors import Floats, isotropic, unrotate

FILTERS = 3
YOUNG = np.array([0.95, 0.50, 0.15])
"""Share of a disc's light that follows its young stars."""
BULGE_COLOUR = np.array([0.15, 0.75, 1.0])
HALO_COLOUR = np.array([0.10, 0.60, 1.0])
"""Light share of bulge and halo stars over their mass share: old stars are red."""
NEAREST = 24
"""Stars whose reach sets the local density."""
ARMS_END = 4.0
"""Arms and lopsided shapes are painted on within this many scale lengths of an interacting galaxy's centre."""


@dataclass(frozen=True)
class Stars:
    """Points of light: positions `(3, N)` kpc, light `(3 filters, N)` and smoothing lengths `(N,)` kpc."""

    positions: Floats
    light: Floats
    smoothing: Floats

    @classmethod
    def join(cls, parts: list[Stars]) -> Stars:
        """Put several sets of stars together."""
        return cls(
            np.concatenate([part.positions for part in parts], axis=1),
            np.concatenate([part.light for part in parts], axis=1),
            np.concatenate([part.smoothing for part in parts]),
        )

    def moved(self, offset: Floats) -> Stars:
        """The same stars elsewhere, `(3,)` kpc further."""
        return Stars(self.positions + offset[:, None], self.light, self.smoothing)


@dataclass(frozen=True)
class Budget:
    """Luminosity of one galaxy by component, each `(3 filters,)`."""

    disc: Floats
    clumps: Floats
    bulge: Floats
    halo: Floats
    nucleus: Floats

    @property
    def total(self) -> Floats:
        """All components together."""
        return self.disc + self.clumps + self.bulge + self.halo + self.nucleus


def draw_luminosity(rng: np.random.Generator, log_mass: float, recipe: Recipe) -> Floats:
    """Draw the luminosity `(3 filters,)` of a galaxy of a stellar mass (log10 of solar masses)."""
    slope, scatter = np.array(recipe.light_slope), np.array(recipe.light_scatter)
    exponent = slope * (log_mass - 10.5) + rng.normal(0, recipe.common_scatter) + rng.normal(0, scatter)
    return np.asarray(10**exponent)


def draw_budget(rng: np.random.Generator, body: Body, luminosity: Floats, recipe: Recipe) -> Budget:
    """Share a galaxy's luminosity out among its components."""
    halo = body.stellar_halo * HALO_COLOUR
    middle = (1 - halo) * body.bulge_to_total * BULGE_COLOUR
    nucleus = np.minimum(np.array(recipe.nucleus_light) * 10 ** rng.normal(0, 0.3), 0.35)
    rest = (1 - halo - middle) * (1 - nucleus)
    clumps = rest * np.array(recipe.clump_light) * rng.uniform(0.2, 1.8)
    return Budget(
        disc=luminosity * (rest - clumps),
        clumps=luminosity * clumps,
        bulge=luminosity * middle,
        halo=luminosity * halo,
        nucleus=luminosity * (1 - halo - middle) * nucleus,
    )


def reach(positions: Floats) -> Floats:
    """Distance `(N,)` in kpc from each star to its `NEAREST`-th neighbour."""
    count = positions.shape[1]
    distances, _ = cKDTree(positions.T).query(positions.T, k=[min(NEAREST, count)])
    return distances[:, 0]


def _young(reaches: Floats, arms: Floats, recipe: Recipe) -> Floats:
    """Shares `(N,)` of the young light: a power of the density, capped, times the arms' pattern."""
    density = (np.median(reaches) / np.maximum(reaches, 1e-3)) ** 3
    weight = np.clip(density, 1e-4, 50.0) ** recipe.density_power * np.exp(arms)
    return weight / weight.sum()


def _disc_stars(positions: Floats, reaches: Floats, young: Floats, light: Floats) -> Stars:
    old = 1.0 / positions.shape[1]
    spread = light[:, None] * ((1 - YOUNG)[:, None] * old + YOUNG[:, None] * young)
    return Stars(positions, spread, 0.6 * reaches)


def _arms(body: Body, positions: Floats) -> Floats:
    """The body's arm pattern at positions `(3, N)` relative to its centre; none far away from its disc."""
    x, y, z = unrotate(body.orientation, positions)
    radius = np.hypot(x, y)
    near = np.exp(-0.5 * (z / (3 * body.thickness)) ** 2) * (radius < ARMS_END * body.scale)
    return body.pattern(radius, np.arctan2(y, x)) * near


def _clumps(
    rng: np.random.Generator, positions: Floats, young: Floats, light: Floats, recipe: Recipe
) -> Stars:
    """Giant clumps at places of young stars, so that few of them lie in tidal tails."""
    count = int(rng.integers(recipe.clump_count[0], recipe.clump_count[1] + 1))
    places = np.searchsorted(np.cumsum(young), rng.random(count) * young.sum() * (1 - 1e-12))
    shares = 1 + rng.pareto(1.6, count)
    small, large = recipe.clump_size
    sizes = small * (large / small) ** rng.random(count)
    each = recipe.clump_particles
    points = positions[:, np.repeat(places, each)] + rng.normal(size=(3, count * each)) * np.repeat(
        sizes, each
    )
    spread = np.repeat(shares / shares.sum() / each, each)
    return Stars(points, light[:, None] * spread, 0.6 * np.repeat(sizes, each))


def _centre(rng: np.random.Generator, body: Body, budget: Budget, extra: Floats, count: int) -> Stars:
    """Bulge and nuclear star formation about the origin; `extra` is the light of a starburst."""
    inner = isotropic(rng, np.abs(rng.normal(0, 0.12 * body.scale + 0.15, max(20, count // 6))))
    outer = bulge(rng, body, count)
    radii = np.sqrt((outer * outer).sum(axis=0))
    return Stars.join(
        [
            Stars(outer, np.repeat(budget.bulge[:, None] / count, count, axis=1), 0.25 * radii + 0.1),
            Stars(
                inner,
                np.repeat((budget.nucleus + extra)[:, None] / inner.shape[1], inner.shape[1], axis=1),
                np.full(inner.shape[1], 0.3),
            ),
        ]
    )


def _halo_stars(positions: Floats, light: Floats) -> Stars:
    count = positions.shape[1]
    return Stars(positions, np.repeat(light[:, None] / count, count, axis=1), 0.8 * reach(positions))


def isolated(rng: np.random.Generator, body: Body, recipe: Recipe, particles: int | None = None) -> Stars:
    """Light up one undisturbed galaxy about the origin, with a number of disc particles (default: the recipe's)."""
    count = recipe.particles if particles is None else particles
    part = count / recipe.particles
    budget = draw_budget(rng, body, draw_luminosity(rng, body.log_mass, recipe), recipe)
    positions, _ = disc(rng, body, count)
    reaches = reach(positions)
    young = _young(reaches, _arms(body, positions), recipe)
    halo, _ = stellar_halo(rng, body, max(60, round(recipe.halo_particles * part)))
    return Stars.join(
        [
            _disc_stars(positions, reaches, young, budget.disc),
            _clumps(rng, positions, young, budget.clumps, recipe),
            _centre(rng, body, budget, np.zeros(FILTERS), max(100, round(recipe.bulge_particles * part))),
            _halo_stars(halo, budget.halo),
        ]
    )


def interacting(
    rng: np.random.Generator, bodies: tuple[Body, Body], pair: GalaxyPair, time: float, recipe: Recipe
) -> Stars:
    """Light up two galaxies that meet, seen at a time in Myr since their coalescence.

    Gas falls to the centres and burns there around coalescence; afterwards young stars settle in a new disc, the
    faster the longer ago (Hopkins et al. 2009), and die out in what the tides have thrown about. A remnant is as
    luminous as any galaxy of its mass, but for the burst.
    """
    ratio = 10 ** (min(body.log_mass for body in bodies) - max(body.log_mass for body in bodies))
    burst = np.array(recipe.burst_light) * np.sqrt(ratio) * np.exp(-abs(time) / recipe.burst_fades)
    burst = burst * 10 ** rng.normal(0, 0.2)
    regrown = recipe.regrown * (1 - 0.75 * np.exp(-time / recipe.regrowth_time)) if pair.coalesced else 0.0
    reaches = reach(np.concatenate(pair.stars, axis=1))
    masses = np.array([10**body.log_mass for body in bodies])
    luminosities = [draw_luminosity(rng, body.log_mass, recipe) for body in bodies]
    remnant = float(np.log10(masses.sum()))
    if pair.coalesced:
        whole = draw_luminosity(rng, remnant, recipe)
        luminosities = [whole * share for share in masses / masses.sum()]
    parts, moved, start = [], np.zeros(FILTERS), 0
    for body, luminosity, stars, halo, centre in zip(
        bodies, luminosities, pair.stars, pair.halos, pair.centres, strict=True
    ):
        budget = draw_budget(rng, body, luminosity, recipe)
        count = stars.shape[1]
        arms = np.zeros(count) if pair.coalesced else _arms(body, stars - centre[:, None])
        young = _young(reaches[start : start + count], arms, recipe)
        kept = 1 - regrown * YOUNG
        share = count / recipe.particles
        parts += [
            _disc_stars(stars, reaches[start : start + count], young, budget.disc * kept),
            _clumps(rng, stars, young, budget.clumps * (1 - regrown), recipe),
            _centre(
                rng, body, budget, budget.total * burst, max(100, round(recipe.bulge_particles * share))
            ).moved(centre),
            _halo_stars(halo, budget.halo),
        ]
        moved = moved + budget.disc * regrown * YOUNG + budget.clumps * regrown
        start += count
    if pair.coalesced:
        parts.append(_regrown_disc(rng, remnant, moved, recipe))
    return Stars.join(parts)


def _regrown_disc(rng: np.random.Generator, log_mass: float, light: Floats, recipe: Recipe) -> Stars:
    body = draw_body(rng, log_mass, recipe)
    positions, _ = disc(rng, body, recipe.particles // 4)
    positions = positions * 0.6
    reaches = reach(positions)
    young = _young(reaches, _arms(body, positions / 0.6), recipe)
    clumps = 0.3
    return Stars.join(
        [
            Stars(positions, light[:, None] * (1 - clumps) * young, 0.6 * reaches),
            _clumps(rng, positions, young, light * clumps, recipe),
        ]
    )
