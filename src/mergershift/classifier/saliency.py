"""Saliency maps: which parts of an image a network bases its classification on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mergershift.evaluation.metrics import Floats

if TYPE_CHECKING:
    from torch import Tensor, nn


class NoConvolution(ValueError):
    """The network has no convolution with maps larger than one pixel."""


def grad_cam(
    module: nn.Module, images: Tensor | np.ndarray, label: int = 1, threads: int | None = None
) -> Floats:
    """Compute the evidence for class `label` in each pixel of each image, `(N, H, W)`, 0 where there is none.

    Gradient-weighted class activation mapping (Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2):
    ``ReLU(sum over k of a_k A_k)``, where A_k are the maps of the last convolution, after any normalisation and
    activation that follow it at the same shape, and a_k is the mean over pixels of the gradient of the score with
    respect to A_k. The score is the log odds of the class, which is the difference of the two logits. The maps are
    interpolated bilinearly to H x W.

    The module is run in evaluation mode; its weights, their gradients, its hooks and its mode are left unchanged.

    Args:
        module: maps images `(N, C, H, W)` to activations with `logits` `(N, 2)`.
        images: `(N, C, H, W)`, in the units that the module expects; only a few, because all form a single batch.
        label: 1 for evidence of a merger, 0 for evidence against one.
        threads: number of CPU threads during the call; unchanged if None.

    Raises NoConvolution if no convolution of the module has maps larger than one pixel.
    """
    import torch
    from torch.nn.functional import interpolate

    was_training, previous_threads = module.training, torch.get_num_threads()
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    # The images require the gradient because all weights may be frozen.
    inputs = torch.as_tensor(images).to(device).detach().clone().requires_grad_(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        module.eval()
        with torch.enable_grad():
            maps, logits = _run(module, inputs)
            score = (logits[:, label] - logits[:, 1 - label]).sum()
            (gradient,) = torch.autograd.grad(score, maps)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        evidence = (weights * maps).sum(dim=1, keepdim=True).clamp(min=0).detach()
        enlarged = interpolate(evidence, size=inputs.shape[2:], mode="bilinear", align_corners=False)
    finally:
        module.train(was_training)
        torch.set_num_threads(previous_threads)
    return enlarged[:, 0].cpu().double().numpy()


def _run(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run the module; return the maps of its last convolution, `(N, K, h, w)` with their graph, and the logits."""
    from torch import Tensor, nn

    outputs: list[tuple[bool, Tensor]] = []

    def record(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            outputs.append((isinstance(layer, nn.Conv2d), output))

    layers = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        logits = module(images).logits
    finally:
        for hook in hooks:
            hook.remove()
    shapes = [
        output.shape for is_convolution, output in outputs if is_convolution and output[0, 0].numel() > 1
    ]
    if not shapes:
        raise NoConvolution("the network has no convolution with maps larger than one pixel")
    return [output for _, output in outputs if output.shape == shapes[-1]][-1], logits
