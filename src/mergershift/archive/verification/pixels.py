"""Checks of scanned images: statistics, noise, and which rows show the same image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import ADJACENT, FEWEST_GALAXIES, Rows, flux_segments
from mergershift.archive.facts import DataSet, Domain, RowStructure
from mergershift.archive.renderings import turned_digests
from mergershift.archive.verification.findings import FilterStatistics, Finding, Level, Remedy
from mergershift.archive.verification.scan import Scan

MEAN_TOLERANCE = 0.20
STD_TOLERANCE = 0.05
"""Tolerances as fractions of the published values; four standard errors are tolerated if that is more."""


class PixelChecks:
    """Checks of one file: compares its scan with the facts of its data set and the row structure."""

    def __init__(self, file: str, data_set: DataSet, scan: Scan, rows: Rows | None, remedy: Remedy) -> None:
        self.file, self.data_set, self.scan, self.rows = file, data_set, scan, rows
        self._remedy = remedy

    def finding(self, level: Level, found: str, expected: str, remedy: str | None = None) -> Finding:
        """Create the finding for a failed check of this file."""
        return Finding(level, self.file, found, expected, remedy or self._remedy(self.file))

    def all(self) -> list[Finding]:
        """Run all checks that need only this file."""
        findings = self.finite() + self.noise() + self.published()
        if isinstance(self.rows, RowStructure):
            findings += self.dihedral_blocks(self.rows) + self.distinct(self.rows)
        if self.rows and self.rows.found_by != "renderings":
            findings += self.cameras(self.rows)
        return findings

    def statistics(self) -> list[FilterStatistics]:
        """Return the mean and standard deviation of each filter, with the published ones."""
        domain = self.data_set.domain
        return [
            FilterStatistics(
                self.file,
                facts.name,
                float(mean),
                facts.published_mean,
                float(std),
                facts.published_std[domain],
            )
            for facts, mean, std in zip(
                self.data_set.filter_set.filters, self.scan.mean, self.scan.std, strict=True
            )
        ]

    def finite(self) -> list[Finding]:
        """Check that every pixel is finite."""
        rows = np.flatnonzero(self.scan.bad_pixels)
        if not len(rows):
            return []
        pixels = self.scan.bad_pixels.sum()
        found = f"{pixels} pixels in {len(rows)} images are NaN or infinite, first in row {rows[0]}"
        return [self.finding("error", found, "finite values")]

    def published(self) -> list[Finding]:
        """Check that the mean and standard deviation of each filter agree with the published ones within tolerance."""
        if self.rows is None:
            return []
        mean_errors, std_errors = self.scan.standard_errors(self.rows)
        findings = []
        for channel, row in enumerate(self.statistics()):
            for what, found, expected, tolerance, error in (
                ("mean", row.mean, row.published_mean, MEAN_TOLERANCE, mean_errors[channel]),
                ("standard deviation", row.std, row.published_std, STD_TOLERANCE, std_errors[channel]),
            ):
                if abs(found - expected) > max(tolerance * expected, 4 * error):
                    text = f"{what} of {row.filter} is {found:.4g} µJy/arcsec²"
                    remedy = (
                        "Check the units and the order of the filters; a mock with few galaxies may differ."
                    )
                    findings.append(self.finding("warning", text, f"about {expected:.4g}", remedy))
        return findings

    def noise(self) -> list[Finding]:
        """Check that the noise in the corners matches the domain in the file's name."""
        findings = []
        for facts, found in zip(self.data_set.filter_set.filters, self.scan.noise, strict=True):
            noisy = self.data_set.domain is Domain.NOISY
            if (found < facts.noise_std / 2) == noisy:
                text = f"noise of {found:.3g} µJy/arcsec² per pixel in {facts.name}"
                expected = f"about {facts.noise_std:.3g}" if noisy else "almost none in a pristine file"
                remedy = "Check whether the names of the pristine and the noisy file have been exchanged."
                findings.append(self.finding("warning", text, expected, remedy))
        return findings

    def dihedral_blocks(self, structure: RowStructure) -> list[Finding]:
        """Check that the five blocks of mergers contain the same images, each in the orientation of its block."""
        level: Level = "error" if self.data_set.domain is Domain.PRISTINE else "warning"
        size = structure.block_rows
        originals = self.scan.digests[:size]
        other: list[int] = []
        misturned: list[int] = []
        for block in range(1, len(structure.BLOCKS)):
            rows = slice(block * size, (block + 1) * size)
            same = self.scan.shapeless[rows] == originals.min(axis=1)
            as_expected = self.scan.digests[rows, 0] == turned_digests(originals, block)
            other += list(rows.start + np.flatnonzero(~same))
            misturned += list(rows.start + np.flatnonzero(same & ~as_expected))
        copies = structure.merger_rows - size
        findings = []
        if other:
            row, turn = other[0], structure.BLOCKS[other[0] // size]
            found = (
                f"{len(other)} of {copies} turned copies of mergers show another image, first in row {row}"
            )
            findings.append(self.finding(level, found, f"row {row % size} turned by {turn} in row {row}"))
        if misturned:
            row, turn = misturned[0], structure.BLOCKS[misturned[0] // size]
            found = f"{len(misturned)} of {copies} copies of mergers are turned in another way, first in row {row}"
            expected = f"row {row % size} turned by {turn} in row {row}"
            remedy = "This is harmless for training, but please report it to whoever published the file."
            findings.append(self.finding("warning", found, expected, remedy))
        return findings

    def distinct(self, structure: RowStructure) -> list[Finding]:
        """Check that no two renderings are the same image."""
        first = np.flatnonzero(structure.block == 0)
        _, inverse, counts = np.unique(self.scan.shapeless[first], return_inverse=True, return_counts=True)
        repeated = np.flatnonzero(counts[inverse] > 1)
        if not len(repeated):
            return []
        partner = repeated[1:][inverse[repeated[1:]] == inverse[repeated[0]]][0]
        found = f"{len(repeated)} renderings are not unique, for instance "
        found += f"rows {first[repeated[0]]} and {first[partner]} are the same image"
        return [self.finding("warning", found, "a different image in each row")]

    def cameras(self, rows: Rows) -> list[Finding]:
        """Check in each segment of the file that the cameras of a galaxy agree in flux: see `flux_segments`."""
        findings = []
        first = np.flatnonzero(rows.block == 0)
        flux = self.scan.means.sum(axis=1)
        for label in (1, 0):
            chosen = first[rows.labels[first] == label]
            chosen = chosen[np.argsort(rows.galaxy[chosen], kind="stable")]
            for places, p in flux_segments(rows.galaxy[chosen], flux[chosen]):
                segment = chosen[places]
                if len(np.unique(rows.galaxy[segment])) >= FEWEST_GALAXIES and p > ADJACENT:
                    found = f"in rows {segment.min()} to {segment.max()} flux varies as much within as between galaxies"
                    expected = "the cameras of a galaxy in adjacent rows"
                    findings.append(self.finding("warning", found, expected))
        return findings


def compare_domains(pristine: PixelChecks, noisy: PixelChecks) -> list[Finding]:
    """Check that noise increases the standard deviation, and that each row shows the same galaxy in both domains."""
    findings = []
    remedy = "Check whether the names of the pristine and the noisy file have been exchanged."
    quieter = np.flatnonzero(noisy.scan.std <= pristine.scan.std)
    for channel in quieter:
        name = noisy.data_set.filter_set.filter_names[channel]
        found = f"standard deviation of {name} is {noisy.scan.std[channel]:.4g} µJy/arcsec²"
        expected = f"more than the {pristine.scan.std[channel]:.4g} of {pristine.file}"
        findings.append(noisy.finding("error", found, expected, remedy))
    rows = pristine.rows
    if rows and len(np.unique(rows.galaxy)) >= FEWEST_GALAXIES:
        first = rows.block == 0
        flux = [_ranks(checks.scan.means.sum(axis=1)[first]) for checks in (pristine, noisy)]
        correlation = float(np.corrcoef(flux[0], flux[1])[0, 1])
        if not correlation > 0.5:
            found = f"the fluxes of its rows have a rank correlation of {correlation:.2f} with those of {pristine.file}"
            findings.append(noisy.finding("warning", found, "the same galaxy in the same row of both"))
    return findings


def compare_formats(npy: PixelChecks, fits: PixelChecks) -> list[Finding]:
    """Check that the npy and the FITS file contain the same images, bit for bit."""
    different = np.flatnonzero(npy.scan.digests[:, 0] != fits.scan.digests[:, 0])
    if not len(different):
        return []
    found = f"{len(different)} images differ from those in {npy.file}, first in row {different[0]}"
    return [fits.finding("error", found, "identical images in both formats")]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.argsort().argsort().astype(np.float64)
