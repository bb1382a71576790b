"""Measure the wall time and the peak memory of `mergershift prepare` at full size, and compare with a plain copy.

    python benchmarks/prepare.py                     # first makes a mock of 406 + 1827 galaxies in a temporary folder
    python benchmarks/prepare.py --data data         # uses an existing archive

Linux only: the peak memory is read from /proc.
The baseline is a plain copy of the same files in blocks, made directly before: `prepare` reads as many bytes and
writes half as many.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from mergershift.archive import DATA_SETS, Domain
from mergershift.archive.mock import write_archive

PREPARE = """
import sys
from pathlib import Path
from mergershift.config import compose
from mergershift.images import prepare
prepare(Path(sys.argv[1]), "three", compose().split, Path(sys.argv[2]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def copy(folder: Path, to: Path) -> float:
    """Copy the image files; returns the wall time in seconds."""
    started = time.perf_counter()
    for domain in Domain:
        name = DATA_SETS["three", domain].images_name
        with (folder / name).open("rb") as source, (to / name).open("wb") as target:
            shutil.copyfileobj(source, target, 16 * 2**20)
    return time.perf_counter() - started


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of an archive with the three-filter set.  [default: make a mock]",
)
@click.option("--repeat", default=3, show_default=True)
def main(data: Path | None, repeat: int) -> None:
    """Print the wall time, its ratio to that of a plain copy, and the peak memory of the preparing process."""
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        folder = Path(scratch)
        if data is None:
            data = folder / "data"
            data.mkdir()
            write_archive(data, mergers=406, non_mergers=1827, seed=100, filter_sets=("three",))
        size = sum((data / DATA_SETS["three", domain].images_name).stat().st_size for domain in Domain)
        for turn in range(repeat):
            copied = copy(data, folder)
            started = time.perf_counter()
            command = [sys.executable, "-c", PREPARE, str(data), str(folder / "out")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds = time.perf_counter() - started
            peak = int(done.stdout) / 1024
            print(
                f"{turn}: {size / 1e9:.2f} GB prepared in {seconds:.1f} s including Python's start-up, "
                f"{seconds / copied:.2f} times a plain copy ({copied:.1f} s); peak memory {peak:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
