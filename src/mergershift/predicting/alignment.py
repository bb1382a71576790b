"""Whether the filters of a galaxy show the same place of the sky in the same orientation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mergershift.predicting.celestial import World
from mergershift.predicting.planes import Pair, Plane, Pose

_STEP = 10.0
"""Pixels between the places from which the directions of the axes are computed."""


class Frame(NamedTuple):
    """Where an image lies on the sky."""

    ra: float
    """Right ascension of its middle, or of the galaxy where that is known, in degrees."""
    dec: float
    upwards: float
    """Position angle of the direction of growing rows in degrees, from north through east."""
    mirrored: bool
    """Whether east is on the side of growing columns if north is up."""


def frame_of(world: World | None, plane: Plane) -> Frame | None:
    """Find where a plane lies on the sky; None if its world coordinates do not say."""
    if world is None or not world.celestial:
        return None
    row, column = plane.centre or ((plane.shape[0] - 1) / 2, (plane.shape[1] - 1) / 2)
    middle = world.position(row, column)
    up = offset(middle, world.position(row + _STEP, column))
    right = offset(middle, world.position(row, column + _STEP))
    if not all(map(math.isfinite, (*middle, *up, *right))):
        return None
    mirrored = up[1] * right[0] - up[0] * right[1] > 0
    return Frame(*middle, math.degrees(math.atan2(up[0], up[1])), mirrored)


def offset(start: Pair, end: Pair) -> Pair:
    """Compute how far one position on the sky is to the east and to the north of another one nearby, in arcsec.

    Both are right ascension and declination in degrees, with the former from 0 to 360 or beyond. The projection is
    tangential, so that poles are no exception.
    """
    turn = math.radians(end[0] - start[0])
    sine, cosine = math.sin(math.radians(end[1])), math.cos(math.radians(end[1]))
    sine0, cosine0 = math.sin(math.radians(start[1])), math.cos(math.radians(start[1]))
    depth = sine * sine0 + cosine * cosine0 * math.cos(turn)
    if not depth > 0:
        return math.inf, math.inf
    east, north = cosine * math.sin(turn), sine * cosine0 - cosine * sine0 * math.cos(turn)
    return math.degrees(east / depth) * 3600, math.degrees(north / depth) * 3600


def posed(planes: Sequence[Plane], frames: Sequence[Frame | None]) -> tuple[Plane, ...]:
    """Add to the planes of one galaxy how they lie relative to the first whose place on the sky is known."""
    first = next((frame for frame in frames if frame is not None), None)
    if first is None or len(planes) < 2:
        return tuple(planes)
    return tuple(
        plane if frame is None else replace(plane, pose=_pose(first, frame))
        for plane, frame in zip(planes, frames, strict=True)
    )


def _pose(first: Frame, frame: Frame) -> Pose:
    """Compare frames; rounded, so that the planes of many galaxies are equal."""
    east, north = offset((first.ra, first.dec), (frame.ra, frame.dec))
    turn = (frame.upwards - first.upwards + 180) % 360 - 180
    return Pose(
        round(east, 2) + 0.0,
        round(north, 2) + 0.0,
        round(turn, 1) + 0.0,
        frame.mirrored is not first.mirrored,
    )


def misaligned(poses: Sequence[Pose], pixel_arcsec: float, size: int) -> bool:
    """Return whether any two filters of `size` pixels a side differ by more than a pixel anywhere in the field."""
    for number, one in enumerate(poses):
        for other in poses[:number]:
            turn = math.radians(abs((one.turn - other.turn + 180) % 360 - 180))
            apart = math.hypot(one.east - other.east, one.north - other.north)
            if one.mirrored is not other.mirrored or apart > pixel_arcsec or turn * size / 2 > 1:
                return True
    return False
