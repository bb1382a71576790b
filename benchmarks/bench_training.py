"""What a training step takes, beside the plain loop and the published one; and what Lightning takes of it."""

from __future__ import annotations

import functools
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from bench_data import write_random
from bench_rows import Options, Row, Sample, in_turns, row_of
from reference_networks import reference_of
from reference_training import PlainStretch, RawBatches, ReferenceTask, published_steps

from mergershift.archive import IMAGE_SIZE
from mergershift.classifier.classifier import build_classifier
from mergershift.config import Config, compose
from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.training.datamodule import TransferData
from mergershift.training.job import Fitted, Job, fit
from mergershift.training.share import ALONE
from mergershift.training.task import TransferTask

BATCH = {"deepmerge": 128, "deepmerge_2020": 128, "resnet18": 32}
"""Images of each domain in a batch; 32 for the network whose step is fifty times as much work."""
STEPS = {"deepmerge": 8, "deepmerge_2020": 8, "resnet18": 3}
"""Number of steps that are timed together."""
PLAIN = "fp32 loop, stretch in every step"


@dataclass
class Clock:
    """Times of the ends of a fit's steps, and what its parts took in total."""

    ends: list[Sample] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def step(self) -> Sample:
        """Return the mean of a step, from the end of the first to the end of the last."""
        first, last, count = self.ends[0], self.ends[-1], len(self.ends) - 1
        assert first.cpu is not None
        assert last.cpu is not None
        return Sample((last.wall - first.wall) / count, (last.cpu - first.cpu) / count)

    def note(self, *_: object) -> None:
        """Note that a step has ended, as Lightning's hook `on_train_batch_end`."""
        self.ends.append(Sample(time.perf_counter(), time.process_time()))

    def wrapped(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, which adds what it takes to a part, from the second step on."""

        @functools.wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **keywords)
            if self.ends:
                self.parts[part] += time.perf_counter() - started
            return result

        return timed


@contextmanager
def steps_of(task: type[pl.LightningModule]) -> Iterator[Clock]:
    """Note the ends of all steps that this kind of task takes."""
    clock = Clock()
    with mock.patch.object(task, "on_train_batch_end", clock.note):
        yield clock


@contextmanager
def parts_of(task: type[pl.LightningModule], data: type[pl.LightningDataModule]) -> Iterator[Clock]:
    """Note the ends of all steps, and what of a step is not Lightning's: input, forward, backward and optimiser."""
    with steps_of(task) as clock, ExitStack() as patches:
        for name in ("training_step", "log_dict", "backward", "optimizer_step"):
            patches.enter_context(mock.patch.object(task, name, clock.wrapped(name, getattr(task, name))))
        loader = data.train_dataloader
        timed = functools.wraps(loader)(lambda self: _TimedBatches(loader(self), clock))
        patches.enter_context(mock.patch.object(data, "train_dataloader", timed))
        closure = clock.wrapped("closure", pl.loops.optimization.automatic.Closure.__call__)
        patches.enter_context(mock.patch.object(pl.loops.optimization.automatic.Closure, "__call__", closure))
        yield clock


class _TimedBatches:
    def __init__(self, batches: Any, clock: Clock) -> None:
        self.batches, self.clock = batches, clock

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.batches)
        following = self.clock.wrapped("input", lambda: next(iterator, None))
        while (batch := following()) is not None:
            yield batch


@dataclass(frozen=True)
class Case:
    """A network and a method, with images for a number of steps."""

    network: str
    method: str
    prepared: Prepared
    scratch: Path
    threads: int

    def config(self, *overrides: str) -> Config:
        """Compose the configuration of one epoch with three filters."""
        batch = BATCH[self.network]
        plain = (
            "filters=three",
            f"network={self.network}",
            f"adaptation={self.method}",
            "trainer=cpu_one_thread",
        )
        sizes = (f"training.batch_size={batch}", "training.epochs=1", "training.candidates=0")
        return compose([*plain, *overrides, *sizes, f"trainer.threads={self.threads}"])

    def ours(self, *overrides: str) -> Sample:
        """Take one epoch of the project's own training."""
        with steps_of(TransferTask) as clock:
            fit_once(self.config(*overrides), self.prepared, self.scratch)
        return clock.step

    def plain(self) -> Sample:
        """Take one epoch of the plain loop under Lightning."""
        config = self.config()
        torch.set_num_threads(self.threads)
        task, batches = reference_task(config, self.prepared)
        with steps_of(ReferenceTask) as clock:
            task.fit(batches)
        return clock.step

    def published(self, steps: int) -> Sample:
        """Take steps of the published loop, after a first one."""
        torch.set_num_threads(self.threads)
        task, batches = reference_task(self.config("adaptation=mmd"), self.prepared)
        assert batches.target is not None
        with torch.inference_mode():
            source, target = (
                task.stretch(images).contiguous() for images in (batches.source, batches.target)
            )
        torch.use_deterministic_algorithms(
            False
        )  # as the last training under Lightning has left it otherwise
        loop = published_steps(
            task.network.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            (source.clone(), batches.labels),
            target.clone(),
            batches.batch_size,
        )
        next(loop)
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            next(loop)
        return Sample((time.perf_counter() - started) / steps, (time.process_time() - cpu) / steps)


