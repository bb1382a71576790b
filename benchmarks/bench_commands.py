"""What commands and stages take beside the least that their work could take."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import planning
import prediction
import prepare as preparing
from bench_rows import Options, Row, Sample, in_turns, row_of, run, timed, timed_command
from jobs import clone

from mergershift.archive import DATA_SETS, IMAGE_SIZE, Domain
from mergershift.archive.mock import write_archive

PYTHON = sys.executable
MERGERSHIFT = (PYTHON, "-m", "mergershift")
CELL = "outputs/cells/two/pristine_to_noisy/mmd/default/seed0"
IMPORTS = "import pytorch_lightning"
READ = """
import sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        while file.read(2**24):
            pass
"""
PLAIN_EVALUATION = """
import sys
from pathlib import Path
import torch
from mergershift.cells.finished import FinishedTraining
from mergershift.classifier.classifier import load_classifier
from mergershift.images.locate import prepared_images
training = FinishedTraining.read(Path(sys.argv[1]).resolve())
config, prepared = training.config, prepared_images(training.config)
torch.set_num_threads(config.trainer.threads)
def read(split, **options):
    rows = prepared.rows(split, **options)
    return [prepared.images(domain, rows[:: -(-len(rows) // 500)] if options else rows) for domain in
            (config.transfer.source, config.transfer.target)]
validation, train, test = read("validation"), read("train", trains="source"), read("test")
networks = [load_classifier(training.model_file(epoch), config) for epoch in training.model_epochs]
with torch.inference_mode():
    for network in networks:
        for images in (*validation, *train):
            for batch in images.split(512):
                network(batch)
    for network in networks[:2]:
        for images in test:
            for batch in images.split(512):
                network(batch)
"""
# Notes when the first training step begins and the last one ends, without importing anything earlier than the command.
WATCH = """
import importlib.util, json, sys, time
times = []
def note():
    times.append((time.time(), time.process_time()))
class Watch:
    asked = False
    def find_spec(self, name, path, target=None):
        if name != "mergershift.training.task" or self.asked:
            return None
        self.asked = True
        spec = importlib.util.find_spec(name)
        self.asked = False
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            module.TransferTask.on_train_batch_start = lambda self, batch, index: note()
            module.TransferTask.on_train_batch_end = lambda self, *rest: note()
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Watch())
from mergershift.cli.main import main
try:
    main(sys.argv[2:])
finally:
    open(sys.argv[1], "w").write(json.dumps([times[0], times[-1]]))
"""


def archive(options: Options, filters: str = "two") -> Path:
    """Make a mock archive once."""
    folder = options.scratch / f"mock-{filters}"
    if not folder.exists():
        folder.mkdir()
        mergers, others = (20, 60) if options.quick else (60, 240)
        write_archive(folder, mergers=mergers, non_mergers=others, seed=100, filter_sets=(filters,))
    return folder


def project(options: Options) -> Path:
    """Clone this checkout with a mock archive and its prepared images, once."""
    folder = options.scratch / "project"
    if not folder.exists():
        clone(folder, archive(options), "two", 2, epochs=6, seeds=1)
        run([*MERGERSHIFT, "prepare", "filters=two", "split=by_galaxy"], folder)
        run([*MERGERSHIFT, "code"], folder)
    return folder


def commands(options: Options) -> list[Row]:
    """Compare `mergershift --help` with the start of Python."""
    forms = {
        "plain": lambda: timed_command([PYTHON, "-c", "pass"]),
        "ours": lambda: timed_command([*MERGERSHIFT, "--help"]),
    }
    samples = in_turns(forms, 3 * options.repeats)
    return [row_of("commands", "mergershift --help", "start of Python", samples["plain"], samples["ours"])]


def preparation(options: Options) -> list[Row]:
    """Compare preparing with reading the same files."""
    data, output = archive(options), options.scratch / "prepared"
    program = preparing.PREPARE.replace('"three"', '"two"')
    paths = [str(data / DATA_SETS["two", domain].images_name) for domain in Domain]

    def ours() -> Sample:
        shutil.rmtree(output, ignore_errors=True)
        return timed_command([PYTHON, "-c", program, str(data), str(output)])

    samples = in_turns(
        {"plain": lambda: timed_command([PYTHON, "-c", READ, *paths]), "ours": ours}, options.repeats
    )
    size = sum(Path(path).stat().st_size for path in paths) / 1e6
    return [
        row_of("prepare", f"prepare {size:.0f} MB", "read the same files", samples["plain"], samples["ours"])
    ]


def mock(options: Options) -> list[Row]:
    """Compare the generation of a mock with writing as many normal random numbers."""
    folder = options.scratch / "generated"
    mergers, others = (4, 8) if options.quick else (15, 60)

    def ours() -> None:
        folder.mkdir()
        write_archive(folder, mergers=mergers, non_mergers=others, seed=1, filter_sets=("three",))

    def plain() -> None:
        random, folder_rows = np.random.default_rng(0), 2 * rows
        images = random.normal(size=(folder_rows, 3, IMAGE_SIZE, IMAGE_SIZE))
        np.save(options.scratch / "noise.npy", images)

    def ours_anew() -> Sample:
        shutil.rmtree(folder, ignore_errors=True)
        return timed(ours)

    ours_anew()
    rows = len(np.load(folder / DATA_SETS["three", Domain.NOISY].images_name, mmap_mode="r"))
    samples = in_turns({"plain": lambda: timed(plain), "ours": ours_anew}, options.repeats)
    name = f"mock archive of {mergers + others} galaxies, {rows} rows, three filters"
    return [row_of("mock", name, "random numbers, written", samples["plain"], samples["ours"])]


def train_command(epochs: int) -> list[str]:
    """Return the arguments of a small training in the folder of the study's cell."""
    choices = ("filters=two", "transfer=pristine_to_noisy", "adaptation=mmd", "trainer=cpu_one_thread")
    return ["train", "--output", CELL, *choices, "training=demo", f"training.epochs={epochs}"]


def evaluation(options: Options) -> list[Row]:
    """Compare the evaluation of a cell with the same passes through its networks alone."""
    folder = project(options)
    shutil.rmtree(folder / CELL, ignore_errors=True)
    run([*MERGERSHIFT, *train_command(6)], folder)
    forms = {
        "plain": lambda: timed_command([PYTHON, "-c", PLAIN_EVALUATION, CELL], folder),
        "ours": lambda: timed_command([*MERGERSHIFT, "evaluate", CELL], folder),
    }
    samples = in_turns(forms, options.repeats)
    words = "its passes through the networks, one after another"
    return [row_of("evaluation", "evaluation of a cell", words, samples["plain"], samples["ours"])]


def cell(options: Options) -> list[Row]:
    """Compare the fixed cost of a training, before its first and after its last step, with the imports it needs."""
    folder, times = project(options), options.scratch / "times.json"
    before, after, imports = [], [], []
    for _ in range(options.repeats):
        imports.append(timed_command([PYTHON, "-c", IMPORTS], folder))
        for kept in (CELL, "state"):  # an unfinished state would be resumed
            shutil.rmtree(folder / kept, ignore_errors=True)
        started = time.time()
        whole = timed_command([PYTHON, "-c", WATCH, str(times), *train_command(2)], folder)
        first, last = json.loads(times.read_text())
        before.append(Sample(first[0] - started, first[1]))
        after.append(Sample(started + whole.wall - last[0], (whole.cpu or 0) - last[1]))
    return [
        row_of("cell", "a training: start of Python to first step", IMPORTS, imports, before),
        row_of("cell", "a training: last step to exit", IMPORTS, imports, after),
    ]


def predictions(options: Options) -> list[Row]:
    """Compare `mergershift predict` with a plain loop over images in memory."""
    folder = options.scratch / "model"
    folder.mkdir(exist_ok=True)
    model = prediction.write_untrained(folder, "two")
    many, few = (600, 100) if options.quick else (3000, 500)

    def ours() -> Sample:
        seconds = []
        for count in (few, many):
            stack = prediction.write_stack(folder / f"stack{count}.npy", count, 2)
            arguments = [str(stack), "--model", str(model), "--overwrite"]
            seconds.append(prediction.measured(arguments, folder / "table.parquet", options.threads).seconds)
        return Sample((seconds[1] - seconds[0]) / (many - few) * 1000)

    def plain() -> Sample:
        (rate,) = prediction.numbers_of(prediction.PLAIN, str(model), str(options.threads))
        return Sample(1000 / rate)

    samples = in_turns({"plain": plain, "ours": ours}, options.repeats)
    name = "mergershift predict, 1000 images, start-up apart"
    return [row_of("prediction", name, "plain loop in memory", samples["plain"], samples["ours"])]


def plans(options: Options) -> list[Row]:
    """Compare `mergershift repro --jobs 2` with `dvc repro` where nothing is left to do."""
    rows = []
    for cells in options.cells:
        folder = planning.make_up(options.scratch, cells)
        forms: dict[str, Callable[[], Sample]] = {
            "plain": functools.partial(timed_command, [PYTHON, "-m", "dvc", "repro"], folder),
            "ours": functools.partial(timed_command, [PYTHON, "-c", planning.PLAN], folder),
        }
        forms["ours"]()  # remembers what it has read, as the command that has made the results does
        samples = in_turns(forms, 1 if cells > 100 else min(3, options.repeats))
        name = f"mergershift repro --jobs 2, {cells} cells, nothing to do"
        rows.append(row_of("plans", name, "dvc repro", samples["plain"], samples["ours"]))
    return rows
