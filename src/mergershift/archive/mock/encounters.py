"""Restricted three-body encounters (Toomre & Toomre 1972): test particles around two merging galaxies.

The two dark halos move on a near-parabolic orbit, which dynamical friction shrinks until they coalesce. Stars are
massless and move in the potential of both halos. Units are kpc and Myr.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, pi, sqrt

import numpy as np

from mergershift.archive.mock.bodies import Body, disc, stellar_halo
from mergershift.archive.mock.recipe import Recipe
from mergershift.archive.mock.vectors import Floats, random_rotation, rotate

COALESCED = 3.0
"""Separation in kpc below which two centres count as one galaxy, if they stay there."""
SETTLED = 60.0
"""Time in Myr for which they have to stay there; the orbit is followed for this long after coalescence."""
LONGEST = 5000.0
"""Longest time in Myr for which an orbit is followed."""
DISTANT = 160.0
"""Separation in kpc at which the orbit begins; particles are followed only from the recipe's start distance."""
SOFTENING = 0.1
"""Softening length in kpc."""


@dataclass(frozen=True)
class Orbit:
    """Motion of the secondary relative to the primary, with one column per time step, up to coalescence."""

    step: float
    path: Floats
    """Rows x, y, z, vx, vy, vz of the relative motion `(6, T)`; after column T there is no relative motion."""
    coalescence: int
    """Time step from which the two count as one galaxy."""

    def at(self, index: int) -> tuple[Floats, Floats]:
        """Return the relative position and velocity, each `(3,)`, at a time step; zero once the pair has settled."""
        if index >= self.path.shape[1]:
            return np.zeros(3), np.zeros(3)
        return self.path[:3, index], self.path[3:, index]

    def entry(self, distance: float) -> int:
        """Find the first time step at which the two are closer than `distance` kpc."""
        near = np.hypot(np.hypot(self.path[0], self.path[1]), self.path[2]) < distance
        return int(np.argmax(near)) if near.any() else self.coalescence


def _fall(primary: Body, secondary: Body, pericentre: float, recipe: Recipe) -> tuple[Floats, int]:
    """Integrate the relative orbit in its plane: rows x, y, vx, vy `(4, T)` and the time step of coalescence.

    The pair attracts itself like one Hernquist sphere. Dynamical friction in each halo decelerates the mass that the
    other keeps bound within their separation, by Chandrasekhar's formula with the density of the decelerating halo
    and a softening of about its velocity dispersion.
    """
    gm1, gm2 = primary.halo_gm, secondary.halo_gm
    a1, a2 = primary.halo_scale, secondary.halo_scale
    gm, scale, step = gm1 + gm2, sqrt(a1 * a1 + a2 * a2), recipe.time_step
    drag = 4 * pi * recipe.drag * gm1 * gm2
    speed2 = 2 * gm / (DISTANT + scale)
    across = pericentre * sqrt(2 * gm / (pericentre + scale)) / DISTANT
    x, y, vx, vy = DISTANT, 0.0, -sqrt(speed2 - across * across), across
    rows: list[tuple[float, float, float, float]] = []
    near = 0.0
    while near < SETTLED and len(rows) * step < LONGEST:
        rows.append((x, y, vx, vy))
        x, y = x + 0.5 * step * vx, y + 0.5 * step * vy
        r = sqrt(x * x + y * y) + SOFTENING
        pull = -step * gm / (r * (r + scale) ** 2)
        vx, vy = vx + pull * x, vy + pull * y
        bound1, bound2 = (r / (r + a1)) ** 2, (r / (r + a2)) ** 2
        density = bound2 * a1 / (r * (r + a1) ** 3) + bound1 * a2 / (r * (r + a2) ** 3)
        warm = 0.5 * gm * r / (r + scale) ** 2
        fade = exp(-step * drag * density / (2 * pi) / (vx * vx + vy * vy + warm) ** 1.5)
        vx, vy = vx * fade, vy * fade
        x, y = x + 0.5 * step * vx, y + 0.5 * step * vy
        near = near + step if x * x + y * y < COALESCED**2 else 0.0
    return np.array(rows).T, len(rows) - round(near / step) + 1


