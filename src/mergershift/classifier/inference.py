"""Features and merger probabilities of many images, computed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mergershift.evaluation.metrics import Floats

if TYPE_CHECKING:
    from torch import Tensor, device, nn

BATCH_SIZE = 128
"""Number of images in a batch. The activations of more than this are so large that the system gives and takes their
memory again in every batch, which doubles the time."""


def predict(
    module: nn.Module,
    images: Tensor | np.ndarray,
    batch_size: int = BATCH_SIZE,
    device: str | device | None = None,
    threads: int | None = None,
) -> Floats:
    """Compute each image's probability of being a merger, `(N,)` float64, in evaluation mode.

    The module is returned to its previous mode and device. PyTorch is imported inside the call because the rest of
    the evaluation does not need it.

    Args:
        module: maps images `(B, C, H, W)` to activations with `logits` `(B, 2)`.
        images: `(N, C, H, W)`, in the units that the module expects.
        batch_size: number of images in a batch.
        device: device to compute on, to which the module is moved for the call; the module's own device if None.
        threads: number of CPU threads during the call; unchanged if None.

    Raises ValueError if the images are not four-dimensional or the module does not return two logits per image.
    """
    batches = _forward(module, images, batch_size, device, threads)
    probabilities = [logits.double().softmax(dim=1)[:, 1].numpy() for _, logits in batches]
    return np.concatenate(probabilities) if probabilities else np.empty(0)


def activations(
    module: nn.Module,
    images: Tensor | np.ndarray,
    batch_size: int = BATCH_SIZE,
    device: str | device | None = None,
    threads: int | None = None,
) -> tuple[Floats, Floats]:
    """Compute features `(N, F)` and logits `(N, 2)`, both float64; arguments and errors are those of `predict`.

    The features of all images are held in memory at once: N x F x 8 bytes. Raises ValueError if there is no image.
    """
    batches = list(_forward(module, images, batch_size, device, threads))
    if not batches:
        raise ValueError("no images to compute the features of")
    features, logits = (np.concatenate([batch[i].double().numpy() for batch in batches]) for i in (0, 1))
    return features, logits


def _forward(
    module: nn.Module,
    images: Tensor | np.ndarray,
    batch_size: int,
    device: str | device | None,
    threads: int | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the features and logits of one batch after another, on the CPU."""
    import torch

    from mergershift.classifier.classifier import full_precision

    if images.ndim != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, C, H, W)")
    own_device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    used_device = own_device if device is None else torch.device(device)
    was_training, previous_threads = module.training, torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    module.eval()
    try:
        if device is not None:
            module.to(used_device)
        for start in range(0, len(images), batch_size):
            batch = torch.as_tensor(images[start : start + batch_size]).to(used_device)
            with torch.inference_mode(), full_precision():
                output = module(batch)
            if output.logits.shape != (len(batch), 2):
                raise ValueError(f"logits of shape {tuple(output.logits.shape)}, expected ({len(batch)}, 2)")
            yield output.features.cpu(), output.logits.cpu()
    finally:
        module.train(was_training)
        if device is not None:
            module.to(own_device)  # the caller expects its module where it was
        torch.set_num_threads(previous_threads)
