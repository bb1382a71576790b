"""Images of 12 by 12 pixels, a small convolutional network, and a training loop that calls a method's hooks."""

from __future__ import annotations

import torch
from adaptation.synthetic import _one_thread
from torch import Generator, Tensor, nn
from torch.nn import functional

from mergershift.adaptation import Adaptation
from mergershift.networks import CLASSES, Activations, Network

SIZE, STRIPES = 12, 0.2


class SmallNetwork(Network):
    """Two convolutions with batch normalisation and dropout, followed by the mean over each quarter of the image."""

    def __init__(self, channels: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.channels, self.feature_size = channels, 16 * 4
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding="same"),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(16, 16, 3, padding="same"),
            nn.BatchNorm2d(16, momentum=0.3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(self.feature_size, CLASSES)

    def forward(self, images: Tensor) -> Activations:
        features = self.encoder(images)
        return Activations(features, self.head(features))


def stripes(seed: int, count: int = 256, channels: int = 2) -> tuple[Tensor, Tensor]:
    """Images `(N, C, 12, 12)` of a bright bump at a random place, and labels `(N,)`: smooth 0, faintly striped 1."""
    generator = Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=generator)
    row, column = 3 + 6 * torch.rand(2, count, 1, 1, generator=generator)
    along = torch.arange(SIZE)
    bump = torch.exp(-((along[:, None] - row) ** 2 + (along - column) ** 2) / 8)
    images = bump + STRIPES * labels[:, None, None] * (-1.0) ** along
    return images[:, None].repeat(1, channels, 1, 1), labels


def train(penalty: Adaptation, images: Tensor, labels: Tensor, target: Tensor, seed: int) -> SmallNetwork:
    """Train on labelled images with a method's hooks, the last of which gets `target`; deterministic in `seed`."""
    with _one_thread():
        torch.manual_seed(seed)
        generator = Generator().manual_seed(seed)
        network = SmallNetwork(images.shape[1])
        optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
        network.train()
        for _ in range(150):
            rows = torch.randint(len(images), (64,), generator=generator)
            activations = network(penalty.labelled_images(images[rows], generator))
            loss = functional.cross_entropy(activations.logits, labels[rows])
            loss = loss + penalty(activations, activations, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        penalty.after_training(network, target.split(100))
    return network


def accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (network(images).logits.argmax(1) == labels).float().mean().item()


def noisy(images: Tensor, deviations: tuple[float, ...], seed: int) -> Tensor:
    """Add Gaussian noise to the images, with one standard deviation per filter."""
    noise = torch.randn(images.shape, generator=Generator().manual_seed(seed))
    return images + torch.tensor(deviations)[:, None, None] * noise
