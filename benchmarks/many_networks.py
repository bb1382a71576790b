"""Does it pay to train K networks `DeepMerge` as one, with stacked weights? Ratios by K, method, precision and threads.

    python benchmarks/many_networks.py                           # K = 2, 3, 5, 8 and three methods
    python benchmarks/many_networks.py --networks 32 --methods mmd --repeats 3

Every number is a time per network and training step of 128 + 128 images of 75 x 75 pixels in three filters, which are
stretched, in memory and channels-last: the fastest single training that there is. The reference on one core is one
network in one thread; on two cores, two processes that each train one network in one thread, as `mergershift repro
--jobs 2` does: with the package's network, or with the code of the stack for K = 1 if that is faster. A stack trains in
one process with one thread, one process with two threads, or two processes with half of the networks each. Forms take
turns in every repeat, and the ratio, above 1 where stacking is faster, is the median over repeats; the ratio of the
processors' times is robust against other programs on the machine. Augmentation is left out, since it costs the same
for an image in every form. On a GPU the reference is one network at a time.

On a CPU with AVX-512 and AMX, stacks with batches of their own do not pay: for K = 5 and mmd on two cores, the ratio
is 1.0 in fp32 and in bf16; over K = 2 to 8 and three methods, measured on a busier machine, it is 0.95 to 1.2 by
processor time. vmap takes two to four times as long as separate trainings. A step moves hundreds of megabytes for
every network there, and K networks move K times as many; calls, which a stack does once for all, are about 2 % of it.
Where all networks are given the same batches, the first convolution is a larger one, which is worth 1.1 to 1.5 in fp32
and 1.4 to 1.9 in bf16. Seeds have batches of their own, so the package trains them separately.

On a GPU (H200, bf16, mmd), where a step's time is that of launching its kernels, a stack takes less: with batches of
their own, 8 networks take 1.8 ms each and step against 7.9 ms one after another (4.3 times as fast), 32 networks 1.5 ms
against 6.4 (4.4 times); with the same batches for all, 32 take 0.9 ms (7.2 times). Processes that share the GPU, as
with `mergershift repro --jobs 8`, are 2.2 times as fast as one after another (`full_size.py --at-once 8`).
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from stacked_networks import METHODS, Network, Separate, Stacked, made_up_images
from torch import multiprocessing

from mergershift.training.job import _keep_memory

BATCH, ROWS, SIZE = 128, 1024, 75
WORTH_IT = 1.3
"""Ratio from which on the code of a stack would be worth keeping."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Request(NamedTuple):
    """What a process is asked for: `steps` steps of `networks` networks together."""

    form: str
    networks: int
    steps: int
    threads: int


@dataclass(frozen=True)
class Form:
    """A way to train K networks: by how many processes, with how many threads each."""

    name: str
    processes: int
    threads: int

    @property
    def cores(self) -> int:
        """Number of cores that it occupies."""
        return self.processes * self.threads

    def requests(self, networks: int) -> list[Request]:
        """List what the processes are asked for; a reference takes a step for each of its networks in turn."""
        shares = [
            networks // self.processes + (rank < networks % self.processes) for rank in range(self.processes)
        ]
        alone = self in references(self.cores)
        return [
            Request(self.name, 1 if alone else share, share if alone else 1, self.threads) for share in shares
        ]

    def __str__(self) -> str:
        return f"{self.name}, {self.processes} x {self.threads}"


@dataclass(frozen=True)
class Case:
    """What is trained."""

    networks: int
    method: str
    precision: str


@dataclass(frozen=True)
class Seconds:
    """A step's time divided by the number of networks that it trained."""

    wall: float
    processor: float


def references(cores: int) -> list[Form]:
    """List the forms that train a network by itself on every core: the package's, and the stack's code for K = 1."""
    return [Form(name, cores, 1) for name in ("package", "alone")]


def forms(case: Case, cores: int, device: str) -> list[Form]:
    """List the forms that a case is measured in, the references first."""
    # vmap computes the same groups with more copies: one row shows it. On a CPU autocast does not reach below it, and
    # on a GPU it has no batch normalisation of images in the channels-last layout.
    stacked = [
        "grouped",
        "same_batches",
        *(["vmapped"] if case.precision == "fp32" and device == "cpu" else []),
    ]
    places = [(1, 1)]
    if device == "cpu" and cores > 1:
        places += [(2, 1), (1, 2)]
    single = [form for processes, threads in places if threads == 1 for form in references(processes)]
    return single + [
        Form(name, *place)
        for name in stacked
        for place in (places if name == "grouped" else places[:1])
        if case.networks >= place[0]
    ]


