"""Single galaxies as test particles: exponential discs, bulges and stellar halos in a Hernquist dark halo.

Units are kpc, Myr and solar masses; speeds are in kpc/Myr here and in km/s in the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mergershift.archive.mock.recipe import Recipe
from mergershift.archive.mock.vectors import Floats, isotropic, random_rotation, rotate

KM_S = 1.0227e-3
"""One km/s in kpc/Myr."""
DISC_EDGE = 6.0
"""Radius at which discs are truncated, in scale lengths."""
MOST_LOPSIDED = 0.65
"""Upper limit of lopsidedness, above which discs would look like comets."""


@dataclass(frozen=True)
class Body:
    """One galaxy: the distribution of its stars, its dark halo and the orientation `(3, 3)` of its disc."""

    log_mass: float
    scale: float
    thickness: float
    bulge_to_total: float
    bulge_scale: float
    stellar_halo: float
    stellar_halo_scale: float
    halo_gm: float
    """Gravitational constant times the mass of the dark halo, in kpc³/Myr²."""
    halo_scale: float
    orientation: Floats
    arms: int
    arm_strength: float
    arm_pitch: float
    arm_phase: float
    lopsided: float
    lopsided_phase: float

    def circular_speed(self, radius: Floats) -> Floats:
        """Compute the speed of circular orbits in the dark halo (Hernquist 1990) in kpc/Myr."""
        return np.sqrt(self.halo_gm * radius) / (radius + self.halo_scale)

    def pattern(self, radius: Floats, azimuth: Floats) -> Floats:
        """Compute the log-amplitude of the spiral arms in the disc plane, which fade towards the centre."""
        phase = self.arms * (azimuth - np.log(radius / self.scale + 0.1) / self.arm_pitch) - self.arm_phase
        fade = radius / (radius + 0.5 * self.scale)
        return self.arm_strength * fade * np.cos(phase)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * (high / low) ** rng.random()


def draw_body(rng: np.random.Generator, log_mass: float, recipe: Recipe) -> Body:
    """Draw a galaxy with a given stellar mass (log10 of solar masses)."""
    mass = 10 ** (log_mass - 10.5)
    typical = recipe.scale * mass**recipe.scale_slope
    scale = float(np.clip(typical * 10 ** rng.normal(0, recipe.scale_scatter), 0.6, 9.0))
    halo_scale = 4.0 * typical
    speed = recipe.speed * mass**recipe.speed_slope * KM_S
    low, high = recipe.bulge_to_total
    lopsided = recipe.lopsided if rng.random() < recipe.lopsided_fraction else recipe.calm_lopsided
    return Body(
        log_mass=log_mass,
        scale=scale,
        thickness=scale * rng.uniform(*recipe.thickness),
        bulge_to_total=low + (high - low) * float(rng.beta(1.3, 2.2)),
        bulge_scale=0.12 * scale + 0.2 * 10 ** rng.normal(0, 0.12),
        stellar_halo=_log_uniform(rng, *recipe.stellar_halo),
        stellar_halo_scale=scale * _log_uniform(rng, *recipe.stellar_halo_scale),
        halo_gm=4 * halo_scale * speed**2,
        halo_scale=halo_scale,
        orientation=random_rotation(rng),
        arms=int(rng.choice([1, 2, 3, 4], p=[0.1, 0.55, 0.2, 0.15])),
        arm_strength=recipe.arm_strength * rng.random(),
        arm_pitch=float(np.tan(np.radians(rng.uniform(12, 35)))) * rng.choice([-1, 1]),
        arm_phase=rng.uniform(0, 2 * np.pi),
        lopsided=min(abs(rng.normal(0, lopsided)), MOST_LOPSIDED),
        lopsided_phase=rng.uniform(0, 2 * np.pi),
    )


def disc(rng: np.random.Generator, body: Body, count: int) -> tuple[Floats, Floats]:
    """Sample an exponential disc about the origin: positions and velocities, each `(3, count)`.

    Arms and lopsidedness displace the particles. Velocities are those of circular orbits, with a dispersion
    proportional to the thickness.
    """
    scale = body.scale
    radius = np.minimum(rng.gamma(2.0, scale, count), DISC_EDGE * scale * rng.uniform(0.85, 1.0, count))
    azimuth = rng.uniform(0, 2 * np.pi, count)
    azimuth = azimuth - 0.4 * body.pattern(radius, azimuth + np.pi / (2 * body.arms)) / body.arms
    height = rng.normal(0, body.thickness, count)
    speed = body.circular_speed(radius)
    warm = 0.6 * body.thickness / scale
    # A warm disc rotates more slowly than the circular speed, with the same kinetic energy.
    mean = speed * np.sqrt(max(0.0, 1 - 3 * warm**2))
    velocity = np.stack([np.zeros(count), mean, np.zeros(count)]) + rng.normal(size=(3, count)) * warm * speed
    cosine, sine = np.cos(azimuth), np.sin(azimuth)
    shift = body.lopsided * radius**2 / (radius + scale)
    positions = np.stack(
        [
            radius * cosine + shift * np.cos(body.lopsided_phase),
            radius * sine + shift * np.sin(body.lopsided_phase),
            height,
        ]
    )
    velocities = np.stack(
        [
            velocity[0] * cosine - velocity[1] * sine,
            velocity[0] * sine + velocity[1] * cosine,
            velocity[2],
        ]
    )
    return rotate(body.orientation, positions), rotate(body.orientation, velocities)


def _hernquist_radii(rng: np.random.Generator, scale: float, count: int, edge: float) -> Floats:
    """Draw radii of a Hernquist profile truncated at `edge` scale lengths, by inverting its cumulative mass."""
    root = np.sqrt(rng.random(count)) * edge / (1 + edge)
    return scale * root / (1 - root)


def bulge(rng: np.random.Generator, body: Body, count: int) -> Floats:
    """Sample the bulge about the origin, slightly flattened along the disc's axis: positions `(3, count)`."""
    spherical = isotropic(rng, _hernquist_radii(rng, body.bulge_scale, count, edge=12.0))
    spherical[2] *= 0.75
    return rotate(body.orientation, spherical)


def stellar_halo(rng: np.random.Generator, body: Body, count: int) -> tuple[Floats, Floats]:
    """Sample the diffuse halo of old stars about the origin: positions and velocities, each `(3, count)`."""
    radius = _hernquist_radii(rng, body.stellar_halo_scale, count, edge=8.0)
    speed = body.circular_speed(radius) / np.sqrt(2.0)
    return isotropic(rng, radius), rng.normal(size=(3, count)) * speed
