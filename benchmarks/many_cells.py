"""Time what studies of up to 300 cells cost besides their trainings: planning, the summary and the page.

    python benchmarks/many_cells.py                              # 6, 60 and 300 cells on a mock of 450 galaxies
    python benchmarks/many_cells.py --cells 60 --keep studies    # one size, kept in that folder
    python benchmarks/many_cells.py --again studies              # measure what was kept with the present code

One network is trained for each filter set, for a few epochs. The cells are copies of it under the identity of each
method and seed, with other weights, scores and predictions, so that methods differ. DVC has all of it in its cache, and
the runs are published before anything is timed, as they are when trainings have ended one after the other.

Every line gives the wall time and the processor time of all processes of a command, of which the second depends less on
what else runs. For 300 cells, making the study takes some ten minutes.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from dvc.repo import Repo, lock_repo
from jobs import ROOT, clone, edit, ran, timed
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from mergershift import evaluation
from mergershift.archive.mock import write_archive
from mergershift.cells.layout import (
    CONFIG,
    EPOCHS,
    EVALUATED,
    MODELS,
    PREDICTIONS,
    RUN,
    SELECTION,
    SHIFT,
    TRAINED,
    VALIDATORS,
)
from mergershift.cells.records import RunRecord, Selection, Shift
from mergershift.config import Config, compose
from mergershift.config.cells_file import cells_text
from mergershift.config.study import Cell, Method, Study
from mergershift.pipeline.dvc import quiet_dvc
from mergershift.pipeline.lock_file import remember_parsed

EPOCHS_TRAINED = 6
NOISE = 0.03
"""Relative size of the noise by which the weights and scores of cells differ."""
SMALL = 20
"""Number of cells below which a study has one filter set and two seeds."""
RESAMPLES = 50
"""Bootstrap replicates of the copies' own metrics, of which the summary uses only the values."""
Plain = dict[str, object]


def write_lists(
    project: Path, filters: Iterable[str], methods: Iterable[Plain], seeds: Iterable[int]
) -> Study:
    """Write a study of these lists to the clone `project`."""
    lists = {"filters": list(filters), "methods": list(methods), "seeds": list(seeds), "tune": []}
    edit(project / "conf/study.yaml", **lists)
    study = Study.model_validate(YAML(typ="safe").load((project / "conf/study.yaml").read_text()))
    (project / "conf/cells.yaml").write_text(cells_text(study))
    return study


def train_originals(project: Path, study: Study) -> dict[str, Path]:
    """Prepare the images, and train and evaluate a network for each filter set; returns their folders."""
    folders = {}
    for name in study.filters:
        ran(project, "mergershift", "prepare", f"filters={name}", f"split={study.split}")
        folders[name] = folder = project / "outputs/runs" / name
        groups = ("network", "training", "trainer", "split")
        choices = [f"filters={name}", *(f"{group}={getattr(study, group)}" for group in groups)]
        ran(project, "mergershift", "train", "--output", str(folder), *choices)
        ran(project, "mergershift", "evaluate", str(folder), f"selection={study.selection}")
    return folders


def fill(project: Path, study: Study, originals: Mapping[str, Path]) -> None:
    """Make every cell of the study a copy of the finished training of its filter set in `originals`."""
    with chdir(project):
        for name in study.filters:
            for method in study.methods:
                config = _config(study, name, method)
                for seed in study.seeds:
                    cell = Cell(name, method, seed)
                    _copy(originals[name], project, cell, config.model_copy(update={"seed": seed}))


def _config(study: Study, filters: str, method: Method) -> Config:
    choices = {**method.model_dump(), "filters": filters}
    choices |= {group: getattr(study, group) for group in ("network", "training", "trainer", "split")}
    return compose([f"{group}={name}" for group, name in choices.items()])


