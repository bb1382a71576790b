"""Compare validators: how far is the network that each would choose on a mock's target from the best one?

    python benchmarks/validators.py                      # mocks of seeds 0 to 9, then the table
    python benchmarks/validators.py --minutes 3          # stop after 3 minutes of CPU time; again: goes on from there
    python benchmarks/validators.py --table              # the table of the mocks that are finished
    python benchmarks/validators.py --simulated          # classifiers that are drawn rather than trained; a minute

The candidates are those of `validator_candidates.py`. Of a mock's pool of validation galaxies, several draws are taken
for each share of mergers, and each validator chooses among the candidates by the drawn images. Regret is the balanced
accuracy on the target's test galaxies of the best candidate minus that of the chosen one, with a 95 % interval over
mocks. The oracle chooses by the target's labels of the same drawn images. One mock takes four minutes of one core.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from simulated_classifiers import CLASSIFIERS, regrets_of_sets
from validator_candidates import METHODS, make_candidates, make_mock, pieces

from mergershift.core.files import write_text
from mergershift.evaluation import ORACLE, VALIDATORS, Evidence, oracle_target_balanced_accuracy, regret
from mergershift.evaluation.ranking import rank_ensemble
from mergershift.evaluation.validators import importance_weighted_risk

Floats = NDArray[np.float64]
DRAWN = {5: (4, 80), 18: (18, 80), 33: (40, 80), 50: (60, 60)}
"""Numbers of mergers and of other galaxies that are drawn from the pool, by the per cent of mergers."""
DRAWS = 4
REDUCED = (2, 5, 10)
"""Further numbers of components for the density ratios of `importance_weighted_risk`, which otherwise uses 50."""
ENSEMBLES = {
    "ranks: transport, source risk": ("balanced_transport", "source_validation_risk"),
    "ranks: transport, information, source risk": (
        "balanced_transport",
        "balanced_information",
        "source_validation_risk",
    ),
    "ranks: transport, importance-weighted risk": ("balanced_transport", "importance_weighted_risk"),
    "ranks: all": tuple(VALIDATORS),
}
RESAMPLES = 10_000
SETS = 400
"""Number of sets of simulated classifiers for each share of mergers."""


def scores_of(folder: Path, seed: int) -> dict[str, Any]:
    """Compute, or read, the scores of a mock's candidates: truth `(C,)` and, by share and draw, lists by validator."""
    path = folder / "scores.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        if set(VALIDATORS) <= found["draws"][0]["scores"].keys():
            return found
    files = sorted(folder.glob("*-epoch*.npz"))
    candidates = [dict(np.load(file)) for file in files]
    first, rng = candidates[0], np.random.default_rng(seed)
    pools = [np.unique(first["galaxies"][first["labels"] == label]) for label in (1, 0)]
    draws = []
    for share, counts in DRAWN.items():
        for _ in range(DRAWS):
            chosen = [
                rng.choice(pool, count, replace=False) for pool, count in zip(pools, counts, strict=True)
            ]
            drawn = np.isin(first["galaxies"], np.concatenate(chosen))
            rows = [_scores(candidate, drawn, counts) for candidate in candidates]
            draws.append({"share": share, "scores": {name: [row[name] for row in rows] for name in rows[0]}})
    found = {
        "candidates": [file.stem for file in files],
        "truth": [float(candidate["truth"]) for candidate in candidates],
        "draws": draws,
    }
    write_text(path, json.dumps(found) + "\n")
    return found


def _scores(
    candidate: Mapping[str, Any], drawn: NDArray[np.bool_], counts: tuple[int, int]
) -> dict[str, float]:
    labels = candidate["labels"][drawn].astype(np.int64)

    def evidence(components: int) -> Evidence:
        return Evidence(
            source_features=candidate["source_features"][drawn, :components].astype(np.float64),
            source_logits=candidate["source_logits"][drawn],
            source_labels=labels,
            target_features=candidate["target_features"][drawn, :components].astype(np.float64),
            target_logits=candidate["target_logits"][drawn],
            source_train_features=candidate["source_train_features"][:, :components].astype(np.float64),
            target_train_features=candidate["target_train_features"][:, :components].astype(np.float64),
            class_shares=np.array(counts[::-1]) / sum(counts),
        )

    whole = evidence(candidate["source_features"].shape[1])
    scores = {name: validator(whole) for name, validator in VALIDATORS.items()}
    for components in REDUCED:
        scores[f"importance_weighted_risk, {components} components"] = importance_weighted_risk(
            evidence(components)
        )
    return scores | {ORACLE: oracle_target_balanced_accuracy(labels, whole.target_logits)}


