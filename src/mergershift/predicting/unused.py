"""What a user gave in vain and has to know of: properties that images give themselves, and files that are not read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mergershift.core.words import counted
from mergershift.predicting.image_files import SUFFIXES, passed_over
from mergershift.predicting.planes import Description, Given
from mergershift.predicting.units import is_usable


def unused_options(images: Iterable[tuple[Description, int]], given: Given) -> list[str]:
    """Say in sentences which of the given properties did not count, and for how many images.

    Args:
        images: Descriptions of the images that are not refused, with the number of images of each.
        given: Properties that the user gives.
    """
    if given.override:
        return []
    counts: dict[str, int] = {}
    total = 0
    for found, count in images:
        total += count
        for option in _known(found, given):
            counts[option] = counts.get(option, 0) + count
    return [
        f"{option} was not used for {count} of {counted(total, 'image')}, which come with their own; "
        "--override makes it count."
        for option, count in counts.items()
    ]


def passed_over_files(names: Sequence[str], leave_out: Iterable[Path] = ()) -> list[str]:
    """Say in a sentence which files in the named folders are not read, by the end of their names."""
    found = passed_over(names, leave_out)
    if not found:
        return []
    ends = ", ".join(f"{count} {end}" for end, count in found.most_common(5))
    more = f" and {len(found) - 5} other kinds" if len(found) > 5 else ""
    return [
        f"{counted(found.total(), 'file')} passed over ({ends}{more}); images end with {', '.join(SUFFIXES)}."
    ]


def _known(found: Description, given: Given) -> list[str]:
    """List the options that give what the images give themselves."""
    planes = found.planes
    known = {
        "--unit": given.unit is not None
        and all(
            plane.jansky is not None or (plane.unit is not None and is_usable(plane.unit)) for plane in planes
        ),
        "--pixel-arcsec": given.pixel_arcsec is not None and all(plane.pixel_arcsec for plane in planes),
        "--redshift": given.redshift is not None and found.redshift is not None,
        "--filters": given.filters is not None and all(plane.filter for plane in planes),
    }
    return [option for option, true in known.items() if true]
