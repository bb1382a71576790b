"""Checks on what a walk through the images has found: statistics, noise, and which rows show the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import FILTER_SETS, DataSet, Domain, RowStructure
from mergershift.archive.verification.findings import FilterStatistics, Finding, Level, Remedy
from mergershift.archive.verification.scan import Scan, turned_digests

MEAN_TOLERANCE = 0.20
STD_TOLERANCE = 0.05
"""Of the published figures; four standard errors are allowed where they are more."""
SEGMENT_GALAXIES = 100
"""Galaxies among which cameras are looked at together, so that a slip in the middle of a file shows."""
FEWEST_GALAXIES = 20
"""Below this the checks that compare galaxies can't tell, and are left out."""


class PixelChecks:
    """Checks of one file: its scan against the facts of its data set and the row structure."""

    def __init__(
        self, file: str, data_set: DataSet, scan: Scan, structure: RowStructure | None, remedy: Remedy
    ) -> None:
        self.file, self.data_set, self.scan, self.structure = file, data_set, scan, structure
        self._remedy = remedy

    def finding(self, level: Level, found: str, expected: str, remedy: str | None = None) -> Finding:
        """A failed check of this file."""
        return Finding(level, self.file, found, expected, remedy or self._remedy(self.file))

    def all(self) -> list[Finding]:
        """Run the checks that need this file alone."""
        findings = self.finite() + self.noise() + self.published()
        if self.structure:
            findings += self.dihedral_blocks(self.structure) + self.distinct(self.structure)
            findings += self.cameras(self.structure)
        return findings

    def statistics(self) -> list[FilterStatistics]:
        """Mean and deviation of each filter beside the published ones."""
        domain = self.data_set.domain
        return [
            FilterStatistics(
                self.file, each.name, float(mean), each.published_mean, float(std), each.published_std[domain]
            )
            for each, mean, std in zip(
                self.data_set.filter_set.filters, self.scan.mean, self.scan.std, strict=True
            )
        ]

    def finite(self) -> list[Finding]:
        """Every pixel is finite."""
        rows = np.flatnonzero(self.scan.bad_pixels)
        if not len(rows):
            return []
        pixels = self.scan.bad_pixels.sum()
        found = f"{pixels} pixels in {len(rows)} images are NaN or infinite, first in row {rows[0]}"
        return [self.finding("error", found, "finite values")]

    def published(self) -> list[Finding]:
        """Mean and deviation of each filter are near the published ones, as far as the galaxies can tell."""
        if self.structure is None:
            return []
        mean_errors, std_errors = self.scan.standard_errors(self.structure)
        findings = []
        for channel, each in enumerate(self.statistics()):
            for what, found, expected, tolerance, error in (
                ("mean", each.mean, each.published_mean, MEAN_TOLERANCE, mean_errors[channel]),
                ("standard deviation", each.std, each.published_std, STD_TOLERANCE, std_errors[channel]),
            ):
                if abs(found - expected) > max(tolerance * expected, 4 * error):
                    text = f"{what} of {each.filter} {found:.4g} µJy/arcsec²"
                    remedy = "Check the units and the order of the filters; a mock differs with few galaxies"
                    findings.append(self.finding("warning", text, f"about {expected:.4g}", remedy))
        return findings

    def noise(self) -> list[Finding]:
        """The corners are as noisy as the domain in the file's name says."""
        findings = []
        for each, found in zip(self.data_set.filter_set.filters, self.scan.noise, strict=True):
            noisy = self.data_set.domain is Domain.NOISY
            if (found < each.noise_std / 2) == noisy:
                text = f"noise of {found:.3g} µJy/arcsec² from pixel to pixel in {each.name}"
                expected = f"about {each.noise_std:.3g}" if noisy else "hardly any in a pristine file"
                remedy = "See whether pristine and noisy files have changed names"
                findings.append(self.finding("warning", text, expected, remedy))
        return findings

    def dihedral_blocks(self, structure: RowStructure) -> list[Finding]:
        """The five blocks of mergers hold the same pictures, each turned in its way."""
        level: Level = "error" if self.data_set.domain is Domain.PRISTINE else "warning"
        size = structure.block_rows
        originals = self.scan.digests[:size]
        other: list[int] = []
        turned_else: list[int] = []
        for block in range(1, len(structure.BLOCKS)):
            rows = slice(block * size, (block + 1) * size)
            same = self.scan.shapeless[rows] == originals.min(axis=1)
            as_said = self.scan.digests[rows, 0] == turned_digests(originals, block)
            other += list(rows.start + np.flatnonzero(~same))
            turned_else += list(rows.start + np.flatnonzero(same & ~as_said))
        copies = structure.merger_rows - size
        findings = []
        if other:
            row, turn = other[0], structure.BLOCKS[other[0] // size]
            found = f"{len(other)} of {copies} turned copies of mergers show another picture, first row {row}"
            findings.append(self.finding(level, found, f"row {row % size} {turn} in row {row}"))
        if turned_else:
            row, turn = turned_else[0], structure.BLOCKS[turned_else[0] // size]
            found = (
                f"{len(turned_else)} of {copies} copies of mergers are turned in another way, first row {row}"
            )
            expected = f"row {row % size} {turn} in row {row}"
            remedy = "Harmless for training; tell whoever publishes the file"
            findings.append(self.finding("warning", found, expected, remedy))
        return findings

    def distinct(self, structure: RowStructure) -> list[Finding]:
        """No two renderings are the same picture."""
        first = np.flatnonzero(structure.block == 0)
        _, inverse, counts = np.unique(self.scan.shapeless[first], return_inverse=True, return_counts=True)
        repeated = np.flatnonzero(counts[inverse] > 1)
        if not len(repeated):
            return []
        partner = repeated[1:][inverse[repeated[1:]] == inverse[repeated[0]]][0]
        found = f"{len(repeated)} renderings show a picture that another one shows, first rows "
        found += f"{first[repeated[0]]} and {first[partner]}"
        return [self.finding("warning", found, "another picture in each")]

    def cameras(self, structure: RowStructure) -> list[Finding]:
        """The cameras of a galaxy stand side by side: its flux hardly depends on where it is seen from.

        Steps in flux from row to row within a galaxy have to be smaller than steps to the next galaxy, by the
        one-sided rank test of Mann and Whitney at 0.1 % in each segment of the file.
        """
        from scipy.stats import mannwhitneyu

        findings = []
        flux = self.scan.means.sum(axis=1)
        rows = np.flatnonzero(structure.block == 0)
        for label in (1, 0):
            of_label = rows[structure.labels[rows] == label]
            galaxies = np.unique(structure.galaxy[of_label])
            for chosen in np.array_split(galaxies, max(1, len(galaxies) // SEGMENT_GALAXIES)):
                if len(chosen) < FEWEST_GALAXIES:
                    continue
                segment = of_label[np.isin(structure.galaxy[of_label], chosen)]
                steps = np.abs(np.diff(flux[segment]))
                within = np.diff(structure.galaxy[segment]) == 0
                if mannwhitneyu(steps[within], steps[~within], alternative="less").pvalue > 1e-3:
                    found = (
                        f"rows {segment[0]} to {segment[-1]}: flux differs within galaxies as between them"
                    )
                    expected = "the cameras of a galaxy side by side"
                    findings.append(self.finding("warning", found, expected))
        return findings


def compare_domains(pristine: PixelChecks, noisy: PixelChecks) -> list[Finding]:
    """Noise adds to the deviation, and row by row both domains show the same galaxy."""
    findings = []
    remedy = "See whether the pristine and the noisy file have changed names"
    quieter = np.flatnonzero(noisy.scan.std <= pristine.scan.std)
    for channel in quieter:
        name = noisy.data_set.filter_set.filter_names[channel]
        found = f"standard deviation of {name} {noisy.scan.std[channel]:.4g} µJy/arcsec²"
        expected = f"more than the {pristine.scan.std[channel]:.4g} of {pristine.file}"
        findings.append(noisy.finding("error", found, expected, remedy))
    structure = pristine.structure
    if structure and structure.mergers + structure.non_mergers >= FEWEST_GALAXIES:
        first = structure.block == 0
        flux = [_ranks(each.scan.means.sum(axis=1)[first]) for each in (pristine, noisy)]
        correlation = float(np.corrcoef(flux[0], flux[1])[0, 1])
        if not correlation > 0.5:
            found = f"fluxes of its rows have a rank correlation of {correlation:.2f} with {pristine.file}"
            findings.append(noisy.finding("warning", found, "the same galaxy in the same row of both"))
    return findings


def compare_formats(npy: PixelChecks, fits: PixelChecks) -> list[Finding]:
    """The npy and the FITS file hold the same images, bit for bit."""
    different = np.flatnonzero(npy.scan.digests[:, 0] != fits.scan.digests[:, 0])
    if not len(different):
        return []
    found = f"{len(different)} images differ from those in {npy.file}, first row {different[0]}"
    return [fits.finding("error", found, "equal images in both formats")]


def compare_filter_sets(two: PixelChecks, three: PixelChecks) -> list[Finding]:
    """Where both sets hold the same pictures, the filters they share stand in the order of its name."""
    findings = []
    names = FILTER_SETS["three"].filter_names
    for channel, name in enumerate(FILTER_SETS["two"].filter_names):
        ours = two.scan.means[:, channel]
        shares = [_share_equal(ours, theirs) for theirs in three.scan.means.T]
        best = int(np.argmax(shares))
        if shares[best] > 0.5 and names[best] != name:
            found = f"channel {best} holds the {name} images of {two.file}"
            remedy = "The order of filters in the file differs from its name: mind which channel is which"
            findings.append(three.finding("warning", found, f"{name} in channel {names.index(name)}", remedy))
    return findings


def _share_equal(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lit = one != 0
    return float(np.isclose(one[lit], other[lit], rtol=1e-6, atol=0).mean()) if lit.any() else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.argsort().argsort().astype(np.float64)
