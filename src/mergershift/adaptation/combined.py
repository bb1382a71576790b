"""Several penalties as one: what joins an add-on to any other method."""

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

    The hooks are those of the terms, one after the other: labelled images pass through every term in the
    order given, and so does the trained network. One weighting multiplies the whole sum: under a `Ramp` or
    `Learned`, add-ons grow or shrink with the method that they join; under `Fixed`, as published, they stay.

    Args:
        terms: one or more methods.
        weights: one finite number of at least 0 for each of them.

    Raises UserError where there is no term, where weights are missing or left over, and where one is unfit.
    """

    def __init__(self, terms: Sequence[Adaptation], weights: Sequence[float]) -> None:
        super().__init__()
        if not len(terms) or len(terms) != len(weights):
            raise UserError(
                f"terms are {len(terms)} and weights {len(weights)}, expected one or more terms and a weight"
                " for each (conf/adaptation/)"
            )
        if not all(0 <= weight < math.inf for weight in weights):
            raise UserError(
                f"weights are {list(weights)}, expected finite numbers of at least 0 (conf/adaptation/)"
            )
        for term in terms:
            if not isinstance(term, Adaptation):
                raise UserError(
                    f"a term is {term!r}, expected the _target_ of a method and its arguments"
                    " (conf/adaptation/)"
                )
        self.terms = nn.ModuleList(terms)
        self.weights = tuple(float(weight) for weight in weights)
        self.uses_target = any(term.uses_target for term in terms)

    def build(self, feature_size: int, classes: int) -> None:
        """Make every term's weights."""
        for term in self._methods:
            term.build(feature_size, classes)

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images `(N, C, H, W)`, µJy/arcsec², as every term in turn changes them."""
        for term in self._methods:
            images = term.labelled_images(images, generator)
        return images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the weighted sum of the terms' penalties (scalar); raises ValueError where a term does."""
        penalties = [term(source, target, source_labels) for term in self._methods]
        total = source.features.new_zeros(())
        for weight, penalty in zip(self.weights, penalties, strict=True):
            total = total + weight * penalty
        return total

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Let every term in turn change the trained network."""
        concerned = [
            term for term in self._methods if type(term).after_training is not Adaptation.after_training
        ]
        # Batches may come only once, and holding all of them takes as much memory as the training images.
        again = list(batches) if len(concerned) > 1 else batches
        for term in concerned:
            term.after_training(network, again)

    @property
    def _methods(self) -> list[Adaptation]:
        return cast("list[Adaptation]", list(self.terms))
