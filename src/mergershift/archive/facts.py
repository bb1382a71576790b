"""Facts about the published DeepMerge archive: its four data sets, their files, units and row structure.

Source: the archive's page at STScI, https://archive.stsci.edu/hlsps/deepmerge (DOI 10.17909/t9-vqk6-pc80);
names and headers of the FITS files from the published runs of the archive's own tutorial
(spacetelescope/hellouniverse); per-filter statistics from the code release of Ciprijanovic et al. 2021
(arXiv:2103.01373).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

DOI = "10.17909/t9-vqk6-pc80"
BASE_ADDRESS = "https://archive.stsci.edu/hlsps/deepmerge"
LICENCE = "CC BY 4.0"
"""Licence of the archive's images, as their headers name it; a mock has none of it."""
LICENCE_ADDRESS = "https://creativecommons.org/licenses/by/4.0/"
REFERENCE = "2021MNRAS.506..677C"
"""Bibliographic code of the paper that the headers of the archive's files ask to cite."""
UNIT = "uJy / arcsec2"
"""Unit of all pixels, a surface brightness, in the notation of `astropy.units`."""
IMAGE_SIZE = 75
"""Width and height of an image in pixels."""
FIELD_KPC = 120.0
"""Width and height of the field in physical kiloparsecs."""
REDSHIFT = 2.0
PIXEL_ARCSEC = 0.1875
"""Pixel scale at z = 2 in the cosmology of Illustris-1 (H0 = 70.4 km/s/Mpc, Om = 0.2726)."""


class Domain(StrEnum):
    """Domain of a data set: images as rendered (pristine), or with the telescope's noise added (noisy)."""

    PRISTINE = "pristine"
    NOISY = "noisy"


@dataclass(frozen=True)
class FilterFacts:
    """One broad-band filter; means and standard deviations are those of pixel values in µJy/arcsec²."""

    name: str
    camera: str
    psf_fwhm_arcsec: float
    published_mean: float
    published_std: dict[Domain, float]

    @property
    def noise_std(self) -> float:
        """Standard deviation of noisy minus pristine pixels that the published values imply, in µJy/arcsec²."""
        noisy, pristine = self.published_std[Domain.NOISY], self.published_std[Domain.PRISTINE]
        return float(np.sqrt(noisy**2 - pristine**2))


F814W = FilterFacts("f814w", "ACS", 0.13, 0.0375, {Domain.PRISTINE: 1.309, Domain.NOISY: 1.374})
F160W = FilterFacts("f160w", "WFC3", 0.20, 0.0333, {Domain.PRISTINE: 1.028, Domain.NOISY: 1.163})
F356W = FilterFacts("f356w", "NIRCam", 0.18, 0.0679, {Domain.PRISTINE: 1.123, Domain.NOISY: 1.198})


@dataclass(frozen=True)
class FilterSet:
    """A set of filters that the archive publishes together, in channel order."""

    name: str
    instruments: tuple[str, ...]
    observatories: tuple[str, ...]
    filters: tuple[FilterFacts, ...]

    @property
    def filter_names(self) -> tuple[str, ...]:
        """Names of the filters in channel order."""
        return tuple(facts.name for facts in self.filters)


FILTER_SETS: dict[str, FilterSet] = {
    "two": FilterSet("two", ("ACS", "WFC3"), ("HST",), (F814W, F160W)),
    "three": FilterSet("three", ("ACS", "WFC3", "NIRCam"), ("HST", "JWST"), (F814W, F160W, F356W)),
}


