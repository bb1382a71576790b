"""Columns of the table of predictions: their order, meaning, units and UCDs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy.table import Column, MaskedColumn
from numpy.typing import NDArray

from mergershift.images.measure import MEASURES as MEANINGS

Kind = Literal["text", "number", "integer", "class"]
_TYPES: dict[Kind, type[np.generic]] = {
    "text": np.str_,
    "number": np.float64,
    "integer": np.int64,
    "class": np.uint8,
}


@dataclass(frozen=True, slots=True)
class Format:
    """What a column contains; only a class can be masked, while unknown numbers are NaN and unknown texts empty."""

    description: str
    ucd: str
    """Unified Content Descriptor, https://www.ivoa.net/documents/UCD1+/."""
    kind: Kind = "number"
    unit: str | None = None

    def column(
        self, name: str, values: NDArray[np.generic] | list[str], mask: NDArray[np.bool_] | None = None
    ) -> Column:
        """Create the column from its values."""
        kind = Column if mask is None else MaskedColumn
        more = {} if mask is None else {"mask": mask}
        array = np.asarray(values, _TYPES[self.kind])
        return kind(
            array, name=name, description=self.description, unit=self.unit, meta={"ucd": self.ucd}, **more
        )


BEFORE = {
    "id": Format(
        "name of the galaxy in its catalogue or header, else the name of its file without the ending",
        "meta.id;meta.main",
        "text",
    ),
    "ra": Format("right ascension, ICRS; NaN if unknown", "pos.eq.ra;meta.main", unit="deg"),
    "dec": Format("declination, ICRS; NaN if unknown", "pos.eq.dec;meta.main", unit="deg"),
    "file": Format(
        "file that contains the image, or the first of several; empty for an array",
        "meta.id;meta.file",
        "text",
    ),
    "index": Format(
        "number of the image in its file, or of the row in the catalogue, from 0", "meta.record", "integer"
    ),
    "z": Format("redshift that was used for the scale in kpc; NaN if none was", "src.redshift"),
    "filters": Format(
        "filters that the model was given, in its order; empty if they are assumed",
        "meta.id;instr.filter",
        "text",
    ),
}
"""Columns before the scores."""
MERGER = Format(
    "1 if the probability is at least THRESHLD, 0 if it is less; null if nothing is predicted",
    "src.class",
    "class",
)
MEASURES = {
    "coverage": Format(
        "share of the model's field that has a value in {filter}", "stat.filling;instr.filter"
    ),
    "sky_level": Format(
        f"{MEANINGS['sky_level']} in {{filter}}",
        "phot.flux.density.sb;instr.background",
        unit="uJy / arcsec2",
    ),
    "sky_noise": Format(
        f"{MEANINGS['sky_noise']}, on the model's grid in {{filter}}",
        "stat.stdev;instr.background",
        unit="uJy / arcsec2",
    ),
    "peak_sn": Format(f"{MEANINGS['peak_sn']} in {{filter}}", "stat.snr;stat.max"),
}
"""Columns that every filter has, followed by its name."""
AFTER = {
    "flag": Format(
        "what to know of the row: see the meanings of the words in the comments", "meta.code.qual", "text"
    ),
    "conversion": Format("what was done to the image before the network saw it", "meta.note", "text"),
}
"""Columns after the measures."""
SCORES = {
    "probability": "stat.probability",
    "probability_scatter": "stat.stdev;stat.probability",
    "training_scatter": "stat.stdev;stat.probability",
    "calibrated_probability": "stat.probability",
    "feature_distance": "stat.value",
}
"""UCDs of the scores that a model can give."""


def formats(scores: Mapping[str, str], filters: tuple[str, ...]) -> dict[str, Format]:
    """List the columns of a table in their order.

    Args:
        scores: Descriptions of the scores that the model gives, by the names of their columns.
        filters: Names of the model's filters.
    """
    by_filter = {
        f"{name}_{filter_name}": Format(
            form.description.format(filter=filter_name), form.ucd, form.kind, form.unit
        )
        for name, form in MEASURES.items()
        for filter_name in filters
    }
    given = {name: Format(description, SCORES[name]) for name, description in scores.items()}
    return {**BEFORE, **given, "merger": MERGER, **by_filter, **AFTER}
