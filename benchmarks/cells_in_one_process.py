"""What would it save to train and evaluate the seeds of a cell in one process? The processors' seconds of both ways.

    python benchmarks/cells_in_one_process.py                            # the demo's mock and cells of 18 epochs
    python benchmarks/cells_in_one_process.py --mergers 20 --non-mergers 60 --epochs 4     # a first impression

In the first way, as `mergershift repro` does, every training and every evaluation is a process of its own; in the
second, one process does all of them in turn, and so shares the start of Python, the imports, and what libraries
compute once. DVC's own processes are left out: they stay as many in both. A way is run with one epoch and with three,
from which follow the seconds of an epoch and those that a cell costs in addition.

Measured for three seeds of mmd on a busy machine with two cores, a cell costs 27 s in addition to its epochs in the
first way and 9 s in the second: the difference is the imports of two processes. A cell of 18 epochs of the demo's mock,
which take about 19 s each there, is thus 1.05 times as fast in one process, and would be 1.15 times with epochs three
times as fast. That is why `mergershift repro` leaves every seed its own processes, which fail, stop and resume by
themselves.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from jobs import clone, ran

from mergershift.archive.mock import write_archive

SHORT, LONG = 1, 3
TOGETHER = """
import sys
from pathlib import Path
from mergershift.config import compose, compose_selection
from mergershift.stages.evaluate import evaluate_step
from mergershift.stages.train import train_step
for seed in range(int(sys.argv[1])):
    cell = Path(sys.argv[2]) / f"seed{seed}"
    train_step(compose([*sys.argv[3:], f"seed={seed}"]), cell)
    evaluate_step(cell, compose_selection([]))
"""


@dataclass(frozen=True)
class Cost:
    """The processors' seconds of a cell: of its epochs, and of all else."""

    fixed: float
    epoch: float

    @classmethod
    def of(cls, short: float, long: float) -> Cost:
        """Split the seconds of cells with `SHORT` and with `LONG` epochs."""
        epoch = (long - short) / (LONG - SHORT)
        return cls(short - SHORT * epoch, epoch)

    def seconds(self, epochs: int, faster: float = 1.0) -> float:
        """Return the seconds of a cell of this number of epochs, which are `faster` than measured."""
        return self.fixed + epochs * self.epoch / faster


def children_seconds() -> float:
    """Return the processors' seconds of all finished children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def separate(project: Path, output: str, seeds: int, overrides: Sequence[str]) -> None:
    """Train and evaluate every seed in processes of its own."""
    for seed in range(seeds):
        cell = f"{output}/seed{seed}"
        ran(project, "mergershift", "train", "--output", cell, *overrides, f"seed={seed}")
        ran(project, "mergershift", "evaluate", cell)


def together(project: Path, output: str, seeds: int, overrides: Sequence[str]) -> None:
    """Train and evaluate the seeds in one process, one after the other."""
    (project / "in_turn.py").write_text(TOGETHER)
    ran(project, "in_turn", str(seeds), output, *overrides)


@click.command()
@click.option("--mergers", default=150, show_default=True)
@click.option("--non-mergers", default=300, show_default=True)
@click.option("--filters", default="three", show_default=True, type=click.Choice(["two", "three"]))
@click.option("--methods", default="source_only,mmd", show_default=True, help="Comma-separated names.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=2))
@click.option("--epochs", default=18, show_default=True, help="Number of epochs of the cells to work out.")
@click.option("--scratch", type=click.Path(exists=True, file_okay=False), help="Folder for the clone.")
def main(
    mergers: int, non_mergers: int, filters: str, methods: str, seeds: int, epochs: int, scratch: str | None
) -> None:
    """Print what a cell costs in both ways, and their ratio with epochs as fast as here and several times faster."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_archive(data, mergers=mergers, non_mergers=non_mergers, seed=100, filter_sets=(filters,))
        project = clone(Path(folder) / "project", data, filters, methods=1, epochs=epochs, seeds=1)
        ran(project, "mergershift", "prepare", f"filters={filters}")
        print(f"{seeds} seeds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; seconds of a processor")
        for method in methods.split(","):
            choices = [
                f"filters={filters}",
                f"adaptation={method}",
                "training=demo",
                "trainer=cpu_one_thread",
            ]
            costs = []
            for way in (separate, together):
                used = []
                for length in (SHORT, LONG):
                    before = children_seconds()
                    output = f"outputs/runs/{way.__name__}-{method}-{length}"
                    way(project, output, seeds, [*choices, f"training.epochs={length}"])
                    used.append((children_seconds() - before) / seeds)
                costs.append(Cost.of(*used))
                print(
                    f"{method}, {way.__name__}: {costs[-1].fixed:.1f} s a cell and {costs[-1].epoch:.2f} s an epoch",
                    flush=True,
                )
            # The epochs are the same work in both ways: their difference is noise.
            own = costs[0]
            shared = Cost(costs[1].fixed, own.epoch)
            for faster in (1, 3, 10):
                ratio = own.seconds(epochs, faster) / shared.seconds(epochs, faster)
                print(
                    f"{method}: {ratio:.2f} times as fast in one process with epochs {faster} times as fast as here"
                )


if __name__ == "__main__":
    main()
