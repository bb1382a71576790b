"""Measure how difficult the mock archive is: make full-size mocks, train on them, and compare with the targets.

    python benchmarks/mock_difficulty.py                                  # 406 + 1827 galaxies, seeds 100 101 102
    python benchmarks/mock_difficulty.py --mergers 12 --non-mergers 24 --seeds 0 --epochs 1   # a quick check

For each seed the benchmark makes an archive of three filters (6 GB) in a temporary folder, prepares it with the split
by galaxy, trains the configured network on pristine images and, as an oracle, on noisy ones, and tests it on the
unique images of the test galaxies. The results of a seed are kept as JSON in the output folder and are not computed
again.
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
from bench_data import prepare_mock
from naive_shapes import TRIVIAL, best_threshold, feature_names, measure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestClassifier

from mergershift.archive import Domain
from mergershift.archive.mock import MOCK_VERSION
from mergershift.classifier.inference import predict
from mergershift.config import Config, compose
from mergershift.evaluation import score
from mergershift.images import Prepared
from mergershift.training.fit import train

Metrics = dict[str, float | str]
TREES = 500


@dataclass(frozen=True)
class Target:
    """A target for the mock: the mean of a metric over the seeds is between `low` and `high`."""

    metric: str
    description: str
    low: float = -np.inf
    high: float = np.inf

    def met(self, mean: float) -> bool:
        """Whether the mean over the seeds meets the target."""
        return self.low <= mean <= self.high

    @property
    def interval(self) -> str:
        """The allowed interval as text."""
        if np.isinf(self.high):
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if np.isinf(self.low) else f"{self.low:g} to {self.high:g}"


TARGETS = (
    Target("pristine", "balanced accuracy, trained and tested on pristine", 0.75, 0.90),
    Target("noise_cost", "... minus the same on noisy", 0.03, 0.10),
    Target("shift_cost", "trained on noisy minus trained on pristine, both tested on noisy", 0.10),
    Target("trivial_pristine", "best single trivial statistic, pristine", high=0.70),
    Target("trivial_noisy", "best single trivial statistic, noisy", high=0.70),
    Target("forest_excess_pristine", "forest on naive shapes minus network, pristine", high=0.0),
    Target("forest_excess_noisy", "forest on naive shapes minus network, noisy", high=0.0),
)
WITHOUT_TARGET = ("noisy", "pristine_to_noisy", "pristine_auc", "noisy_auc", "pristine_to_noisy_auc", "forest_pristine",
              "forest_noisy")  # fmt: skip


def network_metrics(prepared: Prepared, overrides: Iterable[str], state: Path) -> Metrics:
    """Train on the labels of either domain, and test on the same domain and, in both cases, on noisy images."""
    metrics: Metrics = {}
    for name, transfer in (("pristine", "pristine_to_noisy"), ("noisy", "oracle_target_only")):
        config = compose([f"transfer={transfer}", *overrides])
        result = train(config, prepared, state / name)
        metrics[f"{name}_epochs"], metrics[f"{name}_kept"] = len(result.epochs), result.best_epoch
        tests = {name: Domain(name)} | ({"pristine_to_noisy": Domain.NOISY} if name == "pristine" else {})
        for test, domain in tests.items():
            data = prepared.labelled(domain, prepared.rows("test", unique=True))
            probabilities = predict(result.classifier, data.images, threads=config.trainer.threads)
            scores = score(data.labels.numpy(), probabilities)
            metrics[test], metrics[f"{test}_auc"] = scores["balanced_accuracy"], scores["auc"]
    metrics["noise_cost"] = float(metrics["pristine"]) - float(metrics["noisy"])
    metrics["shift_cost"] = float(metrics["noisy"]) - float(metrics["pristine_to_noisy"])
    return metrics


def _balanced(labels: NDArray[np.int64], predicted: NDArray[np.bool_]) -> float:
    return score(labels, predicted.astype(np.float64))["balanced_accuracy"]


def naive_metrics(prepared: Prepared, domain: Domain, seed: int) -> Metrics:
    """Test every single statistic, and a random forest on all of them, with thresholds chosen on other galaxies."""
    shapes, labels = {}, {}
    for split in ("train", "validation", "test"):
        data = prepared.labelled(domain, prepared.rows(split, unique=True))
        shapes[split], labels[split] = measure(data.images.numpy()), data.labels.numpy()
    metrics: Metrics = {}
    for column, name in enumerate(feature_names()):
        threshold, sign = best_threshold(shapes["train"][:, column], labels["train"])
        predicted = sign * shapes["test"][:, column] > sign * threshold
        metrics[f"{domain} {name}"] = _balanced(labels["test"], predicted)
    singles = {name: value for name, value in metrics.items() if name.split()[1] in TRIVIAL}
    best = max(singles, key=lambda name: float(singles[name]))
    forest = RandomForestClassifier(
        TREES, class_weight="balanced_subsample", min_samples_leaf=5, random_state=seed, n_jobs=-1
    ).fit(shapes["train"], labels["train"])
    probabilities = {split: forest.predict_proba(shapes[split])[:, 1] for split in ("validation", "test")}
    threshold, sign = best_threshold(probabilities["validation"], labels["validation"])
    return metrics | {
        f"trivial_{domain}": singles[best],
        f"trivial_{domain}_name": best,
        f"forest_{domain}": _balanced(labels["test"], sign * probabilities["test"] > sign * threshold),
        f"forest_{domain}_auc": score(labels["test"], probabilities["test"])["auc"],
    }


def run_seed(
    mergers: int, non_mergers: int, seed: int, overrides: tuple[str, ...], scratch: Path | None
) -> Metrics:
    """Make one mock archive, compute all metrics on it and delete it."""
    config: Config = compose(["filters=three", *overrides])
    with tempfile.TemporaryDirectory(prefix="mock-difficulty-", dir=scratch) as temporary:
        folder = Path(temporary)
        prepare_mock(
            folder / "prepared",
            "three",
            config.split,
            seed=seed,
            mergers=mergers,
            non_mergers=non_mergers,
            progress=True,
        )
        prepared = Prepared(folder / "prepared")
        metrics = network_metrics(prepared, ["filters=three", *overrides], folder / "state")
        for domain in Domain:
            metrics |= naive_metrics(prepared, domain, config.seed)
            metrics[f"forest_excess_{domain}"] = float(metrics[f"forest_{domain}"]) - float(
                metrics[str(domain)]
            )
    return metrics


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and scatter of each metric over the seeds, and whether its target is met."""
    summary: dict[str, Any] = {"seeds": [result["seed"] for result in results]}
    for target in TARGETS:
        values = [result["figures"][target.metric] for result in results]
        mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
        summary[target.metric] = {
            "mean": mean,
            "scatter": spread,
            "target": target.interval,
            "met": target.met(mean),
        }
    for name in WITHOUT_TARGET:
        values = [result["figures"][name] for result in results]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        summary[name] = {"mean": float(np.mean(values)), "scatter": spread}
    return summary


