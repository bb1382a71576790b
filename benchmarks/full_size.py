"""How long does a training of DeepMerge II take at full size, beside the same through PyTorch's DataLoader?

    python benchmarks/full_size.py                                        # on a GPU; mmd, three filters
    python benchmarks/full_size.py --trainer cpu_one_thread --images 512 --epochs 2    # tries this script itself

The archive's training set has 10 799 images of each domain, of which every epoch passes all; the published training has
200 epochs. A few are measured, and the time of the whole training is computed from the median of the later ones. The
images are noise, which trains as fast as galaxies. The reference trains the same network with the same images, turned
one by one, which workers of a DataLoader collect into pinned memory. With `--at-once K`, K processes share the device,
as with `mergershift repro --jobs K`.
"""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import click
import torch
from bench_data import write_random
from torch import Tensor, multiprocessing
from torch.utils.data import DataLoader, Dataset, default_collate

from mergershift.config import Config, compose
from mergershift.images import PairedBatch, Prepared
from mergershift.training.datamodule import TransferData
from mergershift.training.fit import train

VALIDATION = 1543
EPOCHS = 200


@dataclass(frozen=True)
class Seconds:
    """What a training takes: a median epoch after the first, all from its start to its end, and all of `EPOCHS`."""

    epoch: float
    measured: float
    whole: float


class Pairs(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """A labelled image, its label and an image of the target, each image in a random symmetry of the square."""

    def __init__(self, data: TransferData) -> None:
        assert data.target is not None
        self.images, self.labels, self.target = data.source.images, data.source.labels, data.target

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        other = int(torch.randint(len(self.target), (1,)))
        return self._turned(self.images[row]), self.labels[row], self._turned(self.target[other])

    @staticmethod
    def _turned(image: Tensor) -> Tensor:
        which = int(torch.randint(8, (1,)))
        turned = torch.rot90(image, which % 4, dims=(-2, -1))
        return turned.flip(-1) if which >= 4 else turned


def collate(rows: list[tuple[Tensor, Tensor, Tensor]]) -> PairedBatch:
    """Stack the rows of a batch."""
    return PairedBatch(*default_collate(rows))


@contextmanager
def through_a_loader(workers: int) -> Iterator[None]:
    """Let trainings take their batches from a DataLoader, whose workers live as long as the training."""
    kept: list[DataLoader[tuple[Tensor, Tensor, Tensor]]] = []

    def loader(data: TransferData) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        if not kept:
            kept.append(
                DataLoader(
                    Pairs(data),
                    data.settings.batch_size,
                    shuffle=True,
                    num_workers=workers,
                    persistent_workers=workers > 0,
                    collate_fn=collate,
                    pin_memory=torch.cuda.is_available(),
                    drop_last=True,
                )
            )
        return kept[0]

    with (
        mock.patch.object(TransferData, "train_dataloader", loader),
        mock.patch.object(TransferData, "hold_on"),
    ):
        yield


def configuration(trainer: str, method: str, epochs: int) -> Config:
    """Compose a training that does not stop early."""
    length = (f"training.epochs={epochs}", f"training.patience={epochs}")
    return compose(["filters=three", f"adaptation={method}", f"trainer={trainer}", *length])


def measured(config: Config, folder: Path) -> Seconds:
    """Train once."""
    ends: list[float] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as state:
        train(
            config, Prepared(folder), Path(state), lambda epochs, classifier: ends.append(time.perf_counter())
        )
    seconds = time.perf_counter() - started
    epoch = statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))
    return Seconds(epoch, seconds, seconds + (EPOCHS - len(ends)) * epoch)


def _one_of_several(config: Config, folder: Path, ready: multiprocessing.Barrier) -> None:  # type: ignore[valid-type]
    ready.wait()  # type: ignore[attr-defined]
    measured(config, folder)


def at_once(count: int, config: Config, folder: Path) -> float:
    """Seconds that `count` processes take which train at the same time, once they have started."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(count + 1)
    processes = [context.Process(target=_one_of_several, args=(config, folder, ready)) for _ in range(count)]
    for process in processes:
        process.start()
    ready.wait(timeout=120)
    started = time.perf_counter()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise click.ClickException("a training has failed")
    return time.perf_counter() - started


@click.command()
@click.option("--trainer", default="gpu", show_default=True)
@click.option("--method", default="mmd", show_default=True)
@click.option("--images", default=10_799, show_default=True, help="Training images of each domain.")
@click.option("--epochs", default=6, show_default=True, type=click.IntRange(min=2))
@click.option("--workers", "workers", multiple=True, type=int, default=(2, 8), show_default=True)
@click.option("--at-once", "counts", multiple=True, type=int, help="Processes that share the device.")
def main(
    trainer: str,
    method: str,
    images: int,
    epochs: int,
    workers: tuple[int, ...],
    counts: tuple[int, ...],
) -> None:
    """Print what the trainings take."""
    if trainer == "gpu" and not torch.cuda.is_available():
        print("PyTorch sees no GPU on this machine: nothing to measure.")
        return
    place = torch.cuda.get_device_name() if trainer == "gpu" else "CPU"
    print(f"{place}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "prepared"
        write_random(folder, channels=3, train=images, others=min(VALIDATION, images))
        config = configuration(trainer, method, epochs)
        measured(configuration(trainer, method, 2), folder)  # libraries initialise themselves
        ours = measured(config, folder)
        print(f"{method}, {images} + {images} images, {epochs} epochs measured, {EPOCHS} computed")
        print(f"ours: {1000 * ours.epoch:.0f} ms an epoch, {ours.whole:.0f} s in all", flush=True)
        for number in workers:
            with through_a_loader(number):
                plain = measured(config, folder)
            print(
                f"through a DataLoader with {number} workers: {1000 * plain.epoch:.0f} ms an epoch, "
                f"{plain.whole:.0f} s in all, {plain.whole / ours.whole:.1f} times as long",
                flush=True,
            )
        gc.collect()
        torch.cuda.empty_cache()
        for count in counts:
            seconds = at_once(count, config, folder)
            alone = count * ours.measured
            print(
                f"{count} processes at once: {seconds:.1f} s, one after another {alone:.1f} s; "
                f"{alone / seconds:.2f} times as fast",
                flush=True,
            )


if __name__ == "__main__":
    main()
