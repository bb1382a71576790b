"""Which filter each channel of a file shows, by its pixels, since what is written about it disagrees.

The name of the three-filter file lists F814W, F160W, F356W; the comment on NAME3 in its header and the authors'
README list F814W, F356W, F160W. The order is found whenever a file is opened, which takes a fraction of a second,
and is recorded with what was made from the images rather than in the data folder: a record there would be outdated
by the next file that is added, and would change the hash that DVC has pinned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.channel_evidence import Order, showing, with_brightness, with_noise
from mergershift.archive.facts import DATA_SETS, DataSet, Domain
from mergershift.archive.layouts import FileError, fits_header
from mergershift.archive.readers import Format, Images
from mergershift.archive.readers import open_images as open_as_stored

SAMPLE = 128
"""Rows that are read; evenly spaced, they show that many galaxies of the published archive."""
AUTHORS_ORDERS: dict[str, Order] = {"three": ("f814w", "f356w", "f160w")}
"""Orders that the authors' README and notebook name, by filter set."""


@dataclass(frozen=True)
class ChannelOrder:
    """The filters that the channels of one file show, and what says so."""

    file: str
    named: Order
    """Filters in the order of the file's name, which is the order in which images are read."""
    stored: Order
    """Filters in the order of the file's channels."""
    evidence: str
    """What decided; empty if the pixels could not, so that the order of the name is assumed."""
    header: Order | None = None
    """Filters as the comment in the file's header lists them; None if there is none."""

    @property
    def places(self) -> tuple[int, ...]:
        """Channel of the file that shows each of the filters in the order of its name."""
        return tuple(self.stored.index(name) for name in self.named)

    @property
    def decided(self) -> bool:
        """Whether the pixels decided."""
        return bool(self.evidence)

    def __str__(self) -> str:
        return f"{','.join(self.stored)} ({self.evidence or 'assumed: the pixels do not decide'})"

    @property
    def warning(self) -> str:
        """Warning that the order of the name is assumed although another one is written elsewhere; empty if decided."""
        if self.decided:
            return ""
        return f"{self.file}: {self.description()}.\n{self.remedy}"

    @property
    def remedy(self) -> str:
        """What to do about an order that is not that of the name, or unknown."""
        if self.decided:
            return (
                "The channels are put into the order of the name when they are read; there is nothing to do."
            )
        return (
            f"The order {', '.join(self.stored)} is assumed. The two-filter files of the same archive would decide: "
            "add them with `mergershift data fetch --filters both`."
        )

    def description(self) -> str:
        """Describe what the pixels, the name and the header say."""
        pixels = ", ".join(self.stored) if self.decided else "undecided"
        text = f"channels by the pixels: {pixels}"
        text += f" ({self.evidence})" if self.decided else ""
        text += f"; by the name: {', '.join(self.named)}"
        return text + (f"; by the header: {', '.join(self.header)}" if self.header else "")


def open_images(folder: Path, data_set: DataSet, format: Format | None = None) -> Images:
    """Open the images of a data set with their channels in the order of `data_set.filter_set`.

    The format is by default that of `readers.open_images`. Raises UserError if the file is missing, truncated or
    pickled, if the shape is not `(N, C, 75, 75)` or if the type is not float64.
    """
    images = open_as_stored(folder, data_set, format)
    return images.with_channels(channel_order(folder, data_set, format).places)


def channel_order(folder: Path, data_set: DataSet, format: Format | None = None) -> ChannelOrder:
    """Find the filters of a file's channels.

    A three-filter file shows the galaxies of the two-filter file in the same rows, if the folder has one: equal
    images identify two channels. Else the noise, means and standard deviations are compared with the published ones,
    or the images with those of the other domain, if its order is known. What the pixels leave open is settled by
    what is written about the order, unless that disagrees.

    Raises UserError under the conditions of `open_images`.
    """
    images = open_as_stored(folder, data_set, format)
    named, header = data_set.filter_set.filter_names, _header_order(images.path, data_set)
    claims = _claims(data_set) | ({header} if header else set())
    stored, evidence = _settled(folder, data_set, sample_of(images), claims, _EVIDENCE)
    if not evidence and claims == {named} and stored == named:
        evidence = "as named, which nothing contradicts"
    return ChannelOrder(images.path.name, named, stored, evidence, header)


