"""K networks `DeepMerge` trained as one: stacked weights, with a seed, learning rate and trade-off for each.

`Separate` is the reference: K networks of the package, one after another. `Stacked` computes the same by convolutions
in K groups, batch normalisation over K x C channels and batched matrix products, or by `torch.func.vmap` of one
network. Both are given images that have been stretched, in channels-last layout and in the precision of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import stack_module_state, vmap
from torch.nn import functional

from mergershift.adaptation import Adaptation
from mergershift.adaptation.dann import DANN, ReverseGradient
from mergershift.adaptation.mmd import MMD, PUBLISHED_SIGMAS
from mergershift.adaptation.source_only import SourceOnly
from mergershift.networks import CLASSES, Activations
from mergershift.networks.deepmerge import DeepMerge

METHODS: dict[str, type[Adaptation]] = {"source_only": SourceOnly, "mmd": MMD, "dann": DANN}
FORMS = ("grouped", "vmapped", "same_batches")
"""How K networks are computed as one. In `same_batches`, all are given the images of the first."""
BLOCKS = (0, 4, 8)
"""Positions of the convolutions in the network's encoder without dropout; a batch normalisation follows each."""
DENSE = (0, 2, 4)
"""Positions of the dense layers in its head."""
BETAS, EPS, DECAY = (0.9, 0.999), 1e-8, 1e-3

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Images:
    """Labelled source and unlabelled target `(N, C, H, H)`, stretched, and in the precision of the training."""

    source: Tensor
    labels: Tensor
    target: Tensor

    def autocast(self) -> AbstractContextManager[object]:
        """Compute in bfloat16 where the images are."""
        if self.source.dtype != torch.bfloat16:
            return nullcontext()
        return torch.autocast(self.source.device.type, self.source.dtype)

    @property
    def precision(self) -> torch.dtype:
        """Type of the weights, which are in float32 where activations are in bfloat16."""
        return torch.promote_types(self.source.dtype, torch.float32)


