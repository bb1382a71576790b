"""Compare how long `mergershift repro --jobs 2` and `dvc repro` take to find that nothing is left to do.

    python benchmarks/planning.py                                  # studies of 6 and 60 cells
    python benchmarks/planning.py --cells 6 --cells 60 --cells 300

Nothing is trained: every study gets made-up outputs, which `dvc commit` declares to be up to date. The last column is
the growth of the parallel command's time, divided by the growth of the number of cells, since the smallest study: at
most about 1 if the planning is linear.
"""

from __future__ import annotations

from pathlib import Path

import click
from jobs import clone, ran, timed

from mergershift.archive import DATA_SETS
from mergershift.pipeline.results import open_pipeline

METHODS = 3
"""Methods of the study; the seeds make up the number of cells."""
PLAN = "from mergershift.pipeline import parallel; parallel.repro(2)"


def make_up(folder: Path, cells: int) -> Path:
    """Clone this checkout with a study of `cells` cells, all of whose outputs are made up and up to date."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for (name, _), data_set in DATA_SETS.items():
        if name == "two":
            (data / data_set.images_name).write_text("no images\n")
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


def seconds(project: Path) -> tuple[float, float]:
    """Wall time of `dvc repro` and of the parallel command, neither of which has anything to do."""
    return timed(project, "dvc", "repro"), timed(project, "mergershift.pipeline.parallel")


@click.command()
@click.option("--cells", multiple=True, default=(6, 60), show_default=True, type=click.IntRange(min=METHODS))
def main(cells: tuple[int, ...]) -> None:
    """Print a line for each size of the study."""
