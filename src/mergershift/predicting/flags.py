"""Flags of predicted images: a closed vocabulary of what readers of a table have to know of a row."""

from __future__ import annotations

from dataclasses import dataclass

MEANINGS = {
    "refused": "cannot be used, for the reason that follows: nothing is predicted",
    "no data": "no pixel of the field has a value in this filter, or all have the same one: nothing is predicted",
    "too little data": "most of the field or much of its middle has no value in this filter: nothing is predicted",
    "incomplete": "part of the field has no value in this filter (see the column of its coverage)",
    "pixels interpolated": "a few pixels without a value were filled from their neighbours",
    "nothing detected": "the centre is no brighter than the noise of the sky in all filters",
    "unresolved": "the source is no wider than a star in this filter",
    "blurred": "the point-spread function is wider than two pixels of the model: finer structure, which the training "
    "images show, is lost",
    "sky differs": "the sky at the border is brighter or fainter than in nearly all training images",
    "noise differs": "the noise is far from that of the training images",
    "redshift differs": "the redshift is far from that of the galaxies that the model was trained on",
    "filters assumed": "the file does not name its filters: they are assumed to be the model's, in its order",
    "unit assumed": "the file gives no unit: the values are assumed to be in the model's",
    "scale assumed": "the file gives no pixel scale or redshift: the image is assumed to be on the model's grid",
    "centre assumed": "the position of the galaxy is unknown: it is assumed to be the centre of the image",
    "bands misaligned": "the filters are shifted or turned against each other by more than a pixel of the model",
    "scales contradict": "the header gives several pixel scales: that of its world coordinates is used",
    "joined by name": "the files of its filters give no positions: they are assumed to show one galaxy because their "
    "headers name the same object",
    "id repeated": "another row of the catalogue has the same id",
}
"""Flags and their meaning; some are followed by a filter, as in ``no data in f814w``."""
WITHHOLDING = frozenset({"refused", "no data", "too little data"})
"""Flags of images for which nothing is predicted."""


@dataclass(frozen=True, slots=True, order=True)
class Flag:
    """A flag of an image; raises ValueError for a word that is not in `MEANINGS`."""

    word: str
    filter: str | None = None
    """The filter that it concerns; None for the image as a whole."""

    def __post_init__(self) -> None:
        if self.word not in MEANINGS:
            raise ValueError(f"flag {self.word!r}, expected one of {', '.join(MEANINGS)}")

    def __str__(self) -> str:
        return f"{self.word} in {self.filter}" if self.filter else self.word
