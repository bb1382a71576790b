import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import validator_candidates
import validators
from simulated_classifiers import regrets_of_sets

from mergershift.config import compose_selection
from mergershift.evaluation import ORACLE


@pytest.mark.parametrize("share", [0.05, 0.182, 0.33])
def test_the_default_judge_costs_less_than_information_maximisation_among_simulated_classifiers(
    share: float,
) -> None:
    """At the archive's 18.2 % mergers, the difference in regret is more than two standard errors of 60 sets."""
    found = regrets_of_sets(share, 60)
    judge = compose_selection([]).best_by
    gained = np.subtract(found["information_maximisation"], found[judge])
    standard_error = gained.std() / np.sqrt(len(gained))
    assert gained.mean() > (2 * standard_error if share == 0.182 else 0)
    assert np.mean(found[ORACLE]) < np.mean(found[judge]) < np.mean(found["chance"]) - 0.05


def made(folder: Path, seed: int) -> None:
    """Candidates of a mock as `make_candidates` writes them: the surer of them, the better they are."""
    rng = np.random.default_rng(seed)
    galaxies = np.repeat(np.arange(200), 2)
    labels = (galaxies < 80).astype(int)
    for method in validator_candidates.METHODS:
        for epoch in (2, 4):
            skill = rng.uniform(0, 3)
            odds = rng.normal(size=len(labels)) + skill * (labels - 0.5)
            logits = np.stack([np.zeros(len(odds)), odds * skill], axis=1)
            features = rng.normal(size=(len(labels), 12)).astype("f4")
            np.savez(
                folder / f"{method}-epoch00{epoch}.npz",
                truth=0.5 + skill / 10,
                galaxies=galaxies,
                labels=labels,
                source_logits=logits,
                target_logits=logits,
                source_features=features,
                target_features=features,
                source_train_features=features,
                target_train_features=features + 0.1,
            )
        (folder / f"{method}.done").touch()


def test_the_table_ranks_validators_by_the_regret_over_finished_mocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validators, "DRAWS", 1)
    monkeypatch.setattr(validators, "DRAWN", {18: (18, 80), 50: (60, 60)})
    for seed in (3, 4):
        (tmp_path / f"seed{seed}").mkdir()
        made(tmp_path / f"seed{seed}", seed)
    command = ["--output", str(tmp_path), "--seeds", "0-9", "--table"]
    shown = CliRunner().invoke(validators.main, command, catch_exceptions=False).output
    assert "2 mocks (seeds [3, 4])" in shown
    lines = [line.split(" | ") for line in shown.splitlines() if line.startswith("| ")]
    regret = {line[0].removeprefix("| "): float(line[-1].split(" [")[0]) for line in lines if "[" in line[-1]}
    assert regret["balanced_transport"] < regret["chance"]
    again = CliRunner().invoke(validators.main, command, catch_exceptions=False).output
    assert again == shown
