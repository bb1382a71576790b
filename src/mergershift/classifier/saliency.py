"""Where in an image a network finds its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mergershift.evaluation.metrics import Floats

if TYPE_CHECKING:
    from torch import Tensor, nn


class NoConvolution(ValueError):
    """The network has no convolution whose maps could show anything."""


def grad_cam(
    module: nn.Module, images: Tensor | np.ndarray, label: int = 1, threads: int | None = None
) -> Floats:
    """Compute where each image speaks for class `label`, `(N, H, W)`, 0 where it does not.

    Gradient-weighted class activation mapping (Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2):
    ``ReLU(sum over k of a_k A_k)``, A the maps of the last convolution after whatever normalisation and
    activation follow it at the same shape, a_k the mean over pixels of the score's gradient by A_k. The score is
    the log odds of the class, the difference of the two logits. The maps are enlarged linearly to H x W.

    The module is run in evaluation mode and left as it was: weights, their gradients, hooks and mode.

    Args:
        module: maps images `(N, C, H, W)` to activations with two `logits` `(N, 2)`.
        images: `(N, C, H, W)`, in the units that the module expects; few, as all are run at once.
        label: 1 for evidence of a merger, 0 for evidence against one.
        threads: threads of the CPU during the call; as many as before if None.

    Raises NoConvolution where no convolution gives maps of more than one pixel.
    """
    import torch
    from torch.nn.functional import interpolate

    training, before = module.training, torch.get_num_threads()
    place = next((each.device for each in module.parameters()), torch.device("cpu"))
    # Weights may be frozen: the images carry the gradient's graph.
    inputs = torch.as_tensor(images).to(place).detach().clone().requires_grad_(True)
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
        module.train(training)
        torch.set_num_threads(before)
    return enlarged[:, 0].cpu().double().numpy()


def _run(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run the module; return the last convolution's maps `(N, K, h, w)`, in the graph, and the logits."""
    from torch import Tensor, nn

    outputs: list[tuple[bool, Tensor]] = []

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            outputs.append((isinstance(layer, nn.Conv2d), output))

    layers = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        logits = module(images).logits
    finally:
        for hook in hooks:
            hook.remove()
    shapes = [output.shape for convolves, output in outputs if convolves and output[0, 0].numel() > 1]
    if not shapes:
        raise NoConvolution("no convolution gives maps of more than one pixel")
    return [output for _, output in outputs if output.shape == shapes[-1]][-1], logits