def work(pipe: Connection, case: Case, device: str) -> None:
    """Answer every request with the processor's seconds that it took."""
    _keep_memory()
    images = made_up_images(SIZE, ROWS, PRECISIONS[case.precision], device)
    built: dict[tuple[str, int], Separate | Stacked] = {}
    while (request := pipe.recv()) is not None:
        form, count, steps, threads = request
        torch.set_num_threads(threads)
        if (form, count) not in built:
            networks = [Network(seed) for seed in range(count)]
            built[form, count] = (
                Separate(networks, case.method, images)
                if form == "package"
                else Stacked(networks, case.method, images, "grouped" if form == "alone" else form)
            )
        began = time.process_time()
        for _ in range(steps):
            rows = [torch.randint(ROWS, (count, BATCH), device=device) for _ in range(2)]
            built[form, count].step(*rows)
        if device == "cuda":
            torch.cuda.synchronize()
        pipe.send(time.process_time() - began)


@contextmanager
def workers(count: int, case: Case, device: str) -> Iterator[list[Connection]]:
    """Start processes that train; yields the pipes to them."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=work, args=(there, case, device), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        yield pipes
        for pipe in pipes:
            pipe.send(None)
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def step(pipes: Sequence[Connection], form: Form, networks: int) -> Seconds:
    """Let the processes of a form take one step of all networks at the same time."""
    began = time.perf_counter()
    asked = list(zip(pipes, form.requests(networks), strict=False))
    for pipe, request in asked:
        pipe.send(request)
    processor = sum(pipe.recv() for pipe, _ in asked)
    return Seconds((time.perf_counter() - began) / networks, processor / networks)


def measure(case: Case, repeats: int, cores: int, device: str) -> dict[Form, list[Seconds]]:
    """Time all forms of a case in turn, after a turn of each that does not count."""
    chosen = forms(case, cores, device)
    found: dict[Form, list[Seconds]] = {form: [] for form in chosen}
    with workers(max(form.processes for form in chosen), case, device) as pipes:
        for repeat in range(-1, repeats):
            for form in chosen:
                seconds = step(pipes, form, case.networks)
                if repeat >= 0:
                    found[form].append(seconds)
    return found


def table(case: Case, found: dict[Form, list[Seconds]]) -> Iterator[dict[str, Any]]:
    """Yield a row for every form, whose ratios are to the faster reference on as many cores."""
    medians = {form: statistics.median(own.wall for own in seconds) for form, seconds in found.items()}
    for form, seconds in found.items():
        fastest = min(references(form.cores), key=lambda reference: medians[reference])
        pairs = list(zip(found[fastest], seconds, strict=True))
        yield {
            "networks": case.networks,
            "method": case.method,
            "precision": case.precision,
            "form": str(form),
            "cores": form.cores,
            "milliseconds": 1000 * medians[form],
            "ratio": statistics.median(reference.wall / own.wall for reference, own in pairs),
            "processor_ratio": statistics.median(
                reference.processor / own.processor for reference, own in pairs
            ),
        }


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Say whether a stack of networks with batches of their own pays on all cores, by the clock and by processor time.

    On a busy machine, the clock alone can favour either form.
    """
    cores = max(row["cores"] for row in rows)
    stacks = [row for row in rows if row["cores"] == cores and row["form"].startswith("grouped")]
    best = max(stacks, key=lambda row: min(row["ratio"], row["processor_ratio"]))
    ratio = min(best["ratio"], best["processor_ratio"])
    return (
        f"Networks with batches of their own on {cores} core{'s' * (cores > 1)}: a stack "
        f"{'pays' if ratio >= WORTH_IT else 'does not pay'}, at best {ratio:.2f} times the speed of "
        f"separate trainings (K = {best['networks']}, {best['method']}, {best['precision']}, {best['form']})"
    )


@click.command()
@click.option("--networks", default="2,3,5,8", show_default=True, help="Comma-separated numbers K.")
@click.option("--methods", default=",".join(METHODS), show_default=True, help="Comma-separated names.")
@click.option("--precisions", default=",".join(PRECISIONS), show_default=True, help="Comma-separated names.")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--device", default="cuda" if torch.cuda.is_available() else "cpu", type=click.Choice(["cpu", "cuda"])
)
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="File for the table.")
def main(networks: str, methods: str, precisions: str, repeats: int, device: str, path: Path | None) -> None:
    """Print a line for every form of every case, and whether a stack pays."""
    cores = min(2, len(os.sched_getaffinity(0)))
    place = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    print(f"{place}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, PyTorch {torch.__version__}")
    print("                                       milliseconds   times the reference's speed")
    print("  K  method       form                    a network   by the clock  by processor time")
    rows = []
    for precision in precisions.split(","):
        for method in methods.split(","):
            for count in map(int, networks.split(",")):
                case = Case(count, method, precision)
                for row in table(case, measure(case, repeats, cores, device)):
                    rows.append(row)
                    print(
                        f"{count:3d}  {method:<12} {precision} {row['form']:<20} {row['milliseconds']:8.1f}"
                        f" {row['ratio']:11.2f} {row['processor_ratio']:13.2f}",
                        flush=True,
                    )
    if path is not None:
        path.write_text(json.dumps(rows, indent=1))
    print(verdict(rows))


if __name__ == "__main__":
    main()
