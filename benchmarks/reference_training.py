"""Training as a plain loop would do it: the reference for the training step.

`ReferenceTask` stretches in every step, computes in float32, turns images by masks, and calls one layer of PyTorch
after another under Lightning. `published_steps` is the loop of the code released with arXiv:2103.01373: a new iterator
of loaders with one worker in every step, and an MMD that broadcasts all pairs of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from reference_networks import Reference
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from mergershift.adaptation import Adaptation, Weighting
from mergershift.config import Config, instantiate
from mergershift.networks import Activations

SIGMAS = (
    *(10.0**k for k in range(-6, 0)),
    *(1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0),
    *(10.0**k for k in range(2, 7)),
)
"""The 19 kernel widths of arXiv:2103.01373."""


def dihedral(images: Tensor, generator: Generator) -> Tensor:
    """Apply a random symmetry of the square to each image `(B, C, H, H)`, one symmetry after another by masks."""
    which = torch.randint(8, (len(images),), generator=generator)
    result = torch.empty_like(images)
    for symmetry in range(8):
        chosen = which == symmetry
        turned = torch.rot90(images[chosen], symmetry % 4, dims=(-2, -1))
        result[chosen] = turned.flip(-1) if symmetry >= 4 else turned
    return result


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Compute the squared MMD (scalar) of `(N, F)` and `(M, F)` from a Gram matrix in float64."""
    rows = torch.cat([source, target]).double()
    rows = rows - rows.mean(0, keepdim=True)
    gram = rows @ rows.T
    norms = gram.diagonal()
    squares = (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0).float()
    kernels = torch.stack([torch.exp(squares / (-2 * sigma)) for sigma in SIGMAS]).sum(0)
    split = len(source)
    within = kernels[:split, :split].mean() + kernels[split:, split:].mean()
    return within - 2 * kernels[:split, split:].mean()


def broadcast_mmd(source: Tensor, target: Tensor) -> Tensor:
    """Compute the same from the differences `(N, F, M)` of all pairs of rows."""
    beta = 1 / (2 * torch.tensor(SIGMAS)[:, None])

    def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
        squares = (x[:, :, None] - y.T[None]).pow(2).sum(1)
        return torch.exp(-(beta @ squares.reshape(1, -1))).sum(0).mean()

    return mean_kernel(source, source) + mean_kernel(target, target) - 2 * mean_kernel(source, target)


class RawBatches:
    """The batches of one epoch: raw images of both domains with independent permutations, and the source's labels."""

    def __init__(
        self, source: Tensor, labels: Tensor, target: Tensor | None, batch_size: int, augment: bool
    ) -> None:
        self.source, self.labels, self.target = source, labels, target
        self.batch_size, self.augment = batch_size, augment

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        generator = Generator().manual_seed(0)
        order = torch.randperm(len(self.labels), generator=generator)
        other = None if self.target is None else torch.randperm(len(self.target), generator=generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            part = slice(start, start + self.batch_size)
            source = self.source[order[part]]
            target = None if self.target is None or other is None else self.target[other[part]]
            if self.augment:
                source = dihedral(source, generator)
                target = None if target is None else dihedral(target, generator)
            yield source, self.labels[order[part]], target


class PlainStretch(nn.Module):
    """The asinh stretch of raw images in µJy/arcsec², standardised per filter."""

    def __init__(self, softening: float, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.softening, self.mean, self.std = softening, mean, std

    def forward(self, images: Tensor) -> Tensor:
        scaled = self.softening * torch.asinh(images / self.softening)
        return ((scaled - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


class ReferenceTask(pl.LightningModule):
    """One step: stretch, network, cross-entropy and penalty, each in float32 and as written."""

    def __init__(
        self, stretch: PlainStretch, network: Reference, config: Config, features: int, steps: int
    ) -> None:
        super().__init__()
        self.stretch, self.network, self.settings, self.steps = stretch, network, config.training, steps
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.penalty = instantiate(config.adaptation.penalty, Adaptation)
        self.penalty.build(features, 2)
        self.weighting = instantiate(config.adaptation.weighting, Weighting)
        self.plain_mmd = config.adaptation.penalty == {
            "_target_": "mergershift.adaptation.mmd.MMD",
            "sigmas": "published",
        }
        self.generator = Generator().manual_seed(0)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor | None], _index: int) -> Tensor:
        images, labels, others = batch
        images = self.penalty.labelled_images(images, self.generator)
        if others is None:
            source = target = self.network(self.stretch(images))
        else:
            both = self.network(self.stretch(torch.cat([images, others])))
            source, target = (
                Activations(*parts) for parts in zip(*(part.split(len(labels)) for part in both), strict=True)
            )
        classification = functional.cross_entropy(source.logits, labels, weight=torch.ones(2))
        features = (source.features, target.features)
        penalty = mmd(*features) if self.plain_mmd else self.penalty(source, target, labels)
        progress = min(1.0, self.global_step / self.steps)
        loss = self.weighting(classification, penalty, progress) + self.network.regularisation()
        metrics = {
            "train_loss": loss,
            "train_classification_loss": classification,
            "train_penalty": penalty,
            "penalty_weight": float(self.weighting.weight(progress)),
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
        }
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = plain_optimizer(self.parameters(), self.settings.optimizer)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=optimizer.param_groups[0]["lr"], total_steps=self.steps + 1, pct_start=0.3
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def fit(self, batches: RawBatches) -> None:
        """Take the steps of one epoch, filling new memory as PyTorch does by default where it is deterministic."""
        memory: Any = torch.utils.deterministic
        filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, True
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            deterministic=True,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(self, batches)
        finally:
            memory.fill_uninitialized_memory = filled


def plain_optimizer(parameters: Any, settings: Any) -> torch.optim.Optimizer:
    """Build the configured optimiser in PyTorch's default form, a loop over the weights."""
    plain = {key: value for key, value in settings.items() if key not in ("fused", "foreach")}
    return instantiate(plain, torch.optim.Optimizer, params=[*parameters])


def published_steps(
    network: Reference, source: Sequence[Tensor], target: Tensor, batch_size: int
) -> Iterator[Tensor]:
    """Take steps without end, yielding the loss of each: cross-entropy and MMD of already standardised images."""
    loaders = [
        DataLoader(TensorDataset(*tensors), batch_size=batch_size, shuffle=True, num_workers=1)
        for tensors in (source, (target, torch.zeros(len(target))))
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.7, 0.8), weight_decay=1e-3)
    while True:
        optimizer.zero_grad()
        images, labels = next(iter(loaders[0]))
        others, _ = next(iter(loaders[1]))
        features, logits = network(torch.cat([images, others]))
        penalty = broadcast_mmd(features[: len(labels)], features[len(labels) :])
        loss = penalty + functional.cross_entropy(logits[: len(labels)], labels)
        loss.backward()
        optimizer.step()
        yield loss.detach()
