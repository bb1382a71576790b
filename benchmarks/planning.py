"""Compare how long `mergershift repro --jobs 2` and `dvc repro` take to find that nothing is left to do.

    python benchmarks/planning.py                                  # studies of 6 and 60 cells
    python benchmarks/planning.py --cells 6 --cells 60 --cells 300

Nothing is trained: every study gets made-up outputs, which `dvc commit` declares to be up to date; for 300 cells that
takes some minutes. DVC reads and checks each stage twice and the parallel command once, so that its time is about half
of DVC's for a large study; if it grew faster than the number of cells, so would the ratio.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from jobs import clone, ran, timed

from mergershift.pipeline.results import open_pipeline

METHODS = 3
"""Methods of the study; the seeds make up the number of cells."""
PLAN = "from mergershift.pipeline import parallel; parallel.repro(2)"
"""What `mergershift repro --jobs 2` does but for its table, which made-up outputs do not have."""


def make_up(folder: Path, cells: int) -> Path:
    """Clone this checkout with a study of `cells` cells, all of whose outputs are made up and up to date."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "images.txt").write_text("no images\n")
    project = clone(folder / f"{cells} cells", data, "two", METHODS, epochs=1, seeds=cells // METHODS)
    ran(project, "mergershift", "code")
    with open_pipeline(project) as pipeline:
        outputs = [output for stage in pipeline.stages for output in stage.outputs]
    for output in outputs:
        path = project / output
        if not path.exists():
            path = path if path.suffix else path / "file.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{output}\n")
    ran(project, "dvc", "commit", "--quiet", "--force")
    return project


@click.command()
@click.option("--cells", multiple=True, default=(6, 60), show_default=True, type=click.IntRange(min=METHODS))
def main(cells: tuple[int, ...]) -> None:
    """Print a line for each size of the study: both wall times and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        for count in cells:
            project = make_up(Path(folder), count)
            serial = timed(project, "dvc", "repro")
            parallel = timed(project, "timeit", "-n", "1", "-r", "1", PLAN)
            print(
                f"{count} cells: dvc repro {serial:.1f} s, --jobs 2 {parallel:.1f} s, {parallel / serial:.2f} of that",
                flush=True,
            )


if __name__ == "__main__":
    main()
