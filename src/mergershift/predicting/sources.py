"""Sources of images with the same description: what arrays and files are opened as, by their headers alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mergershift.predicting.pixels import ArrayPixels
from mergershift.predicting.planes import Description, Identity, Mask, Pixels, Plane, StoredPlane
from mergershift.predicting.units import Refused

Shape = tuple[int, int, int, int]
MOST_CHANNELS = 16
"""A last axis up to this length, after two longer ones of equal length, is taken for channels."""


@dataclass(frozen=True, slots=True)
class Source:
    """Images with the same description, which are read together."""

    description: Description
    planes: tuple[StoredPlane, ...]
    """Where the planes of the description are stored, in its order."""
    identities: tuple[Identity, ...]
    """One for each image, or one that all images share."""
    count: int
    """Number of images."""
    first: int = 0
    """Number of the first image in its file."""

    def identity(self, image: int) -> Identity:
        """Return the identity of an image of this source; images that share one have their number in their id."""
        if len(self.identities) > 1:
            return self.identities[image]
        shared = self.identities[0]
        return shared if self.count == 1 else replace(shared, id=f"{shared.id}[{self.first + image}]")

    def with_masks(self, masks: tuple[Mask, ...]) -> Source:
        """Return the same images with further masks."""
        planes = tuple(replace(plane, masks=plane.masks + masks) for plane in self.planes)
        return replace(self, planes=planes)


@dataclass(frozen=True, slots=True)
class Unusable:
    """An image, or a file of them, that is refused before any pixel is read."""

    identity: Identity
    reason: str
    index: int = 0
    """Number of the image in its file."""


def open_array(images: Any) -> Source:
    """Use an array or tensor `(N, C, H, W)` or `(C, H, W)`; raises Refused for other shapes."""
    shape = with_count(tuple(images.shape))
    return source_of(ArrayPixels(images.reshape(shape)), headerless(shape), Identity("", ""))


def source_of(
    pixels: Pixels, found: Description, identity: Identity, masks: tuple[Mask, ...] = (), first: int = 0
) -> Source:
    """Make the source of all images of stored pixels, whose planes are those of the description."""
    planes = tuple(StoredPlane(pixels, number, masks) for number in range(len(found.planes)))
    return Source(found, planes, (identity,), pixels.shape[0], first)


def headerless(shape: Shape) -> Description:
    """Describe images of which the shape alone is known."""
    return Description((Plane((shape[2], shape[3])),) * shape[1], headerless=True)


def with_count(shape: tuple[int, ...]) -> Shape:
    """Complete a shape `(C, H, W)` or `(N, C, H, W)` to the latter; raises Refused for any other."""
    if len(shape) == 3:
        shape = (1, *shape)
    if len(shape) != 4 or not all(shape):
        raise Refused(f"images of shape {shape}, expected (C, H, W) or (N, C, H, W)")
    if shape[3] <= MOST_CHANNELS < shape[1] and shape[1] == shape[2]:
        raise Refused(
            f"images of shape {shape} with the channels last, expected (N, C, H, W); use numpy.moveaxis(images, -1, -3)"
        )
    return shape[0], shape[1], shape[2], shape[3]