def show(summary: dict[str, Any]) -> None:
    """Print the summary as a table."""
    table = Table("metric", "mean", "scatter", "target", "", title=f"mock seeds {summary['seeds']}")
    labels = {target.metric: target.description for target in TARGETS}
    for name, entry in summary.items():
        if name == "seeds":
            continue
        scatter = "" if entry["scatter"] is None else f"{entry['scatter']:.3f}"
        verdict = {True: "met", False: "missed", None: ""}[entry.get("met")]
        table.add_row(
            labels.get(name, name), f"{entry['mean']:.3f}", scatter, entry.get("target", ""), verdict
        )
    Console(width=130).print(table)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a temporary file, then rename it, so that an interruption leaves no incomplete file."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, path)


@click.command(help=__doc__)
@click.option("--mergers", default=406, show_default=True)
@click.option("--non-mergers", default=1827, show_default=True)
@click.option("--seeds", default="100,101,102", show_default=True, help="Comma-separated seeds of the mocks.")
@click.option("--epochs", default=16, show_default=True, help="Epochs of each of the two trainings.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("outputs/benchmarks/mock_difficulty"),
              show_default=True, help="Folder of the results.")  # fmt: skip
@click.option(
    "--scratch",
    type=click.Path(path_type=Path),
    help="Parent of the temporary folders; needs 7 GB at full size.",
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
    # the targets are balanced accuracies, so the best epoch is chosen by the one on source-validation images
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
    for seed in [int(text) for text in seeds.split(",")]:
        path = output / f"seed{seed}-{mergers}+{non_mergers}.json"
        found = json.loads(path.read_text()) if path.is_file() else {}
        if found.get("setting") == setting:
            click.echo(f"seed {seed}: already done, see {path}")
        else:
            click.echo(f"seed {seed}: {mergers} + {non_mergers} galaxies")
            metrics = run_seed(mergers, non_mergers, seed, overrides, scratch)
            found = {"seed": seed, "setting": setting, "figures": metrics}
            write_json(path, found)
        results.append(found)
    summary = summarise(results)
    write_json(output / f"summary-{mergers}+{non_mergers}.json", {"setting": setting} | summary)
    show(summary)


if __name__ == "__main__":
    main()