def _copy(original: Path, project: Path, cell: Cell, config: Config) -> None:
    """Copy a finished training and its evaluation as those of a cell."""
    rng = np.random.default_rng([*cell.name.encode()])
    folder = project / cell.folder
    ignored = shutil.ignore_patterns("checkpoints", MODELS)
    shutil.copytree(original, folder, ignore=ignored)
    trained, evaluated = folder / TRAINED, folder / EVALUATED
    _copy_models(original / TRAINED / MODELS, trained / MODELS, seed=int(rng.integers(2**31)))
    config.write(trained / CONFIG)
    record = RunRecord.read(trained / RUN)
    assert record.trained is not None
    name = cell.folder.relative_to("outputs").as_posix()
    facts = record.trained.model_copy(update={"cell": name, "config_hash": config.digest()})
    tags = (
        record.tags | {"cell": name} | {f"choice.{group}": value for group, value in config.choices.items()}
    )
    identity = {"training": cell.name, "name": name, "run_id": None, "tags": tags, "trained": facts}
    record.model_copy(update=identity).write(trained / RUN)
    selection = Selection.read(evaluated / SELECTION)
    selection.model_copy(update={"training": cell.name}).write(evaluated / SELECTION)
    shift = Shift.read(evaluated / SHIFT)
    changes = {name: getattr(shift, name) * rng.normal(1, NOISE) for name in ("mmd", "proxy_a")}
    shift.model_copy(update=changes | {"training": cell.name}).write(evaluated / SHIFT)
    for path in (trained / EPOCHS, evaluated / VALIDATORS):
        table = pd.read_csv(path)
        varied = table.columns.drop("epoch")
        table[varied] *= rng.normal(1, NOISE, table[varied].shape)
        table.to_csv(path, index=False)
    gain = np.random.default_rng([*cell.method.name.encode()]).uniform(0, 1)
    for choice, file in PREDICTIONS.items():
        table = evaluation.read_predictions(evaluated / file)
        table = _other_predictions(table, config, gain, rng)
        evaluation.write_predictions(table, evaluated / file)
        if choice == "label_free":
            evaluation.write_results(evaluation.evaluate(table, resamples=RESAMPLES), evaluated)


def _copy_models(source: Path, target: Path, seed: int) -> None:
    target.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    for path in source.iterdir():
        weights = {
            name: value * (1 + NOISE * torch.randn(value.shape, generator=generator))
            if value.is_floating_point() and name.startswith("network.")
            else value
            for name, value in load_file(path).items()
        }
        save_file(weights, target / path.name)


