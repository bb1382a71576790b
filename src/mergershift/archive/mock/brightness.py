"""Calibration of a mock population to the published brightness: in each filter, light is multiplied by k F^gamma.

F is the total flux of a galaxy. k sets the mean of all pixels; gamma, which changes the slope of luminosity with
mass, sets their standard deviation. Rare bright cores dominate both, so k and gamma are fitted to each population
instead of being part of the recipe.
"""

from __future__ import annotations

import numpy as np

from mergershift.archive.facts import FILTER_SETS, IMAGE_SIZE, Domain
from mergershift.archive.mock.vectors import Floats

STEEPEST = 1.2
FLATTEST = -0.7
"""Limits of gamma; a population of a few galaxies may match only the mean within them."""
HALVINGS = 60


def factors(sums: Floats, squares: Floats, rows: Floats) -> Floats:
    """Compute the factors `(G, 3)` that convert uncalibrated renderings to µJy/arcsec².

    The calibrated pixels have the published mean and standard deviation in each filter.

    Args:
        sums: Sum over the pixels of an average rendering of each galaxy, `(G, 3)`.
        squares: Sum over the squared pixels of an average rendering of each galaxy, `(G, 3)`.
        rows: Number of rows of the archive that show each galaxy, `(G,)`; dihedral copies count.
    """
    result = np.empty_like(sums)
    pixels = rows.sum() * IMAGE_SIZE**2
    for channel, facts in enumerate(FILTER_SETS["three"].filters):
        mean = facts.published_mean
        square = facts.published_std[Domain.PRISTINE] ** 2 + mean**2
        flux = np.maximum(sums[:, channel], np.finfo(float).tiny)
        relative = flux / np.exp(np.log(flux).mean())
        low, high = FLATTEST, STEEPEST
        for _ in range(HALVINGS):
            gamma = 0.5 * (low + high)
            scaled = relative**gamma
            scaled *= mean * pixels / (rows * scaled * flux).sum()
            if (rows * scaled**2 * squares[:, channel]).sum() / pixels < square:
                low = gamma
            else:
                high = gamma
        result[:, channel] = scaled
    return result