@dataclass(frozen=True)
class Network:
    """What distinguishes one of several trainings with the same method."""

    seed: int
    rate: float = 1e-3
    trade_off: float = 1.0

    def build(self, method: str, images: Images) -> tuple[DeepMerge, Adaptation]:
        """Make the network and its penalty with the random weights of the seed."""
        torch.manual_seed(self.seed)
        channels, size = images.source.shape[1:3]
        network = DeepMerge(channels, size)
        penalty = METHODS[method]()
        penalty.build(network.feature_size, CLASSES)
        place = (images.source.device, images.precision)
        network.to(*place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.train(), penalty.train().to(*place)


def activations(network: DeepMerge, images: Tensor) -> Activations:
    """Compute the network as it is in a training, and layer by layer in float64, which a training does not use."""
    if images.dtype != torch.float64:
        found: Activations = network(images)
        return found
    features = images
    for layer in network.encoder:
        features = layer(features)
    return Activations(features, network.head(features))


class Separate:
    """K networks of the package with an optimiser each, which train one after another."""

    def __init__(self, networks: Sequence[Network], method: str, images: Images) -> None:
        self.images = images
        self.built = [network.build(method, images) for network in networks]
        self.trade_offs = [network.trade_off for network in networks]
        self.optimizers = [
            torch.optim.AdamW(
                [*module.parameters(), *penalty.parameters()], network.rate, BETAS, EPS, DECAY, fused=True
            )
            for network, (module, penalty) in zip(networks, self.built, strict=True)
        ]

    def step(self, source: Tensor, target: Tensor) -> Tensor:
        """Train on rows `(K, B)` of source and target; returns the losses `(K,)`."""
        return torch.stack(
            [self._step(number, source[number], target[number]) for number in range(len(self.built))]
        )

    def _step(self, number: int, source: Tensor, target: Tensor) -> Tensor:
        network, penalty = self.built[number]
        batch, labels = self.images.source[source], self.images.labels[source]
        if penalty.uses_target:
            batch = torch.cat([batch, self.images.target[target]])
        with self.images.autocast():
            both = activations(network, batch)
            of_source, of_target = (
                Activations(*(part[half] for part in both))
                for half in (slice(len(labels)), slice(len(labels) if penalty.uses_target else 0, None))
            )
            loss = functional.cross_entropy(of_source.logits.to(self.images.precision), labels)
            loss = loss + self.trade_offs[number] * penalty(of_source, of_target, labels)
        self.optimizers[number].zero_grad()
        loss.backward()
        self.optimizers[number].step()
        return loss.detach()

    def weights(self) -> Weights:
        """Return the weights of all networks and penalties, and their running statistics, stacked `(K, ...)`."""
        states = [
            {
                **network.state_dict(),
                **{f"penalty.{name}": value for name, value in penalty.state_dict().items()},
            }
            for network, penalty in self.built
        ]
        return {name: torch.stack([state[name] for state in states]) for name in states[0]}


class Stacked:
    """K networks whose weights are stacked, and which train in one step."""

    def __init__(
        self, networks: Sequence[Network], method: str, images: Images, form: str = "grouped"
    ) -> None:
        self.images, self.method, self.form, self.count = images, method, form, len(networks)
        modules = [network.build(method, images) for network in networks]
        weights, self.buffers = stack_module_state([module for module, _ in modules])
        penalties, spectral = stack_module_state([penalty for _, penalty in modules])
        self.template = modules[0][0]
        self.parameters: Weights = {
            name: value.detach().clone().requires_grad_()
            for name, value in {
                **weights,
                **{f"penalty.{key}": value for key, value in penalties.items()},
            }.items()
        }
        self.buffers.update({f"penalty.{name}": value for name, value in spectral.items()})
        device = images.source.device
        self.rates, self.trade_offs = (
            torch.tensor(values, device=device, dtype=images.precision)
            for values in zip(*[(network.rate, network.trade_off) for network in networks], strict=True)
        )
        self.moments = {
            name: [torch.zeros_like(value) for _ in range(2)] for name, value in self.parameters.items()
        }
        self.steps = 0

    def step(self, source: Tensor, target: Tensor) -> Tensor:
        """Train on rows `(K, B)` of source and target; returns the losses `(K,)`."""
        if self.form == "same_batches":
            source, target = source[:1], target[:1]
        batch, labels = self.images.source[source], self.images.labels[source].expand(self.count, -1)
        size = labels.shape[1]
        if self.method != "source_only":
            batch = torch.cat([batch, self.images.target[target]], dim=1)
        with self.images.autocast():
            features, logits = self.activations(batch)
            of_source = logits[:, :size].to(self.images.precision)
            losses = functional.cross_entropy(of_source.mT, labels, reduction="none").mean(1)
            if self.method == "mmd":
                losses = losses + self.trade_offs * discrepancies(features, size)
            elif self.method == "dann":
                losses = losses + self.trade_offs * domain_losses(
                    self.parameters, self.buffers, features, size
                )
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        self._update(gradients)
        return losses.detach()

    def activations(self, images: Tensor) -> Activations:
        """Return features `(K, B, F)` and logits `(K, B, 2)` of images `(K, B, C, H, W)`, or `(1, B, C, H, W)`."""
        if self.form == "vmapped":
            own, buffers = (
                {name: value for name, value in state.items() if not name.startswith("penalty.")}
                for state in (self.parameters, self.buffers)
            )
            return Activations(*vmap(one)(own, buffers, images))
        values = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        return grouped(self.parameters, self.buffers, values, len(images))

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor]) -> None:
        """Take a step of AdamW (Loshchilov & Hutter 2019) with a learning rate for each network."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in BETAS)
        for (name, weight), gradient in zip(self.parameters.items(), gradients, strict=True):
            rates = self.rates.view(-1, *[1] * (weight.ndim - 1))
            mean, square = self.moments[name]
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            weight.mul_(1 - rates * DECAY)
            weight.sub_(rates / first * mean / (square.sqrt() / second**0.5 + EPS))

    def weights(self) -> Weights:
        """Return the weights of all networks and penalties, and their running statistics, stacked `(K, ...)`."""
        return {**{name: value.detach() for name, value in self.parameters.items()}, **self.buffers}


def grouped(weights: Weights, buffers: Weights, values: Tensor, groups: int) -> Activations:
    """Compute K networks by convolutions in K groups: images `(B, K C, H, W)` -> `(K, B, F)` and `(K, B, 2)`.

    With one group, images `(B, C, H, W)` are those of all networks, and the first convolution is not grouped.
    """
    batch, count = len(values), len(weights[f"encoder.{BLOCKS[0]}.weight"])
    for position in BLOCKS:
        convolution, norm = f"encoder.{position}", f"encoder.{position + 1}"
        kernels, bias = (
            weights[f"{convolution}.weight"].flatten(0, 1),
            weights[f"{convolution}.bias"].flatten(),
        )
        values = functional.conv2d(values, kernels, bias, padding="same", groups=groups)
        values = functional.batch_norm(
            values,
            buffers[f"{norm}.running_mean"].view(-1),
            buffers[f"{norm}.running_var"].view(-1),
            weights[f"{norm}.weight"].flatten(),
            weights[f"{norm}.bias"].flatten(),
            training=True,
        )
        buffers[f"{norm}.num_batches_tracked"] += 1
        values = functional.relu(functional.max_pool2d(values, 2))
        groups = count
    features = values.reshape(batch, count, -1).transpose(0, 1).contiguous()
    logits = features
    for position in DENSE:
        weight, bias = weights[f"head.{position}.weight"], weights[f"head.{position}.bias"]
        logits = torch.baddbmm(bias[:, None], logits, weight.mT)
        logits = logits if position == DENSE[-1] else functional.relu(logits)
    return Activations(features, logits)


def one(weights: Weights, buffers: Weights, images: Tensor) -> Activations:
    """Compute one network: images `(B, C, H, W)` -> features `(B, F)` and logits `(B, 2)`."""
    single, own = ({name: value[None] for name, value in state.items()} for state in (weights, buffers))
    features, logits = grouped(single, own, images, 1)
    return Activations(features[0], logits[0])


def discrepancies(features: Tensor, sources: int) -> Tensor:
    """Return the squared MMDs `(K,)` of K networks' features `(K, N + M, F)`, the source's N = `sources` rows first."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    centred = wide - wide.mean(1, keepdim=True)
    with torch.autocast(features.device.type, enabled=False):
        products = centred @ centred.mT
    norms = products.diagonal(dim1=1, dim2=2)
    squares = (norms[:, :, None] + norms[:, None, :] - 2 * products).clamp_min(0)
    kernels = torch.zeros_like(squares)
    for sigma in PUBLISHED_SIGMAS:
        # An exponential that underflows takes much longer than others.
        kernels = kernels + (squares / (-2 * sigma)).clamp_min(-80).exp()
    source, target = slice(sources), slice(sources, None)
    return (
        kernels[:, source, source].mean((1, 2))
        + kernels[:, target, target].mean((1, 2))
        - 2 * kernels[:, source, target].mean((1, 2))
    )


