"""The operations and the memory traffic that a training step needs, counted from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mergershift.networks.paired_columns import paired

CONVOLUTION, DENSE, BETWEEN = "convolution", "dense", "normalisation, ReLU, pooling"
"""Kinds of layers; `BETWEEN` are those that follow a convolution: normalisation, ReLU, pooling, dropout."""
IMAGES, PENALTY, OPTIMISER, REST = "input and stretch", "penalty and loss", "optimiser", "everything else"
_IN_PASSING = (nn.ReLU, nn.Dropout, nn.Flatten, nn.Identity, nn.Softmax)
"""Layers that need no pass of their own over the memory: a neighbour can apply them while it reads or writes."""
Part = tuple[str, tuple[int, ...]]
"""A kind, and the shape of its weights or, for `BETWEEN`, that of the images `(C, H, W)` before pooling."""


@dataclass(frozen=True)
class Work:
    """What a part of a step needs at least, forward and backward."""

    name: str
    kind: str
    operations: float
    """Additions and multiplications."""
    traffic: float
    """Bytes to read and to write if every tensor is read once where it is used, and written once where it is made."""

    def bound(self, peak: float, bandwidth: float) -> float:
        """Return the least time in seconds, with `peak` operations and `bandwidth` bytes a second."""
        return max(self.operations / peak, self.traffic / bandwidth)


def leaves(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network that have no modules of their own."""
    return [module for module in network.modules() if not any(module.children())]


