"""What a prediction says at its end: how many images, with which flags, refused for which reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mergershift.core.words import counted
from mergershift.predicting.flags import Flag
from mergershift.predicting.rows import Predicted
from mergershift.predicting.table import Form

MOST_REASONS = 20
"""Number of reasons for refusals that are listed; files can differ in the numbers that these contain."""
_WORDINGS = {
    "incomplete": "incomplete",
    "unresolved": "unresolved",
    "sky differs": "whose sky differs",
    "noise differs": "whose noise differs",
    "redshift differs": "whose redshift differs",
}
"""Flags with another preposition than `with`."""


class Summary:
    """Counts of the rows that were added.

    Args:
        form: Format of the table.
        warnings: What has to be known of all of them, in sentences.
        catalogue: Whether the rows are the objects of a catalogue.
    """

    def __init__(self, form: Form, warnings: Sequence[str] = (), *, catalogue: bool = False) -> None:
        self._form, self._warnings, self.catalogue = form, warnings, catalogue
        self.images = 0
        """Number of rows, refused ones included."""
        self.refused = 0
        self._mergers = self._distant = self._missing = 0
        self._flags: Counter[Flag] = Counter()
        self._reasons: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, part: Predicted) -> None:
        """Count rows."""
        self.images += len(part.rows)
        probability = self._form.score(part, "probability")
        self._mergers += int(np.count_nonzero(probability >= self._form.threshold))
        self._missing += int(np.count_nonzero(np.isnan(probability)))
        self._distant += int(np.count_nonzero(self._form.score(part, "feature_distance") > 1))
        for row in part.rows:
            if row.refused:
                self.refused += 1
                self._reasons[row.refused] += 1
                name = f"object {row.identity.id}" if self.catalogue else row.identity.file or row.identity.id
                self._first.setdefault(row.refused, name)
            else:
                self._flags.update(set(row.flags))

    def lines(self, output: Path) -> list[str]:
        """Say what the table at `output` contains, in lines of text."""
        images = counted(self.images, "object" if self.catalogue else "image")
        rule = f"probability >= {self._form.threshold:.3f}"
        text = [f"{output}: {images}, {self._mergers} classified as mergers ({rule})"]
        if self._form.warning:
            text.append(self._form.warning)
        text += [*self._form.limits, *self._warnings]
        if counts := self.counts():
            text.append(f"{images}: {', '.join(counts)}")
        if self._distant:
            text.append(
                f"{self._distant} with features unlike those of the training images (feature_distance > 1); "
                "the others are not thereby like them"
            )
        if self._missing > self.refused:
            text.append(f"{self._missing} without a prediction")
        return text

    def counts(self) -> list[str]:
        """Count the rows by flag, the most frequent first, and those that were refused."""
        found = [f"{count} {_worded(flag)}" for flag, count in self.flags()]
        return [*([f"{self.refused} refused"] if self.refused else []), *found]

    def flags(self) -> list[tuple[Flag, int]]:
        """List the flags with the number of rows that have them, the most frequent first."""
        return sorted(self._flags.items(), key=lambda item: (-item[1], str(item[0])))

    def reasons(self) -> list[tuple[str, int, str]]:
        """List the most frequent reasons for refusals: the first file, the number of rows and the reason."""
        ranked = self._reasons.most_common(MOST_REASONS)
        return [(self._first[reason] or "array", count, reason) for reason, count in ranked]

    def refusals(self) -> Iterator[str]:
        """Say which rows were refused for which reasons, in lines of text."""
        listed = self.reasons()
        for first, count, reason in listed:
            more = f" and {count - 1} more" if count > 1 else ""
            yield f"Refused: {first}{more}: {reason}."
        if rest := self.refused - sum(count for _, count, _ in listed):
            yield f"Refused: {rest} more for other reasons, which the column flag gives."


def _worded(flag: Flag) -> str:
    wording = _WORDINGS.get(flag.word, f"with {flag.word}")
    return f"{wording} in {flag.filter}" if flag.filter else wording
