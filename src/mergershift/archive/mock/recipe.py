"""The settings of the mock universe: every number that shapes its galaxies, in one frozen object.

Difficulty was calibrated with universes of seeds 0-9 only; change a number here and `MOCK_VERSION` with it.
"""

from __future__ import annotations

from dataclasses import dataclass

MOCK_VERSION = 2
"""Grows with every change that alters a pixel."""


@dataclass(frozen=True)
class Recipe:
    """What the galaxies of the mock universe are like; lengths in kpc, times in Myr, scatters in dex."""

    # Stellar masses of the published galaxies: log10(M*/Msun) = start + Gamma(shape, scale), both classes alike.
    mass_start: float = 9.87
    mass_shape: float = 1.47
    mass_scale: float = 0.30
    mass_limit: float = 11.6

    # Of the published mergers 301 of 406 are past ones.
    past_fraction: float = 0.74
    label_window: float = 250.0
    """A merger coalesces within this time of the snapshot, before or after."""
    lowest_ratio: float = 0.1
    """Smallest stellar mass ratio that the label counts as a merger."""

    # Non-mergers that have an encounter outside the label's definition.
    older: float = 0.08
    """Fraction of non-mergers that coalesced longer ago than the window."""
    ahead: float = 0.05
    """Fraction of non-mergers that coalesce later than the window."""
    minor: float = 0.05
    """Fraction of non-mergers within the window, below the lowest ratio."""
    oldest: float = 1200.0
    furthest_ahead: float = 900.0
    smallest_ratio: float = 0.02

    # Discs: scale length and top speed at log10(M*) = 10.5, their slopes with mass and scatters.
    scale: float = 2.6
    scale_slope: float = 0.2
    scale_scatter: float = 0.16
    speed: float = 190.0
    speed_slope: float = 0.28
    thickness: tuple[float, float] = (0.25, 0.55)
    """Scale height in disc scales: discs at z = 2 are thick."""
    bulge_to_total: tuple[float, float] = (0.05, 0.55)
    stellar_halo: tuple[float, float] = (0.04, 0.20)
    """Fraction of the old stars in an extended halo: galaxies differ a lot in it."""
    stellar_halo_scale: tuple[float, float] = (1.5, 4.0)
    """Scale of that halo in disc scales."""

    # Structure of undisturbed discs.
    arm_strength: float = 0.9
    """Largest logarithmic amplitude of spiral arms in young light."""
    lopsided_fraction: float = 0.35
    lopsided: float = 0.35
    """Spread of the lopsidedness (shift per scale length at large radii) of lopsided discs."""
    calm_lopsided: float = 0.08
    """The same of all other discs."""

    # Light: slope of luminosity with stellar mass and scatter about it, per filter F814W, F160W, F356W.
    light_slope: tuple[float, float, float] = (0.75, 1.0, 0.7)
    light_scatter: tuple[float, float, float] = (0.18, 0.12, 0.08)
    common_scatter: float = 0.15
    clump_light: tuple[float, float, float] = (0.28, 0.12, 0.04)
    """Mean share of the disc's light that is in clumps."""
    clump_count: tuple[int, int] = (3, 12)
    clump_size: tuple[float, float] = (0.25, 0.8)
    nucleus_light: tuple[float, float, float] = (0.08, 0.06, 0.015)
    """Median share of the light from star formation at the centre."""
    burst_light: tuple[float, float, float] = (0.3, 0.1, 0.03)
    """Extra central light at the coalescence of equals, as a share of the galaxy's."""
    burst_fades: float = 120.0
    density_power: float = 0.5
    """Young light goes as stellar density to this power (a Kennicutt-Schmidt law), so tidal tails are faint in it."""
    regrown: float = 0.45
    """Share of young light in a disc that has grown again long after coalescence."""
    regrowth_time: float = 300.0

    # Encounters.
    pericentre: tuple[float, float] = (0.5, 4.0)
    """In scale lengths of the primary."""
    drag: float = 1.3
    """Coulomb logarithm of dynamical friction."""
    time_step: float = 2.0
    start_distance: float = 60.0

    # Other galaxies of the same group, alike around both classes.
    neighbours: float = 0.7
    """Mean number of them in the field."""
    neighbour_distance: tuple[float, float] = (20.0, 95.0)
    neighbour_ratio: tuple[float, float] = (0.02, 1.0)

    centring: float = 0.5
    """Galaxies lie off the middle by up to so many pixels along each axis: no camera's pixels know of them."""

    # Numerical resolution, per galaxy or merging pair.
    particles: int = 9000
    halo_particles: int = 900
    bulge_particles: int = 1200
    clump_particles: int = 40
    neighbour_particles: int = 2500


RECIPE = Recipe()
