"""Level, power and coverage of the tests and intervals on made-up classifiers whose true scores are known.

    python benchmarks/inference.py [--repetitions 2000]

The logit of a merger in an image is the sum of normal terms for its galaxy, its rendering, and what differs between
seeds for both, plus the separation of the classes for mergers, plus a shift of all logits of a seed. Two sizes: the
mock's test (30 mergers, 60 others) and the archive's (110, 490), four renderings each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np
from inference_world import CAMERAS, SIZES, SPREAD, Floats, Method, World, with_accuracy
from scipy.special import ndtr

from mergershift.evaluation.estimates import Estimate, class_shares, ratio
from mergershift.evaluation.resampling import Interval, draws
from mergershift.evaluation.score_intervals import area_interval, share_interval

RESAMPLES = 999


def share(hits: list[bool]) -> str:
    """Percentage with its standard error."""
    mean = float(np.mean(hits))
    return f"{100 * mean:.1f} ± {100 * np.sqrt(max(mean * (1 - mean), 1e-4) / len(hits)):.1f}"


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def head(title: str, *names: str) -> None:
    """Print the head of a Markdown table."""
    print(f"\n{title}\n")
    row(*names)
    row(*("---" for _ in names))


@cache
def signs_of(galaxies: int) -> Floats:
    """Random signs, the same for all made-up tests."""
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(RESAMPLES, galaxies))


def rejections(world: World, first: Floats, second: Floats) -> dict[str, bool]:
    """Which tests reject that two methods of one seed have the same balanced accuracy."""
    difference = world.accuracy(second) - world.accuracy(first)
    sizes = np.bincount(world.classes)[world.classes]
    right = [np.bincount(world.members, (own[0] >= 0) == world.truth) for own in (first, second)]
    raw = (right[1] - right[0]) / CAMERAS / 2 / sizes
    signs = signs_of(len(raw))

    def by_flips(contributions: Floats) -> bool:
        hits = np.count_nonzero(np.abs(signs @ contributions) >= abs(raw.sum()) - 1e-12)
        return bool((1 + hits) / (1 + RESAMPLES) < 0.05)

    (weights,) = draws(world.classes, len(world.members), RESAMPLES, 0)
    low, high = np.quantile(weights @ raw, [0.025, 0.975])
    interval = difference.interval
    welch = difference.p < 0.05
    if welch != (interval["low"] > 0 or interval["high"] < 0):
        raise AssertionError("p and interval disagree")
    return {
        "Welch": welch,
        "flips of residuals": by_flips(difference.by_galaxy),
        "bootstrap": bool(low > 0 or high < 0),
        "flips of signs": by_flips(raw),
    }


def tests(repetitions: int) -> None:
    """Level at equal balanced accuracy and different thresholds, and power."""
    names = ("Welch", "flips of residuals", "bootstrap", "flips of signs")
    head("Share of 5 % tests that reject, %", "size", "balanced accuracies", "thresholds", *names)
    pairs = {
        size: [
            (with_accuracy(0.58, 0.4), with_accuracy(0.58, 0.4)),
            (with_accuracy(0.58, 0.4), with_accuracy(0.58, -1.2)),
            (with_accuracy(0.58, -1.2), with_accuracy(0.58, 2.2)),
            (with_accuracy(0.7, 0.8), with_accuracy(0.7, 2.5)),
            (with_accuracy(0.85, 1.5), with_accuracy(0.85, 3.0)),
            (with_accuracy(0.58, -1.2), with_accuracy(better, 0.5)),
            (with_accuracy(0.58, 0.3), with_accuracy(better, 0.5)),
        ]
        for size, better in (("mock", 0.68), ("archive", 0.64))
    }
    for size, both in pairs.items():
        for pair in both:
            world = World(size, np.random.default_rng(0))
            found = [rejections(world, *world.logits(list(pair), 1)) for _ in range(repetitions)]
            accuracies = " and ".join(f"{method.accuracy:.2f}" for method in pair)
            thresholds = " and ".join(f"{method.threshold:g}" for method in pair)
            row(size, accuracies, thresholds, *(share([one[name] for one in found]) for name in names))


def few_differences(repetitions: int) -> None:
    """Level where two methods differ in hardly any galaxy, for better and for worse equally often."""
    head("Methods that differ in few galaxies, for better and for worse: share that Welch's test rejects, %",
         "size", "galaxies that differ, on average", "with the least variance", "without")  # fmt: skip
    for size in SIZES:
        for number in (1, 3, 6):
            world = World(size, np.random.default_rng(1))
            found: list[tuple[bool, bool]] = []
            for _ in range(repetitions):
                change = world.rng.random(len(world.classes)) < number / len(world.classes)
                sign = np.where(world.classes == 1, 1.0, -1.0)
                right = (CAMERAS * (change * sign)[None]).astype(np.float64)
                own = class_shares(right, world.images, world.classes, (0.5, 0.5))
                found.append((own.p < 0.05, replace(own, least=np.zeros(2)).p < 0.05))
            row(size, number, *(share([one[side] for one in found]) for side in (0, 1)))


def covered(interval: Interval, truth: float) -> bool:
    """Whether an interval holds the true value."""
    return bool(interval["low"] - 1e-12 <= truth <= interval["high"] + 1e-12)


def seeds(repetitions: int) -> None:
    """Coverage of an accuracy, a difference and a share, by the number of seeds and their scatter."""
    quantities: dict[str, Callable[[dict[str, Estimate]], Interval]] = {
        "accuracy": lambda found: found["first"].interval,
        "difference": lambda found: (found["second"] - found["first"]).interval,
        "share won back": lambda found: ratio(
            found["second"] - found["first"], found["source"] - found["first"]
        ),
    }
    head("Coverage of 95 % intervals over galaxies and seeds, %", "size", "scatter of seeds", "seeds", *quantities,
         "accuracy, galaxies and S seeds drawn", "accuracy, S - 1 seeds drawn")  # fmt: skip
    for size in SIZES:
        for scatter in (0.0, 0.5, 1.0):
            methods = {
                "first": Method(0.9, 0.0, scatter),
                "second": Method(1.2, 0.6, scatter),
                "source": Method(2.2, 1.1, scatter),
            }
            truths = {name: method.accuracy for name, method in methods.items()}
            gain, loss = (truths[name] - truths["first"] for name in ("second", "source"))
            expected = dict(zip(quantities, (truths["first"], gain, gain / loss), strict=True))
            for number in (1, 2, 3, 5):
                world = World(size, np.random.default_rng(2))
                hits: dict[str, list[bool]] = {name: [] for name in (*quantities, "S", "S - 1")}
                for _ in range(repetitions):
                    logits = world.logits(list(methods.values()), number)
                    found = {name: world.accuracy(own) for name, own in zip(methods, logits, strict=True)}
                    for name, interval_of in quantities.items():
                        interval = interval_of(found)
                        if np.isfinite(interval["low"]):
                            hits[name].append(covered(interval, expected[name]))
                    for name, interval in joint_draws(world, logits[0]).items():
                        hits[name].append(covered(interval, truths["first"]))
                row(size, scatter, number, *(share(own) for own in hits.values()))


def joint_draws(world: World, logits: Floats) -> dict[str, Interval]:
    """Percentile intervals of the balanced accuracy from drawing galaxies and seeds together, S or S - 1 of these."""
    right = np.stack([np.bincount(world.members, own) for own in (logits >= 0) == world.truth]) / CAMERAS
    contributions = right / 2 / np.bincount(world.classes)[world.classes]
    (weights,) = draws(world.classes, len(world.members), RESAMPLES, 0)
    by_seed = weights @ contributions.T
    found = {}
    for name, number in (("S", len(logits)), ("S - 1", max(len(logits) - 1, 1))):
        drawn = world.rng.integers(len(logits), size=(RESAMPLES, number))
        low, high = np.quantile(np.take_along_axis(by_seed, drawn, axis=1).mean(axis=1), [0.025, 0.975])
        found[name] = Interval(value=0.0, low=float(low), high=float(high))
    return found


def degenerate(repetitions: int) -> None:
    """Coverage of the scores of one training up to classifiers that are always right or always say the same."""
    metrics = ("balanced_accuracy", "accuracy", "recall", "auc")
    head("Coverage of one training's 95 % intervals over galaxies, %", "size", "recall", "specificity", "AUC", *metrics,
         "balanced accuracy, percentiles", "AUC, percentiles")  # fmt: skip
    for size, (mergers, others) in SIZES.items():
        for method in _methods():
            world = World(size, np.random.default_rng(3))
            hits: dict[str, list[bool]] = {name: [] for name in (*metrics, "percentiles", "auc percentiles")}
            recall = float(ndtr((method.separation - method.threshold) / SPREAD))
            specificity = float(ndtr(method.threshold / SPREAD))
            accuracy = (mergers * recall + others * specificity) / (mergers + others)
            truths = dict(zip(metrics, (method.accuracy, accuracy, recall, method.area), strict=True))
            for _ in range(repetitions):
                (logits,) = world.logits([method], 1)
                for name, interval in intervals(world, logits).items():
                    hits[name].append(covered(interval, truths[name]))
                for name, interval in percentiles(world, logits).items():
                    hits[name].append(
                        covered(interval, truths["auc" if name.startswith("auc") else metrics[0]])
                    )
            numbers = (f"{recall:.3f}", f"{specificity:.3f}", f"{method.area:.4f}")
            row(size, *numbers, *(share(own) for own in hits.values()))


def _methods() -> Iterator[Method]:
    for separation, threshold in ((0.8, 0.4), (1.5, -1.5), (1.5, -3.0), (2.0, -5.0)):
        yield Method(separation, threshold)
    for separation in (3.0, 4.0, 5.0, 6.0, 7.0):
        yield Method(separation, separation / 2)


def intervals(world: World, logits: Floats) -> dict[str, Interval]:
    """Intervals of one training's scores, as `bootstrap` gives them."""
    right = np.bincount(world.members, (logits[0] >= 0) == world.truth)[None].astype(np.float64)
    mergers = float(world.classes.mean())
    weights = {"balanced_accuracy": (0.5, 0.5), "accuracy": (1 - mergers, mergers), "recall": (0.0, 1.0)}
    found = {name: share_interval(right, world.images, world.classes, own) for name, own in weights.items()}
    return found | {"auc": area_interval(logits, world.truth, world.members, world.classes)}


