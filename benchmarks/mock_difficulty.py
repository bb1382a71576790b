"""How hard is the mock archive? Makes full-size mocks, trains on them and compares with what the mock promises.

    python benchmarks/mock_difficulty.py                                  # 406 + 1827 galaxies, seeds 100 101 102
    python benchmarks/mock_difficulty.py --mergers 12 --non-mergers 24 --seeds 0 --epochs 1   # does it run?

Each seed makes an archive of three filters (6 GB for a time) in a temporary folder, prepares it with the split by
galaxy, trains the configured network on pristine images and, as the oracle, on noisy ones, and tests on unique
renderings of test galaxies. Finished seeds are kept as JSON in the output folder and skipped the next time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from naive_shapes import TRIVIAL, best_threshold, feature_names, measure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestClassifier

from mergershift.archive import Domain
from mergershift.archive.mock import MOCK_VERSION, write_archive
from mergershift.classifier.inference import predict
from mergershift.config import Config, compose
from mergershift.evaluation import score
from mergershift.images import Prepared, prepare
from mergershift.training.fit import train

Figures = dict[str, float | str]
TREES = 500


@dataclass(frozen=True)
class Target:
    """A promise about the mock: the mean over seeds of one figure lies between two numbers or beside another."""

    figure: str
    what: str
    low: float = -np.inf
    high: float = np.inf

    def met(self, mean: float) -> bool:
        """Whether the mean over seeds keeps the promise."""
        return self.low <= mean <= self.high

    @property
    def promise(self) -> str:
        """The two numbers in words."""
        if np.isinf(self.high):
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if np.isinf(self.low) else f"{self.low:g} to {self.high:g}"


TARGETS = (
    Target("pristine", "balanced accuracy, trained and tested on pristine", 0.75, 0.90),
    Target("noise_cost", "... less the same on noisy", 0.03, 0.10),
    Target("shift_cost", "trained on noisy less trained on pristine, both tested on noisy", 0.10),
    Target("trivial_pristine", "best single trivial statistic, pristine", high=0.70),
    Target("trivial_noisy", "best single trivial statistic, noisy", high=0.70),
    Target("forest_excess_pristine", "forest on naive shapes less network, pristine", high=0.0),
    Target("forest_excess_noisy", "forest on naive shapes less network, noisy", high=0.0),
)
ALSO_SHOWN = ("noisy", "pristine_to_noisy", "pristine_auc", "noisy_auc", "pristine_to_noisy_auc", "forest_pristine",
              "forest_noisy")  # fmt: skip


def network_figures(prepared: Prepared, overrides: Iterable[str], state: Path) -> Figures:
    """Train on each domain's labels and test on noisy and on the domain itself."""
    figures: Figures = {}
    for name, transfer in (("pristine", "pristine_to_noisy"), ("noisy", "oracle_target_only")):
        config = compose([f"transfer={transfer}", *overrides])
        result = train(config, prepared, state / name)
        figures[f"{name}_epochs"], figures[f"{name}_kept"] = len(result.epochs), result.best_epoch
        tests = {name: Domain(name)} | ({"pristine_to_noisy": Domain.NOISY} if name == "pristine" else {})
        for test, domain in tests.items():
            data = prepared.labelled(domain, prepared.rows("test", unique=True))
            chances = predict(result.classifier, data.images, threads=config.trainer.threads)
            scores = score(data.labels.numpy(), chances)
            figures[test], figures[f"{test}_auc"] = scores["balanced_accuracy"], scores["auc"]
    figures["noise_cost"] = float(figures["pristine"]) - float(figures["noisy"])
    figures["shift_cost"] = float(figures["noisy"]) - float(figures["pristine_to_noisy"])
    return figures


def _balanced(labels: NDArray[np.int64], called: NDArray[np.bool_]) -> float:
    return score(labels, called.astype(np.float64))["balanced_accuracy"]


def naive_figures(prepared: Prepared, domain: Domain, seed: int) -> Figures:
    """Test single statistics and a random forest on all of them; thresholds come from other galaxies."""
    shapes, labels = {}, {}
    for split in ("train", "validation", "test"):
        data = prepared.labelled(domain, prepared.rows(split, unique=True))
        shapes[split], labels[split] = measure(data.images.numpy()), data.labels.numpy()
    figures: Figures = {}
    for column, name in enumerate(feature_names()):
        threshold, sign = best_threshold(shapes["train"][:, column], labels["train"])
        called = sign * shapes["test"][:, column] > sign * threshold
        figures[f"{domain} {name}"] = _balanced(labels["test"], called)
    singles = {name: value for name, value in figures.items() if name.split()[1] in TRIVIAL}
    best = max(singles, key=lambda name: float(singles[name]))
    forest = RandomForestClassifier(
        TREES, class_weight="balanced_subsample", min_samples_leaf=5, random_state=seed, n_jobs=-1
    ).fit(shapes["train"], labels["train"])
    chances = {split: forest.predict_proba(shapes[split])[:, 1] for split in ("validation", "test")}
    threshold, sign = best_threshold(chances["validation"], labels["validation"])
    return figures | {
        f"trivial_{domain}": singles[best],
        f"trivial_{domain}_name": best,
        f"forest_{domain}": _balanced(labels["test"], sign * chances["test"] > sign * threshold),
        f"forest_{domain}_auc": score(labels["test"], chances["test"])["auc"],
    }


