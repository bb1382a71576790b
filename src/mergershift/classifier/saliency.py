"""Saliency maps: which parts of an image a network bases its classification on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    interpolated bilinearly to the H x W pixels, each cell of a map at the centre of the pixels that it sees.

    The module is run in evaluation mode; its weights, their gradients, its hooks and its mode are left unchanged.

    Args:
        module: maps images `(N, C, H, W)` to activations with `logits` `(N, 2)`.
        images: `(N, C, H, W)`, in the units that the module expects; only a few, because all form a single batch.
        label: 1 for evidence of a merger, 0 for evidence against one.
        threads: number of CPU threads during the call; unchanged if None.

    Raises NoConvolution if no convolution of the module has maps larger than one pixel.
    """
    import torch

    was_training, previous_threads = module.training, torch.get_num_threads()
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    # The images require the gradient because all weights may be frozen.
    inputs = torch.as_tensor(images).to(device).detach().clone().requires_grad_(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        module.eval()
        with torch.enable_grad():
            maps, positions, logits = _run(module, inputs)
            score = (logits[:, label] - logits[:, 1 - label]).sum()
            (gradient,) = torch.autograd.grad(score, maps)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        evidence = (weights * maps).sum(dim=1, keepdim=True).clamp(min=0).detach()
        enlarged = _enlarged(evidence, positions, inputs.shape[2:])
    finally:
        module.train(was_training)
        torch.set_num_threads(previous_threads)
    return enlarged[:, 0].cpu().double().numpy()


@dataclass(frozen=True)
class _Positions:
    """Where the cells of a map are along one axis: cell `i` sees pixels around ``spacing * i + first``."""

    spacing: float = 1.0
    first: float = 0.0

    def after(self, layer: nn.Module, axis: int, cells: int, cells_after: int) -> _Positions:
        """Positions of the cells of a layer's output, of which there are `cells_after`, from those of its input."""
        kernel, stride, padding, dilation = (
            _along(getattr(layer, name, default), axis)
            for name, default in (("kernel_size", None), ("stride", None), ("padding", 0), ("dilation", 1))
        )
        if kernel is None or stride is None or padding is None or dilation is None:
            spacing = cells / cells_after
            return _Positions(self.spacing * spacing, self.first + self.spacing * (spacing - 1) / 2)
        centre = dilation * (kernel - 1) / 2 - padding
        return _Positions(self.spacing * stride, self.first + self.spacing * centre)


def _along(value: Any, axis: int) -> int | None:
    """Return a layer's setting along an axis; None for one that is not a number, such as padding="same"."""
    found = value[axis] if isinstance(value, tuple) else value
    return found if isinstance(found, int) else None


def _enlarged(evidence: Tensor, positions: tuple[_Positions, _Positions], size: Sequence[int]) -> Tensor:
    """Interpolate maps `(N, 1, h, w)` bilinearly to pixels `(N, 1, H, W)`; beyond the outermost cells they go on."""
    import torch
    from torch.nn.functional import grid_sample

    axes = []
    for axis, pixels, cells in zip(positions, size, evidence.shape[2:], strict=True):
        cell = (
            torch.arange(pixels, device=evidence.device, dtype=evidence.dtype) - axis.first
        ) / axis.spacing
        axes.append(2 * cell / max(cells - 1, 1) - 1)  # the outermost cells are at -1 and 1
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(len(evidence), -1, -1, -1)
    return grid_sample(evidence, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _run(module: nn.Module, images: Tensor) -> tuple[Tensor, tuple[_Positions, _Positions], Tensor]:
    """Run the module.

    Returns the maps of its last convolution, `(N, K, h, w)` with their graph, where their cells are along either axis,
    and the logits.
    """
    from torch import Tensor, nn

    outputs: list[tuple[bool, Tensor]] = []
    # Branches of a network that meet have maps of one size, so the size tells where the cells are.
    positions = {tuple(images.shape[2:]): (_Positions(), _Positions())}

    def record(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not (isinstance(output, Tensor) and output.ndim == 4):
            return
        outputs.append((isinstance(layer, nn.Conv2d), output))
        before, after = tuple(inputs[0].shape[2:]), tuple(output.shape[2:])
        if before in positions:
            rows, columns = (
                positions[before][axis].after(layer, axis, before[axis], after[axis]) for axis in (0, 1)
            )
            positions.setdefault(after, (rows, columns))

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
    maps = [output for _, output in outputs if output.shape == shapes[-1]][-1]
    whole = zip(images.shape[2:], maps.shape[2:], strict=True)
    rows, columns = (_Positions(pixels / cells, (pixels / cells - 1) / 2) for pixels, cells in whole)
    return maps, positions.get(tuple(maps.shape[2:]), (rows, columns)), logits
