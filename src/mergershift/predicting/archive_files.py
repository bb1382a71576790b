"""What is known of the archive's images beyond their headers, which lack the filters and the redshift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mergershift.archive import (
    DATA_SETS,
    IMAGE_SIZE,
    PIXEL_ARCSEC,
    REDSHIFT,
    UNIT,
    DataSet,
    FilterSet,
    channel_order,
)
from mergershift.archive.headers import published_filters
from mergershift.core.errors import UserError
from mergershift.predicting.planes import Description

_BY_NAME = {
    name: data_set
    for data_set in DATA_SETS.values()
    for name in (*data_set.images_names, *data_set.fits_names)
}


def complete(
    found: Description, name: str, headers: Sequence[Mapping[str, Any]] = (), tables: Sequence[str] = ()
) -> Description:
    """Add what the archive publishes about its images to their description; other images' stays the same.

    Args:
        found: Properties from the headers, which take precedence.
        name: Path of the file. A file that has a name of the archive is recognised without headers.
        headers: Headers of the HDU with the images and of the file, by which copies under other names are recognised.
        tables: Names of the binary tables in the file.
    """
    planes = found.planes
    named = _BY_NAME.get(Path(name).name)
    if named is not None and len(named.filter_set.filters) != len(planes):
        named = None
    filter_set = named.filter_set if named else published_filters(headers, tables, len(planes))
    if filter_set is None:
        return found
    remarks = found.remarks
    if all(plane.filter is None for plane in planes):
        stored = _by_pixels(Path(name), named) if named else None
        filters = stored or filter_set.filter_names
        planes = tuple(replace(plane, filter=name) for plane, name in zip(planes, filters, strict=True))
        remarks += () if stored else _remarks(filter_set)
    scale = (PIXEL_ARCSEC, PIXEL_ARCSEC)
    planes = tuple(
        replace(
            plane,
            unit=plane.unit or (UNIT if named else None),
            pixel_arcsec=plane.pixel_arcsec or (scale if plane.shape == (IMAGE_SIZE, IMAGE_SIZE) else None),
        )
        for plane in planes
    )
    redshift = REDSHIFT if found.redshift is None else found.redshift
    return replace(found, planes=planes, redshift=redshift, remarks=remarks)


def _by_pixels(path: Path, data_set: DataSet) -> tuple[str, ...] | None:
    """Find the filters of the channels of a file with a name of the archive; None if its pixels do not decide."""
    try:
        order = channel_order(path.parent, data_set, "npy" if path.suffix == ".npy" else "fits")
    except UserError:  # The images need not be complete and in double precision to be predicted on.
        return None
    return order.stored if order.decided and order.file == path.name else None


def _remarks(filter_set: FilterSet) -> tuple[str, ...]:
    """Say which order of channels is assumed, if what is written about the files disagrees about it."""
    names = filter_set.filter_names
    return (f"channels assumed to be {', '.join(names)}",) if len(names) > 2 else ()
