"""Measure the speed and the peak memory of `mergershift predict`, and compare it with a plain loop.

    python benchmarks/prediction.py                     # all cases, with an untrained network
    python benchmarks/prediction.py --model FOLDER --cases stack,files
    python benchmarks/prediction.py --cases many --stamps 1000000

Linux only: peak memory is read from the process's resource usage. The cases:

stack   an npy file of stamps, beside a plain loop over batches: the same program, views and number of threads, and the
        images in memory. The rate is computed from a large and a small stack, so that Python's start-up does not count.
files   stamps of two filters in FITS files of their own: milliseconds a file for headers and for pixels
packed  the same files, compressed with gzip
many    an npy file of very many stamps, which takes no space on the disk, with a page: peak memory beside that for a
        tenth of them; half an hour to two hours for a million, by the number of cores
cube    a large image in two filters, which the model's field fills, or of which it is the middle: peak memory
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from astropy.io import fits

from mergershift import archive
from mergershift.archive import FILTER_SETS, IMAGE_SIZE
from mergershift.classifier.classifier import build_classifier, save_classifier
from mergershift.config import compose
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.registry import WEIGHTS, ExportableModel, ModelFacts, fit_distance
from mergershift.registry.model_facts import Calibration, MemberFacts
from mergershift.tracking.exported_models import save_program

STRIP = 100
BLOCK = 1000
PLAIN = """
import sys, time
from pathlib import Path
import numpy, torch
from mergershift.registry import RegisteredModel
from mergershift.tracking.named_columns import turned
package = RegisteredModel.read(Path(sys.argv[1]))
torch.set_num_threads(int(sys.argv[2]))
facts = package.facts
images = numpy.random.default_rng(0).normal(size=(1024, len(facts.filters), facts.image_size, facts.image_size))
images = images.astype(numpy.float32)
def run(rows):
    with torch.inference_mode():
        for start in range(0, rows, 256):
            for view in range(facts.views):
                package.program(torch.from_numpy(turned(images[start : start + 256], view))).numpy()
run(256)
started = time.perf_counter()
run(len(images))
print(len(images) / (time.perf_counter() - started))
"""
READ = """
import sys, time
from pathlib import Path
from mergershift.predicting.image_files import find_files
from mergershift.predicting.inputs import FileInputs
from mergershift.predicting.planes import Given
from mergershift.registry import ModelFacts
facts = ModelFacts.read(Path(sys.argv[1]))
names = find_files([sys.argv[2]])
FileInputs.of_files(names[:1], Given(), facts)
started = time.perf_counter()
inputs = FileInputs.of_files(names, Given(), facts)
opened = time.perf_counter()
count = sum(len(batch.rows) for batch in inputs.batches())
print((opened - started) / count, (time.perf_counter() - opened) / count)
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
    program = ExportableModel([classifier], [fit_distance(features[:32], features[32:])])
    fitted = Calibration(threshold=0.5, temperature=1.0, distance_unit=1.0)
    member = MemberFacts(name="untrained", seed=0, epoch=0, training="", config_hash="")
    facts = ModelFacts(
        **fitted.model_dump(),
        **member.model_dump(),
        views=8,
        one_view=fitted,
        members=(member,),
        filter_set=filters,
        filters=FILTER_SETS[filters].filter_names,
        unit=archive.UNIT,
        image_size=IMAGE_SIZE,
        field_kpc=archive.FIELD_KPC,
        pixel_arcsec=archive.PIXEL_ARCSEC,
        redshift=archive.REDSHIFT,
        threshold_rule="half",
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
        validator="kept",
        data_hash="",
        data_kind="none",
        split=config.split,
    )
    facts.write(folder)
    save_classifier(classifier, folder / WEIGHTS)
    save_program(
        program,
        images[:2].numpy(),
        list(facts.columns),
        folder / "model",
        [folder / "facts.json", folder / WEIGHTS],
    )
    return folder / "model"


