"""Compare a training step with the least time that its operations and its memory traffic could take on this machine.

    python benchmarks/roofline.py                                   # deepmerge with mmd, the fastest trainer
    python benchmarks/roofline.py --network resnet18 --method dann --trainer cpu_one_thread

Operations and bytes are counted from the shapes of the plain network's layers (`roofline_count`); the peak rate of
matrix products and the bandwidth are measured here, the latter with tensors of the size of the largest activation.
Times are the own times of PyTorch's operators in a real training, by its profiler, and those of compiled loops; the
shapes of their inputs say to which layer they belong, whether modules or fused functions call them. Each part's bound
is the larger of operations / peak and bytes / bandwidth, and the part reaches bound / time of it. Bytes are those of
the modules one after the other, so that fused ones can take less than the bound.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import click
import torch
from bench_rows import Options
from bench_training import BATCH, Case, bf16, cases, fit_once, parts_of, reference_task
from roofline_count import (
    IMAGES,
    OPTIMISER,
    PENALTY,
    REST,
    Part,
    Parts,
    Work,
    input_work,
    network_parts,
    optimiser_work,
    penalty_work,
)
from torch import Tensor

from mergershift.archive import IMAGE_SIZE
from mergershift.core.words import counted
from mergershift.networks import Activations, CompiledLoops
from mergershift.training.datamodule import TransferData
from mergershift.training.task import TransferTask


def best(work: Callable[[], object], repeats: int = 25) -> float:
    """Return the shortest of several wall times in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def peak_rate(dtype: torch.dtype, size: int = 1024) -> float:
    """Measure the operations a second of a matrix product `(size, size)`."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / best(lambda: a @ b)


def bandwidth(count: int) -> float:
    """Measure the bytes a second that a copy of `count` bytes reads and writes."""
    source = torch.zeros(count // 4)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / best(lambda: target.copy_(source))


def profiled(case: Case, trainer: str, parts: Parts) -> tuple[float, dict[Part, float], dict[str, float]]:
    """Profile the steps of a real training but for its first.

    Returns the seconds of a step, those of its parts, and those of each operator itself.
    """
    looped: dict[Part, float] = defaultdict(float)
    compiled = CompiledLoops.__call__

    def loops(code: CompiledLoops, images: int, tensors: Sequence[Tensor], *others: Sequence[int]) -> None:
        started = time.perf_counter()
        compiled(code, images, tensors, *others)
        if clock.ends:
            looped[parts.part_of_loops(tensors[0].shape)] += time.perf_counter() - started

    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True)
    with parts_of(TransferTask, TransferData) as clock:

        def step_ends(task: TransferTask, *_: object) -> None:
            if not clock.ends:
                profiler.start()
            clock.note()
            if task.trainer.is_last_batch:
                profiler.stop()

        with (
            mock.patch.object(TransferTask, "on_train_batch_end", step_ends),
            mock.patch.object(CompiledLoops, "__call__", loops),
        ):
            fit_once(case.config(trainer), case.prepared, case.scratch)
    count = len(clock.ends) - 1
    seconds: dict[Part, float] = defaultdict(float)
    operators: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages(group_by_input_shape=True):
        own = event.self_cpu_time_total / 1e6 / count
        if event.key.startswith("aten::"):
            seconds[parts.part_of(event.key, event.input_shapes)] += own
            operators[event.key.removeprefix("aten::")] += own
    for part, took in looped.items():
        seconds[part] += took / count
        operators["compiled loops"] += took / count
    seconds[OPTIMISER, ()] = (clock.parts["optimizer_step"] - clock.parts["closure"]) / count
    seconds.pop((REST, ()), None)
    return clock.step.wall, seconds, operators


def count(case: Case, item: int) -> Parts:
    """Count the work of a step's parts."""
    config = case.config()
    task, _ = reference_task(config, case.prepared)
    rows = BATCH[case.network]
    images = torch.randn(rows * (1 + task.penalty.uses_target), config.channels, IMAGE_SIZE, IMAGE_SIZE)
    parts = network_parts(task.network, images, item)
    with torch.no_grad():
        both = task.network(images)
    source, target = (
        Activations(*(part[half].clone().requires_grad_() for part in both))
        for half in (slice(rows), slice(-rows, None))
    )
    labels = torch.arange(rows) % 2
    parts.work[PENALTY, ()] = penalty_work(lambda: task.penalty(source, target, labels), (*source, *target))
    parts.work[OPTIMISER, ()] = optimiser_work([*task.parameters()])
    parts.work[IMAGES, ()] = input_work(images, item)
    return parts