def _claims(data_set: DataSet) -> set[Order]:
    """List the orders that are written somewhere."""
    named = data_set.filter_set.filter_names
    return {named, AUTHORS_ORDERS.get(data_set.filter_set.name, named)}


Narrowing = tuple[list[Order], str]
"""Orders that remain possible, the best one first, and what ruled out the others; empty if nothing did."""


class _Narrow(Protocol):
    def __call__(
        self, folder: Path, data_set: DataSet, sample: NDArray[np.float64], candidates: list[Order]
    ) -> Narrowing: ...


def _settled(
    folder: Path,
    data_set: DataSet,
    sample: NDArray[np.float64],
    claims: set[Order],
    narrowings: Sequence[_Narrow],
) -> tuple[Order, str]:
    """Rule out orders until one, or one of the `claims`, is left; return it and the evidence, empty if several are."""
    named = data_set.filter_set.filter_names
    candidates: list[Order] = list(permutations(named))
    evidence: list[str] = []
    for narrow in narrowings:
        candidates, new = narrow(folder, data_set, sample, candidates)
        evidence += [new] if new else []
        claimed = [order for order in candidates if order in claims]
        if evidence and (len(candidates) == 1 or len(claimed) == 1):
            return (claimed or candidates)[0], " and ".join(evidence)
    return (named if named in candidates else candidates[0]), ""


def _by_two_filters(
    folder: Path, data_set: DataSet, sample: NDArray[np.float64], candidates: list[Order]
) -> Narrowing:
    two = DATA_SETS["two", data_set.domain]
    if data_set.filter_set == two.filter_set:
        return candidates, ""
    try:
        shown = channel_order(folder, two).stored
    except FileError:
        return candidates, ""
    return _by_images(folder, two, shown, sample, candidates)


def _by_other_domain(
    folder: Path, data_set: DataSet, sample: NDArray[np.float64], candidates: list[Order]
) -> Narrowing:
    other = next(domain for domain in Domain if domain is not data_set.domain)
    reference = DATA_SETS[data_set.filter_set.name, other]
    try:
        pixels = sample_of(open_as_stored(folder, reference))
    except FileError:
        return candidates, ""
    shown, evidence = _settled(folder, reference, pixels, _claims(reference), _EVIDENCE[:-1])
    return _by_images(folder, reference, shown, sample, candidates) if evidence else (candidates, "")


def _by_images(
    folder: Path, reference: DataSet, shown: Order, sample: NDArray[np.float64], candidates: list[Order]
) -> Narrowing:
    try:
        images = open_as_stored(folder, reference)
    except FileError:
        return candidates, ""
    if len(_rows(images)) != len(sample):
        return candidates, ""
    kept = showing(sample_of(images), shown, sample, candidates)
    return kept, f"the same images as in {images.path.name}" if len(kept) < len(candidates) else ""


def _by_statistics(
    folder: Path, data_set: DataSet, sample: NDArray[np.float64], candidates: list[Order]
) -> Narrowing:
    evidence = []
    for what, narrow in (("noise", with_noise), ("means and deviations", with_brightness)):
        remaining = narrow(sample, data_set, candidates)
        evidence += [what] * (len(remaining) < len(candidates))
        candidates = remaining
    return candidates, f"the published {' and '.join(evidence)}" if evidence else ""


_EVIDENCE: tuple[_Narrow, ...] = (_by_two_filters, _by_statistics, _by_other_domain)


def _rows(images: Images) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(np.int64))


def sample_of(images: Images) -> NDArray[np.float64]:
    """Read some images of a file; NaN and infinite pixels, which other checks report, count as 0."""
    return np.nan_to_num(images[_rows(images)], nan=0.0, posinf=0.0, neginf=0.0)


def _header_order(path: Path, data_set: DataSet) -> Order | None:
    """Read the filters from the comment on the axis of filters in a FITS header; None if it does not list them all."""
    if path.suffix == ".npy":
        return None
    header = fits_header(path)
    listed = " ".join(str(header.comments[name]) for name in header if name.startswith("NAME")).lower()
    order = tuple(re.findall(r"f\d{3}[wmn]", listed))
    return order if sorted(order) == sorted(data_set.filter_set.filter_names) else None
