"""A weighted sum of penalties, with which an add-on can be joined to any other method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from torch import Generator, Tensor, nn

from mergershift.adaptation.base import Adaptation, ClassShares
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
    not finite, if a term is not a method, or if several terms need views of the target.
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
        self.separate_domains = any(term.separate_domains for term in terms)
        if sum(term.views > 1 for term in terms) > 1:
            raise UserError("several terms need views of the target, expected one at most (conf/adaptation/)")
        self.views = max(term.views for term in terms)

    def build(self, feature_size: int, classes: int) -> None:
        """Create the weights of every term for F = `feature_size` and K = `classes`."""
        for term in self._methods:
            term.build(feature_size, classes)

    def expect(self, shares: ClassShares) -> None:
        """Let every term take note of the classes' shares."""
        for term in self._methods:
            term.expect(shares)

    @property
    def changes_images(self) -> bool:
        """Whether a term changes labelled images."""
        return any(term.changes_images for term in self._methods)

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images `(N, C, H, W)` in µJy/arcsec² after every term in turn has changed them."""
        for term in self._methods:
            images = term.labelled_images(images, generator)
        return images

    def target_views(self, images: Tensor, generator: Generator) -> Tensor:
        """Return the views `(V M, C, H, W)` of the term that needs them, or else the images `(M, C, H, W)`."""
        for term in self._methods:
            if term.views > 1:
                return term.target_views(images, generator)
        return images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the weighted sum of the terms' penalties (scalar); raises ValueError if a term does.

        A term without views of its own gets the target images as they are.
        """
        plain = Activations(*(rows[: len(rows) // self.views] for rows in target))
        penalties = [
            term(source, target if term.views > 1 else plain, source_labels) for term in self._methods
        ]
        total = source.features.new_zeros(())
        for weight, penalty in zip(self.weights, penalties, strict=True):
            total = total + weight * penalty
        return total

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Let every term in turn change the trained network, with all `batches`."""
        for term, reusable in self._changing(batches):
            term.after_training(network, reusable)

    def fit_to_source(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Let every term in turn fit a copy of the trained network to the source, with all `batches`."""
        for term, reusable in self._changing(batches):
            term.fit_to_source(network, reusable)

    def _changing(self, batches: Iterable[Tensor]) -> Iterator[tuple[Adaptation, Iterable[Tensor]]]:
        """Yield the terms that change the trained network, with batches that can be passed through anew."""
        changing = [
            term for term in self._methods if type(term).after_training is not Adaptation.after_training
        ]
        # An iterator yields its batches only once; a list of them takes as much memory as the training images.
        reusable = list(batches) if len(changing) > 1 else batches
        for term in changing:
            yield term, reusable

    def learning_rate_factor(self, name: str) -> float:
        """Return the factor of the term to which the weight ``terms.<number>.<name>`` belongs."""
        _, number, rest = name.split(".", 2)
        return self._methods[int(number)].learning_rate_factor(rest)

    @property
    def _methods(self) -> list[Adaptation]:
        return cast("list[Adaptation]", list(self.terms))
