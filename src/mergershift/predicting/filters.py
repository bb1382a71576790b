"""Filters of stored planes, from headers, names of HDUs and names of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from astropy.io.fits import Header

from mergershift.predicting.units import Refused

_FILTER = re.compile(r"(?<![a-z0-9])f\d{3,4}(?:lp|[wmnx])\d?(?![a-z0-9])", re.IGNORECASE)
"""A filter of HST or JWST, such as F814W, F350LP, F150W2 and F1000W."""
_LISTS = ("FILTERS", "BANDS", "FILTNAMS", "BANDNAME")
_NUMBERED = ("FILTER", "FILT", "BAND", "FILTNAM")
_SEPARATORS = re.compile(r"[\s,;+|/&]+")
_WHEEL = re.compile(r"^(clear|n/?a$|none$|open|pupil|gr\d|blank|pol\d)", re.IGNORECASE)
"""Positions of a filter wheel or pupil wheel that hold no filter, but for instance a polariser."""
_IN_THE_LIGHT = (("PUPIL",), ("FILTER",), ("FILTNAM1", "FILTNAM2", "FILTER1", "FILTER2"), ("BAND",))
"""Keywords for what the light passes, in order of precedence: a filter in JWST's pupil wheel is the narrower one."""


def filter_name(text: str) -> str:
    """Extract the filter from a name that may contain the instrument too: f160w from WFC3_IR/F160W."""
    plain = text.strip().lower()
    found = _FILTER.findall(plain.replace("_", " "))
    return str(found[-1]) if found else plain


def filters_in(text: str) -> list[str]:
    """List the different filters of HST and JWST that a name contains, such as that of a file."""
    return list(dict.fromkeys(name.lower() for name in _FILTER.findall(text.replace("_", " "))))


def without_filters(text: str) -> str:
    """Replace the filters in a name by a mark, so that the files of one galaxy have the same name."""
    marked = _FILTER.sub("<filter>", text.replace("_", " "))
    return re.sub(r"<filter>(?:[-\s.]clearp?\b)?", "<filter>", marked)


def filters_of_cube(headers: Sequence[Header], planes: int) -> tuple[str, ...] | None:
    """Read the filters of the planes of a cube; None if no header lists them.

    A list comes from one header as a whole: numbers in one header and numbers in another one do not belong together.
    The positions of an instrument's filter wheels, which have the same keywords, are no list.

    Args:
        headers: Headers of the HDU and of the file, in order of precedence.
        planes: Number of planes.

    Raises Refused if a header lists another number of filters.
    """
    for header in headers:
        for listed in _lists(header):
            if len(listed) != planes:
                raise Refused(f"{planes} channels, but {len(listed)} filter names ({', '.join(listed)})")
            return listed
    for header in headers:
        numbered = _numbered(header, planes)
        if numbered is not None:
            return numbered
    return None


def filter_of_plane(headers: Sequence[Header], names: Sequence[str]) -> str | None:
    """Read the filter of a single plane; None if it is unknown, as behind two filters at once.

    Args:
        headers: Headers of the HDU and of the file, in order of precedence.
        names: Texts that may contain one filter, in order of precedence, such as EXTNAME and EXTVER of the HDU; the
            name of the file comes last and is used where no header names a filter.
    """
    *of_hdu, of_file = names
    for text in of_hdu:
        if len(found := filters_in(text)) == 1:
            return found[0]
    for header in headers:
        if found := _in_the_light(header):
            return found[0] if len(found) == 1 else None
    named = filters_in(of_file)
    return named[0] if len(named) == 1 else None


def _lists(header: Header) -> Iterator[tuple[str, ...]]:
    for keyword in (*_LISTS, "FILTER", "BAND"):
        text = str(header.get(keyword) or "").strip()
        if not text:
            continue
        names = [name for name in _SEPARATORS.split(text) if name]
        if len(names) == 1 and len(filters_in(text)) > 1:  # as in F814W-F160W
            names = filters_in(text)
        if len(names) == 1 and keyword.startswith("BAND") and re.fullmatch(r"[a-zA-Z]{2,8}", text):
            names = list(text)  # as in grz
        if len(names) > 1 or keyword in _LISTS:
            yield tuple(filter_name(name) for name in names)


def _numbered(header: Header, planes: int) -> tuple[str, ...] | None:
    for keyword in _NUMBERED:
        for first in (0, 1):
            values = [_text(header.get(f"{keyword}{first + number}")) for number in range(planes)]
            if all(values) and not any(_WHEEL.match(value) for value in values):
                return tuple(filter_name(value) for value in values)
            if first == 0 and header.get(f"{keyword}0") is not None:
                break
    return None


def _in_the_light(header: Header) -> list[str]:
    """List the different filters that the light of an image passes, by the first keywords that name any."""
    for keywords in _IN_THE_LIGHT:
        texts = [_text(header.get(keyword)) for keyword in keywords]
        found = [name for text in texts for name in filters_in(text)]
        if not found and keywords != ("PUPIL",):  # WFPC2 numbers the positions of its wheels.
            named = (text for text in texts if text and not _WHEEL.match(text) and not text.isdecimal())
            found = [filter_name(text) for text in named]
        if found:
            return list(dict.fromkeys(found))
    return []


def _text(value: Any) -> str:
    return str(value).strip() if value is not None else ""
