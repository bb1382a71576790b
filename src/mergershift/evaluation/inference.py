"""Probabilities of many images, in batches."""

from __future__ import annotations

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

    The module is left in the mode it was in. PyTorch is imported here and not with the package, since all
    other evaluation does without it.

    Args:
        module: maps images `(B, C, H, W)` to activations with two `logits` `(B, 2)`.
        images: `(N, C, H, W)`, in the units that the module expects.
        batch_size: images at a time.
        device: where to compute (the module is moved there); where the module is if None.
        threads: threads of the CPU during the call; as many as before if None.

    Raises ValueError on images that are not four-dimensional and on logits that are not two an image.
    """
    import torch

    if images.ndim != 4:
        raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, C, H, W)")
    if device is not None:
        module.to(device)
    place = next((each.device for each in module.parameters()), torch.device("cpu"))
    training, before = module.training, torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    module.eval()
    probabilities = np.empty(len(images))
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                batch = torch.as_tensor(images[start : start + batch_size]).to(place)
                logits = module(batch).logits
                if logits.shape != (len(batch), 2):
                    raise ValueError(f"logits of shape {tuple(logits.shape)}, expected ({len(batch)}, 2)")
                chances = logits.cpu().double().softmax(dim=1)[:, 1]
                probabilities[start : start + len(batch)] = chances.numpy()
    finally:
        module.train(training)
        torch.set_num_threads(before)
    return probabilities
