"""Images of a catalogue's objects, cut out of mosaics, as inputs of a prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mergershift.core.errors import UserError
from mergershift.predicting.flags import Flag
from mergershift.predicting.mosaics.catalogue import Catalogue, redshift_problem
from mergershift.predicting.mosaics.layer import Layer
from mergershift.predicting.mosaics.offsets import measure_offset
from mergershift.predicting.mosaics.options import Survey
from mergershift.predicting.planes import Given, Identity
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.predicting.rows import BATCH, Batch, Row
from mergershift.predicting.units import Refused

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts

NO_POSITION = "the position is missing or not on the sky"


class CatalogueInputs:
    """Images of the objects in a catalogue, a row for each in its order; pixels are read only for batches.

    Args:
        catalogue: The objects.
        layers: Mosaics by filter; those of the model's filters are used.
        given: Properties that the user gives.
        facts: The model's format.

    Raises UserError if a filter of the model is missing, or if no object lies in all mosaics.
    """

    def __init__(
        self, catalogue: Catalogue, layers: Mapping[str, Layer], given: Given, facts: ModelFacts
    ) -> None:
        missing = [name for name in facts.filters if name not in layers]
        if missing:
            raise UserError(
                f"There is no mosaic in {', '.join(missing)}, but the model needs {', '.join(facts.filters)}.\n"
                f"Name one for each filter: --mosaic {missing[0]}=FILE."
            )
        self.facts = facts
        self.layers = [layers[name] for name in facts.filters]
        self.inside = _inside(catalogue, self.layers)
        """Whether each object lies in the mosaic of each filter, `(n, C)`."""
        if not self.inside.all(axis=1).any():
            hours = catalogue.in_hours()
            inside = _inside(hours, self.layers)
            if not inside.all(axis=1).any():
                raise _nowhere(catalogue, self.layers)
            catalogue, self.inside = hours, inside
        self.catalogue = catalogue
        self.redshifts = _redshifts(catalogue, given)
        self._fields: dict[int, float] = {}
        self.warnings: list[str] = []
        """What has to be known of the mosaics, in sentences."""
        self._remarks = [f"{layer.filter} {text}" for layer in self.layers for text in layer.remarks]
        self._misaligned: list[Flag] = []
        self._compare_astrometry()

    @classmethod
    def of_survey(cls, survey: Survey, given: Given, facts: ModelFacts) -> CatalogueInputs:
        """Open a catalogue and its mosaics; raises UserError, with the file and the reason, if one cannot be used."""
        catalogue = Catalogue.read(survey.catalogue, survey.columns, redshifts=given.redshift is None)
        layers = {}
        for name, tiles in survey.mosaics.items():
            if name in facts.filters:
                try:
                    layers[name] = Layer.open(name, tiles, survey.weights.get(name, ()), given)
                except Refused as reason:
                    raise UserError(
                        f"--mosaic {name}: {reason}.\nCorrect it, or name another file."
                    ) from None
        made = cls(catalogue, layers, given, facts)
        unused = [name for name in survey.mosaics if name not in facts.filters]
        if unused:
            made.warnings.append(f"Not used, since the model does not take this filter: {', '.join(unused)}.")
        return made

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.catalogue)

    def batches(self) -> Iterator[Batch]:
        """Yield all objects in order, `BATCH` at a time, and close the mosaics' files."""
        try:
            for start in range(0, self.count, BATCH):
                yield self._batch(range(start, min(start + BATCH, self.count)))
        finally:
            for layer in self.layers:
                layer.close()

    def problem(self, number: int) -> str:
        """Say why an object cannot be used; empty if it can, as far as known without pixels."""
        if not math.isfinite(self.catalogue.ra[number] + self.catalogue.dec[number]):
            return NO_POSITION
        outside = [
            layer.filter for layer, there in zip(self.layers, self.inside[number], strict=True) if not there
        ]
        if outside:
            return f"outside the mosaic in {' and '.join(outside)}"
        return redshift_problem(self.redshifts[number])

    def _batch(self, numbers: range) -> Batch:
        size, channels = self.facts.image_size, len(self.layers)
        images = np.full((len(numbers), channels, size, size), np.nan, np.float32)
        coverage = np.zeros((len(numbers), channels), np.float32)
        rows = []
        for place, number in enumerate(numbers):
            row = self._row(number)
            if not row.refused:
                field = self._field_arcsec(number)
                row.conversion = self._conversion(number, field)
                row.psf = tuple(
                    math.nan if layer.psf_arcsec is None else layer.psf_arcsec / field * size
                    for layer in self.layers
                )
                try:
                    for channel, layer in enumerate(self.layers):
                        position = float(self.catalogue.ra[number]), float(self.catalogue.dec[number])
                        stamp = layer.stamp(*position, field, size)
                        images[place, channel], coverage[place, channel] = stamp.values, stamp.coverage
                except Refused as reason:
                    row.refused, row.flags = str(reason), [Flag("refused")]
                    images[place], coverage[place] = np.nan, 0
            rows.append(row)
        return Batch(images, coverage, rows)

    def _row(self, number: int) -> Row:
        catalogue = self.catalogue
        identity = Identity(
            catalogue.name,
            str(catalogue.ids[number]),
            float(catalogue.ra[number]),
            float(catalogue.dec[number]),
        )
        reason = self.problem(number)
        flags = [Flag("refused")] if reason else list(self._misaligned)
        if catalogue.repeated[number]:
            flags.append(Flag("id repeated"))
        return Row(
            identity,
            number,
            float(self.redshifts[number]),
            tuple(self.facts.filters),
            flags=flags,
            refused=reason,
        )

    def _field_arcsec(self, number: int) -> float:
        if number not in self._fields:
            self._fields[number] = self.facts.field_kpc / kpc_per_arcsec(float(self.redshifts[number]))
        return self._fields[number]

    def _conversion(self, number: int, field: float) -> str:
        column = self.catalogue.columns.get("z")
        of_catalogue = column is not None and self.redshifts[number] == self.catalogue.redshift[number]
        source = f"from {column}" if of_catalogue else "as given"
        notes = [
            f"cut out of mosaics: {field:.2f} arcsec at z = {self.redshifts[number]:g} ({source})",
            *self.catalogue.remarks,
            *self._remarks,
        ]
        return "; ".join(notes)

    def _compare_astrometry(self) -> None:
        """Measure whether the filters show objects at the same place, and warn if they do not."""
        usable = [number for number in range(self.count) if not self.problem(number)]
        if not usable:
            return
        field = float(np.median([self._field_arcsec(number) for number in usable]))
        positions = [
            (float(self.catalogue.ra[number]), float(self.catalogue.dec[number])) for number in usable
        ]
        first, *others = self.layers
        for layer in others:
            offset = measure_offset(first, layer, positions, field)
            if offset is not None and offset.exceeds(field / self.facts.image_size):
                self._misaligned.append(Flag("bands misaligned"))
                self.warnings.append(
                    f"The mosaic in {layer.filter} shows objects {offset} from where the one in {first.filter} does: "
                    "correct the astrometry of one of them."
                )
        self._misaligned = self._misaligned[:1]


