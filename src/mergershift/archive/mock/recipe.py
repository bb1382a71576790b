"""The recipe of the mock universe: all numbers that determine its galaxies, in one frozen object.

The difficulty was calibrated on universes with seeds 0 to 9 only. Increase `MOCK_VERSION` with every change here.
"""

from __future__ import annotations

from dataclasses import dataclass

MOCK_VERSION = 2
"""Version of the mock universe, which increases with every change that alters a pixel."""


@dataclass(frozen=True)
class Recipe:
    """Parameters of the galaxies in the mock universe; lengths in kpc, times in Myr, scatters in dex."""

    # Stellar masses as of the published galaxies: log10(M*/Msun) = start + Gamma(shape, scale) in both classes.
    mass_start: float = 9.87
    mass_shape: float = 1.47
    mass_scale: float = 0.30
    mass_limit: float = 11.6

    # Of the 406 published mergers, 301 are past ones.
    past_fraction: float = 0.74
    label_window: float = 250.0
    """Longest time between the snapshot and the coalescence of a merger, in either direction."""
    lowest_ratio: float = 0.1
    """Smallest stellar mass ratio that counts as a merger."""

    # Non-mergers with an encounter that the definition of a merger excludes.
    older: float = 0.08
    """Fraction of non-mergers that coalesced before the window."""
    ahead: float = 0.05
    """Fraction of non-mergers that will coalesce after the window."""
    minor: float = 0.05
    """Fraction of non-mergers that coalesce within the window but with less than the lowest mass ratio."""
    oldest: float = 1200.0
    furthest_ahead: float = 900.0
    smallest_ratio: float = 0.02

    # Discs: scale length and peak rotation speed at log10(M*) = 10.5, and their slopes with mass and scatter.
    scale: float = 2.6
    scale_slope: float = 0.2
    scale_scatter: float = 0.16
    speed: float = 190.0
    speed_slope: float = 0.28
    thickness: tuple[float, float] = (0.25, 0.55)
    """Range of scale heights in disc scale lengths; discs at z = 2 are thick."""
    bulge_to_total: tuple[float, float] = (0.05, 0.55)
    stellar_halo: tuple[float, float] = (0.04, 0.20)
    """Range of the fraction of old stars that are in an extended halo, which varies strongly among galaxies."""
    stellar_halo_scale: tuple[float, float] = (1.5, 4.0)
    """Range of the halo's scale length in disc scale lengths."""

    # Structure of undisturbed discs.
    arm_strength: float = 0.9
    """Largest logarithmic amplitude of the spiral arms in the light of young stars."""
    lopsided_fraction: float = 0.35
    lopsided: float = 0.35
    """Standard deviation of the lopsidedness (shift relative to radius, at large radii) of lopsided discs."""
    calm_lopsided: float = 0.08
    """Standard deviation of the lopsidedness of all other discs."""

    # Light: slope of luminosity with stellar mass and scatter about it, in the filters F814W, F160W and F356W.
    light_slope: tuple[float, float, float] = (0.75, 1.0, 0.7)
    light_scatter: tuple[float, float, float] = (0.18, 0.12, 0.08)
    common_scatter: float = 0.15
    clump_light: tuple[float, float, float] = (0.28, 0.12, 0.04)
    """Mean fraction of the disc's light that is in clumps."""
    clump_count: tuple[int, int] = (3, 12)
    clump_size: tuple[float, float] = (0.25, 0.8)
    nucleus_light: tuple[float, float, float] = (0.08, 0.06, 0.015)
    """Median fraction of the light that comes from star formation at the centre."""
    burst_light: tuple[float, float, float] = (0.3, 0.1, 0.03)
    """Additional central light when two galaxies of equal mass coalesce, as a fraction of the galaxy's light."""
    burst_fades: float = 120.0
    density_power: float = 0.5
    """Exponent of stellar density in the light of young stars (a Kennicutt-Schmidt law); it makes tidal tails faint."""
    regrown: float = 0.45
    """Fraction of the light of young stars in a disc that has regrown long after coalescence."""
    regrowth_time: float = 300.0

    # Encounters.
    pericentre: tuple[float, float] = (0.5, 4.0)
    """Range of pericentric distances in scale lengths of the primary."""
    drag: float = 1.3
    """Coulomb logarithm of dynamical friction."""
    time_step: float = 2.0
    start_distance: float = 60.0

    # Other galaxies of the same group, distributed equally around both classes.
    neighbours: float = 0.7
    """Mean number of neighbours in the field."""
    neighbour_distance: tuple[float, float] = (20.0, 95.0)
    neighbour_ratio: tuple[float, float] = (0.02, 1.0)

    centring: float = 0.5
    """Largest offset of a galaxy from the centre of its image along either axis, in pixels."""

    # Numerical resolution: particles per galaxy or merging pair.
    particles: int = 9000
    halo_particles: int = 900
    bulge_particles: int = 1200
    clump_particles: int = 40
    neighbour_particles: int = 2500


RECIPE = Recipe()