def run_seed(
    mergers: int, non_mergers: int, seed: int, overrides: tuple[str, ...], scratch: Path | None
) -> Figures:
    """Make one mock archive, measure everything on it and delete it."""
    config: Config = compose(["filters=three", *overrides])
    with tempfile.TemporaryDirectory(prefix="mock-difficulty-", dir=scratch) as temporary:
        folder = Path(temporary)
        archive = folder / "archive"
        archive.mkdir()
        write_archive(archive, mergers=mergers, non_mergers=non_mergers, seed=seed, filter_sets=["three"])
        prepare(archive, "three", config.split, folder / "prepared")
        for path in archive.iterdir():
            path.unlink()
        prepared = Prepared(folder / "prepared")
        figures = network_figures(prepared, ["filters=three", *overrides], folder / "state")
        for domain in Domain:
            figures |= naive_figures(prepared, domain, config.seed)
            figures[f"forest_excess_{domain}"] = float(figures[f"forest_{domain}"]) - float(
                figures[str(domain)]
            )
    return figures


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, scatter and verdict of each target over the seeds."""
    summary: dict[str, Any] = {"seeds": [each["seed"] for each in results]}
    for target in TARGETS:
        values = [each["figures"][target.figure] for each in results]
        mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
        summary[target.figure] = {
            "mean": mean,
            "scatter": spread,
            "target": target.promise,
            "met": target.met(mean),
        }
    for name in ALSO_SHOWN:
        values = [each["figures"][name] for each in results]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        summary[name] = {"mean": float(np.mean(values)), "scatter": spread}
    return summary


def show(summary: dict[str, Any]) -> None:
    """Print the summary as a table."""
    table = Table("figure", "mean", "scatter", "target", "", title=f"mock seeds {summary['seeds']}")
    words = {target.figure: target.what for target in TARGETS}
    for name, entry in summary.items():
        if name == "seeds":
            continue
        scatter = "" if entry["scatter"] is None else f"{entry['scatter']:.3f}"
        verdict = {True: "met", False: "missed", None: ""}[entry.get("met")]
        table.add_row(
            words.get(name, name), f"{entry['mean']:.3f}", scatter, entry.get("target", ""), verdict
        )
    Console(width=130).print(table)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside, then rename."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, path)


@click.command(help=__doc__)
@click.option("--mergers", default=406, show_default=True)
@click.option("--non-mergers", default=1827, show_default=True)
@click.option("--seeds", default="100,101,102", show_default=True, help="Mock seeds, separated by commas.")
@click.option("--epochs", default=16, show_default=True, help="Epochs of each of the two trainings.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("outputs/benchmarks/mock_difficulty"),
              show_default=True, help="Folder of the results.")  # fmt: skip
@click.option(
    "--scratch", type=click.Path(path_type=Path), help="Where temporary folders go; 7 GB at full size."
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def main(
    mergers: int,
    non_mergers: int,
    seeds: str,
    epochs: int,
    output: Path,
    scratch: Path | None,
    overrides: tuple[str, ...],
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    # the promises are in balanced accuracy, so the epoch is kept by it, on source-validation images
    choice = "source_val_balanced_accuracy"
    overrides = (
        f"training.epochs={epochs}", f"training.keep_best={choice}", f"training.stop_on={choice}", *overrides
    )  # fmt: skip
    setting = {
        "mock_version": MOCK_VERSION,
        "mergers": mergers,
        "non_mergers": non_mergers,
        "config": compose(["filters=three", *overrides]).digest(),
    }
    results = []
    for seed in [int(each) for each in seeds.split(",")]:
        path = output / f"seed{seed}-{mergers}+{non_mergers}.json"
        found = json.loads(path.read_text()) if path.is_file() else {}
        if found.get("setting") == setting:
            click.echo(f"seed {seed}: done before, kept in {path}")
        else:
            click.echo(f"seed {seed}: {mergers} + {non_mergers} galaxies")
            figures = run_seed(mergers, non_mergers, seed, overrides, scratch)
            found = {"seed": seed, "setting": setting, "figures": figures}
            write_json(path, found)
        results.append(found)
    summary = summarise(results)
    write_json(output / f"summary-{mergers}+{non_mergers}.json", {"setting": setting} | summary)
    show(summary)


if __name__ == "__main__":
    main()
