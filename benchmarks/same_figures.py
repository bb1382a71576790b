"""Do faster trainings give the same figures? Train several forms of a study's cells with the same seeds, and compare.

    python benchmarks/same_figures.py                      # the plain and the fast way, 30 epochs, three methods
    python benchmarks/same_figures.py --form bf16/30 --form bf16/90/training.optimizer.lr=1e-3    # two schedules
    python benchmarks/same_figures.py --table              # the table of what is finished

A form is a way to compute, a number of epochs and further settings. `plain` computes in float32 with one module of
PyTorch after another and the textbook's MMD, `fp32` and `bf16` as mergershift does with trainer=cpu_one_thread and
trainer=cpu_bf16. Equal seeds have the same first weights, batches and mock, so that forms are compared in pairs.
Finished trainings are kept in the output folder, and the same command goes on with the others; two processes may share
the work.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import click
import numpy as np
from bench_data import prepare_mock
from filelock import FileLock, Timeout
from reference_training import mmd as plain_mmd
from scipy.stats import t as student
from torch import Tensor, nn

from mergershift.adaptation import mmd as fast_mmd
from mergershift.classifier.classifier import load_classifier
from mergershift.classifier.inference import predict
from mergershift.config import Config, compose
from mergershift.core.files import write_text
from mergershift.evaluation import score
from mergershift.images import Prepared
from mergershift.networks import deepmerge
from mergershift.training.fit import train

TRAINERS = {"plain": "cpu_one_thread", "fp32": "cpu_one_thread", "bf16": "cpu_bf16"}
ORACLE = "oracle_target_only"
"""In place of a method: source_only on the target's labels."""
FIGURES = {
    "target balanced accuracy": ("target", "balanced_accuracy"),
    "target AUC": ("target", "auc"),
    "source balanced accuracy": ("source", "balanced_accuracy"),
}


def form_of(text: str) -> tuple[str, int, tuple[str, ...]]:
    """Split bf16/30 or bf16/30/training.optimizer.lr=2e-3 into its way to compute, epochs and further settings."""
    way, epochs, *settings = text.split("/")
    if way not in TRAINERS or not epochs.isdecimal():
        raise click.BadParameter(f"{text}, expected {', '.join(TRAINERS)}, a slash and a number of epochs")
    return way, int(epochs), tuple(settings)


def make_mock(folder: Path, seed: int, mergers: int, non_mergers: int) -> Prepared:
    """Return the prepared images of the mock with this seed, which are made once."""
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                partial = Path(temporary) / "prepared"
                split = compose(["filters=three"]).split
                prepare_mock(partial, "three", split, seed=seed, mergers=mergers, non_mergers=non_mergers)
                os.replace(partial, folder)
    return Prepared(folder)


def _textbook(source: Tensor, target: Tensor, _sigmas: Sequence[float]) -> Tensor:
    """Take the place of `mergershift.adaptation.mmd.mmd`, with the published widths."""
    return plain_mmd(source, target)


@contextmanager
def computed(way: str) -> Iterator[None]:
    """Let trainings compute in this way."""
    with ExitStack() as patches:
        if way == "plain":
            patches.enter_context(mock.patch.object(deepmerge._Encoder, "forward", nn.Sequential.forward))
            patches.enter_context(mock.patch.object(fast_mmd, "mmd", _textbook))
        yield


def configuration(method: str, seed: int, form: str) -> Config:
    """Compose the training of the demo with this method, seed and form."""
    way, epochs, settings = form_of(form)
    choice = f"transfer={ORACLE}" if method == ORACLE else f"adaptation={method}"
    length = (f"training.epochs={epochs}", f"training.patience={epochs}")
    return compose(
        [
            "filters=three",
            "training=demo",
            f"trainer={TRAINERS[way]}",
            choice,
            f"seed={seed}",
            *length,
            *settings,
        ]
    )