def write_stack(path: Path, images: int, channels: int) -> Path:
    """Write an npy file of noise, one block of images over and over."""
    shape = (BLOCK, channels, IMAGE_SIZE, IMAGE_SIZE)
    block = np.random.default_rng(1).normal(size=shape).astype(np.float16)
    stack = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(images, *shape[1:]))
    for start in range(0, images, BLOCK):
        stack[start : start + BLOCK] = block[: images - start]
    return path


def write_sparse(path: Path, images: int, channels: int) -> Path:
    """Write a sparse npy file of zeros: read, examined and put through the network, but withheld as 'no data'."""
    shape = (images, channels, IMAGE_SIZE, IMAGE_SIZE)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    return path


def header_of(model: ModelFacts, number: int, pixel_arcsec: float, side: int) -> fits.Header:
    """Make the header of a stamp as archives hand it out."""
    header = fits.Header()
    header.update({"BUNIT": model.unit, "REDSHIFT": model.redshift, "OBJECT": f"galaxy {number}"})
    header.update({f"FILTER{place}": name.upper() for place, name in enumerate(model.filters, 1)})
    for axis, name, middle in ((1, "RA---TAN", 150 + number * 1e-4), (2, "DEC--TAN", 2.2)):
        header.update({f"CTYPE{axis}": name, f"CRVAL{axis}": middle, f"CRPIX{axis}": (side + 1) / 2})
        header[f"CD{axis}_{axis}"] = pixel_arcsec / 3600 * (-1) ** axis
    return header


def write_files(folder: Path, model: ModelFacts, count: int, *, packed: bool) -> Path:
    """Write FITS files of noise with one galaxy each."""
    folder.mkdir()
    random = np.random.default_rng(2)
    shape = (len(model.filters), IMAGE_SIZE, IMAGE_SIZE)
    for number in range(count):
        header = header_of(model, number, model.pixel_arcsec, IMAGE_SIZE)
        path = folder / f"{number:06d}.fits"
        fits.PrimaryHDU(random.normal(size=shape).astype(np.float32), header).writeto(path)
        if packed:
            path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
            path.unlink()
    return folder


def write_cube(path: Path, model: ModelFacts, side: int, fields: float) -> Path:
    """Write noise of `side` x `side` pixels in every filter, with as many of the model's fields on a side."""
    field = model.field_kpc / kpc_per_arcsec(model.redshift)
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3)])
    header.update({"NAXIS1": side, "NAXIS2": side, "NAXIS3": len(model.filters)})
    header.update(header_of(model, 0, field * fields / side, side))
    stream = fits.StreamingHDU(path, header)
    strip = np.random.default_rng(3).normal(size=(STRIP, side)).astype(np.float32)
    for start in range(0, side * len(model.filters), STRIP):
        stream.write(np.roll(strip, start, axis=1)[: side * len(model.filters) - start])
    stream.close()
    return path


def measured(arguments: list[str], output: Path, threads: int) -> Cost:
    """Run `mergershift predict` in a separate process; returns its wall time and peak memory."""
    command = [sys.executable, "-m", "mergershift", "predict", *arguments]
    command += ["--output", str(output), "--threads", str(threads)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)}: exit code {process.returncode}")
    return Cost(time.perf_counter() - started, usage.ru_maxrss / 1024)


def numbers_of(program: str, *arguments: str) -> list[float]:
    """Run a program in a separate process; returns the numbers in its last line."""
    command = [sys.executable, "-c", program, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.splitlines()[-1].split()]


def show(case: str, cost: Cost | None, text: str) -> None:
    """Print a row of the table."""
    seconds, megabytes = (f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}") if cost else ("", "")
    print(f"{case:<44} {seconds:>8} {megabytes:>8}  {text}", flush=True)


def show_head() -> None:
    """Print the head of the table."""
    print(f"{'case':<44} {'seconds':>8} {'peak MB':>8}  result", flush=True)


