"""The training step: classify the labelled domain and apply the penalty to both domains."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from mergershift.adaptation import Adaptation, Weighting
from mergershift.classifier.classifier import Classifier
from mergershift.config import Config, instantiate
from mergershift.core.errors import Diverged, UserError
from mergershift.evaluation import score
from mergershift.images import LabelledImages, PairedBatch
from mergershift.networks import Activations, feature_weights
from mergershift.training.datamodule import TransferData, class_weights
from mergershift.training.share import ALONE, Share


class TransferTask(pl.LightningModule):
    """Cross-entropy on the labelled domain plus a weighted penalty on both domains.

    Source and target pass through the network as one batch, so that batch normalisation trains on the mixture of
    domains whose running statistics it uses afterwards, unless the method has `separate_domains`. Every process of a
    training computes the whole loss and all metrics; `share` divides the pass through the network.
    """

    def __init__(
        self,
        classifier: Classifier,
        penalty: Adaptation,
        config: Config,
        data: TransferData,
        share: Share = ALONE,
    ) -> None:
        super().__init__()
        self.train_weights: Tensor | None
        self.validation_weights: Tensor | None
        self.classifier, self.share = classifier, share
        self.penalty = penalty
        self.weighting = instantiate(config.adaptation.weighting, Weighting)
        # DDP expects a gradient of every weight in every step. Those of a penalty and of a weighting have none before
        # the penalty is part of the loss, and need no mean over processes, since all compute the same loss.
        learners = (("penalty", self.penalty), ("weighting", self.weighting))
        self._alone = {f"{name}.{key}" for name, learner in learners for key, _ in learner.named_parameters()}
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, self._alone)
        self._stretched, self._validation = data.stretched, data.validation
        self._frozen: list[nn.Module] = []
        """Modules whose weights and batch statistics stay as they are."""
        self.settings = config.training
        self.seed = config.seed
        self.steps = config.training.epochs * data.steps_per_epoch
        done, scheduled = (config.start.done, config.start.scheduled) if config.start else (0, 0)
        # Other schedules of the learning rate do not depend on the number of epochs, and go on.
        self.first_step = done * data.steps_per_epoch if self.settings.schedule == "one_cycle" else 0
        self.scheduled_steps = scheduled * data.steps_per_epoch or self.steps
        # The classes have other proportions in the validation rows, where every rendering may count only once.
        balanced = config.training.class_weights == "balanced"
        for name, labels in (("train", data.source.labels), ("validation", data.validation.labels)):
            weights = class_weights(labels) if balanced else None
            self.register_buffer(f"{name}_weights", weights, persistent=False)
        self._validated: list[tuple[Tensor, Tensor, Tensor]] = []
        self._images = 0
        self._trained: dict[str, Tensor | float] = {}
        """Sums of the metrics over the `_images` of the epoch so far."""

    def freeze_features(self, start: object, images: Tensor) -> None:
        """Keep the weights and batch statistics before the features as they are, those of `start`.

        Args:
            start: file that the weights were loaded from, or None.
            images: an image or more `(B, C, H, W)`, preprocessed for the network.

        Raises UserError if `start` is None, since features of random weights are of no use.
        """
        if start is None:
            raise UserError(
                "training.frozen_features=true keeps the weights that a training starts from, but this one has none.\n"
                "Add --init MODEL, or pre-train it with experiment=pretrained_frozen."
            )
        network = self.classifier.network
        weights = feature_weights(network.eval(), images)
        for weight in weights:
            weight.requires_grad = False
        fixed = {id(weight) for weight in weights}
        self._frozen = [
            module
            for module in network.modules()
            if any(id(weight) in fixed for weight in module.parameters(recurse=False))
        ]
        network.train()

    def on_train_epoch_start(self) -> None:
        """Seed the epoch's dropout and noise with (seed, epoch), so that a resumed training draws the same."""
        for module in self._frozen:
            module.eval()
        self._trained, self._images = {}, 0
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)
        self.generator = self._seeded_generator(self.seed * 1_000_003 + self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """Use the same noise on the validation images in every epoch."""
        self.validation_generator = self._seeded_generator(self.seed)

    def _seeded_generator(self, seed: int) -> Generator:
        return Generator(self.device).manual_seed(seed)

    def training_step(self, batch: PairedBatch, _index: int) -> Tensor:
        """Return the loss (scalar) of one batch of both domains and log its terms."""
        labels = batch.source_labels
        both = self._activations(batch.source_images, batch.target_images, self.generator)
        if batch.target_images is None:
            source = target = both
        else:
            source = Activations(*(tensor[: len(labels)] for tensor in both))
            target = Activations(*(tensor[len(labels) :] for tensor in both))
        classification = functional.cross_entropy(source.logits.float(), labels, weight=self.train_weights)
        penalty = self.penalty(source, target, labels)
        progress = min(1.0, self.global_step / self.scheduled_steps)
        loss = self.weighting(classification, penalty, progress) + self.classifier.network.regularisation()
        metrics = {
            "train_loss": loss,
            "train_classification_loss": classification,
            "train_penalty": penalty,
            "penalty_weight": float(self.weighting.weight(progress)),
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
        }
        self._record(metrics, len(labels))
        return loss

    @torch.no_grad()
    def _record(self, metrics: dict[str, Tensor | float], images: int) -> None:
        """Add to the sums of the epoch, and log the means with its last batch.

        Lightning's logging of every step takes a third of the step on a GPU.
        """
        self._images += images
        for name, value in metrics.items():
            self._trained[name] = self._trained.get(name, 0.0) + images * value
        if self.trainer.is_last_batch:
            means = {name: value / self._images for name, value in self._trained.items()}
            self.log_dict(means, on_step=False, on_epoch=True, batch_size=1)

    def _activations(self, source: Tensor, target: Tensor | None, generator: Generator) -> Activations:
        """Pass images of both domains through the network, after the method has changed the labelled ones."""
        if not self._stretched:
            source = self.classifier.stretched(self.penalty.labelled_images(source, generator))
        views = [] if target is None else [self.penalty.target_views(target, generator).to(source.dtype)]
        together_or_apart = self.share.apart if self.penalty.separate_domains else self.share.activations
        return together_or_apart(self.classifier.network, source, *views)

    def on_after_backward(self) -> None:
        """Raise UserError if DDP would wait for ever for a gradient, since the loss does not depend on a weight."""
        if self.share.processes == 1:
            return
        unused = [
            name
            for name, weight in self.named_parameters()
            if weight.requires_grad and weight.grad is None and name not in self._alone
        ]
        if unused:
            raise UserError(
                f"The loss does not depend on {', '.join(unused)}, so that several processes cannot train.\n"
                "Use a trainer with one process (trainer=cpu, trainer=gpu), or freeze these weights (requires_grad)."
            )

    def validation_step(self, batch: LabelledImages, _index: int) -> None:
        """Keep the predictions on validation images of the labelled domain until the epoch ends."""
        logits = self._activations(batch.images, None, self.validation_generator).logits.float()
        self._validated.append((logits, batch.labels, torch.softmax(logits, dim=1)[:, 1]))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics on the labelled domain's validation images; raises Diverged if a logit is not finite."""
        logits, labels, probabilities = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        self._validated = []
        if not bool(torch.isfinite(logits).all()):
            raise Diverged(
                f"The training diverged in epoch {self.current_epoch}: the network's outputs are NaN or infinite.\n"
                "Lower training.optimizer.lr or the penalty's weight, then train again."
            )
        scores = score(labels.cpu().numpy(), probabilities.cpu().double().numpy())
        loss = functional.cross_entropy(logits, labels, weight=self.validation_weights)
        self.log("source_val_loss", loss, prog_bar=True)
        if self.settings.stop_on == "source_val_penalised_loss":  # as Keras' validation loss is
            self.log("source_val_penalised_loss", loss + self.classifier.network.regularisation())
        self.log("source_val_accuracy", scores["accuracy"])
        self.log("source_val_balanced_accuracy", scores["balanced_accuracy"], prog_bar=True)

    @torch.no_grad()
    def loss_of_random_batch(self, size: int) -> float:
        """Return the cross-entropy of random validation images of the labelled domain, in evaluation mode.

        They are drawn anew in every step, and depend on the seed and the number of steps alone.
        """
        draw = Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        rows = torch.randperm(len(self._validation.labels), generator=draw)[:size]
        images = self._validation.images[rows].to(self.device, torch.float32)
        labels = self._validation.labels[rows].to(self.device)
        was_training = self.training
        self.eval()
        logits = self._activations(images, None, self._seeded_generator(self.seed)).logits.float()
        self.train(was_training)
        return float(functional.cross_entropy(logits, labels))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Begin the schedule of the learning rate anew where a longer training goes on from a finished one."""
        if self.first_step and checkpoint["global_step"] == self.first_step:
            checkpoint["lr_schedulers"] = []

    def on_train_start(self) -> None:
        """Give the optimiser, which a checkpoint has restored, the first learning rate of a schedule begun anew."""
        if self.first_step and self.global_step == self.first_step:
            schedule = self.lr_schedulers()
            assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
            for group, rate in zip(schedule.optimizer.param_groups, schedule.get_last_lr(), strict=True):
                group["lr"] = rate

    def _cycle(self) -> tuple[int, int]:
        """Return the numbers of steps for which the triangular learning rate rises and falls.

        With triangular_2021, a cycle is nine tenths as long as its epochs, rounded down, as in the released code.
        """
        steps = self.settings.cycle_length * self.steps // self.settings.epochs
        if self.settings.schedule == "triangular":
            return max(1, steps // 2), max(1, steps // 2)
        steps = max(2, int(steps * 0.9))
        return steps // 2, steps - steps // 2

    def configure_optimizers(self) -> Any:
        """Return the configured optimiser of network, penalty and weighting, with its schedule per step."""
        # The network's group comes first: its rate is the one that is logged.
        groups: dict[float, list[nn.Parameter]] = {1.0: list(self.classifier.parameters())}
        for name, weight in self.penalty.named_parameters():
            groups.setdefault(self.penalty.learning_rate_factor(name), []).append(weight)
        for weight in groups.pop(0.0, []):
            weight.requires_grad_(False)
        usual = [*groups.pop(1.0), *self.weighting.parameters()]
        optimizer = instantiate(self.settings.optimizer, torch.optim.Optimizer, params=usual)
        for factor, weights in groups.items():
            optimizer.add_param_group({"params": weights, "lr": factor * optimizer.defaults["lr"]})
        if self.settings.schedule == "constant":
            return optimizer
        rates = [group["lr"] for group in optimizer.param_groups]
        schedule: torch.optim.lr_scheduler.LRScheduler
        if self.settings.schedule in ("triangular", "triangular_2021"):
            up, down = self._cycle()
            schedule = torch.optim.lr_scheduler.CyclicLR(
                optimizer,
                base_lr=[rate / 10 for rate in rates],
                max_lr=rates,
                step_size_up=up,
                step_size_down=down,
                cycle_momentum=False,
            )
        else:
            total = self.steps - self.first_step + 1
            # PyTorch divides by the length of the rise less one step, which is 0 for a tenth of ten steps.
            rise = 0.2 if total == 10 else 0.1
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=rates, total_steps=total, pct_start=rise
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