def _other_predictions(
    table: pd.DataFrame, config: Config, gain: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Predictions for the cell's domains that follow the labels more closely, on the target by the method's gain."""
    domains = {"source": str(config.transfer.source), "target": str(config.transfer.target)}
    follows = table["role"].map({"source": 1.5, "target": gain}).to_numpy()
    logits, threshold = (_logit(table[name].clip(1e-6, 1 - 1e-6)) for name in ("probability", "threshold"))
    # The original may call all images of the target alike.
    logits += threshold - logits.groupby(table["role"]).transform("median")
    logits += follows * (2 * table["label"] - 1) + rng.normal(0, 0.5, len(table))
    changed = table.drop(columns="prediction", errors="ignore").assign(
        domain=table["role"].map(domains), probability=1 / (1 + np.exp(-logits))
    )
    return evaluation.join([changed])


def _logit(chance: pd.Series) -> pd.Series:
    odds = chance / (1 - chance)
    return odds.map(np.log)


def commit(project: Path) -> None:
    """Let DVC take all outputs that exist as those of their stages, as `dvc commit` would in hours."""
    with (
        chdir(project),
        quiet_dvc(),
        remember_parsed(project),
        Repo(str(project)) as repo,
        lock_repo(repo),
        repo.scm_context(quiet=True),
    ):
        stages = [stage for stage in repo.index.stages if stage.cmd and all(out.exists for out in stage.outs)]
        for stage in stages:
            stage.save()
            stage.commit()
        # DVC's own command writes the whole lock file for every stage.
        stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


def measure(project: Path) -> Iterator[tuple[str, float, float]]:
    """Yield what was done, its wall time and its processor time in seconds."""
    parallel = ("mergershift", "repro", "--jobs", "2")
    yield "summary", *spent(project, "mergershift", "summary", "--quiet")
    yield "page", *spent(project, "mergershift", "report")
    yield "repro --jobs 2, summary and page to do", *spent(project, *parallel)
    yield "repro --jobs 2, nothing to do", *spent(project, *parallel)
    yield "repro, nothing to do", *spent(project, "mergershift", "repro")
    yield "dvc repro, nothing to do", *spent(project, "dvc", "repro")


def spent(project: Path, *command: str) -> tuple[float, float]:
    """Wall and processor time in seconds of a Python module in a clone, with all processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed(project, *command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sizes(project: Path) -> dict[str, float]:
    """Sizes in MB of what a reader or git has to load."""
    page = project / "outputs/report"
    pages = sum(path.stat().st_size for path in page.rglob("*.html"))
    return {
        "dvc.lock": (project / "dvc.lock").stat().st_size / 1e6,
        "index.html": (page / "index.html").stat().st_size / 1e6,
        "all pages": pages / 1e6,
        "outputs/report": sum(path.stat().st_size for path in page.rglob("*") if path.is_file()) / 1e6,
    }


def lists_of(count: int, full: Plain) -> Plain:
    """Choose filter sets, methods and seeds from a study's lists that make `count` cells, or as many as they can."""
    filters, methods, seeds = (list(full[name]) for name in ("filters", "methods", "seeds"))  # type: ignore[call-overload]
    filters = filters[: 1 if count < SMALL else None]
    seeds = seeds[: 2 if count < SMALL else None]
    return {"filters": filters, "methods": methods[: count // (len(filters) * len(seeds))], "seeds": seeds}


def make_study(folder: Path, data: Path, lists: Plain, first: Path | None) -> Path:
    """Clone this checkout with a study of these lists, all of whose cells are finished.

    `first` is a study made before, with at least the same filter sets: its images and trainings are taken.
    """
    project = clone(folder, data, "two", methods=1, epochs=1, seeds=1)
    study = write_lists(project, lists["filters"], lists["methods"], lists["seeds"])  # type: ignore[arg-type]
    edit(project / "conf/training" / f"{study.training}.yaml", epochs=EPOCHS_TRAINED)
    originals = {name: folder.parent / "originals" / name for name in study.filters}
    if first is None:
        for name, trained in train_originals(project, study).items():
            # Outside of the study, which would otherwise publish them as trainings of its own.
            originals[name].parent.mkdir(exist_ok=True)
            shutil.move(trained, originals[name])
    else:
        for name in study.filters:
            prepared = f"outputs/prepared/{name}-{study.split}"
            shutil.copytree(first / prepared, project / prepared)
    fill(project, study, originals)
    ran(project, "mergershift", "code")
    commit(project)
    ran(project, "mergershift", "sync")
    return project


@click.command()
@click.option("--study", default="full", show_default=True, help="Name in conf/studies/ of the lists.")
@click.option("--cells", multiple=True, default=(6, 60, 300), show_default=True, type=click.IntRange(min=2))
@click.option("--mergers", default=150, show_default=True)
@click.option("--non-mergers", default=300, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="New folder for the studies, which are kept.")
@click.option(
    "--again", type=click.Path(path_type=Path, exists=True), help="Folder of studies that were kept."
)
def main(
    study: str, cells: tuple[int, ...], mergers: int, non_mergers: int, keep: Path | None, again: Path | None
) -> None:
    """Print a line with the times of each command, and the sizes of what they wrote, for each size of the study."""
    full = YAML(typ="safe").load((ROOT / "conf/studies" / f"{study}.yaml").read_text())
    if again is not None:
        for path in sorted(again.glob("* cells"), key=lambda path: int(path.name.split()[0])):
            mirror_code(path)
            show(path)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        data = folder / "data"
        data.mkdir(parents=True)
        write_archive(
            data, mergers=mergers, non_mergers=non_mergers, seed=100, filter_sets=tuple(full["filters"])
        )
        # The largest comes first, because it has all filter sets.
        made: dict[int, Path] = {}
        for count in sorted(cells, reverse=True):
            first = next(iter(made.values()), None)
            made[count] = make_study(folder / f"{count} cells", data, lists_of(count, full), first)
        for count in cells:
            show(made[count])


def mirror_code(project: Path) -> None:
    """Give a study that was kept the sources of this checkout as they are now, as if it had been run with them."""
    for part in ("src", "dvc.yaml"):
        source, target = ROOT / part, project / part
        if source.is_dir():
            shutil.rmtree(target)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    ran(project, "mergershift", "code")
    commit(project)


def show(project: Path) -> None:
    """Measure a finished study and print what it took."""
    for name, wall, processor in measure(project):
        print(f"{project.name}: {name}: {wall:.1f} s, processors {processor:.1f} s", flush=True)
    for name, size in sizes(project).items():
        print(f"{project.name}: {name}: {size:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
