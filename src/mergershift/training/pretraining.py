"""Self-supervised pre-training: the network's features are learned from the images of both domains, without labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from mergershift.cells.layout import PRETRAINED
from mergershift.classifier.classifier import Classifier, build_classifier, save_classifier
from mergershift.classifier.devices import accelerator, require_devices
from mergershift.config import Config, instantiate
from mergershift.config.pretraining import PretrainingConfig
from mergershift.core.errors import Diverged, UserError
from mergershift.core.files import atomic_file
from mergershift.images import Prepared, dihedral
from mergershift.training.vicreg import vicreg

UNFINISHED = "pretraining.ckpt"


def pretrained(config: Config, prepared: Prepared, folder: Path) -> tuple[Path, list[float]]:
    """Pre-train the configured network; returns the file of the classifier and the mean loss of every epoch.

    The features of two views of an image (see `views`) pass through a projector, whose outputs VICReg makes equal
    between the views, and unlike between images. The projector is dropped, and the network's head stays as it was
    initialised. The images are the training images of both domains, each rendering once, without a label; which of
    them a domain may train on is as in the training (`split.disjoint_domains`). No validation or test image is seen.

    An interrupted pre-training resumes after its last finished epoch, and ends exactly as it would have without the
    interruption.

    Args:
        config: configuration whose `pretraining` is set.
        prepared: the prepared images of both domains.
        folder: existing folder of the result and of the checkpoint from which to resume.

    Raises UserError if there is no GPU that the configuration requires or if there are too few images, and Diverged
    if the loss is NaN or infinite.
    """
    assert config.pretraining is not None
    require_devices(config)
    torch.set_num_threads(config.trainer.threads)
    run = _Run(config, config.pretraining, prepared)
    checkpoint = folder / UNFINISHED
    if checkpoint.is_file():
        run.resume(checkpoint)
    while len(run.losses) < config.pretraining.epochs:
        run.epoch()
        with atomic_file(checkpoint) as partial:
            torch.save(run.state(), partial)
    save_classifier(run.classifier.cpu(), folder / PRETRAINED)
    return folder / PRETRAINED, run.losses


def unlabelled_images(config: Config, prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Read the training images `(N, C, H, W)` of source and target in µJy/arcsec², each rendering once."""
    source, target = (
        prepared.images(domain, prepared.rows("train", domain=domain, trains=trains, unique=True))
        for domain, trains in (
            (config.transfer.source, "source"),
            (config.transfer.target, config.training.target_trains),
        )
    )
    return source, target


class _Run:
    """A pre-training between two epochs."""

    def __init__(self, config: Config, settings: PretrainingConfig, prepared: Prepared) -> None:
        self.config, self.settings = config, settings
        self.digest = f"{config.digest()} {prepared.facts['data_hash']}"
        self.device = torch.device(accelerator(config))
        torch.manual_seed(config.seed)
        self.classifier: Classifier = build_classifier(config)
        domains = unlabelled_images(config, prepared)
        self.classifier.stretch.fit(domains[0])
        self.images = torch.cat([self.classifier.all_stretched(images) for images in domains])
        if len(self.images) < 2 * settings.batch_size:
            raise UserError(
                f"{prepared.folder}: {len(self.images)} training images, expected at least two batches of "
                f"{settings.batch_size} to pre-train on.\nLower pretraining.batch_size."
            )
        self.projector = projector(self.classifier.network.feature_size, settings.projector)
        self.learners = nn.ModuleList([self.classifier, self.projector]).to(self.device)
        self.optimiser = instantiate(
            settings.optimizer, torch.optim.Optimizer, params=list(self.learners.parameters())
        )
        steps = settings.epochs * (len(self.images) // settings.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: _cosine(step, steps))
        self.losses: list[float] = []

    def epoch(self) -> None:
        """Take the steps of one epoch, whose random numbers depend on seed and epoch alone."""
        number = len(self.losses)
        generator = Generator().manual_seed((self.config.seed * 1_000_003 + number) * 2 + 1)
        torch.manual_seed((self.config.seed * 1_000_003 + number) * 2)  # dropout
        self.learners.train()
        total, batches = 0.0, len(self.images) // self.settings.batch_size
        order = torch.randperm(len(self.images), generator=generator)
        for rows in order.split(self.settings.batch_size)[:batches]:
            both = torch.cat(list(views(self.images, rows, generator, self.settings))).to(self.device)
            embeddings = self.projector(self.classifier.network(both).features)
            loss = vicreg(*embeddings.chunk(2))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            total += loss.item()
        self.losses.append(total / batches)
        logging.getLogger(__name__).info(
            "pre-training: epoch %d of %d, loss %.4f", number + 1, self.settings.epochs, self.losses[-1]
        )
        if not math.isfinite(self.losses[-1]):
            raise Diverged(
                f"The pre-training diverged in epoch {number}: its loss is NaN or infinite.\n"
                "Lower pretraining.optimizer.lr, then train again."
            )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        parts: dict[str, Any] = {
            "learners": self.learners,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }
        states = {name: part.state_dict() for name, part in parts.items()}
        return {**states, "losses": self.losses, "digest": self.digest}

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; one that is damaged, or of another pre-training, is left aside with a warning."""
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
        except Exception:  # a damaged file raises many kinds of exceptions
            state = {}
        if state.get("digest") != self.digest:
            logging.getLogger(__name__).warning(
                "%s: damaged, or of another pre-training, which starts from the first epoch", path
            )
            return
        self.learners.load_state_dict(state["learners"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.losses = list(state["losses"])


def projector(features: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Build the projector: linear layers of `widths`, all but the last with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise((features, *widths)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


def views(
    images: Tensor, rows: Tensor, generator: Generator, settings: PretrainingConfig
) -> Iterator[Tensor]:
    """Yield two views `(B, C, H, H)` of `rows` `(B,)` of the stretched images `(N, C, H, H)`.

    What the views of a galaxy do not share is what the features are to ignore: its orientation (a symmetry of the
    square), a shift by up to `shift` pixels that a batch shares, its brightness (a factor, log-normal), and noise of a
    deviation between 0 and `noise`, in units of the source pixels' deviation, which covers what separates the domains.
    """
    for _ in range(2):
        turned = dihedral(images, rows, generator)
        down, right = torch.randint(2 * settings.shift + 1, (2,), generator=generator).tolist()
        padded = functional.pad(turned, [settings.shift] * 4, mode="replicate")
        side = images.shape[2]
        shifted = padded[:, :, down : down + side, right : right + side]
        size = (len(rows), 1, 1, 1)
        factors = (settings.brightness * torch.randn(size, generator=generator)).exp()
        deviations = settings.noise * torch.rand(size, generator=generator)
        noise = torch.randn(shifted.shape, generator=generator)
        view = shifted * factors + deviations * noise
        yield view.contiguous(memory_format=torch.channels_last)


def _cosine(step: int, steps: int) -> float:
    """Return the learning rate's share of its maximum: rising over the first tenth, then falling as a cosine to 0."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2
