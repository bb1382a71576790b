"""Small problems with a known shift, and a training loop that shows in seconds whether a method overcomes it.

    accuracy = adapt(MMD(), Fixed(1.0), moons(seed=0), seed=0)
    baseline = unadapted(moons, seed=0)

Points are images of one pixel, `(N, C, 1, 1)`, so that networks, penalties and both hooks of a method are used
as in a real training. Target labels are used only for the accuracy that `adapt` returns: the number of steps is
fixed, and no score on the target is computed during training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Generator, Tensor, nn
from torch.nn import functional

from mergershift.adaptation import Adaptation, Weighting
from mergershift.adaptation.source_only import SourceOnly
from mergershift.adaptation.weighting import Fixed
from mergershift.networks import CLASSES, Activations, Network
from mergershift.training.share import ALONE


class Problem(NamedTuple):
    """A labelled source, an unlabelled target, and target points held out for the test."""

    source: Tensor
    """`(N, C, 1, 1)`"""
    labels: Tensor
    """Class numbers `(N,)` of the source."""
    target: Tensor
    """Points `(N, C, 1, 1)`, in a different order from the source."""
    test: Tensor
    """Other points `(N, C, 1, 1)` of the target."""
    test_labels: Tensor
    """`(N,)`"""


def moons(seed: int, degrees: float = 35.0, points: int = 512) -> Problem:
    """Two moons, which in the target are rotated about their common centre."""
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([0.5, 0.25])

    def drawn(state: int) -> tuple[Tensor, Tensor]:
        where, labels = make_moons(points, noise=0.05, random_state=1000 * seed + state)
        return torch.tensor(where - centre, dtype=torch.float32), torch.tensor(labels)

    (source, labels), (target, _), (test, test_labels) = (drawn(state) for state in range(3))
    back = torch.tensor(rotation.T, dtype=torch.float32)
    return Problem(_pixels(source), labels, _pixels(target @ back), _pixels(test @ back), test_labels)


def clouds(seed: int, size: int = 8, shift: float = 1.6, points: int = 256) -> Problem:
    """Two Gaussian clouds in `size` dimensions, which in the target are moved along and across the classes."""
    generator = Generator().manual_seed(seed)
    centres, move = torch.zeros(2, size), torch.zeros(size)
    centres[:, 0] = torch.tensor([-1.0, 1.0])
    move[0], move[1] = shift, 1.0

    def drawn() -> tuple[Tensor, Tensor]:
        labels = torch.randint(2, (points,), generator=generator)
        return centres[labels] + 0.3 * torch.randn(points, size, generator=generator), labels

    (source, labels), (target, _), (test, test_labels) = (drawn() for _ in range(3))
    return Problem(_pixels(source), labels, _pixels(target + move), _pixels(test + move), test_labels)


def nearer(seed: int) -> Problem:
    """Clouds that are moved less."""
    return clouds(seed, shift=1.2)


def spread(seed: int, size: int = 4, noise: float = 6.0, points: int = 256) -> Problem:
    """Two Gaussian clouds that differ in every dimension; in the target, all dimensions but two are noisy.

    The domains have equal means but different covariances. The two quiet dimensions suffice for both domains.
    """
    generator = Generator().manual_seed(seed)
    centre, spreads = torch.full((size,), 1.0), torch.full((size,), noise)
    centre[:2], spreads[:2] = 0.7, 0.3

    def drawn(spreads: Tensor) -> tuple[Tensor, Tensor]:
        labels = torch.randint(2, (points,), generator=generator)
        centres = (2.0 * labels[:, None] - 1) * centre
        return centres + spreads * torch.randn(points, size, generator=generator), labels

    source, labels = drawn(torch.full((size,), 0.3))
    (target, _), (test, test_labels) = drawn(spreads), drawn(spreads)
    return Problem(_pixels(source), labels, _pixels(target), _pixels(test), test_labels)


def _pixels(points: Tensor) -> Tensor:
    return points[:, :, None, None]


class Perceptron(Network):
    """A perceptron whose encoder and head have two linear layers each."""

    def __init__(
        self, channels: int, width: int = 64, feature_size: int = 16, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.feature_size = channels, feature_size
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels, width),
            *([nn.BatchNorm1d(width)] if batch_norm else []),
            nn.ReLU(),
            nn.Linear(width, feature_size),
            *([nn.BatchNorm1d(feature_size)] if batch_norm else []),
        )
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(feature_size, width), nn.ReLU(), nn.Linear(width, CLASSES)
        )

    def forward(self, images: Tensor) -> Activations:
        features = self.encoder(images)
        return Activations(features, self.head(features))


def adapt(
    penalty: Adaptation,
    weighting: Weighting,
    problem: Problem,
    seed: int,
    steps: int = 400,
    lr: float = 3e-3,
    batch: int = 128,
    batch_norm: bool = False,
) -> float:
    """Train a small network for `steps` steps with the penalty; return its accuracy on the target's test points.

    As in a real training, both domains pass through the network in one batch, unless the method separates them, the
    optimiser also trains the weights of the method and the weighting, and the learning rate follows one cycle. The
    result is deterministic in `seed`, on one thread.
    """
    with _one_thread():
        torch.manual_seed(seed)
        generator = Generator().manual_seed(seed)
        network = Perceptron(problem.source.shape[1], batch_norm=batch_norm)
        penalty.build(network.feature_size, CLASSES)
        learners = nn.ModuleList([network, penalty, weighting])
        optimiser = torch.optim.AdamW(learners.parameters(), lr=lr, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
        learners.train()
        for step in range(steps):
            rows = torch.randint(len(problem.source), (batch,), generator=generator)
            others = torch.randint(len(problem.target), (batch,), generator=generator)
            labels = problem.labels[rows]
            images = penalty.labelled_images(problem.source[rows], generator)
            views = penalty.target_views(problem.target[others], generator)
            pass_through = ALONE.apart if penalty.separate_domains else ALONE.activations
            features, logits = pass_through(network, images, views)
            source = Activations(features[:batch], logits[:batch])
            target = Activations(features[batch:], logits[batch:])
            classification = functional.cross_entropy(source.logits, labels)
            loss = weighting(classification, penalty(source, target, labels), step / steps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        network.eval()
        penalty.after_training(network, problem.target.split(batch))
        with torch.no_grad():
            return (network(problem.test).logits.argmax(1) == problem.test_labels).float().mean().item()


@cache
def unadapted(problem: Callable[[int], Problem], seed: int, **settings: Any) -> float:
    """What `adapt` gives without a method on `problem(seed)`: a baseline that many methods share, computed once."""
    return adapt(SourceOnly(), Fixed(0.0), problem(seed), seed, **settings)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: on a busy machine, threads waiting for each other make these tiny steps fifty times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
