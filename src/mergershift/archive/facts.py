"""The published DeepMerge archive as typed facts: four data sets, their files, units and row structure.

Source: the archive's page at STScI, https://archive.stsci.edu/hlsps/deepmerge (DOI 10.17909/t9-vqk6-pc80);
per-filter statistics from the code release of Ciprijanovic et al. 2021 (arXiv:2103.01373).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

DOI = "10.17909/t9-vqk6-pc80"
BASE_ADDRESS = "https://archive.stsci.edu/hlsps/deepmerge"
UNIT = "uJy / arcsec2"
"""Surface brightness, in the notation of `astropy.units`."""
IMAGE_SIZE = 75
"""Pixels a side."""
FIELD_KPC = 120.0
"""Physical kiloparsecs a side."""
REDSHIFT = 2.0
PIXEL_ARCSEC = 0.1875
"""Pixel scale at z = 2 in the cosmology of Illustris-1 (H0 = 70.4 km/s/Mpc, Om = 0.2726)."""


class Domain(StrEnum):
    """How the images were made: as rendered, or with the telescope's noise."""

    PRISTINE = "pristine"
    NOISY = "noisy"


@dataclass(frozen=True)
class FilterFacts:
    """One broad-band filter; means and deviations are of pixel values in µJy/arcsec²."""

    name: str
    camera: str
    psf_fwhm_arcsec: float
    published_mean: float
    published_std: dict[Domain, float]

    @property
    def noise_std(self) -> float:
        """Deviation of (noisy - pristine) that the published deviations imply, µJy/arcsec²."""
        noisy, pristine = self.published_std[Domain.NOISY], self.published_std[Domain.PRISTINE]
        return float(np.sqrt(noisy**2 - pristine**2))


F814W = FilterFacts("f814w", "ACS", 0.13, 0.0375, {Domain.PRISTINE: 1.309, Domain.NOISY: 1.374})
F160W = FilterFacts("f160w", "WFC3", 0.20, 0.0333, {Domain.PRISTINE: 1.028, Domain.NOISY: 1.163})
F356W = FilterFacts("f356w", "NIRCam", 0.18, 0.0679, {Domain.PRISTINE: 1.123, Domain.NOISY: 1.198})


@dataclass(frozen=True)
class FilterSet:
    """A set of filters that the archive publishes together, in channel order."""

    name: str
    instrument: str
    filters: tuple[FilterFacts, ...]

    @property
    def filter_names(self) -> tuple[str, ...]:
        """Filter names in channel order."""
        return tuple(each.name for each in self.filters)


FILTER_SETS: dict[str, FilterSet] = {
    "two": FilterSet("two", "acs-wfc3", (F814W, F160W)),
    "three": FilterSet("three", "acs-wfc3-nircam", (F814W, F160W, F356W)),
}


