"""A mosaic, or one tile of it: where it lies on the sky, its unit, and averages of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.io.fits import Header

from mergershift.core.errors import first_line
from mergershift.predicting.conversion import light_of
from mergershift.predicting.filters import filter_of_plane, filters_in
from mergershift.predicting.fits_access import Hdu, read_headers
from mergershift.predicting.fits_headers import describe_plane
from mergershift.predicting.image_files import stem
from mergershift.predicting.mosaics.hdus import Map, find_image, find_map
from mergershift.predicting.mosaics.resample import Averages, Placement, Window, resample
from mergershift.predicting.mosaics.sky import Field
from mergershift.predicting.mosaics.windows import Windows
from mergershift.predicting.mosaics.world import World
from mergershift.predicting.planes import Given
from mergershift.predicting.reading import usable
from mergershift.predicting.units import Brightness, Refused

_WORLD = ("CTYPE1", "CRVAL1")
ZEROS = "pixels that are exactly 0 have no value"


@dataclass(frozen=True)
class Weights:
    """A map of the pixels that have a value."""

    windows: Windows
    map: Map


@dataclass(frozen=True)
class Tile:
    """One image of a mosaic, whose pixels are read window by window."""

    name: str
    """Path or address of the file."""
    shape: tuple[int, int]
    world: World
    light: Brightness
    windows: Windows
    weights: tuple[Weights, ...]
    zeros_missing: bool
    """Whether pixels that are exactly 0 have no value, as in mosaics whose weights are not known."""
    psf_arcsec: float | None
    """Full width at half maximum of the point-spread function; None if unknown."""
    remarks: tuple[str, ...]
    """What is done to its pixels, in words."""
    understood: str
    """What was understood of the file, in words."""

    @classmethod
    def open(cls, name: str, filter: str, weights: str | None, given: Given) -> Tile:
        """Open a mosaic by its headers; raises Refused, with the reason, if it cannot be used.

        Args:
            name: Path or address of a FITS file.
            filter: The filter that it is supposed to show.
            weights: File with weights that count instead of those in the file itself; None if there is none.
            given: Properties that the user gives; the pixel scale is always that of the world coordinates.
        """
        hdus = read_headers(name)
        image, maps = find_image(hdus)
        shape = (image.shape[-2], image.shape[-1])
        primary = hdus[0].header
        _check_filter(filter, name, image, primary, given)
        world = World(_with_world((image, hdus[0])) or image.header, shape)
        plane = describe_plane(image.header, primary, shape)
        light, converted = light_of(plane, world.pixel_arcsec, given)
        known = [Weights(Windows(name, found.hdu), found) for found in maps]
        if weights is not None:
            known = [_given_weights(weights, image, world)]
        unit = f"{plane.jansky:.4g} Jy" if plane.jansky is not None else plane.unit or given.unit or ""
        zeros = not known and image.header["BITPIX"] < 0
        return cls(
            name=name,
            shape=shape,
            world=world,
            light=light,
            windows=Windows(name, image),
            weights=tuple(known),
            zeros_missing=zeros,
            psf_arcsec=plane.psf_arcsec,
            remarks=tuple(text for text in (*plane.remarks, converted, ZEROS if zeros else "") if text),
            understood=_understood(image, world, unit, known, zeros),
        )

    def averages(self, field: Field) -> Averages | None:
        """Average the tile over the pixels of a field in µJy/arcsec²; None if the field lies outside.

        Raises Refused if the file turns out to be unreadable.
        """
        placement = self.placement(field)
        try:
            return None if placement is None else resample(placement, self.shape, self._read)
        except MemoryError:
            raise
        except Exception as error:  # A damaged file can raise any exception.
            raise Refused(f"{self.name}: cannot be read ({first_line(error)})") from error

    def placement(self, field: Field) -> Placement | None:
        """Find a field in the tile's pixels; None if it is far away."""
        corners = self.world.places(field.corners())
        return None if corners is None else Placement(corners, field.size)

    def depth(self, field: Field) -> float:
        """Compute how far the field's centre is inside the tile, in pixels from the nearest edge; negative outside."""
        placement = self.placement(field)
        if placement is None:
            return -np.inf
        place = placement.corners.mean(axis=(0, 1)) + 0.5
        return float(min(place.min(), (np.array(self.shape) - place).min()))

    def close(self) -> None:
        """Close the files."""
        self.windows.close()
        for weights in self.weights:
            weights.windows.close()

    def _read(self, rows: slice, columns: slice) -> Window:
        stored = self.windows.read(rows, columns)
        given = stored != 0 if self.zeros_missing else None
        with np.errstate(over="ignore"):
            if self.light.magnitudes is None:
                values = stored.astype(np.float32, copy=False)
                values *= np.float32(self.light.factor)
            else:
                values = self.light(stored.astype(np.float64)).astype(np.float32)
        known = np.isfinite(values)
        if not known.all():
            values[~known] = 0
        if given is not None:
            known &= given
        for weights in self.weights:
            known &= usable(weights.windows.read(rows, columns), weights.map.kind, weights.map.bits)
        values *= known  # Faster than assigning to pixels that are scattered.
        return Window(values, known)


def _with_world(hdus: Sequence[Hdu]) -> Header | None:
    """Return the first header with world coordinates; some pipelines write them into the primary one alone."""
    return next((hdu.header for hdu in hdus if any(card in hdu.header for card in _WORLD)), None)


def _check_filter(filter: str, name: str, image: Hdu, primary: Header, given: Given) -> None:
    """Refuse an image of another filter of HST or JWST; the names of others have too many spellings."""
    named = filter_of_plane((image.header, primary), (image.name, image.version, stem(name)))
    if named is None or filter in filters_in(named) or given.override:
        return
    if filters_in(named) and filters_in(filter):
        raise Refused(
            f"its name or header says that it shows {named}, but it is given as {filter}; "
            "--override takes it nevertheless"
        )


def _given_weights(name: str, image: Hdu, world: World) -> Weights:
    hdus = read_headers(name)
    found = find_map(name, hdus)
    (rows, columns), wanted = found.hdu.shape[-2:], image.shape[-2:]
    if (rows, columns) != wanted:
        raise Refused(
            f"the weights in {name} have {rows} x {columns} pixels, but the image has {wanted[0]} x {wanted[1]}"
        )
    header = _with_world((found.hdu, hdus[0]))
    if header is not None and not world.agrees(World(header, wanted)):
        raise Refused(
            f"the weights in {name} are those of another part of the sky; give one for each tile, in order"
        )
    return Weights(Windows(name, found.hdu), found)


def _understood(image: Hdu, world: World, unit: str, weights: Sequence[Weights], zeros: bool) -> str:
    rows, columns = image.shape[-2:]
    y, x = world.pixel_arcsec
    maps = [
        f"{known.map.kind} map in {known.windows.name}, HDU {known.windows.hdu.number}" for known in weights
    ]
    without = f"no weights: {ZEROS}" if zeros else "no weights"
    return "; ".join(
        (
            f"HDU {image.number} ({image.name or 'unnamed'}), {columns} x {rows} pixels of {x:.4g} x {y:.4g} arcsec",
            f"centre at RA {world.centre[0]:.5f}, Dec {world.centre[1]:.5f}, north at {world.north:z.1f} degrees",
            f"unit {unit}",
            *(maps or [without]),
        )
    )
