"""Time what a team's thousands of trainings cost: publishing, listing, comparing and registering them.

    python benchmarks/many_runs.py                                   # 2000 copies of a tiny training of its own
    python benchmarks/many_runs.py --runs 200 --cell outputs/cells/two/pristine_to_noisy/mmd/default/seed0

A finished training is copied under new ids, methods, seeds and scores into a temporary clone of this checkout, and the
copies are published to its database. The weights are hard links on disk, but MLflow stores a copy of each: 2000 runs
take about 2 GB in the folder for temporary files (`--scratch`). Without a Chromium the browser's time is left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import requests
import yaml
from jobs import clone, ran, timed

from mergershift.archive.mock import write_archive

SCORE = "target/balanced_accuracy"
PAGE = 100
"""Number of runs that MLflow's page asks for at once."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
METHODS = ("source_only", "mmd", "coral", "dann")
REPEATS = 5


def tiny_training(project: Path) -> Path:
    """Train and evaluate for one epoch in the clone; returns the cell's folder."""
    cell = project / "outputs/runs/tiny"
    ran(project, "mergershift", "prepare", "filters=two")
    options = ["filters=two", "adaptation=mmd", "training=demo", "trainer=cpu_one_thread"]
    ran(project, "mergershift", "train", "--output", str(cell), *options)
    ran(project, "mergershift", "evaluate", str(cell))
    return cell


def multiply(cell: Path, to: Path, count: int) -> list[Path]:
    """Copy a finished training `count` times under ids, methods, seeds and target scores of their own."""
    record, selection, metrics = (
        json.loads((cell / name).read_text())
        for name in ("train/run.json", "evaluation/selection.json", "evaluation/metrics.json")
    )
    config = yaml.safe_load((cell / "train/config.yaml").read_text())
    folders = []
    for number in range(count):
        method, seed = METHODS[number % len(METHODS)], number // len(METHODS)
        folder = to / f"two-{method}-seed{seed}"
        shutil.copytree(cell, folder, copy_function=os.link)
        training, name = f"copy{number:06d}", f"runs/{folder.name}"
        tags = record["tags"] | {"cell": name, "choice.adaptation": method}
        trained = record["trained"] | {"cell": name}
        changed = {"run_id": None, "training": training, "name": name, "tags": tags, "trained": trained}
        config["seed"], config["choices"]["adaptation"] = seed, method
        metrics["target"]["unique"]["balanced_accuracy"]["value"] = 0.5 + 0.4 * number / count
        for path, content in (
            ("train/run.json", record | changed),
            ("evaluation/selection.json", selection | {"training": training}),
            ("evaluation/metrics.json", metrics),
        ):
            _replace(folder / path, json.dumps(content))
        _replace(folder / "train/config.yaml", yaml.safe_dump(config, sort_keys=False))
        folders.append(folder)
    return folders


def _replace(path: Path, text: str) -> None:
    path.unlink()  # a link to the original, which stays as it is
    path.write_text(text)


@contextmanager
def serving(project: Path, port: int, *options: str) -> Iterator[list[str]]:
    """Serve the project's runs by `mergershift ui`; yields the addresses of pages that it prints."""
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    command = [sys.executable, "-m", "mergershift", "ui", "--port", str(port), *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as file:
            server = subprocess.Popen(command, cwd=project, env=environment, stdout=file, stderr=file)
        try:
            pages: list[str] = []
            while not pages:
                time.sleep(0.1)
                pages = re.findall(r"http://\S+/#/\S+", log.read_text())
                if server.poll() is not None:
                    raise click.ClickException(f"mergershift ui stopped:\n{log.read_text()}")
            yield pages
        finally:
            server.terminate()
            server.wait(30)


def median_seconds(action: Callable[[], Any]) -> float:
    """Median wall time in seconds of an action that is repeated."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[REPEATS // 2]


def experiment_of(address: str) -> str:
    """Id of the experiment that the trainings are published to."""
    answer = requests.get(
        f"{address}/api/2.0/mlflow/experiments/get-by-name", {"experiment_name": "mergershift"}, timeout=60
    )
    answer.raise_for_status()
    return str(answer.json()["experiment"]["experiment_id"])


def first_page(address: str, experiment: str) -> list[dict[str, Any]]:
    """Ask the server for the first page of runs, the best target score first, as MLflow's page does."""
    query = {
        "experiment_ids": [experiment],
        "max_results": PAGE,
        "order_by": [f"metrics.`{SCORE}` DESC"],
    }
    answer = requests.post(f"{address}/api/2.0/mlflow/runs/search", json=query, timeout=600)
    answer.raise_for_status()
    runs: list[dict[str, Any]] = answer.json()["runs"]
    return runs


def seconds_in_browser(address: str, experiment: str, browser: str) -> tuple[float, float]:
    """Seconds until a browser shows the first row of the sorted list: at the first visit, and median of later ones."""
    from playwright.sync_api import sync_playwright

    best = first_page(address, experiment)[0]["info"]["run_id"]
    state = {
        "workflowType": "machine_learning",
        "orderByKey": f"metrics.`{SCORE}`",
        "orderByAsc": "false",
    }
    url = f"{address}/#/experiments/{experiment}/runs?{urlencode(state)}"
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium refuses to run in its sandbox.
        chromium = playwright.chromium.launch(executable_path=browser, chromium_sandbox=os.geteuid() != 0)
        context = chromium.new_context(viewport={"width": 1600, "height": 1200})

        def visit() -> None:
            page = context.new_page()
            page.goto(url, wait_until="commit")
            page.locator(f"a[href*='{best}']").first.wait_for(timeout=600_000)
            page.close()

        started = time.perf_counter()
        visit()
        first = time.perf_counter() - started
        later = median_seconds(visit)
        chromium.close()
    return first, later


def measure(project: Path, folders: list[Path], port: int) -> Iterator[tuple[str, float]]:
    """Yield what was done and its wall time in seconds."""
    yield "sync, nothing published yet", timed(project, "mergershift", "sync", "outputs/runs")
    yield "sync, nothing missing", timed(project, "mergershift", "sync", "outputs/runs")
    with serving(project, port) as pages:
        address = pages[0].partition("/#")[0]
        experiment = experiment_of(address)
        yield (
            f"first {PAGE} runs by target score, REST",
            median_seconds(lambda: first_page(address, experiment)),
        )
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is not None:
            first, later = seconds_in_browser(address, experiment, browser)
            yield "first row in the browser, first visit", first
            yield "first row in the browser, later visits", later
    three = [str(folder.relative_to(project)) for folder in folders[:3]]
    yield "compare three", timed(project, "mergershift", "compare", *three)
    yield "register one", timed(project, "mergershift", "register", "--cell", three[0])


@click.command()
@click.option("--runs", default=2000, show_default=True, type=click.IntRange(min=3))
@click.option(
    "--cell",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Finished, evaluated training to copy.  [default: a tiny one is trained]",
)
@click.option("--port", default=5055, show_default=True)
@click.option("--scratch", type=click.Path(exists=True, file_okay=False), help="Folder for the clone.")
def main(runs: int, cell: Path | None, port: int, scratch: str | None) -> None:
    """Print a line with the wall time of each command or request."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_archive(data, mergers=10, non_mergers=20, seed=100, filter_sets=("two",))
        project = clone(Path(folder) / "project", data, "two", methods=1, epochs=1, seeds=1)
        original = project / "original"
        shutil.copytree(cell or tiny_training(project), original)
        folders = multiply(original, project / "outputs/runs", runs)
        for name, seconds in measure(project, folders, port):
            print(f"{runs} runs: {name}: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