def draw_orbit(rng: np.random.Generator, primary: Body, secondary: Body, recipe: Recipe) -> Orbit:
    """Draw a near-parabolic orbit of random orientation, down to coalescence."""
    pericentre = primary.scale * rng.uniform(*recipe.pericentre)
    plane, coalescence = _fall(primary, secondary, pericentre, recipe)
    flat = np.zeros(plane.shape[1])
    rotation = random_rotation(rng)
    path = np.concatenate(
        [
            rotate(rotation, np.stack([plane[0], plane[1], flat])),
            rotate(rotation, np.stack([plane[2], plane[3], flat])),
        ]
    )
    return Orbit(recipe.time_step, path, coalescence)


@dataclass(frozen=True)
class GalaxyPair:
    """Two galaxies at the time of observation, relative to the point at which the cameras are aimed."""

    stars: tuple[Floats, Floats]
    """Disc stars of the primary and of the secondary, each `(3, N)` kpc."""
    halos: tuple[Floats, Floats]
    """Stars of the diffuse halos, each `(3, N)` kpc."""
    centres: tuple[Floats, Floats]
    coalesced: bool


def meet(
    rng: np.random.Generator,
    bodies: tuple[Body, Body],
    orbit: Orbit,
    time: float,
    shares: tuple[float, float],
    recipe: Recipe,
) -> GalaxyPair:
    """Follow the stars of two galaxies up to a time, in Myr since coalescence (negative before it).

    The two galaxies get `shares` of the recipe's particles. Before coalescence the primary is at the centre of the
    image, afterwards the remnant.
    """
    stop = max(0, orbit.coalescence + round(time / orbit.step))
    start = min(orbit.entry(recipe.start_distance), stop)
    gm1, gm2 = (body.halo_gm for body in bodies)
    weights = (-gm2 / (gm1 + gm2), gm1 / (gm1 + gm2))
    position, velocity = orbit.at(start)
    places, speeds, counts = [], [], []
    for sample, particles in ((disc, recipe.particles), (stellar_halo, recipe.halo_particles)):
        for body, share, weight in zip(bodies, shares, weights, strict=True):
            x, v = sample(rng, body, max(30, round(particles * share)))
            places.append(x + weight * position[:, None])
            speeds.append(v + weight * velocity[:, None])
            counts.append(x.shape[1])
    moved = _follow(
        np.concatenate(places, axis=1), np.concatenate(speeds, axis=1), bodies, orbit, start, stop
    )
    relative, _ = orbit.at(stop)
    middle = weights[0] * relative
    first, second, third, fourth = np.split(moved - middle[:, None], np.cumsum(counts)[:-1], axis=1)
    return GalaxyPair((first, second), (third, fourth), (np.zeros(3), relative), stop >= orbit.coalescence)


def _follow(
    places: Floats, speeds: Floats, bodies: tuple[Body, Body], orbit: Orbit, start: int, stop: int
) -> Floats:
    """Move test particles `(3, N)` from one time step to another by kick-drift-kick leapfrog."""
    gm1, gm2 = (body.halo_gm for body in bodies)
    weights = (-gm2 / (gm1 + gm2), gm1 / (gm1 + gm2))
    places, speeds = places.copy(), speeds.copy()
    # All steps share these arrays, which stay in the processor's cache.
    pull, other, change = (np.empty_like(places) for _ in range(3))
    distance, factor = (np.empty(places.shape[1]) for _ in range(2))

    def attract(index: int) -> None:
        """Set `pull` to the acceleration by both halos."""
        relative, _ = orbit.at(index)
        for body, weight, offset in zip(bodies, weights, (pull, other), strict=True):
            np.subtract(places, (weight * relative)[:, None], out=offset)
            np.square(offset, out=change)
            np.add(change[0], change[1], out=distance)
            np.add(distance, change[2], out=distance)
            np.add(distance, SOFTENING**2, out=distance)
            np.sqrt(distance, out=distance)
            np.add(distance, body.halo_scale, out=factor)
            np.square(factor, out=factor)
            np.multiply(factor, distance, out=factor)
            np.divide(-body.halo_gm, factor, out=factor)
            np.multiply(offset, factor, out=offset)
        np.add(pull, other, out=pull)

    def move(positions: Floats, rates: Floats, step: float) -> None:
        np.multiply(rates, step, out=change)
        np.add(positions, change, out=positions)

    half = 0.5 * orbit.step
    attract(start)
    for index in range(start, stop):
        move(speeds, pull, half)
        move(places, speeds, orbit.step)
        attract(index + 1)
        move(speeds, pull, half)
    return places
