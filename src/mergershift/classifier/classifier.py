"""The classifier (a stretch followed by a network) and its file, independent of how it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mergershift.config import Config, instantiate
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_file
from mergershift.images import Stretch
from mergershift.networks import Activations, Network


class Classifier(nn.Module):
    """A stretch followed by a network: maps raw µJy/arcsec² `(B, C, H, W)` to `Activations`."""

    def __init__(self, stretch: Stretch, network: Network) -> None:
        super().__init__()
        self.stretch = stretch
        self.network = network

    def forward(self, images: Tensor) -> Activations:
        """Classify a batch of images `(B, C, H, W)` in µJy/arcsec²."""
        activations: Activations = self.network(self.stretched(images))
        return activations

    def stretched(self, images: Tensor) -> Tensor:
        """Stretch images `(B, C, H, W)` as the network expects them."""
        stretched: Tensor = self.stretch(images)
        # Convolutions on a CPU are fastest in the channels-last layout.
        return stretched.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def all_stretched(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Stretch images `(N, C, H, W)` that are on the CPU, in blocks and on the classifier's device.

        The result is on the CPU, in the channels-last layout.
        """
        result = torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)
        for stretched, block in zip(result.split(256), images.split(256), strict=True):
            stretched.copy_(self.stretch(block.to(self.stretch.mean.device)))
        return result


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions in float32 on a GPU too, where PyTorch would round their inputs to TF32's 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def build_classifier(config: Config) -> Classifier:
    """Build the configured network, freshly initialised, behind the configured stretch, not yet fitted to images."""
    softening = config.training.softening if config.training.stretch == "asinh" else None
    network = instantiate(config.network, Network, channels=config.channels)
    classifier = Classifier(Stretch(config.channels, softening), network)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write the weights of the network and of its stretch as safetensors."""
    weights = {name: value.contiguous() for name, value in classifier.state_dict().items()}
    with atomic_file(path) as partial:
        save_file(weights, partial)


def _read_weights(path: Path, remedy: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}).\n{remedy}") from error


def load_network(classifier: Classifier, path: Path) -> None:
    """Load the network's weights, but not the statistics of the stretch, from a file that `save_classifier` wrote.

    Raises UserError where the file is missing, damaged or has the weights of another network.
    """
    state = _read_weights(path, "Name another model.")
    prefix = "network."
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        classifier.network.load_state_dict(weights)
    except RuntimeError as error:
        shapes = {name: tuple(value.shape) for name, value in classifier.network.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in weights.items()}
        name = min(name for name in shapes | found if shapes.get(name) != found.get(name))
        raise UserError(
            f"{path}: the weights of another network: {name} is {found.get(name, 'missing')}, "
            f"expected {shapes.get(name, 'no such weight')}.\n"
            "Choose the network and the filters with which it was trained (network=..., filters=...)."
        ) from error


def load_classifier(path: Path, config: Config) -> Classifier:
    """Load a classifier that `save_classifier` wrote, in evaluation mode.

    Raises UserError where the file is missing, damaged or does not fit the configured network.
    """
    state = _read_weights(path, "Train again.")
    classifier = build_classifier(config)
    try:
        classifier.load_state_dict(state)
    except RuntimeError as error:
        network = config.choices["network"]
        raise UserError(
            f"{path}: its weights do not fit the network {network} of this version.\nTrain again."
        ) from error
    return classifier.eval()
