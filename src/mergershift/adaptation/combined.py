"""A weighted sum of penalties, with which an add-on can be joined to any other method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

from torch import Generator, Tensor, nn

from mergershift.adaptation.base import Adaptation
from mergershift.core.errors import UserError
from mergershift.networks import Activations, Network


class Combined(Adaptation):
    """The weighted sum of other methods' penalties: sum over terms of weight x penalty.

    The hooks call those of the terms in the order given, for labelled images as well as for the trained network.
    A single weighting multiplies the whole sum: with `Ramp` or `Learned`, an add-on grows and shrinks with the
    method that it joins; with `Fixed`, as published, it stays constant.

    Args:
        terms: one or more methods.
        weights: one finite number of at least 0 per term.

    Raises UserError if there is no term, if the numbers of terms and weights differ, if a weight is negative or
    not finite, or if a term is not a method.
    """

    def __init__(self, terms: Sequence[Adaptation], weights: Sequence[float]) -> None:
        super().__init__()
        if not len(terms) or len(terms) != len(weights):
            raise UserError(
                f"there are {len(terms)} terms and {len(weights)} weights, expected one or more terms and one"
                " weight per term (conf/adaptation/)"
            )
        if not all(0 <= weight < math.inf for weight in weights):
            raise UserError(
                f"weights are {list(weights)}, expected finite numbers of at least 0 (conf/adaptation/)"
            )
        for term in terms:
            if not isinstance(term, Adaptation):
                raise UserError(
                    f"a term is {term!r}, expected the _target_ of a method with its arguments"
                    " (conf/adaptation/)"
                )
        self.terms = nn.ModuleList(terms)
        self.weights = tuple(float(weight) for weight in weights)
        self.uses_target = any(term.uses_target for term in terms)

    def build(self, feature_size: int, classes: int) -> None:
        """Create the weights of every term for F = `feature_size` and K = `classes`."""
        for term in self._methods:
            term.build(feature_size, classes)

    @property
    def changes_images(self) -> bool:
        """Whether a term changes labelled images."""
        return any(term.changes_images for term in self._methods)

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images `(N, C, H, W)` in µJy/arcsec² after every term in turn has changed them."""
        for term in self._methods:
            images = term.labelled_images(images, generator)
        return images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the weighted sum of the terms' penalties (scalar); raises ValueError if a term does."""
        penalties = [term(source, target, source_labels) for term in self._methods]
        total = source.features.new_zeros(())
        for weight, penalty in zip(self.weights, penalties, strict=True):
            total = total + weight * penalty
        return total

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Let every term in turn change the trained network, with all `batches`."""
        changing = [
            term for term in self._methods if type(term).after_training is not Adaptation.after_training
        ]
        # An iterator yields its batches only once; a list of them takes as much memory as the training images.
        reusable = list(batches) if len(changing) > 1 else batches
        for term in changing:
            term.after_training(network, reusable)

    @property
    def _methods(self) -> list[Adaptation]:
        return cast("list[Adaptation]", list(self.terms))
