"""A catalogue of objects: what they are called, where they are and how far, whatever its columns are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergershift.core.errors import UserError
from mergershift.predicting.mosaics.options import ROLES
from mergershift.predicting.mosaics.tables import ObjectTable, Values, read_table

IDS = (
    "id",
    "number",
    "object_id",
    "objid",
    "source_id",
    "src_id",
    "id_phot",
    "seqnr",
    "targetid",
    "name",
    "recno",
)
POSITIONS = (
    ("ra", "dec"),
    ("alpha_j2000", "delta_j2000"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("alphapeak_j2000", "deltapeak_j2000"),
    ("alpha_sky", "delta_sky"),
    ("alphawin_sky", "deltawin_sky"),
    ("ra_icrs", "de_icrs"),
    ("_raj2000", "_dej2000"),
    ("raj2000", "dej2000"),
    ("ra_j2000", "dec_j2000"),
    ("radeg", "dedeg"),
    ("ra_deg", "dec_deg"),
    ("radeg", "decdeg"),
    ("right_ascension", "declination"),
    ("target_ra", "target_dec"),
)
_BEST = "z redshift z_best zbest zfinal z_final lp_zbest zp_best best_z"
_PHOTOMETRIC = (
    "z_phot zphot photoz photo_z z_photo ez_z_phot lp_zpdf zpdf_med z_peak z_a z_m2 eazy_z_a zml z_ml"
)
_SPECTROSCOPIC = "z_spec zspec spec_z specz"
REDSHIFTS = (tuple(_BEST.split()), tuple(f"{_PHOTOMETRIC} {_SPECTROSCOPIC}".split()))
"""Names of columns of redshifts: those for the best estimate, and those for one kind of estimate."""
OTHERS = (("x", "y"), ("r", "i"), ("g", "r"))
"""Columns beside which `z` is a coordinate or a magnitude."""
FARTHEST = 20.0
"""Redshifts from which on a number stands for an unknown one, as 99 does."""
MISSING_REDSHIFT = "the redshift is missing"
HOURS = ("h", "hr", "hour", "hours", "hourangle")
"""Units of right ascensions in hours."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """Objects in the order of a catalogue."""

    name: str
    ids: NDArray[np.str_]
    """What the objects are called; their numbers if the catalogue does not name them."""
    ra: Doubles
    """Right ascensions, ICRS, in degrees; NaN if unknown."""
    dec: Doubles
    redshift: Doubles
    """Redshifts; NaN if unknown."""
    columns: Mapping[str, str]
    """Columns of the catalogue by their role, one of `ROLES`."""
    remarks: tuple[str, ...] = ()
    """What was done to find the positions, in words."""
    repeated: NDArray[np.bool_] = field(init=False)
    """Whether other objects have the same id."""

    def __post_init__(self) -> None:
        counts = Counter(self.ids.tolist())
        object.__setattr__(self, "repeated", np.array([counts[name] > 1 for name in self.ids.tolist()], bool))

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(cls, name: str, chosen: Mapping[str, str] | None = None, *, redshifts: bool = True) -> Catalogue:
        """Read a catalogue.

        Args:
            name: Name of the file.
            chosen: Columns that the user names, by their role; the others are found by the usual names.
            redshifts: Whether the redshifts have to be in the catalogue.

        Raises UserError if the file is not a table, is empty, or if its columns cannot be found.
        """
        table, chosen = read_table(name), dict(chosen or {})
        if not table.rows:
            raise UserError(f"{name}: the catalogue has no rows.\nGive a catalogue of objects.")
        found = _find_columns(name, table, chosen, redshifts)
        ra, dec, remarks = _positions(name, table, found)
        redshift = _numbers(name, found["z"], table) if "z" in found else np.full(table.rows, np.nan)
        ids = _texts(table.columns[found["id"]]()) if "id" in found else np.arange(table.rows).astype(np.str_)
        return cls(name, ids, ra, dec, redshift, found, tuple(remarks))

    def in_hours(self) -> Catalogue:
        """Take the right ascensions, which were read as degrees, for hours."""
        return replace(self, ra=self.ra * 15, remarks=(*self.remarks, "right ascensions taken for hours"))


def redshift_problem(redshift: float) -> str:
    """Say why a redshift cannot be used; empty if it can."""
    if np.isnan(redshift):
        return MISSING_REDSHIFT
    if not 0 < redshift < FARTHEST:
        return f"redshift {redshift:g}, expected a positive number below {FARTHEST:g}"
    return ""


def _find_columns(
    name: str, table: ObjectTable, chosen: Mapping[str, str], redshifts: bool
) -> dict[str, str]:
    lower = {column.lower(): column for column in reversed(list(table.columns))}
    found = {role: _named(name, table, lower, role, column) for role, column in chosen.items()}
    if "id" not in found and (first := next((lower[one] for one in IDS if one in lower), None)):
        found["id"] = first
    sky = next((column for column in table.columns if _is_sky(table, column)), None)
    pair = next((pair for pair in POSITIONS if all(one in lower for one in pair)), None)
    for number, role in enumerate(("ra", "dec")):
        if role in found:
            continue
        if sky is None and pair is None:
            raise _no_column(name, table, role)
        found[role] = lower[pair[number]] if pair is not None else str(sky)
    if "z" not in found and (column := _redshift_column(name, lower)):
        found["z"] = column
    if "z" not in found and redshifts:
        raise _no_column(name, table, "z")
    return {role: found[role] for role in ROLES if role in found}


def _named(name: str, table: ObjectTable, lower: Mapping[str, str], role: str, column: str) -> str:
    exact = column if column in table.columns else lower.get(column.lower())
    if exact is None:
        raise UserError(f"--columns {role}={column}: {name} has no such column.\n{_listed(table)}")
    return exact


def _no_column(name: str, table: ObjectTable, role: str) -> UserError:
    what = {"ra": "right ascension", "dec": "declination", "z": "redshift"}[role]
    more = " or --redshift" if role == "z" else ""
    return UserError(
        f"{name}: no column is known to be the {what}; name it with --columns {role}=...{more}.\n{_listed(table)}"
    )


def _listed(table: ObjectTable) -> str:
    names = list(table.columns)
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return f"Its columns are {', '.join(names[:30])}{more}."


def _redshift_column(name: str, lower: Mapping[str, str]) -> str | None:
    for names in REDSHIFTS:
        found = [lower[one] for one in names if one in lower]
        if "z" in lower and lower["z"] in found and any(all(one in lower for one in pair) for pair in OTHERS):
            found.remove(lower["z"])
        if len(found) > 1:
            raise UserError(
                f"{name}: several columns could be the redshift: {', '.join(found)}.\n"
                f"Name the one to use, as in --columns z={found[0]}."
            )
        if found:
            return found[0]
    return None


def _is_sky(table: ObjectTable, column: str) -> bool:
    return column.lower() in ("coord", "coords", "skycoord", "sky_centroid", "sky", "position") and (
        table.columns[column]().values.dtype.kind == "O"
    )


def _texts(column: Values) -> NDArray[np.str_]:
    values = column.values
    if values.dtype.kind == "f" and np.all((values == np.floor(values)) | column.missing):
        values = np.where(column.missing, 0, values).astype(np.int64)
    texts = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values.astype(np.str_)
    return np.where(column.missing, "", np.char.strip(texts))


def _numbers(name: str, column: str, table: ObjectTable) -> Doubles:
    found = table.columns[column]()
    try:
        values = (
            np.where(found.missing, "nan", found.values) if found.values.dtype.kind in "US" else found.values
        )
        if values.ndim != 1:
            raise ValueError
        numbers = np.array(values, np.float64)
    except ValueError:
        raise UserError(
            f"{name}: the column {column} does not contain one number a row.\nName another one with --columns."
        ) from None
    numbers[found.missing] = np.nan
    return numbers


def _positions(name: str, table: ObjectTable, found: Mapping[str, str]) -> tuple[Doubles, Doubles, list[str]]:
    from astropy.coordinates import SkyCoord

    first = table.columns[found["ra"]]()
    if first.values.dtype.kind == "O":
        sky = first.values.item().icrs
        return np.asarray(sky.ra.deg, float), np.asarray(sky.dec.deg, float), []
    remarks: list[str] = []
    ra, sexagesimal = _degrees(name, found["ra"], first, hours=True)
    dec, _ = _degrees(name, found["dec"], table.columns[found["dec"]](), hours=False)
    if sexagesimal or first.unit.strip().lower() in HOURS:
        remarks.append("right ascensions in hours")
    outside = ~((np.abs(dec) <= 90) & (ra >= -180) & (ra <= 360))
    ra, dec = np.where(outside, np.nan, ra % 360), np.where(outside, np.nan, dec)
    frame = _frame(found["ra"], table.frames)
    if frame is not None:
        known = np.isfinite(ra)
        moved = SkyCoord(ra[known], dec[known], unit="deg", frame=frame).icrs
        ra[known], dec[known] = moved.ra.deg, moved.dec.deg
        remarks.append(f"positions converted from {frame.upper()}")
    return ra, dec, remarks


def _frame(column: str, frames: Any) -> str | None:
    if "1950" in column:
        return "fk4"
    named = " ".join(frames).lower()
    return next((frame for frame in ("fk4", "fk5") if frame in named), None)


def _degrees(name: str, column: str, found: Values, *, hours: bool) -> tuple[Doubles, bool]:
    """Convert angles to degrees; returns also whether they are written in hours or degrees, minutes and seconds."""
    from astropy import units
    from astropy.coordinates import Angle

    values = found.values
    if values.ndim != 1:
        raise UserError(f"{name}: the column {column} does not contain one angle a row.\nName another one.")
    if values.dtype.kind in "US":
        texts = _texts(found)
        numbers = np.array([_number(text) for text in texts])
        written = ~np.isfinite(numbers) & ~found.missing
        for row in np.flatnonzero(written):
            numbers[row] = _angle(texts[row], "hourangle" if hours else "deg")
        if not np.isfinite(numbers).any():
            raise UserError(
                f"{name}: {column} = '{texts[0]}' is not an angle.\nName another column with --columns."
            )
        if written.any() and written.sum() == (~found.missing).sum():
            return numbers, hours
    else:
        numbers = np.array(values, np.float64)
        numbers[found.missing] = np.nan
    written_unit = found.unit.strip().lower()
    try:
        unit = units.Unit("hourangle" if written_unit in HOURS else written_unit or "deg")
        return np.asarray(Angle(numbers, unit).deg, np.float64), False
    except (ValueError, TypeError):
        raise UserError(
            f"{name}: the unit of {column} is {found.unit}, expected an angle.\nName another column with --columns."
        ) from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _angle(text: str, unit: str) -> float:
    from astropy.coordinates import Angle

    try:
        return float(Angle(text, unit).deg)
    except Exception:  # Angle raises many types of errors.
        return np.nan