def measured(config: Config, prepared: Prepared, way: str) -> dict[str, float]:
    """Train once; returns the figures of the kept epoch on the test galaxies, and the training's CPU seconds."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as state, computed(way):
        result = train(config, prepared, Path(state))
        seconds = time.process_time() - started
        classifier = load_classifier(result.models[result.best_epoch], config)
    found = {}
    for name, (role, metric) in FIGURES.items():
        domain = config.transfer.target if role == "target" else config.transfer.source
        data = prepared.labelled(domain, prepared.rows("test", domain=domain, unique=True))
        found[name] = score(data.labels.numpy(), predict(classifier, data.images))[metric]
    return found | {"epoch": float(result.best_epoch), "CPU seconds": seconds}


def difference(values: np.ndarray) -> str:
    """Mean of paired differences `(S,)` with Student's 95 % interval."""
    if len(values) < 2:
        return f"{values.mean():+.3f}"
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def table(results: dict[tuple[str, str, int], dict[str, float]], forms: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: means and deviations over seeds, and the forms' paired differences."""
    first, *others = forms
    yield (
        "| method | seeds | figure | "
        + " | ".join(forms)
        + " | "
        + " | ".join(f"{form} - {first}" for form in others)
        + " |"
    )
    yield "|---" * (3 + len(forms) + len(others)) + "|"
    for method in dict.fromkeys(method for method, _, _ in results):
        seeds = sorted({seed for name, _, seed in results if name == method})
        complete = [seed for seed in seeds if all((method, form, seed) in results for form in forms)]
        for figure in (*FIGURES, "CPU seconds") if complete else ():
            values = {
                form: np.array([results[method, form, seed][figure] for seed in complete]) for form in forms
            }
            digits = 0 if figure == "CPU seconds" else 3
            cells = [
                f"{column.mean():.{digits}f} ± {column.std(ddof=min(1, len(column) - 1)):.{digits}f}"
                for column in values.values()
            ]
            cells += [
                f"{np.mean(values[form] / values[first]):.2f} times"
                if figure == "CPU seconds"
                else difference(values[form] - values[first])
                for form in others
            ]
            yield f"| {method} | {len(complete)} | {figure} | " + " | ".join(cells) + " |"


@click.command()
@click.option("--form", "forms", multiple=True, default=("plain/30", "fp32/30"), show_default=True)
@click.option("--method", "methods", multiple=True, default=("source_only", "mmd", "dann"), show_default=True)
@click.option("--seeds", default=5, show_default=True, help="Number of seeds of each training.")
@click.option("--mock-seed", default=0, show_default=True)
@click.option("--mergers", default=150, show_default=True)
@click.option("--non-mergers", default=300, show_default=True)
@click.option("--table", "only_table", is_flag=True, help="Train nothing.")
@click.option("--output", default=Path("same_figures"), type=click.Path(path_type=Path, file_okay=False))
def main(
    forms: tuple[str, ...],
    methods: tuple[str, ...],
    seeds: int,
    mock_seed: int,
    mergers: int,
    non_mergers: int,
    only_table: bool,
    output: Path,
) -> None:
    """Train what is missing, and print the table."""
    output.mkdir(parents=True, exist_ok=True)
    pieces = [(method, form, seed) for seed in range(seeds) for method in methods for form in forms]
    results = {}
    for method, form, seed in pieces:
        path = output / f"{method}-{form.replace('/', '-')}-mock{mock_seed}-s{seed}.json"
        if not (path.is_file() or only_table):
            prepared = make_mock(output / f"mock{mock_seed}", mock_seed, mergers, non_mergers)
            try:
                with FileLock(path.with_suffix(".lock"), timeout=0):
                    found = measured(configuration(method, seed, form), prepared, form_of(form)[0])
                    write_text(path, json.dumps(found) + "\n")
            except Timeout:  # another process trains it
                continue
        if path.is_file():
            results[method, form, seed] = json.loads(path.read_text())
    print("\n".join(table(results, forms)))


if __name__ == "__main__":
    main()