def domain_losses(weights: Weights, buffers: Weights, features: Tensor, sources: int) -> Tensor:
    """Return the losses `(K,)` of K spectrally normalised domain classifiers given features `(K, N + M, F)`.

    The first N = `sources` rows are those of the source. The power method of the normalisation moves on by a step.
    """
    rows = ReverseGradient.apply(features) / features.shape[2] ** 0.5
    layers = sorted({name.split(".")[3] for name in weights if name.startswith("penalty.")}, key=int)
    for layer in layers:
        prefix = f"penalty.domain_network.layers.{layer}"
        raw = weights[f"{prefix}.parametrizations.weight.original"]
        left, right = (buffers[f"{prefix}.parametrizations.weight.0._{name}"] for name in "uv")
        with torch.no_grad():
            left.copy_(functional.normalize(torch.einsum("koi,ki->ko", raw, right), dim=1, eps=1e-12))
            right.copy_(functional.normalize(torch.einsum("koi,ko->ki", raw, left), dim=1, eps=1e-12))
        norms = torch.einsum("ko,koi,ki->k", left.clone(), raw, right.clone())
        rows = torch.baddbmm(weights[f"{prefix}.bias"][:, None], rows, (raw / norms[:, None, None]).mT)
        rows = rows if layer == layers[-1] else functional.relu(rows)
    logits = rows.squeeze(2).to(torch.promote_types(rows.dtype, torch.float32))
    return (
        functional.softplus(-logits[:, :sources]).mean(1) + functional.softplus(logits[:, sources:]).mean(1)
    ) / 2


def made_up_images(size: int, rows: int, dtype: torch.dtype, device: str) -> Images:
    """Random images with three filters, of which those of class 1 are brighter."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (rows,), generator=generator)
    domains = [torch.randn(rows, 3, size, size, generator=generator) for _ in range(2)]
    domains[0] += labels[:, None, None, None]
    source, target = (
        images.to(device, dtype).contiguous(memory_format=torch.channels_last) for images in domains
    )
    return Images(source, labels.to(device), target)
