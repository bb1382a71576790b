"""Light of the stars of mock galaxies in each filter, and the distribution of young stars.

Filters are in the order of the three-filter set: at z = 2, F814W, F160W and F356W observe rest-frame 2700 Å (young
stars), 5300 Å and 1.2 µm (old stars). Luminosities are relative; the calibration converts them to µJy/arcsec².
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
"""Fraction of a disc's light that follows its young stars, in each filter."""
BULGE_COLOUR = np.array([0.15, 0.75, 1.0])
HALO_COLOUR = np.array([0.10, 0.60, 1.0])
"""Light fraction of bulge and halo stars relative to their mass fraction in each filter; old stars are red."""
NEAREST = 24
"""Number of nearest neighbours from which the local density is estimated."""
ARMS_END = 4.0
"""Radius up to which spiral arms are applied to a galaxy's young stars, in scale lengths."""


@dataclass(frozen=True)
class Stars:
    """Points of light: positions `(3, N)` kpc, light `(3 filters, N)` and smoothing lengths `(N,)` kpc."""

    positions: Floats
    light: Floats
    smoothing: Floats

    @classmethod
    def join(cls, parts: list[Stars]) -> Stars:
        """Join several sets of stars into one."""
        return cls(
            np.concatenate([part.positions for part in parts], axis=1),
            np.concatenate([part.light for part in parts], axis=1),
            np.concatenate([part.smoothing for part in parts]),
        )

    def moved(self, offset: Floats) -> Stars:
        """Return the same stars shifted by `offset` `(3,)` in kpc."""
        return Stars(self.positions + offset[:, None], self.light, self.smoothing)


@dataclass(frozen=True)
class Budget:
    """Luminosities `(3 filters,)` of the components of one galaxy."""

    disc: Floats
    clumps: Floats
    bulge: Floats
    halo: Floats
    nucleus: Floats

    @property
    def total(self) -> Floats:
        """Luminosity `(3 filters,)` of the whole galaxy."""
        return self.disc + self.clumps + self.bulge + self.halo + self.nucleus


def draw_luminosity(rng: np.random.Generator, log_mass: float, recipe: Recipe) -> Floats:
    """Draw the luminosity `(3 filters,)` of a galaxy with a given stellar mass (log10 of solar masses)."""
    slope, scatter = np.array(recipe.light_slope), np.array(recipe.light_scatter)
    exponent = slope * (log_mass - 10.5) + rng.normal(0, recipe.common_scatter) + rng.normal(0, scatter)
    return np.asarray(10**exponent)


def draw_budget(rng: np.random.Generator, body: Body, luminosity: Floats, recipe: Recipe) -> Budget:
    """Distribute a galaxy's luminosity over its components."""
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
    """Compute the distance `(N,)` in kpc from each star to its `NEAREST`-th neighbour, counting the star itself."""
    count = positions.shape[1]
    # Leaves of about the size of a neighbourhood, not balanced by medians: the same distances in a fifth less time.
    tree = cKDTree(positions.T, leafsize=32, balanced_tree=False)
    # Stars of the same leaf, one after another, find the tree's nodes in the processor's cache.
    order = tree.indices
    reaches = np.empty(count)
    reaches[order] = tree.query(positions.T[order], k=[min(NEAREST, count)])[0][:, 0]
    return reaches


def _young(reaches: Floats, arms: Floats, recipe: Recipe) -> Floats:
    """Compute the shares `(N,)` of the young light: a power of the clipped density times the arm pattern."""
    density = (np.median(reaches) / np.maximum(reaches, 1e-3)) ** 3
    weight = np.clip(density, 1e-4, 50.0) ** recipe.density_power * np.exp(arms)
    return weight / weight.sum()


def _disc_stars(positions: Floats, reaches: Floats, young: Floats, light: Floats) -> Stars:
    old = 1.0 / positions.shape[1]
    spread = light[:, None] * ((1 - YOUNG)[:, None] * old + YOUNG[:, None] * young)
    return Stars(positions, spread, 0.6 * reaches)


def _arms(body: Body, positions: Floats) -> Floats:
    """Compute the arm pattern at positions `(3, N)` relative to the body's centre; zero far from its disc."""
    x, y, z = unrotate(body.orientation, positions)
    radius = np.hypot(x, y)
    near = np.exp(-0.5 * (z / (3 * body.thickness)) ** 2) * (radius < ARMS_END * body.scale)
    return body.pattern(radius, np.arctan2(y, x)) * near


def _clumps(
    rng: np.random.Generator, positions: Floats, young: Floats, light: Floats, recipe: Recipe
) -> Stars:
    """Make giant clumps at the positions of young stars, of which tidal tails have few."""
    count = int(rng.integers(recipe.clump_count[0], recipe.clump_count[1] + 1))
    places = np.searchsorted(np.cumsum(young), rng.random(count) * young.sum() * (1 - 1e-12))
    shares = 1 + rng.pareto(1.6, count)
    small, large = recipe.clump_size
    sizes = small * (large / small) ** rng.random(count)
    particles = recipe.clump_particles
    points = positions[:, np.repeat(places, particles)] + rng.normal(size=(3, count * particles)) * np.repeat(
        sizes, particles
    )
    spread = np.repeat(shares / shares.sum() / particles, particles)
    return Stars(points, light[:, None] * spread, 0.6 * np.repeat(sizes, particles))


def _centre(rng: np.random.Generator, body: Body, budget: Budget, extra: Floats, count: int) -> Stars:
    """Make the stars of bulge and nucleus about the origin; `extra` is the light of a starburst."""
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
    """Make the stars of one undisturbed galaxy about the origin; `particles` of the disc default to the recipe's."""
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
    """Make the stars of two interacting galaxies at a time in Myr since their coalescence.

    Around coalescence gas flows to the centres and forms stars in a burst. Afterwards a disc of young stars regrows
    with time (Hopkins et al. 2009), and young stars disappear from the tidal debris. Apart from the burst a remnant is
    as luminous as any galaxy of its mass.
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
