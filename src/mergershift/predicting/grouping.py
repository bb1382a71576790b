"""Grouping of files that contain one filter each into the galaxies that they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
from scipy.spatial import KDTree

from mergershift.predicting.alignment import Frame, offset, posed
from mergershift.predicting.filters import filters_in, without_filters
from mergershift.predicting.flags import Flag
from mergershift.predicting.hdu_roles import common_stem, without_role
from mergershift.predicting.image_files import folder_of, stem
from mergershift.predicting.mosaics.sky import ARCSEC, directions
from mergershift.predicting.planes import Description, Identity, Mask, Plane, StoredPlane
from mergershift.predicting.sources import Source, Unusable

APART_ARCSEC = 2.0
"""Positions of one galaxy in the headers of its files agree within this."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The images of one filter in a file that contains no other."""

    plane: Plane
    stored: StoredPlane
    identity: Identity
    redshift: float | None = None
    headerless: bool = False
    named: bool = False
    """Whether the header, rather than the file, gives the galaxy its id."""
    frame: Frame | None = None
    """Where it lies on the sky."""

    @property
    def file(self) -> str:
        """The file that contains it."""
        return self.identity.file


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A file that says which pixels of another file have a value."""

    file: str
    mask: Mask


Opened = Source | Partial | MaskFile | Unusable


def grouped(found: Iterable[Opened]) -> list[Source | Unusable]:
    """Join what belongs together: the filters of a galaxy, and masks with their images; in the order of first files.

    Files belong to one galaxy if their names, folders included, differ in the filter alone; else if their headers give
    one id; else if their headers give one position.
    """
    entries = _with_masks(list(found))
    partials = [entry for entry in entries if isinstance(entry, Partial)]
    groups = _groups(partials)
    made: list[Source | Unusable] = []
    for entry in entries:
        if not isinstance(entry, Partial):
            made.append(entry)
        elif (group := groups[id(entry)])[0] is entry:
            made.extend(_joined(group))
    return made


def _with_masks(entries: list[Opened]) -> list[Source | Partial | Unusable]:
    masks: dict[str, list[MaskFile]] = {}
    for entry in entries:
        if isinstance(entry, MaskFile):
            masks.setdefault(_base(entry.file), []).append(entry)
    made: list[Source | Partial | Unusable] = []
    used: set[str] = set()
    for entry in entries:
        if isinstance(entry, Source | Partial) and masks:
            file = entry.file if isinstance(entry, Partial) else entry.identities[0].file
            near = masks.get(_base(file), [])
            used |= {mask.file for mask in near}
            extra = tuple(mask.mask for mask in near)
            if isinstance(entry, Partial):
                stored = replace(entry.stored, masks=entry.stored.masks + extra)
                made.append(replace(entry, stored=stored))
            else:
                made.append(entry.with_masks(extra))
        elif not isinstance(entry, MaskFile):
            made.append(entry)
    for name in (mask.file for near in masks.values() for mask in near if mask.file not in used):
        reason = (
            "named like a map of weights, errors or bad pixels, but the image that it belongs to is not there"
        )
        made.append(Unusable(Identity(name, stem(name)), reason))
    return made


def _base(file: str) -> str:
    return f"{folder_of(file)}/{common_stem(stem(file))}"


def _groups(partials: Sequence[Partial]) -> dict[int, list[Partial]]:
    """Find the group of every partial, by its `id`."""
    groups = {id(partial): [partial] for partial in partials}
    for key in (_name, _id, None):
        alone = [partial for partial in partials if len(groups[id(partial)]) == 1]
        for group in _equal(alone, key) if key else _near(alone):
            filters = {partial.plane.filter for partial in group}
            # An id or position that several galaxies share, such as that of a field, joins nothing.
            if len(filters) == len(group) or key is _name:
                groups |= dict.fromkeys(map(id, group), group)
    return groups


def _equal(partials: Sequence[Partial], key: Callable[[Partial], Hashable | None]) -> list[list[Partial]]:
    found: dict[Hashable, list[Partial]] = {}
    for partial in partials:
        if (value := key(partial)) is not None:
            found.setdefault(value, []).append(partial)
    return [group for group in found.values() if len(group) > 1]


def _name(partial: Partial) -> Hashable | None:
    """Return the name of the file with its folders, but for filter and role; None if it names no filter."""
    path = f"{folder_of(partial.file)}/{without_role(stem(partial.file))}"
    if not filters_in(path):
        return None
    return without_filters(path)


def _id(partial: Partial) -> Hashable | None:
    return partial.identity.id if partial.named else None


def _near(partials: Sequence[Partial]) -> list[list[Partial]]:
    """List the groups in which all positions agree with each other, and with no other one."""
    placed = [partial for partial in partials if math.isfinite(partial.identity.ra + partial.identity.dec)]
    if len(placed) < 2:
        return []
    vectors = directions(
        [partial.identity.ra for partial in placed], [partial.identity.dec for partial in placed]
    )
    # More neighbours than there are filters cannot be one galaxy, such as the files that give their field's position.
    most = len({partial.plane.filter for partial in placed}) + 1
    near = KDTree(vectors).query(vectors, k=most, distance_upper_bound=APART_ARCSEC * ARCSEC)[1]
    sets = [frozenset(found[found < len(placed)].tolist()) for found in np.reshape(near, (len(placed), -1))]
    agreeing = (found for number, found in enumerate(sets) if 1 < len(found) < most and min(found) == number)
    return [
        [placed[other] for other in sorted(found)]
        for found in agreeing
        if all(sets[other] == found for other in found)
    ]


def _joined(group: list[Partial]) -> list[Source | Unusable]:
    """Make the source of one galaxy; every file of a group that contradicts itself is refused."""
    reason = _contradiction(group)
    if reason:
        return [Unusable(partial.identity, reason) for partial in group]
    first = group[0]
    named = next((partial for partial in group if partial.named), None)
    identity = named.identity if named else first.identity
    if named is None and len(group) > 1:
        identity = replace(identity, id=_short(first.file))
    redshifts = [partial.redshift for partial in group if partial.redshift is not None]
    description = Description(
        posed([partial.plane for partial in group], [partial.frame for partial in group]),
        next((value for value in redshifts if value > 0), redshifts[0] if redshifts else None),
        all(partial.headerless for partial in group),
        flags=(Flag("joined by name"),) if _is_by_id_alone(group) else (),
        remarks=(f"{len(group)} files",) if len(group) > 1 else (),
    )
    stored = tuple(partial.stored for partial in group)
    count = stored[0].pixels.shape[0]
    return [Source(description, stored, (replace(identity, file=first.file),), count)]


def _is_by_id_alone(group: Sequence[Partial]) -> bool:
    """Whether only the id in their headers says that files show one galaxy: neither their names nor their positions."""
    names = {_name(partial) for partial in group}
    placed = all(math.isfinite(partial.identity.ra + partial.identity.dec) for partial in group)
    return len(group) > 1 and not placed and (len(names) > 1 or None in names)


def _contradiction(group: Sequence[Partial]) -> str:
    filters = [partial.plane.filter or "an unknown filter" for partial in group]
    repeated = next((name for name in filters if filters.count(name) > 1), None)
    if repeated is not None:
        files = ", ".join(
            PurePath(partial.file).name
            for partial, name in zip(group, filters, strict=True)
            if name == repeated
        )
        return f"several files of one galaxy in {repeated} ({files}); keep one of them"
    places = [(p.identity.ra, p.identity.dec) for p in group if math.isfinite(p.identity.ra)]
    for ra, dec in places[1:]:
        away = math.hypot(*offset(places[0], (ra, dec)))
        if away > APART_ARCSEC:
            return f"its files have one name, but their positions are {away:.1f} arcsec apart"
    redshifts = [p.redshift for p in group if p.redshift is not None and p.redshift > 0]
    if redshifts and max(redshifts) - min(redshifts) > 0.01 * min(redshifts):
        return f"its files give different redshifts ({', '.join(f'{value:g}' for value in redshifts)})"
    return ""


def _short(file: str) -> str:
    """Return the common name of a galaxy's files, without the filter."""
    plain = without_filters(without_role(stem(file))).replace("<filter>", " ")
    return "_".join(plain.replace("-", " ").split()) or stem(file)
