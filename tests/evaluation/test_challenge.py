"""Tests of the label-free comparison of a candidate with a champion."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mergershift.core.errors import UserError
from mergershift.evaluation import challenge
from mergershift.evaluation.validators import NEEDS_FEATURES, VALIDATORS

MAXIMISATION = "information_maximisation"


def table(gain, galaxies=60, cameras=4, seed=0):
    """Validation images of both domains with the predictions of a model, log odds = `gain` x truth + noise."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(galaxies) < galaxies // 3, cameras)
    rows = []
    for role in ("source", "target"):
        odds = gain * (2 * truth - 1) + random.normal(0, 1, len(truth))
        rows.append(
            pd.DataFrame(
                {
                    "role": role,
                    "row": np.arange(len(truth)),
                    "galaxy": np.repeat(np.arange(galaxies), cameras),
                    "camera": np.tile(np.arange(cameras), galaxies),
                    "label": truth.astype(float) if role == "source" else np.nan,
                    "log_odds": odds,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def maximisation(odds):
    """Information maximisation written out for two classes."""

    def entropy(chance):
        return -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance))

    chance = expit(odds)
    return entropy(chance.mean()) - entropy(chance).mean()


def test_the_difference_is_that_of_the_validators_scores_on_all_images():
    candidate, champion = table(2.0), table(1.0, seed=1)
    found = challenge(candidate, champion, MAXIMISATION, resamples=10)
    odds = [model.loc[model["role"] == "target", "log_odds"] for model in (candidate, champion)]
    assert found.difference["value"] == pytest.approx(maximisation(odds[0]) - maximisation(odds[1]))
    assert found.galaxies == 60


def test_the_interval_is_a_paired_bootstrap_of_galaxies():
    """The interval equals that of a plain loop over numpy's own draws, to the scatter of 2000 replicates."""
    candidate, champion = table(2.0), table(1.0, seed=1)
    found = challenge(candidate, champion, MAXIMISATION).difference
    odds = [
        model.loc[model["role"] == "target", "log_odds"].to_numpy().reshape(60, 4)
        for model in (candidate, champion)
    ]
    random = np.random.default_rng(5)
    replicates = []
    for _ in range(2000):
        drawn = random.integers(60, size=60)
        replicates.append(maximisation(odds[0][drawn].ravel()) - maximisation(odds[1][drawn].ravel()))
    low, high = np.quantile(replicates, [0.025, 0.975])
    width = high - low
    assert found["low"] == pytest.approx(low, abs=0.1 * width)
    assert found["high"] == pytest.approx(high, abs=0.1 * width)


@pytest.mark.parametrize("validator", [name for name in VALIDATORS if name not in NEEDS_FEATURES])
def test_a_model_does_not_beat_itself(validator):
    model = table(2.0, galaxies=12)
    found = challenge(model, model.sample(frac=1, random_state=0), validator, resamples=20).difference
    assert found == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_better_one_wins_and_a_worse_one_loses():
    better, worse = table(3.0), table(0.5, seed=1)
    for validator in ("source_validation_risk", MAXIMISATION):
        assert challenge(better, worse, validator, resamples=200).difference["low"] > 0
        assert challenge(worse, better, validator, resamples=200).difference["high"] < 0


def test_models_that_cannot_be_compared_are_refused():
    model = table(2.0)
    with pytest.raises(UserError, match="features"):
        challenge(model, model, "importance_weighted_risk")
    with pytest.raises(UserError, match="different images"):
        challenge(model, table(2.0, galaxies=30), MAXIMISATION)
    with pytest.raises(UserError, match="candidate's table of validation images lacks log_odds"):
        challenge(model.drop(columns="log_odds"), model, MAXIMISATION)


def test_the_training_shares_of_a_model_are_undone():
    """Of two models with the same posteriors, one trained with a fifth of mergers is no worse for its lower odds."""
    model = table(2.0)
    lower = model.assign(log_odds=model["log_odds"] + np.log(0.2 / 0.8), training_share=0.2)
    found = challenge(lower, model, "balanced_transport", resamples=10)
    assert found.difference["value"] == pytest.approx(0)
    assert challenge(
        lower.drop(columns="training_share"), model, "balanced_transport", resamples=10
    ).difference["value"] != pytest.approx(0)