@dataclass(frozen=True)
class RowStructure:
    """The order of a data set's rows: which galaxy, camera and dihedral copy each row shows.

    The mergers come first, in five blocks (`BLOCKS`) of ``mergers x 4`` rows, which contain five dihedral copies of
    the same renderings in the same order. The non-mergers follow, once each. Within a block the cameras of a galaxy
    are adjacent. The published archive has one irregular galaxy: only two cameras saw the non-merger at index 30.
    """

    mergers: int
    non_mergers: int
    irregular: bool = True
    """Whether the non-merger at index `IRREGULAR_PLACE` has only `IRREGULAR_CAMERAS` renderings."""

    CAMERAS = 4
    BLOCKS = ("as rendered", "flipud", "fliplr", "rot90", "rot180")
    IRREGULAR_PLACE = 30
    IRREGULAR_CAMERAS = 2
    found_by: ClassVar[Literal["published order"]] = "published order"

    def __post_init__(self) -> None:
        if self.irregular and self.non_mergers <= self.IRREGULAR_PLACE:
            object.__setattr__(self, "irregular", False)

    @classmethod
    def from_labels(cls, labels: NDArray[np.integer]) -> RowStructure:
        """Infer the structure from the 0/1 labels `(N,)`; raises ValueError if they do not follow it."""
        ones = int(np.count_nonzero(labels == 1))
        zeros = len(labels) - ones
        per_merger = cls.CAMERAS * len(cls.BLOCKS)
        missing = cls.CAMERAS - cls.IRREGULAR_CAMERAS
        irregular = (zeros + missing) % cls.CAMERAS == 0 and zeros > cls.IRREGULAR_PLACE * cls.CAMERAS
        non_mergers = (zeros + missing * irregular) // cls.CAMERAS
        structure = cls(ones // per_merger, non_mergers, irregular)
        if structure.rows != len(labels) or not np.array_equal(labels, structure.labels):
            raise ValueError(
                f"{ones} rows of mergers and {zeros} of non-mergers, which are not {per_merger} rows per merger "
                f"followed by {cls.CAMERAS} per non-merger ({cls.IRREGULAR_CAMERAS} for one of them)"
            )
        return structure

    @property
    def merger_rows(self) -> int:
        """Number of rows in all five blocks of mergers."""
        return self.mergers * self.CAMERAS * len(self.BLOCKS)

    @property
    def block_rows(self) -> int:
        """Number of rows in one block of mergers."""
        return self.mergers * self.CAMERAS

    @property
    def rows(self) -> int:
        """Total number of rows."""
        missing = (self.CAMERAS - self.IRREGULAR_CAMERAS) * self.irregular
        return self.merger_rows + self.non_mergers * self.CAMERAS - missing

    def _non_merger_cameras(self) -> NDArray[np.int64]:
        cameras = np.full(self.non_mergers, self.CAMERAS, dtype=np.int64)
        if self.irregular:
            cameras[self.IRREGULAR_PLACE] = self.IRREGULAR_CAMERAS
        return cameras

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels `(N,)`: 1 for a merger, 0 for a non-merger."""
        return (np.arange(self.rows) < self.merger_rows).astype(np.int64)

    @property
    def galaxy(self) -> NDArray[np.int64]:
        """Galaxy numbers `(N,)`: 0 to M-1 for the M mergers, M to M+K-1 for the K non-mergers."""
        mergers = np.tile(np.repeat(np.arange(self.mergers), self.CAMERAS), len(self.BLOCKS))
        non_mergers = np.repeat(np.arange(self.non_mergers), self._non_merger_cameras()) + self.mergers
        return np.concatenate([mergers, non_mergers]).astype(np.int64)

    @property
    def camera(self) -> NDArray[np.int64]:
        """Camera numbers `(N,)`, 0 to 3."""
        mergers = np.tile(np.arange(self.CAMERAS), self.mergers * len(self.BLOCKS))
        non_mergers = [np.arange(count) for count in self._non_merger_cameras()]
        return np.concatenate([mergers, *non_mergers]).astype(np.int64)

    @property
    def block(self) -> NDArray[np.int64]:
        """Dihedral copies `(N,)` as indices into `BLOCKS`, 0 to 4; 0 for every non-merger."""
        mergers = np.repeat(np.arange(len(self.BLOCKS)), self.block_rows)
        return np.concatenate([mergers, np.zeros(self.rows - self.merger_rows, dtype=np.int64)])


PUBLISHED_ROWS = RowStructure(mergers=406, non_mergers=1827)
"""Row structure of the published data sets, with 15 426 rows."""


@dataclass(frozen=True)
class DataSet:
    """One of the four published data sets: a filter set in one domain.

    A file is read under any of its possible names and written under the first of them, the real one.
    """

    filter_set: FilterSet
    domain: Domain

    @property
    def stems(self) -> tuple[str, ...]:
        """Possible starts of the names of the data set's files.

        First comes the one that the files on the server have, which names all observatories; then, if it differs, the
        one that follows from the rule on the archive's page, which names only HST.
        """
        instruments = "-".join(self.filter_set.instruments).lower()
        filters = "-".join(self.filter_set.filter_names)
        observatories = ("-".join(self.filter_set.observatories).lower(), "hst")
        return tuple(
            f"hlsp_deepmerge_{name}_{instruments}_illustris-z2_{filters}_v1_sim-{self.domain}"
            for name in dict.fromkeys(observatories)
        )

    @property
    def images_names(self) -> tuple[str, ...]:
        """Possible names of the npy file of images, `(N, C, 75, 75)` float64 in µJy/arcsec²."""
        return tuple(f"{stem}-x.npy" for stem in self.stems)

    @property
    def labels_names(self) -> tuple[str, ...]:
        """Possible names of the npy file of labels; the archive's page gives two forms."""
        return tuple(f"{stem}-{form}.npy" for stem in self.stems for form in ("y", "labels-y"))

    @property
    def fits_names(self) -> tuple[str, ...]:
        """Possible names of the FITS file, which contains the images and, in a binary table, the labels."""
        return tuple(f"{stem}.fits" for stem in self.stems)

    @property
    def names(self) -> tuple[str, ...]:
        """Possible names of all files of the data set."""
        return (*self.images_names, *self.labels_names, *self.fits_names)

    @property
    def images_name(self) -> str:
        """Name under which an npy file of images is written."""
        return self.images_names[0]

    @property
    def labels_name(self) -> str:
        """Name under which an npy file of labels is written."""
        return self.labels_names[0]

    @property
    def fits_name(self) -> str:
        """Name under which a FITS file is written."""
        return self.fits_names[0]

    def __str__(self) -> str:
        return f"{self.filter_set.name} filters, {self.domain}"

    def shape(self, rows: int = PUBLISHED_ROWS.rows) -> tuple[int, int, int, int]:
        """Return the shape `(N, C, 75, 75)` of the images for a number of rows."""
        return rows, len(self.filter_set.filters), IMAGE_SIZE, IMAGE_SIZE


DATA_SETS: dict[tuple[str, Domain], DataSet] = {
    (name, domain): DataSet(filter_set, domain)
    for name, filter_set in FILTER_SETS.items()
    for domain in Domain
}