def _inside(catalogue: Catalogue, layers: list[Layer]) -> NDArray[np.bool_]:
    """Find which objects lie in a tile of each layer, `(n, C)`."""
    found = np.zeros((len(catalogue), len(layers)), bool)
    known = np.flatnonzero(np.isfinite(catalogue.ra + catalogue.dec))
    for channel, layer in enumerate(layers):
        found[known, channel] = layer.contains(catalogue.ra[known], catalogue.dec[known])
    return found


def _redshifts(catalogue: Catalogue, given: Given) -> NDArray[np.float64]:
    if given.redshift is None:
        return catalogue.redshift
    if given.override:
        return np.full(len(catalogue), given.redshift)
    return np.where(np.isnan(catalogue.redshift), given.redshift, catalogue.redshift)


def _nowhere(catalogue: Catalogue, layers: list[Layer]) -> UserError:
    known = np.isfinite(catalogue.ra + catalogue.dec)
    if not known.any():
        return UserError(f"{catalogue.name}: no object has a position.\nName its columns with --columns.")
    middle = np.median(catalogue.ra[known]), np.median(catalogue.dec[known])
    tile = layers[0].tiles[0]
    return UserError(
        f"{catalogue.name}: no object lies in all mosaics. The objects are around RA {middle[0]:.4f}, "
        f"Dec {middle[1]:.4f}, {tile.name} around {tile.world.centre[0]:.4f}, {tile.world.centre[1]:.4f}.\n"
        "Give mosaics of the same part of the sky, and name the columns with --columns if they are others than "
        f"{catalogue.columns['ra']} and {catalogue.columns['dec']}."
    )