def percentiles(world: World, logits: Floats) -> dict[str, Interval]:
    """Percentile intervals of balanced accuracy and AUC from drawing galaxies."""
    (weights,) = draws(world.classes, len(world.members), 400, 0)
    mergers = int(world.classes.sum())
    right = np.bincount(world.members, (logits[0] >= 0) == world.truth) / CAMERAS
    balanced = weights[:, :mergers] @ right[:mergers] / mergers / 2
    balanced += weights[:, mergers:] @ right[mergers:] / (len(right) - mergers) / 2
    of_mergers, of_others = logits[0][world.truth], logits[0][~world.truth]
    above = (of_mergers[:, None] > of_others).reshape(mergers, CAMERAS, -1, CAMERAS).mean(axis=(1, 3))
    area = ((weights[:, :mergers] @ above) * weights[:, mergers:]).sum(axis=1) / above.size
    found = {}
    for name, replicates in (("percentiles", balanced), ("auc percentiles", area)):
        low, high = np.quantile(replicates, [0.025, 0.975])
        found[name] = Interval(value=0.0, low=float(low), high=float(high))
    return found


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repetitions", type=int, default=2000, help="made-up tests in each row (default 2000)"
    )
    parser.add_argument(
        "--only", choices=("tests", "few", "seeds", "degenerate"), help="print one table alone"
    )
    arguments = parser.parse_args()
    parts = {"tests": tests, "few": few_differences, "seeds": seeds, "degenerate": degenerate}
    for name, part in parts.items():
        if arguments.only in (None, name):
            part(arguments.repetitions)


if __name__ == "__main__":
    main()
