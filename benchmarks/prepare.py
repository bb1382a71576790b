"""How fast and how lean is `mergershift prepare` at the real size? Seconds, peak memory, and a plain copy beside it.

    python benchmarks/prepare.py                     # makes a mock of 406 + 1827 galaxies in a temporary folder first
    python benchmarks/prepare.py --data data         # measures an archive that is there

Linux only: the peak is what /proc says of the process.
The yardstick is a plain copy of the same files, read and written in blocks, in the same run: prepare reads as much
and writes half as much.
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
    """Seconds that a plain copy of the images takes."""
    started = time.perf_counter()
    for domain in Domain:
        name = DATA_SETS["three", domain].images_name
        with (folder / name).open("rb") as source, (to / name).open("wb") as target:
            shutil.copyfileobj(source, target, 16 * 2**20)
    return time.perf_counter() - started


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="An archive with the three-filter set."
)
@click.option("--repeat", default=3, show_default=True)
def main(data: Path | None, repeat: int) -> None:
    """Print seconds, their ratio to a plain copy, and the peak memory of the process that prepares."""
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        place = Path(scratch)
        if data is None:
            data = place / "data"
            data.mkdir()
            write_archive(data, mergers=406, non_mergers=1827, seed=100, filter_sets=("three",))
        size = sum((data / DATA_SETS["three", domain].images_name).stat().st_size for domain in Domain)
        for turn in range(repeat):
            copied = copy(data, place)
            started = time.perf_counter()
            command = [sys.executable, "-c", PREPARE, str(data), str(place / "out")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds = time.perf_counter() - started
            peak = int(done.stdout) / 1024
            print(
                f"{turn}: {size / 1e9:.2f} GB prepared in {seconds:.1f} s with the start of Python, "
                f"{seconds / copied:.2f} of a plain copy ({copied:.1f} s); peak memory {peak:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
