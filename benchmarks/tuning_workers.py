"""Compare the wall time of `mergershift tune --workers N` with that of a single worker.

    python benchmarks/tuning_workers.py                      # 24 trials on a mock of the demo's size, two workers
    python benchmarks/tuning_workers.py --trials 8 --workers 4

Both run on temporary clones of this checkout's working tree, each with its own database. Every trial uses one thread
and none is pruned, so that both train the same number of epochs; the suggested values differ, because the workers see
different finished trials. The single worker runs first, so that the others benefit from the operating system's file
cache.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click
from jobs import clone, ran, timed

from mergershift.archive.mock import write_archive


def tune(folder: Path, workers: int, trials: int, method: str, filters: str) -> float:
    """Wall time in seconds of the search in a clone whose images are prepared."""
    choices = [f"adaptation={method}", f"filters={filters}", "training=demo"]
    budget = [f"tuning.trials={trials}", "tuning.pruning=false"]
    return timed(folder, "mergershift", "tune", "--workers", str(workers), *choices, *budget)


@click.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=2))
@click.option("--trials", default=24, show_default=True, type=click.IntRange(min=2))
@click.option("--method", default="mmd", show_default=True)
@click.option("--filters", default="two", show_default=True, type=click.Choice(["two", "three"]))
@click.option("--mergers", default=150, show_default=True)
@click.option("--non-mergers", default=300, show_default=True)
@click.option("--epochs", default=3, show_default=True)
@click.option("--scratch", type=click.Path(exists=True, file_okay=False), help="Folder for the clones.")
def main(
    workers: int,
    trials: int,
    method: str,
    filters: str,
    mergers: int,
    non_mergers: int,
    epochs: int,
    scratch: str | None,
) -> None:
    """Print both wall times, their ratio, and the number of trials that each search has completed."""
    with tempfile.TemporaryDirectory(dir=scratch) as parent:
        data = Path(parent) / "data"
        data.mkdir()
        write_archive(data, mergers=mergers, non_mergers=non_mergers, seed=0, filter_sets=(filters,))
        seconds = []
        for count in (1, workers):
            folder = clone(Path(parent) / str(count), data, filters, None, epochs, 1)
            ran(folder, "mergershift", "prepare", f"filters={filters}")
            seconds.append(tune(folder, count, trials, method, filters))
            facts = json.loads((folder / "outputs/tuning" / f"tuned_{method}" / "study.json").read_text())
            print(
                f"{count} worker{'s' * (count > 1)}: {facts['completed']} trials in {seconds[-1]:.1f} s",
                flush=True,
            )
    print(f"{seconds[1] / seconds[0]:.2f} of the time, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
