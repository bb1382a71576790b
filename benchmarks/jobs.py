"""Compare the wall time and the results of `mergershift repro --jobs N` with those of `dvc repro`.

    python benchmarks/jobs.py                        # the committed study on a mock of 60 + 240 galaxies, two jobs
    python benchmarks/jobs.py --jobs 4 --seeds 2     # more jobs and more seeds

Both run from scratch on temporary clones of this checkout's working tree: each prepares, trains, evaluates and
summarises with its own DVC cache. Every cell gets one thread in both. The serial run comes first, so that the parallel
one benefits from the operating system's file cache; on an idle machine that cache holds the libraries that both read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

from mergershift.archive.mock import write_archive
from mergershift.config.cells_file import cells_text
from mergershift.config.study import Study
from mergershift.pipeline.worktrees import mirror

ROOT = Path(__file__).parents[1]
SAME = ("train/epochs.csv", "evaluation/metrics.json")
"""Files of a cell that contain only computed results; the others also contain the ids of their MLflow runs."""


def edit(path: Path, **changes: Any) -> None:
    """Change top-level keys of a YAML file."""
    yaml = YAML()
    document = yaml.load(path.read_text()) | changes
    with path.open("w") as file:
        yaml.dump(document, file)


def clone(to: Path, data: Path, filters: str, methods: int | None, epochs: int, seeds: int) -> Path:
    """Clone this checkout with its uncommitted changes, link the mock into data/ and write a study of this size."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(to)], check=True)
    mirror(ROOT, to)
    subprocess.run(["git", "reset", "--quiet"], cwd=to, check=True)
    (to / "dvc.lock").unlink(missing_ok=True)
    (to / "data.dvc").unlink(missing_ok=True)
    (to / "data").mkdir()
    for path in data.iterdir():
        os.link(path, to / "data" / path.name)
    conf = to / "conf"
    study = YAML(typ="safe").load((conf / "study.yaml").read_text())
    chosen = study["methods"][:methods]
    lists: dict[str, Any] = {"filters": [filters], "methods": chosen, "seeds": list(range(seeds))}
    edit(conf / "study.yaml", **lists)
    (conf / "cells.yaml").write_text(cells_text(Study.model_validate(study | lists)))
    edit(conf / "training" / f"{study['training']}.yaml", epochs=epochs)
    edit(conf / "trainer" / f"{study['trainer']}.yaml", threads=1)
    return to


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module in a clone, with the clone's code; raises click.ClickException if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        failure = f"{' '.join(command)}: exit code {done.returncode}"
        raise click.ClickException(f"{failure}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def timed(folder: Path, *command: str) -> float:
    """Wall time in seconds of a Python module in a clone."""
    started = time.perf_counter()
    ran(folder, *command)
    return time.perf_counter() - started


def results(folder: Path) -> dict[str, bytes]:
    """Bytes of the computed results of every cell, by path."""
    cells = folder / "outputs" / "cells"
    return {str(path.relative_to(cells)): path.read_bytes() for name in SAME for path in cells.rglob(name)}


@click.command()
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=2))
@click.option("--filters", default="two", show_default=True, type=click.Choice(["two", "three"]))
@click.option("--mergers", default=60, show_default=True)
@click.option("--non-mergers", default=240, show_default=True)
@click.option(
    "--methods", type=click.IntRange(min=1), help="Use only the first N methods of the study.  [default: all]"
)
@click.option("--epochs", default=18, show_default=True)
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--scratch", type=click.Path(exists=True, file_okay=False), help="Folder for the clones.")
def main(
    jobs: int,
    filters: str,
    mergers: int,
    non_mergers: int,
    methods: int | None,
    epochs: int,
    seeds: int,
    scratch: str | None,
) -> None:
    """Print both wall times, their ratio, and whether the results are identical; exit with code 1 if they differ."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_archive(data, mergers=mergers, non_mergers=non_mergers, seed=100, filter_sets=(filters,))
        one, many = (
            clone(Path(folder) / name, data, filters, methods, epochs, seeds) for name in ("one", "many")
        )
        serial = timed(one, "dvc", "repro")
        print(f"dvc repro: {serial:.1f} s", flush=True)
        parallel = timed(many, "mergershift", "repro", "--jobs", str(jobs))
        print(
            f"mergershift repro --jobs {jobs}: {parallel:.1f} s, {parallel / serial:.2f} of that time",
            flush=True,
        )
        expected, found = results(one), results(many)
    cells = len({path.rsplit("/", 2)[0] for path in expected})
    same = bool(expected) and expected == found
    print(f"{cells} cells, {os.cpu_count()} cores: {', '.join(SAME)} {'' if same else 'not '}byte-identical")
    sys.exit(not same)


if __name__ == "__main__":
    main()
