"""Probabilities of many images, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mergershift.evaluation.metrics import Floats

if TYPE_CHECKING:
    from torch import Tensor, device, nn


def predict(
    module: nn.Module,
    images: Tensor | np.ndarray,
    batch_size: int = 512,
    device: str | device | None = None,
    threads: int | None = None,
) -> Floats:
    """Compute the probability of a merger for each image, `(N,)` float64, in evaluation mode.

    The module is left in the mode and on the device it was in. PyTorch is imported here and not with the package,
    since all other evaluation does without it.

    Args:
        module: maps images `(B, C, H, W)` to activations with two `logits` `(B, 2)`.
        images: `(N, C, H, W)`, in the units that the module expects.
        batch_size: images at a time.
        device: where to compute (the module is moved there for the call); where the module is if None.
        threads: threads of the CPU during the call; as many as before if None.

    Raises ValueError on images that are not four-dimensional and on logits that are not two an image.
    """
    batches = _forward(module, images, batch_size, device, threads)
    chances = [logits.double().softmax(dim=1)[:, 1].numpy() for _, logits in batches]
    return np.concatenate(chances) if chances else np.empty(0)


def activations(
    module: nn.Module,
    images: Tensor | np.ndarray,
    batch_size: int = 512,
    device: str | device | None = None,
    threads: int | None = None,
) -> tuple[Floats, Floats]:
    """Compute features `(N, F)` and logits `(N, 2)`, float64; arguments and errors as in `predict`.

    Features of many images take much memory: N x F x 8 bytes.
    """
    parts = list(_forward(module, images, batch_size, device, threads))
    if not parts:
        raise ValueError("no images to compute the features of")
    features, logits = (np.concatenate([part[place].double().numpy() for part in parts]) for place in (0, 1))
    return features, logits


def _forward(
    module: nn.Module,
    images: Tensor | np.ndarray,
    batch_size: int,
    device: str | device | None,
    threads: int | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features and logits, on the CPU, batch by batch."""
    import torch

    from mergershift.classifier.classifier import full_precision

    if images.ndim != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, C, H, W)")
    home = next((each.device for each in module.parameters()), torch.device("cpu"))
    place = home if device is None else torch.device(device)
    training, before = module.training, torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    module.eval()
    try:
        if device is not None:
            module.to(place)
        for start in range(0, len(images), batch_size):
            batch = torch.as_tensor(images[start : start + batch_size]).to(place)
            with torch.inference_mode(), full_precision():
                made = module(batch)
            if made.logits.shape != (len(batch), 2):
                raise ValueError(f"logits of shape {tuple(made.logits.shape)}, expected ({len(batch)}, 2)")
            yield made.features.cpu(), made.logits.cpu()
    finally:
        module.train(training)
        if device is not None:
            module.to(home)  # what is done with it next counts on it
        torch.set_num_threads(before)