def lines(
    step: float, seconds: dict[Part, float], work: dict[Part, Work], rates: tuple[float, float]
) -> list[str]:
    """Return the lines of the table, with the parts in the order of the network, and the largest gap."""
    result = [f"{'part':<52} {'Gop':>6} {'MB':>6} {'ms':>8} {'share':>6} {'bound ms':>9} {'reached':>8}"]
    gaps: dict[str, float] = {}
    total = sum(needed.bound(*rates) for needed in work.values())
    for part in dict.fromkeys([*work, *seconds]):
        needed = work.get(part, Work(part[0], part[0], 0, 0))
        took, bound = seconds.get(part, 0.0), needed.bound(*rates)
        if bound < 0.002 * total and took < 0.005 * step:
            continue
        reached = f"{bound / took:8.0%}" if took and bound else ""
        amounts = f"{needed.operations / 1e9:6.2f} {needed.traffic / 1e6:6.1f} {took * 1e3:8.2f}"
        result.append(f"{needed.name:<52} {amounts} {took / step:6.0%} {bound * 1e3:9.2f} {reached}".rstrip())
        gaps[needed.name] = took - bound
    gaps[REST] = step - sum(seconds.values())
    result.append(f"{REST:<52} {'':13} {gaps[REST] * 1e3:8.2f} {gaps[REST] / step:6.0%}")
    result.append(f"{'step':<52} {'':13} {step * 1e3:8.2f} {'':6} {total * 1e3:9.2f} {total / step:8.0%}")
    largest = max(gaps, key=lambda name: gaps[name])
    result.append(f"The largest gap: {largest}, {gaps[largest] * 1e3:.1f} ms above its bound.")
    return result


def kinds(seconds: dict[Part, float], work: dict[Part, Work], rates: tuple[float, float]) -> str:
    """Return a sentence with the time of each kind of part, and the share of its bound that it reaches."""
    took: dict[str, float] = defaultdict(float)
    bounds: dict[str, float] = defaultdict(float)
    for part, value in seconds.items():
        took[part[0]] += value
    for part, needed in work.items():
        bounds[part[0]] += needed.bound(*rates)
    found = sorted(took, key=lambda kind: -took[kind])
    return "; ".join(
        f"{kind} {took[kind] * 1e3:.1f} ms ({bounds[kind] / max(took[kind], 1e-9):.0%})" for kind in found
    )


def roofline(case: Case, trainer: str) -> str:
    """Return the table of one network and method."""
    half = case.config(trainer).trainer.precision != "32-true"
    torch.set_num_threads(case.threads)
    parts = count(case, 2 if half else 4)
    peak = peak_rate(torch.bfloat16 if half else torch.float32)
    rates = (peak, bandwidth(max(parts.largest, 2**20)))
    step, seconds, operators = profiled(case, trainer, parts)
    size = BATCH[case.network]
    title = (
        f"{case.network}, {case.method}, {size} + {size} images, {trainer}, {counted(case.threads, 'thread')}: at most "
        f"{peak / 1e9:.0f} Gop/s, {rates[1] / 1e9:.1f} GB/s"
    )
    first = sorted(operators, key=lambda name: -operators[name])[:10]
    return "\n".join(
        [
            title,
            *lines(step, seconds, parts.work, rates),
            f"Kinds (share of the bound): {kinds(seconds, parts.work, rates)}.",
            f"Operators by their own time: {', '.join(f'{name} {operators[name] / step:.0%}' for name in first)}.",
        ]
    )


def table(options: Options) -> str:
    """Return the tables of the network and method that the study trains most, in float32 and in bf16."""
    only = Options(**{**vars(options), "networks": ("deepmerge",), "methods": ("mmd",)})
    case = next(cases(only))
    trainers = ["trainer=cpu_one_thread", *([bf16()] if bf16() else [])]
    return "\n\n".join(roofline(case, trainer) for trainer in trainers if trainer)


@click.command()
@click.option("--network", default="deepmerge", show_default=True, type=click.Choice(list(BATCH)))
@click.option("--method", default="mmd", show_default=True, help="A file of conf/adaptation.")
@click.option("--trainer", help="A file of conf/trainer.  [default: the fastest on this processor]")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(network: str, method: str, trainer: str | None, threads: int) -> None:
    """Print for each part of a step its operations, bytes, time, bound, and the share of the bound that it reaches."""
    chosen = f"trainer={trainer}" if trainer else bf16() or "trainer=cpu_one_thread"
    with tempfile.TemporaryDirectory() as scratch:
        options = Options(Path(scratch), False, 1, threads, (network,), (method,), ())
        print(roofline(next(cases(options)), chosen))


if __name__ == "__main__":
    main()