def regrets(found: Mapping[str, Any], *, last: bool) -> dict[str, dict[int, float]]:
    """Mean regret over the draws of a mock by validator and share; with `last`, among the methods' last epochs."""
    names = [name.rsplit("-", 1) for name in found["candidates"]]
    latest = {method: epoch for method, epoch in sorted(names)}
    kept = [not last or epoch == latest[method] for method, epoch in names]
    truth = np.array(found["truth"])[kept]
    collected: dict[str, dict[int, list[float]]] = {}
    for draw in found["draws"]:
        scores = {name: np.array(values)[kept] for name, values in draw["scores"].items()}
        scores |= {name: rank_ensemble([scores[part] for part in parts]) for name, parts in ENSEMBLES.items()}
        scores["chance"] = np.zeros(len(truth))
        for name, values in scores.items():
            collected.setdefault(name, {}).setdefault(draw["share"], []).append(regret(values, truth))
    return {
        name: {share: float(np.mean(values)) for share, values in shares.items()}
        for name, shares in collected.items()
    }


def _of_set(by_share: Mapping[int, Mapping[str, list[float]]], number: int) -> dict[str, dict[int, float]]:
    names = next(iter(by_share.values()))
    return {name: {share: found[name][number] for share, found in by_share.items()} for name in names}


def table(by_mock: list[dict[str, dict[int, float]]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown: regret in points of balanced accuracy, the best validator first."""
    yield "| validator | " + " | ".join(f"{share} %" for share in DRAWN) + " | all shares |"
    yield "|---|" + "---|" * (len(DRAWN) + 1)
    values = {
        name: np.array([[100 * mock[name][share] for share in DRAWN] for mock in by_mock])
        for name in by_mock[0]
    }
    for name in sorted(values, key=lambda name: float(values[name].mean())):
        cells = [_with_interval(column) for column in (*values[name].T, values[name].mean(axis=1))]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _with_interval(values: Floats) -> str:
    """Mean over mocks, with the 95 % interval of a bootstrap over mocks; a single mock has none."""
    if len(values) < 2:
        return f"{values.mean():.1f}"
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return f"{values.mean():.1f} [{low:.1f}, {high:.1f}]"


@click.command(help=__doc__)
@click.option("--output", type=click.Path(path_type=Path), default=Path("outputs/benchmarks/validators"),
              show_default=True, help="Folder of mocks, candidates and scores.")  # fmt: skip
@click.option("--seeds", default="0-9", show_default=True, help="First and last seed of the mocks.")
@click.option("--minutes", type=float, help="Minutes of CPU time after which no further piece is begun.")
@click.option(
    "--table", "only_table", is_flag=True, help="Make nothing; print the table of what is finished."
)
@click.option("--simulated", is_flag=True, help="Compare simulated classifiers (`simulated_classifiers.py`).")
def main(output: Path, seeds: str, minutes: float | None, only_table: bool, simulated: bool) -> None:
    if simulated:
        by_share = {share: regrets_of_sets(share / 100, SETS) for share in DRAWN}
        click.echo(f"Regret among {CLASSIFIERS} simulated classifiers, {SETS} sets for each share:\n")
        click.echo("\n".join(table([_of_set(by_share, number) for number in range(SETS)])))
        return
    first, last = (int(seed) for seed in seeds.split("-"))
    wanted = range(first, last + 1)
    for folder, seed, method in () if only_table else pieces(output, wanted):
        make_mock(folder / "mock", seed)
        if minutes is not None and time.process_time() > 60 * minutes:
            return
        began = time.process_time()
        make_candidates(folder, seed, method)
        click.echo(f"mock {seed}: {method}, {time.process_time() - began:.0f} s")
        if method == METHODS[-1]:
            shutil.rmtree(folder / "mock")
    done = [seed for seed in wanted if (output / f"seed{seed}" / f"{METHODS[-1]}.done").is_file()]
    found = [scores_of(output / f"seed{seed}", seed) for seed in done]
    if not found:
        raise click.ClickException(f"{output}: no finished mock; run the command without --table first.")
    for title, methods in (("all epochs of all methods", False), ("the methods' last epochs", True)):
        click.echo(
            f"\nRegret among {title}, in points of balanced accuracy, {len(done)} mocks (seeds {done}):\n"
        )
        click.echo("\n".join(table([regrets(scores, last=methods) for scores in found])))


if __name__ == "__main__":
    main()