def _pairs_of(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of `(C, H, W)` as pairs of columns, and with the column that completes the last pair."""
    channels, height, width = shape
    half = -(-width // 2)
    return [(2 * channels, height, half), (channels, height, 2 * half)]


@dataclass
class Parts:
    """The parts of a step of a network: the work of each, and the shapes by which its operators are recognised."""

    images: tuple[int, ...]
    """Shape `(C, H, W)` of the images."""
    batch: int
    """Number of images of both domains."""
    work: dict[Part, Work] = field(default_factory=dict)
    shapes: dict[tuple[int, ...], Part] = field(default_factory=dict)
    """The part to which operators on values `(B, *shape)` belong."""
    paired: dict[tuple[int, ...], Part] = field(default_factory=dict)
    """The convolution to which filters of this shape belong, which convolve pairs of columns."""
    pairs: set[tuple[int, ...]] = field(default_factory=set)
    """Shapes of the images as pairs of columns, and with the column that completes the last pair."""
    largest: int = 0
    """Bytes of the largest activation."""

    def add_pairs(self, weight: Tensor, maps: tuple[int, ...]) -> None:
        """Also recognise a convolution to maps `(K, H, W)` that is computed by pairs of columns, and its maps."""
        self.paired[tuple(paired(weight).shape)] = (CONVOLUTION, tuple(weight.shape))
        self.shapes |= dict.fromkeys(_pairs_of(maps), (BETWEEN, maps))
        self.pairs |= {*_pairs_of(self.images)}

    def add(self, part: Part, number: int, operations: float, traffic: float) -> None:
        """Add work to a part, of which the layer of this number is a member."""
        before = self.work.get(part)
        name = f"{part[0]} {number}" if before is None else before.name
        if before is None:
            before = Work(name, part[0], 0, 0)
        elif name.split()[-1] != str(number):
            name = f"{name}, {number}"
        self.work[part] = Work(name, part[0], before.operations + operations, before.traffic + traffic)

    def part_of(self, operator: str, inputs: Sequence[Sequence[int]]) -> Part:
        """Return the part of a step that an operator with inputs of these shapes belongs to."""
        shapes = [tuple(shape) for shape in inputs if shape]
        weights = [part for part in self.work if part[1] and part[0] in (CONVOLUTION, DENSE)]
        products = {
            (first[0], second[-1]) for first, second in pairwise(shapes) if len(first) == len(second) == 2
        }
        if "conv" in operator or operator.endswith(("mm", "linear", "_linear_pointwise")):
            for shape in shapes:
                if shape in self.paired:
                    return self.paired[shape]
            for part in weights:
                if part[1] in shapes or part[1][::-1] in {*shapes, *products} or part[1] in products:
                    return part
        for shape in shapes:
            if any(shape == part[1] for part in weights):
                return OPTIMISER, ()
            if (values := self._of_values(shape)) is not None:
                return values
        return REST, ()

    def part_of_loops(self, shape: Sequence[int]) -> Part:
        """Return the part of a step that a loop over images `(B, H, W, C)` belongs to."""
        channels_first = (shape[3], shape[1], shape[2])
        return self._of_values((shape[0], *channels_first)) or (REST, ())

    def _of_values(self, shape: tuple[int, ...]) -> Part | None:
        """Return the part whose values have this shape, also as a vector or as rows of several pixels."""
        pixels = self.images[1] * self.images[2]
        wholes = {self.batch * pixels * self.images[0] // domains for domains in (1, 2)}
        flat = shape[-1] in (self.images[0], pixels) and prod(shape) >= pixels
        if (
            shape[-3:] == self.images
            or shape[-3:] in self.pairs
            or (len(shape) == 1 and shape[0] in wholes)
            or (len(shape) == 2 and flat)
        ):
            return IMAGES, ()
        if shape[1:] in self.shapes:
            return self.shapes[shape[1:]]
        for known, part in self.shapes.items():
            rows = len(shape) == 2 and len(known) == 3 and shape[1] == known[0] * known[2]
            if (rows and not shape[0] % known[1]) or (len(shape) == 1 and not shape[0] % prod(known)):
                return part
        if len(shape) > 1 and (shape[-1] == shape[-2] or shape[-1] in self.features):
            return PENALTY, ()
        return None

    @property
    def features(self) -> set[int]:
        """The number of features."""
        first = next((part[1] for part in self.work if part[0] == DENSE), ())
        return {*first[1:]}


def network_parts(network: nn.Module, images: Tensor, item: int) -> Parts:
    """Count the work of a network for images `(B, C, H, W)`; activations take `item` bytes a value.

    A layer's gradients cost two more products of its size, or one where the layer sees the images themselves. Layers
    that follow it read and write each tensor once in each direction, and read their input again for its gradient.
    """
    parts = Parts(tuple(images.shape[1:]), len(images))
    current: Part = (BETWEEN, parts.images)
    number = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal current, number
        values, made = inputs[0].numel(), output.numel()
        parts.largest = max(parts.largest, item * made)
        if isinstance(module, nn.Conv2d | nn.Linear):
            number += 1
            weight = tuple(module.weight.shape)
            weights = sum(part.numel() for part in module.parameters())
            inner = inputs[0].data_ptr() != images.data_ptr()
            products = 2 * made * module.weight[0].numel()
            forward = values + weights + made
            backward = made + values + 2 * weights + values * inner
            kind = CONVOLUTION if isinstance(module, nn.Conv2d) else DENSE
            parts.add((kind, weight), number, products * (3 if inner else 2), item * (forward + backward))
            if kind == CONVOLUTION:
                current = (BETWEEN, tuple(output.shape[1:]))
                parts.shapes[current[1]] = current
                if not inner:
                    parts.add_pairs(module.weight.detach(), current[1])
        elif current[1] != parts.images and output.ndim == 4:
            passing = isinstance(module, _IN_PASSING)
            parts.add(current, number, 0, 0 if passing else item * (values + made + made + 2 * values))
            parts.shapes.setdefault(tuple(output.shape[1:]), current)

    hooks = [module.register_forward_hook(count) for module in leaves(network)]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return parts


def penalty_work(penalty: Callable[[], Tensor], features: Sequence[Tensor]) -> Work:
    """Count the matrix products of a penalty and of its gradient, and one pass over features and gradient each."""
    counter = FlopCounterMode(display=False)
    with counter:
        value = penalty()
        if value.requires_grad:
            value.backward()
    traffic = sum(3 * part.numel() * part.element_size() for part in features)
    return Work(PENALTY, PENALTY, counter.get_total_flops(), traffic)


def optimiser_work(parameters: Sequence[Tensor]) -> Work:
    """Count Adam's traffic: weight, gradient and two moments are read, all but the gradient written."""
    values = sum(weight.numel() for weight in parameters)
    return Work(OPTIMISER, OPTIMISER, 12 * values, 7 * 4 * values)


def input_work(images: Tensor, item: int) -> Work:
    """Count the traffic of gathering a batch."""
    return Work(IMAGES, IMAGES, 0, 2 * item * images.numel())