@dataclass(frozen=True)
class RowStructure:
    """Which row of a data set shows which galaxy, from which camera, in which of the five dihedral copies.

    Mergers come first, in five blocks (`BLOCKS`) of ``mergers x 4`` rows that hold the same renderings in the
    same order; then the non-mergers once. Within a block rows go by galaxy, cameras adjacent. The published
    archive has one irregular galaxy: the non-merger at place 30 was seen by two cameras only.
    """

    mergers: int
    non_mergers: int
    irregular: bool = True
    """Whether the non-merger at place `IRREGULAR_PLACE` has `IRREGULAR_CAMERAS` renderings."""

    CAMERAS = 4
    BLOCKS = ("as rendered", "flipud", "fliplr", "rot90", "rot180")
    IRREGULAR_PLACE = 30
    IRREGULAR_CAMERAS = 2

    def __post_init__(self) -> None:
        if self.irregular and self.non_mergers <= self.IRREGULAR_PLACE:
            object.__setattr__(self, "irregular", False)

    @classmethod
    def from_labels(cls, labels: NDArray[np.integer]) -> RowStructure:
        """Infer the structure from the 0/1 labels `(N,)`; raises ValueError where they do not fit it."""
        ones = int(np.count_nonzero(labels == 1))
        zeros = len(labels) - ones
        per_merger = cls.CAMERAS * len(cls.BLOCKS)
        missing = cls.CAMERAS - cls.IRREGULAR_CAMERAS
        irregular = (zeros + missing) % cls.CAMERAS == 0 and zeros > cls.IRREGULAR_PLACE * cls.CAMERAS
        non_mergers = (zeros + missing * irregular) // cls.CAMERAS
        structure = cls(ones // per_merger, non_mergers, irregular)
        if structure.rows != len(labels) or not np.array_equal(labels, structure.labels):
            raise ValueError(
                f"{ones} rows of mergers and {zeros} of non-mergers, not {per_merger} rows a merger first, "
                f"then {cls.CAMERAS} a non-merger (one of them {cls.IRREGULAR_CAMERAS})"
            )
        return structure

    @property
    def merger_rows(self) -> int:
        """Rows of all five blocks of mergers."""
        return self.mergers * self.CAMERAS * len(self.BLOCKS)

    @property
    def block_rows(self) -> int:
        """Rows of one block of mergers."""
        return self.mergers * self.CAMERAS

    @property
    def rows(self) -> int:
        """All rows of a data set."""
        missing = (self.CAMERAS - self.IRREGULAR_CAMERAS) * self.irregular
        return self.merger_rows + self.non_mergers * self.CAMERAS - missing

    def _non_merger_cameras(self) -> NDArray[np.int64]:
        cameras = np.full(self.non_mergers, self.CAMERAS, dtype=np.int64)
        if self.irregular:
            cameras[self.IRREGULAR_PLACE] = self.IRREGULAR_CAMERAS
        return cameras

    @property
    def labels(self) -> NDArray[np.int64]:
        """`(N,)` 1 for a merger, 0 for a non-merger."""
        return (np.arange(self.rows) < self.merger_rows).astype(np.int64)

    @property
    def galaxy(self) -> NDArray[np.int64]:
        """`(N,)` galaxy number: mergers 0..M-1, non-mergers M..M+K-1, in row order."""
        mergers = np.tile(np.repeat(np.arange(self.mergers), self.CAMERAS), len(self.BLOCKS))
        non_mergers = np.repeat(np.arange(self.non_mergers), self._non_merger_cameras()) + self.mergers
        return np.concatenate([mergers, non_mergers]).astype(np.int64)

    @property
    def camera(self) -> NDArray[np.int64]:
        """`(N,)` camera number 0..3."""
        mergers = np.tile(np.arange(self.CAMERAS), self.mergers * len(self.BLOCKS))
        non_mergers = [np.arange(count) for count in self._non_merger_cameras()]
        return np.concatenate([mergers, *non_mergers]).astype(np.int64)

    @property
    def block(self) -> NDArray[np.int64]:
        """`(N,)` dihedral block 0..4 of a merger's row (index into `BLOCKS`); 0 for every non-merger."""
        mergers = np.repeat(np.arange(len(self.BLOCKS)), self.block_rows)
        return np.concatenate([mergers, np.zeros(self.rows - self.merger_rows, dtype=np.int64)])


PUBLISHED_ROWS = RowStructure(mergers=406, non_mergers=1827)
"""15 426 rows."""


@dataclass(frozen=True)
class DataSet:
    """One of the four published data sets: a filter set in one domain."""

    filter_set: FilterSet
    domain: Domain

    @property
    def stem(self) -> str:
        """File name up to the part that differs between images and labels."""
        filters = "-".join(self.filter_set.filter_names)
        return f"hlsp_deepmerge_hst_{self.filter_set.instrument}_illustris-z2_{filters}_v1_sim-{self.domain}"

    @property
    def images_name(self) -> str:
        """The npy file of images, `(N, C, 75, 75)` float64 in µJy/arcsec²."""
        return f"{self.stem}-x.npy"

    @property
    def labels_names(self) -> tuple[str, str]:
        """The npy file of labels under the two names that the archive's page gives; the first is written."""
        return f"{self.stem}-y.npy", f"{self.stem}-labels-y.npy"

    @property
    def fits_name(self) -> str:
        """The FITS file: primary HDU "Images", binary table "MergerLabels"."""
        return f"{self.stem}.fits"

    def shape(self, rows: int = PUBLISHED_ROWS.rows) -> tuple[int, int, int, int]:
        """Shape of the images at a number of rows."""
        return rows, len(self.filter_set.filters), IMAGE_SIZE, IMAGE_SIZE


DATA_SETS: dict[tuple[str, Domain], DataSet] = {
    (name, domain): DataSet(filter_set, domain)
    for name, filter_set in FILTER_SETS.items()
    for domain in Domain
}
