"""Images as their source describes and stores them: one plane a filter, before any conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.flags import Flag

MaskKind = Literal["weight", "bad", "error"]
Pair = tuple[float, float]
"""Values along the rows and along the columns of an image (vertically, horizontally)."""
Rows = Callable[[int, int], NDArray[np.generic]]
"""Reads rows of an image, from one up to another, `(h, W)`."""


class Pose(NamedTuple):
    """How an image of one filter lies on the sky relative to that of another one."""

    east: float = 0.0
    """How far its middle is to the east, in arcsec."""
    north: float = 0.0
    turn: float = 0.0
    """How far it is turned from north to east, in degrees."""
    mirrored: bool = False


ALIGNED = Pose()


class Pixels(Protocol):
    """Stored pixel values of N images with C planes each; nothing is read before it is asked for."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of images, planes, rows and columns."""

    def blocks(self, planes: Sequence[int], rows: slice, columns: slice) -> Iterator[NDArray[np.generic]]:
        """Yield a window of some planes of all images, in order and in blocks `(n, len(planes), h, w)`.

        Only the window is read, where the way in which it is stored allows that. Any exception may be raised for a
        damaged file.
        """

    def opened(self, image: int, plane: int, rows: slice, columns: slice) -> AbstractContextManager[Rows]:
        """Open a window of one plane of one image, which need not fit into memory."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A stored plane that says which pixels of an image have a value."""

    pixels: Pixels
    plane: int | None
    """Number of the plane; None if every plane of the image has its own, under the same number."""
    kind: MaskKind
    """A pixel has a value where a weight is above 0; where none of the bits `bits` is set; where an error is finite
    and above 0, unless none is above 0."""
    bits: int = -1
    """Bits of a `bad` plane that mean that there is no value; all of them by default."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Properties of the images of one filter according to their source; None for unknown properties."""

    shape: tuple[int, int]
    """Numbers of rows and columns."""
    filter: str | None = None
    """Name of the filter, as in `f814w`."""
    unit: str | None = None
    """The unit in the notation of the source, as in BUNIT."""
    jansky: float | None = None
    """Flux density in Jy of the pixel value 1 according to a zero point; None if the unit counts."""
    pixel_arcsec: Pair | None = None
    pixel_kpc: Pair | None = None
    """Physical size of a pixel, which makes a redshift unnecessary."""
    centre: Pair | None = None
    """Row and column of the galaxy, where the centre of the first pixel is (0, 0)."""
    psf_arcsec: float | None = None
    """Full width at half maximum of the point-spread function."""
    pose: Pose = ALIGNED
    """How it lies on the sky relative to other filters of the galaxy, as far as their headers say."""
    remarks: tuple[str, ...] = ()
    """What was done to find these properties, in words, for the record of the conversion."""
    flags: tuple[Flag, ...] = ()
    """What readers have to know of these properties."""


@dataclass(frozen=True, slots=True)
class Description:
    """Properties of the images of one source: of all its images alike, so that they share one plan."""

    planes: tuple[Plane, ...]
    redshift: float | None = None
    headerless: bool = False
    """Whether the source cannot describe its images, like an array or an npy file."""
    flags: tuple[Flag, ...] = ()
    """What readers have to know of how the images were found."""
    remarks: tuple[str, ...] = ()
    """What was done to find these properties, in words, for the record of the conversion."""


@dataclass(frozen=True, slots=True)
class StoredPlane:
    """Where the images of a plane of a `Description` are stored."""

    pixels: Pixels
    plane: int
    masks: tuple[Mask, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a catalogue is joined by; NaN for unknown numbers."""

    file: str
    """The file that contains the image, or the first of several; empty for an array."""
    id: str
    """The name in the catalogue or header, else the file's stem; empty for an array."""
    ra: float = float("nan")
    """Right ascension, ICRS, in degrees."""
    dec: float = float("nan")
    """Declination, ICRS, in degrees."""


@dataclass(frozen=True, slots=True)
class Given:
    """Properties that the user gives, for images whose source does not give them."""

    unit: str | None = None
    pixel_arcsec: float | None = None
    redshift: float | None = None
    filters: tuple[str, ...] | None = None
    """Names of the filters of the planes, in their order."""
    override: bool = False
    """Whether these properties count even where the source gives others."""