def fit_once(config: Config, prepared: Prepared, scratch: Path) -> Fitted:
    """Train as `mergershift train` does, without its records."""
    state = scratch / "state"
    (state / "models").mkdir(parents=True, exist_ok=True)
    for path in state.glob("*.ckpt"):
        path.unlink()
    return fit(Job(config, prepared, state, None, None), ALONE)


def warm_up(case: Case) -> None:
    """Fit once, so that both forms meet the settings of memory and messages that a training makes."""
    case.ours()


def reference_task(config: Config, prepared: Prepared) -> tuple[ReferenceTask, RawBatches]:
    """Build the reference of a training with the same first weights, and its batches."""
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    torch.manual_seed(config.seed)
    network = build_classifier(config).network
    reference = reference_of(config.choices["network"], network.state_dict(), config.channels, IMAGE_SIZE)
    rows = prepared.rows("train", trains="source", unique=True)
    source = prepared.labelled(config.transfer.labelled_domain, rows)
    target = prepared.images(config.transfer.target, rows)
    softening = config.training.softening
    scaled = softening * torch.asinh(source.images / softening)
    std, mean = torch.std_mean(scaled, (0, 2, 3), correction=0, keepdim=True)
    stretch = PlainStretch(softening, mean, std)
    batch = min(config.training.batch_size, len(rows))
    task = ReferenceTask(stretch, reference, config, network.feature_size, max(2, len(rows) // batch))
    target_used = target if task.penalty.uses_target else None
    return task, RawBatches(source.images, source.labels, target_used, batch, config.training.augment)


def cases(options: Options) -> Iterator[Case]:
    """Make the images of every chosen network, and its cases by method."""
    for network in options.networks:
        folder = options.scratch / f"random-{network}"
        steps = 1 + (2 if options.quick else STEPS[network])
        if not folder.exists():
            write_random(folder, channels=3, train=steps * BATCH[network])
        for method in options.methods:
            yield Case(network, method, Prepared(folder), options.scratch, options.threads)


def bf16() -> str | None:
    """Return the trainer that computes in bf16, if there is one and this processor has matrix units for it."""
    if "amx_bf16" not in Path("/proc/cpuinfo").read_text():
        return None
    try:
        compose(["trainer=cpu_bf16"])
    except UserError:
        return None
    return "trainer=cpu_bf16"


def steps(options: Options, with_bf16: bool = True) -> list[Row]:
    """Compare a training step with that of the plain loop."""
    rows = []
    warm_up(next(cases(options)))
    for case in cases(options):
        forms: dict[str, Callable[[], Sample]] = {"plain": case.plain, "fp32": case.ours}
        if with_bf16 and (trainer := bf16()):
            forms["bf16"] = functools.partial(case.ours, trainer)
        samples = in_turns(forms, options.repeats)
        size = BATCH[case.network]
        for form in list(forms)[1:]:
            name = f"training step, {case.network}, {case.method}, {size} + {size} images, {form}"
            rows.append(row_of("steps", name, PLAIN, samples["plain"], samples[form]))
    return rows


def published(options: Options) -> list[Row]:
    """Compare a step of mmd with that of the published loop, which takes seconds.

    The processes of its loaders share all memory with their parent, which takes a fault on each page that it writes
    next, so ours follows a training that is not timed.
    """
    case = next(cases(_only(options, "deepmerge", "mmd")))
    trainer = bf16()

    def warmed_up(*overrides: str) -> Sample:
        warm_up(case)
        return case.ours(*overrides)

    forms: dict[str, Callable[[], Sample]] = {
        "published": functools.partial(case.published, 1 if options.quick else 2),
        "fp32": warmed_up,
        **({"bf16": functools.partial(warmed_up, trainer)} if trainer else {}),
    }
    samples = in_turns(forms, options.repeats)
    return [
        row_of(
            "published",
            f"training step, deepmerge, mmd, {form}",
            "published loop",
            samples["published"],
            samples[form],
        )
        for form in list(forms)[1:]
    ]


def lightning(options: Options) -> list[Row]:
    """Compare a step with its own parts alone: input, forward and backward pass, optimiser."""
    case = next(cases(_only(options, "deepmerge", "mmd")))
    rows = []
    for form, trainer in (("fp32", None), ("bf16", bf16())):
        if form == "bf16" and trainer is None:
            continue
        whole, own = [], []
        for _ in range(options.repeats):
            with parts_of(TransferTask, TransferData) as clock:
                fit_once(case.config(*([trainer] if trainer else [])), case.prepared, case.scratch)
            parts, count = clock.parts, len(clock.ends) - 1
            optimiser = parts["optimizer_step"] - parts["closure"]
            forward = parts["training_step"] - parts["log_dict"]
            own.append(Sample((parts["input"] + forward + parts["backward"] + optimiser) / count))
            whole.append(Sample(clock.step.wall))
        rows.append(
            row_of("lightning", f"the same step under Lightning, {form}", "its own parts alone", own, whole)
        )
    return rows


def _only(options: Options, network: str, method: str) -> Options:
    return Options(**{**vars(options), "networks": (network,), "methods": (method,)})
