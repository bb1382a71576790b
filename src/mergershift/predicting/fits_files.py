"""FITS files as sources of images: which HDUs are images and masks, which filters and which galaxies they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from astropy.io.fits import Header

from mergershift.predicting.alignment import posed
from mergershift.predicting.archive_files import complete
from mergershift.predicting.filters import filter_of_plane, filters_of_cube, without_filters
from mergershift.predicting.fits_access import FitsPixels, Hdu, read_headers
from mergershift.predicting.fits_headers import describe_plane, frame_in, identity_of, redshift_of
from mergershift.predicting.grouping import MaskFile, Opened, Partial
from mergershift.predicting.hdu_roles import (
    SCIENCE,
    bad_bits,
    is_flat,
    role_of_file,
    role_of_hdu,
    sky_images,
)
from mergershift.predicting.image_files import stem
from mergershift.predicting.planes import Description, Identity, Mask, MaskKind, Pixels, StoredPlane
from mergershift.predicting.sources import Source, Unusable, source_of, with_count
from mergershift.predicting.units import Refused


def open_fits(name: str) -> list[Opened]:
    """Open a FITS file by its headers; raises Refused if none of its HDUs can be used."""
    hdus = read_headers(name)
    return _File(name, hdus).opened()


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    hdus: Sequence[Hdu]

    @property
    def primary(self) -> Header:
        return self.hdus[0].header

    def opened(self) -> list[Opened]:
        images = [hdu for hdu in self.hdus if hdu.kind == "image" and hdu.shape]
        if not images:
            raise Refused("the file contains no images")
        role = role_of_file(stem(self.name))
        if role != "image" and not any(hdu.name in SCIENCE for hdu in images):
            return [self._mask_file(role, images)]
        science = self._science(images)
        cubes = [hdu for hdu in science if len(hdu.shape) in (3, 4) and hdu.shape[-3] > 1]
        if cubes:
            return [*self._cubes(cubes, images)]
        flat = [hdu for hdu in science if is_flat(hdu)]
        if not flat:
            found = ", ".join(str(hdu.shape) for hdu in science)
            raise Refused(f"images of shape {found}, expected (C, H, W) or (N, C, H, W)")
        return self._flats(flat, images)

    def _science(self, images: Sequence[Hdu]) -> list[Hdu]:
        """Select the HDUs with images of the sky."""
        science = sky_images(images)
        if not science:
            raise Refused(f"no HDU with an image of the sky, only {', '.join(_title(hdu) for hdu in images)}")
        return science

    def _mask_file(self, role: MaskKind | Literal["other"], images: Sequence[Hdu]) -> Opened:
        if role == "other":
            reason = "by its name no image of the sky, but a map of something else"
            return Unusable(Identity(self.name, stem(self.name)), reason)
        return MaskFile(self.name, self._mask(images[0], role))

    def _mask(self, hdu: Hdu, kind: MaskKind) -> Mask:
        plane = None if len(hdu.shape) > 2 else 0
        bits = bad_bits((hdu.header, self.primary)) if kind == "bad" else -1
        return Mask(self._pixels(hdu), plane, kind, bits)

    def _masks(self, image: Hdu, images: Sequence[Hdu], science: Sequence[Hdu]) -> tuple[Mask, ...]:
        """Find the masks of an image: of its version or filter if they are named so, else those that follow it."""
        found = []
        following = False
        for hdu in images:
            if hdu in science:
                following = hdu is image
                continue
            role = role_of_hdu(hdu.name, hdu.version)
            if role == "image" or role == "other" or hdu.shape[-2:] != image.shape[-2:]:
                continue
            if len(hdu.shape) > 2 and hdu.shape != image.shape:
                continue
            mine = self._same(hdu, image, science)
            if (following if mine is None else mine) or len(science) == 1:
                found.append(self._mask(hdu, role))
        return tuple(found)

    def _same(self, mask: Hdu, image: Hdu, science: Sequence[Hdu]) -> bool | None:
        """Return whether a mask has the filter and the EXTVER of an image; None if neither of them decides."""
        versions = {hdu.version for hdu in science}
        filters = [filter_of_plane((hdu.header,), (hdu.name, hdu.version, "")) for hdu in (mask, image)]
        pairs = [(mask.version, image.version)] if len(versions) > 1 else []
        known = [one == other for one, other in (*pairs, (filters[0], filters[1])) if one and other]
        return all(known) if known else None

    def _pixels(self, hdu: Hdu) -> Pixels:
        shape = (1,) * (4 - len(hdu.shape)) + tuple(hdu.shape)
        return FitsPixels(self.name, hdu.number, (shape[0], shape[1], shape[2], shape[3]))

    def _identity(self, hdu: Hdu, several: bool) -> tuple[Identity, bool]:
        """Read the identity of an image, and whether a header gives it."""
        headers = (hdu.header,) if several else (hdu.header, self.primary)
        found = identity_of(headers, self.name)
        named = found.id != stem(self.name)
        if several and not named:
            label = hdu.name if hdu.name and hdu.name not in SCIENCE else f"{stem(self.name)}[{hdu.number}]"
            found = replace(found, id=label)
        return found, named

    def _cubes(self, cubes: Sequence[Hdu], images: Sequence[Hdu]) -> Iterator[Opened]:
        tables = [hdu.name for hdu in self.hdus if hdu.kind == "table"]
        first = 0
        for hdu in cubes:
            identity, _ = self._identity(hdu, len(cubes) > 1)
            headers = (hdu.header, self.primary)
            try:
                shape = with_count(tuple(hdu.shape))
                filters = filters_of_cube(headers, shape[1]) or (None,) * shape[1]
                numbers = range(1, shape[1] + 1) if shape[1] > 1 else (None,)
                planes = (
                    describe_plane(hdu.header, self.primary, (shape[2], shape[3]), number)
                    for number in numbers
                )
                named = (replace(plane, filter=name) for plane, name in zip(planes, filters, strict=False))
                found = Description(tuple(named), redshift_of(headers))
                found = complete(found, self.name, headers, tables)
            except Refused as reason:
                if len(cubes) == 1:
                    raise
                yield Unusable(identity, str(reason), first)
                first += 1
                continue
            masks = self._masks(hdu, images, cubes)
            yield source_of(self._pixels(hdu), found, identity, masks, first)
            first += shape[0]

    def _flats(self, flats: Sequence[Hdu], images: Sequence[Hdu]) -> list[Opened]:
        file = stem(self.name) if len(flats) == 1 else ""
        partials: list[tuple[str, Partial]] = []
        for hdu in flats:
            headers = (hdu.header, self.primary)
            plane = describe_plane(hdu.header, self.primary, (hdu.shape[-2], hdu.shape[-1]))
            plane = replace(plane, filter=filter_of_plane(headers, (hdu.name, hdu.version, file)))
            stored = StoredPlane(self._pixels(hdu), 0, self._masks(hdu, images, flats))
            identity, named = self._identity(hdu, False)
            label = without_filters(hdu.name) if hdu.name not in (*SCIENCE, "PRIMARY", "") else ""
            frame = frame_in(headers, plane)
            partials.append(
                (label, Partial(plane, stored, identity, redshift_of(headers), False, named, frame))
            )
        if len(partials) == 1:
            return [partials[0][1]]
        return [*self._galaxies(partials)]

    def _galaxies(self, partials: Sequence[tuple[str, Partial]]) -> Iterator[Opened]:
        """Join the planes of a file: all of them, if their filters differ; else those of one name or of one object."""
        planes = [partial for _, partial in partials]
        filters = [partial.plane.filter for partial in planes]
        groups: dict[str, list[Partial]] = {"": planes}
        if len(set(filters)) < len(filters) and any(filters):
            for by in ([label for label, _ in partials], [partial.identity.id for partial in planes]):
                groups = {}
                for key, partial in zip(by, planes, strict=True):
                    groups.setdefault(key, []).append(partial)
                if all(len({p.plane.filter for p in group}) == len(group) for group in groups.values()):
                    break
            else:
                counts = ", ".join(f"{filters.count(name)} of {name}" for name in dict.fromkeys(filters))
                raise Refused(f"several images a filter ({counts}), expected one of each galaxy")
        for number, (key, group) in enumerate(groups.items()):
            identity = group[0].identity
            if len(groups) > 1 and not group[0].named:
                identity = replace(identity, id=key.replace("<filter>", "").strip(" _-") or identity.id)
            redshift = next((p.redshift for p in group if p.redshift is not None), None)
            made = posed([partial.plane for partial in group], [partial.frame for partial in group])
            found = Description(made, redshift)
            yield Source(found, tuple(partial.stored for partial in group), (identity,), 1, number)


def _title(hdu: Hdu) -> str:
    name = hdu.name or f"HDU {hdu.number}"
    return f"{name},{hdu.version}" if hdu.version else name
