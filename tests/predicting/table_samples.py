"""Rows of tables of predictions."""

from __future__ import annotations

import numpy as np
from registry.samples import facts_of

from mergershift.predicting.columns import MEASURES, SCORES
from mergershift.predicting.flags import Flag
from mergershift.predicting.planes import Identity
from mergershift.predicting.rows import Predicted, Row
from mergershift.predicting.table import Form

FORM = Form(
    facts_of(), "models:/mergershift@champion", "mergershift/3", {name: f"{name} of it" for name in SCORES}
)
NAMES = ['a "b" c.npy', "", "Hubble µ.fits", "x" * 90]
FLAGS = [[], [Flag("filters assumed")], [Flag("incomplete", "f814w"), Flag("unresolved", "f160w")], []]


def predicted(count: int, *, start: int = 0, refused: bool = True) -> Predicted:
    """Rows of which every seventh, if `refused`, is refused."""
    random = np.random.default_rng(count)
    rows, scores = [], random.random((count, len(SCORES)))
    for number in range(start, start + count):
        identity = Identity(NAMES[number % 4], f"galaxy {number}", 150.0 + number / 7, -2.0)
        row = Row(identity, number, 2.0, ("f814w", "f160w"))
        row.conversion, row.flags = "converted from nJy", list(FLAGS[number % 4])
        if refused and number % 7 == 0:
            row = Row(identity, number, refused="counts are no unit of <brightness> & more")
            scores[number - start] = np.nan
        rows.append(row)
    measures = {name: random.normal(size=(count, 2)).astype(np.float32) for name in MEASURES}
    return Predicted(rows, scores, random.random((count, 2)).astype(np.float32), measures)
