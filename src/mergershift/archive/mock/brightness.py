"""Bring a mock population to the published brightness: per filter, each galaxy's light times k F^gamma.

F is the galaxy's total flux; k sets the mean of all pixels, gamma, a change of the slope of luminosity with mass,
their standard deviation. Rare bright cores rule both, so the two numbers belong to a population, not to the recipe.
"""

from __future__ import annotations

import numpy as np

from mergershift.archive.facts import FILTER_SETS, IMAGE_SIZE, Domain
from mergershift.archive.mock.vectors import Floats

STEEPEST = 1.2
FLATTEST = -0.7
"""Limits of gamma; a handful of galaxies may meet the mean alone."""
HALVINGS = 60


def factors(sums: Floats, squares: Floats, rows: Floats) -> Floats:
    """Factors `(G, 3)` that bring uncalibrated renderings to µJy/arcsec² with the published mean and deviation.

    `sums` and `squares` `(G, 3)` are sums over all pixels of one average rendering of each galaxy, `rows` `(G,)`
    how many rows of the archive show it (mergers stand there five times).
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
