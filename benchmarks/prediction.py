"""Measure the speed and the peak memory of `mergershift predict`, and compare it with a plain loop.

    python benchmarks/prediction.py                     # 100 000 images through an untrained network
    python benchmarks/prediction.py --model FOLDER --images 20000

Linux only: the stack of images is a sparse file, and the peak memory is read from the process's resource usage. The
baseline is a plain loop over batches, with the same program, the same number of threads and the images in memory. The
rate is computed from the difference between a large and a small stack, so that Python's start-up time does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from mergershift import archive
from mergershift.archive import FILTER_SETS, IMAGE_SIZE
from mergershift.classifier.classifier import build_classifier, save_classifier
from mergershift.config import compose
from mergershift.registry import COLUMNS, WEIGHTS, ExportableModel, ModelFacts, fit_distance
from mergershift.tracking.exported_models import save_program

PLAIN = """
import sys, time
from pathlib import Path
import numpy, torch
from mergershift.registry import RegisteredModel
package = RegisteredModel.read(Path(sys.argv[1]))
torch.set_num_threads(int(sys.argv[2]))
facts = package.facts
# not zeros: they would share one page of memory, which stays in the cache
images = torch.ones(2048, len(facts.filters), facts.image_size, facts.image_size)
def run(rows):
    with torch.inference_mode():
        for start in range(0, rows, 256):
            package.program(images[start : start + 256]).numpy()
run(512)
started = time.perf_counter()
run(len(images))
print(len(images) / (time.perf_counter() - started))
"""


@dataclass(frozen=True)
class Cost:
    """Wall time and peak memory of a process."""

    seconds: float
    megabytes: float


def write_untrained(folder: Path, filters: str) -> Path:
    """Write a model with random weights in the format of a registered model; it is as fast as a trained one."""
    config = compose([f"filters={filters}"])
    torch.manual_seed(0)
    images = torch.randn(64, config.channels, IMAGE_SIZE, IMAGE_SIZE)
    classifier = build_classifier(config).eval()
    classifier.stretch.fit(images)
    with torch.inference_mode():
        features = classifier(images).features.double().numpy()
    program = ExportableModel(classifier, 1.0, fit_distance(features[:32], features[32:]))
    facts = ModelFacts(
        name="untrained",
        filter_set=filters,
        filters=FILTER_SETS[filters].filter_names,
        unit=archive.UNIT,
        image_size=IMAGE_SIZE,
        field_kpc=archive.FIELD_KPC,
        pixel_arcsec=archive.PIXEL_ARCSEC,
        redshift=archive.REDSHIFT,
        threshold=0.5,
        threshold_rule="half",
        temperature=1.0,
        classes="equally frequent",
        domains=("pristine",),
        source="pristine",
        target="noisy",
        labelled="pristine",
        oracle=False,
        network=config.choices["network"],
        adaptation="source_only",
        transfer="pristine_to_noisy",
        experiment=None,
        seed=0,
        epoch=0,
        validator="kept",
        training="",
        data_hash="",
        data_kind="none",
        split=config.split,
        config_hash="",
    )
    facts.write(folder)
    save_classifier(classifier, folder / WEIGHTS)
    save_program(
        program,
        images[:2].numpy(),
        list(COLUMNS),
        folder / "model",
        [folder / "facts.json", folder / WEIGHTS],
    )
    return folder / "model"


def write_stack(path: Path, images: int, channels: int) -> Path:
    """Write a sparse npy file of float32 images, which takes no space on the disk."""
    shape = (images, channels, IMAGE_SIZE, IMAGE_SIZE)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    return path


def predict(stack: Path, model: Path, output: Path, threads: int) -> Cost:
    """Run `mergershift predict` in a separate process; returns its wall time and peak memory."""
    command = [sys.executable, "-m", "mergershift", "predict", str(stack), "--model", str(model)]
    command += ["--output", str(output), "--threads", str(threads)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)}: exit code {process.returncode}")
    return Cost(time.perf_counter() - started, usage.ru_maxrss / 1024)


def plain_rate(model: Path, threads: int) -> float:
    """Rate of the plain loop, in images per second."""
    command = [sys.executable, "-c", PLAIN, str(model), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


@click.command()
@click.option("--images", default=100_000, show_default=True)
@click.option("--few", default=10_000, show_default=True, help="Number of images in the small stack.")
@click.option("--filters", type=click.Choice(list(FILTER_SETS)), default="three", show_default=True)
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), help="Folder of a model.  [default: untrained]"
)
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--suffix", type=click.Choice([".ecsv", ".fits", ".parquet"]), default=".parquet")
def main(images: int, few: int, filters: str, model: Path | None, threads: int, suffix: str) -> None:
    """Print the rate, its ratio to that of the plain loop, and the peak memory for a small and a large stack."""
    if images <= few:
        raise click.UsageError("--images has to be larger than --few")
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        folder = Path(scratch)
        model = model or write_untrained(folder, filters)
        channels = len(ModelFacts.read(model).filters)
        plain = plain_rate(model, threads)
        costs = {}
        for count in (few, images):
            stack = write_stack(folder / f"{count}.npy", count, channels)
            costs[count] = predict(stack, model, folder / f"{count}{suffix}", threads)
            print(
                f"{count} images in {costs[count].seconds:.1f} s including Python's start-up, "
                f"peak memory {costs[count].megabytes:.0f} MB",
                flush=True,
            )
        rate = (images - few) / (costs[images].seconds - costs[few].seconds)
        print(
            f"{rate:.0f} images/s, {rate / plain:.2f} times the rate of a plain loop in memory "
            f"({plain:.0f} images/s), {threads} threads"
        )
        print(f"peak memory {costs[images].megabytes / costs[few].megabytes:.2f} times that for {few} images")


if __name__ == "__main__":
    main()