@dataclass(frozen=True)
class Bench:
    """What all cases need."""

    folder: Path
    model: Path
    threads: int
    sizes: dict[str, int]
    """By case, the number of images or the side of the image."""

    @property
    def facts(self) -> ModelFacts:
        """Facts of the model."""
        return ModelFacts.read(self.model)

    def predict(self, images: Path, *options: str) -> Cost:
        """Predict for images, which are then deleted."""
        arguments = [str(images), "--model", str(self.model), "--overwrite", *options]
        cost = measured(arguments, self.folder / f"{images.stem}.parquet", self.threads)
        images.unlink()
        return cost

    def stack(self) -> None:
        """Compare the rate with that of the plain loop."""
        channels, images = len(self.facts.filters), self.sizes["stack"]
        (plain,) = numbers_of(PLAIN, str(self.model), str(self.threads))
        show("plain loop in memory", None, f"{plain:.1f} images/s")
        few, many = (
            self.predict(write_stack(self.folder / f"stack{count}.npy", count, channels))
            for count in (images // 10, images)
        )
        rate = (images - images // 10) / (many.seconds - few.seconds)
        show(f"npy of {images} stamps", many, f"{rate:.1f} images/s, {rate / plain:.2f} of the plain loop's")

    def files(self) -> None:
        """Time headers and pixels of single files."""
        self._files("files", packed=False)

    def packed(self) -> None:
        """Time headers and pixels of single compressed files."""
        self._files("packed", packed=True)

    def _files(self, case: str, *, packed: bool) -> None:
        count = self.sizes[case]
        folder = write_files(self.folder / case, self.facts, count, packed=packed)
        headers, pixels = numbers_of(READ, str(self.model), str(folder))
        title = f"{count} {'.fits.gz' if packed else '.fits'} files"
        show(title, None, f"{headers * 1e3:.2f} ms of headers, {pixels * 1e3:.2f} ms of pixels a file")

    def many(self) -> None:
        """Compare the peak memory for a small and a large stack."""
        channels, images = len(self.facts.filters), self.sizes["many"]
        few, many = (
            self.predict(
                write_sparse(self.folder / f"many{count}.npy", count, channels), "--views", "1", "--report"
            )
            for count in (images // 10, images)
        )
        ratio = many.megabytes / few.megabytes
        show(f"npy of {images} stamps, one view", many, f"{ratio:.2f} times the memory of {images // 10}")

    def cube(self) -> None:
        """Find the peak memory for a large image."""
        side = self.sizes["cube"]
        for fields, words in ((1.0, "filled by the field"), (3.0, "of three fields a side")):
            path = write_cube(self.folder / "cube.fits", self.facts, side, fields)
            size = path.stat().st_size / 2**20
            show(f"{side} x {side} pixels {words}", self.predict(path), f"of a file of {size:.0f} MB")


CASES: dict[str, Callable[[Bench], None]] = {
    name: getattr(Bench, name) for name in ("stack", "files", "packed", "many", "cube")
}


@click.command()
@click.option("--cases", default=",".join(CASES), show_default=True, help="Cases, separated by commas.")
@click.option("--images", default=10_000, show_default=True, help="Number of stamps of the stack.")
@click.option("--files", default=2_000, show_default=True, help="Number of FITS files of each kind.")
@click.option("--stamps", default=1_000_000, show_default=True, help="Number of stamps of the sparse stack.")
@click.option("--side", default=12_000, show_default=True, help="Side of the large image in pixels.")
@click.option("--filters", type=click.Choice(list(FILTER_SETS)), default="two", show_default=True)
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), help="Folder of a model.  [default: untrained]"
)
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
def main(
    cases: str,
    images: int,
    files: int,
    stamps: int,
    side: int,
    filters: str,
    model: Path | None,
    threads: int,
) -> None:
    """Print a table of speed and peak memory."""
    chosen = cases.split(",")
    if unknown := sorted(set(chosen) - set(CASES)):
        raise click.UsageError(f"--cases: found {', '.join(unknown)}; expected some of {', '.join(CASES)}")
    if min(images, stamps) < 10:
        raise click.UsageError("--images and --stamps have to be at least 10")
    sizes = {"stack": images, "files": files, "packed": files, "many": stamps, "cube": side}
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        folder = Path(scratch)
        bench = Bench(folder, model or write_untrained(folder, filters), threads, sizes)
        show_head()
        for case in chosen:
            CASES[case](bench)


if __name__ == "__main__":
    main()
