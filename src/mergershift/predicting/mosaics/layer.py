"""The mosaic of one filter, of one or several tiles, from which the images of objects are cut out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.predicting.geometry import COARSEST
from mergershift.predicting.mosaics.resample import Averages, Floats
from mergershift.predicting.mosaics.sky import ARCSEC, Field, directions
from mergershift.predicting.mosaics.tile import Tile
from mergershift.predicting.planes import Given
from mergershift.predicting.units import Refused


@dataclass(frozen=True, slots=True)
class Stamp:
    """Image of an object in one filter, north up and east to the left."""

    values: Floats
    """Surface brightness `(size, size)` in µJy/arcsec²; NaN where there is no value."""
    coverage: float
    """Share of the pixels that have a value."""


class Layer:
    """The mosaic of one filter.

    Args:
        filter: Name of the filter.
        tiles: Its tiles, which may overlap.
    """

    def __init__(self, filter: str, tiles: Sequence[Tile]) -> None:
        self.filter, self.tiles = filter, tuple(tiles)

    @classmethod
    def open(
        cls, filter: str, tiles: Sequence[str], weights: Sequence[str] = (), given: Given | None = None
    ) -> Layer:
        """Open the files of a mosaic by their headers.

        Args:
            filter: Name of the filter.
            tiles: Files or addresses of the mosaic's tiles.
            weights: Files of their weights: one a tile, in the order of the tiles; none if the tiles contain their own
                or there are none.
            given: Properties that the user gives.

        Raises Refused, with the file and the reason, if one cannot be used.
        """
        if weights and len(weights) != len(tiles):
            raise Refused(f"{len(weights)} files of weights for {len(tiles)} of {filter}; give one for each")
        maps: Sequence[str | None] = weights or [None] * len(tiles)
        pairs = zip(tiles, maps, strict=True)
        return cls(filter, [_opened(name, weight, filter, given or Given()) for name, weight in pairs])

    @property
    def understood(self) -> list[tuple[str, str]]:
        """What was understood of the files: their names, and properties in words."""
        return [(tile.name, tile.understood) for tile in self.tiles]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is done to the pixels of the tiles, in words, once each."""
        return tuple(dict.fromkeys(text for tile in self.tiles for text in tile.remarks))

    @property
    def psf_arcsec(self) -> float | None:
        """Largest full width at half maximum of the tiles' point-spread functions; None if unknown."""
        return max((tile.psf_arcsec for tile in self.tiles if tile.psf_arcsec is not None), default=None)

    @property
    def pixel_arcsec(self) -> float:
        """Largest pixel scale of the tiles."""
        return max(max(tile.world.pixel_arcsec) for tile in self.tiles)

    def contains(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
        """Find which positions (ICRS, in degrees; N of each, none of them NaN) lie inside a tile, `(N,)`."""
        vectors = directions(np.atleast_1d(ra), np.atleast_1d(dec))
        found = np.zeros(len(vectors), bool)
        for tile in self.tiles:
            # Far from a tile, its projection may have no position or a wrong one.
            radius = np.hypot(*np.multiply(tile.shape, tile.world.pixel_arcsec)) * ARCSEC
            near = np.flatnonzero(np.linalg.norm(vectors - directions(*tile.world.centre), axis=1) < radius)
            places = tile.world.places(vectors[near]) if len(near) else None
            if places is not None:
                found[near] |= ((places > -0.5) & (places < np.array(tile.shape) - 0.5)).all(axis=1)
        return found

    def stamp(self, ra: float, dec: float, field_arcsec: float, size: int) -> Stamp:
        """Average the mosaic on the grid of a field.

        Args:
            ra: Right ascension of its centre, ICRS, in degrees.
            dec: Declination of its centre, ICRS, in degrees.
            field_arcsec: Side of the field.
            size: Number of pixels a side.

        A field outside the mosaic has a coverage of 0. Raises Refused if the mosaic is too coarse for the field, or
        if it turns out to be unreadable.
        """
        field = Field(ra, dec, field_arcsec, size)
        spanned = field_arcsec / self.pixel_arcsec
        if spanned < COARSEST * size:
            raise Refused(
                f"the model's field spans {spanned:.3g} pixels of the mosaic in {self.filter}, "
                f"but the model needs at least {COARSEST * size:g}"
            )
        averages: Averages | None = None
        for tile in self._by_depth(field):
            taken = tile.averages(field)
            if taken is not None:
                averages = taken if averages is None else averages.filled(taken)
                if averages.complete:
                    break
        values = np.full((size, size), np.nan, np.float32) if averages is None else averages.values()
        return Stamp(values, float(np.isfinite(values).mean()))

    def close(self) -> None:
        """Close the files."""
        for tile in self.tiles:
            tile.close()

    def _by_depth(self, field: Field) -> Sequence[Tile]:
        if len(self.tiles) == 1:
            return self.tiles
        return sorted(self.tiles, key=lambda tile: -tile.depth(field))


def _opened(name: str, weights: str | None, filter: str, given: Given) -> Tile:
    try:
        return Tile.open(name, filter, weights, given)
    except Refused as reason:
        raise Refused(f"{name}: {reason}") from None
