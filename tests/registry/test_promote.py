"""Which candidates become champions, which are refused and why, and what is recorded."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from registry.samples import SPLIT, facts_of

from mergershift import evaluation
from mergershift.cli import models as cli_models
from mergershift.config import compose
from mergershift.core.errors import UserError
from mergershift.registry import promote as promoting
from mergershift.registry.promote import DETAILS, OUTCOME, promote_step
from mergershift.tracking.find_run import TRAINING_TAG
from mergershift.tracking.model_registry import FINGERPRINT, Registry

GALAXIES, CAMERAS = 40, 4


def validation(gain, seed):
    """Validation images with log odds of `gain` x truth + noise: a higher gain is more confident and more accurate."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(GALAXIES) % 2, CAMERAS)
    parts = []
    for role in ("source", "target"):
        odds = gain * (2 * truth - 1) + random.normal(0, 0.5, len(truth))
        columns: dict[str, Any] = {"row": np.arange(len(truth))}
        columns |= {"galaxy": np.repeat(np.arange(GALAXIES), CAMERAS)}
        columns |= {"camera": np.tile(np.arange(CAMERAS), GALAXIES), "role": role, "log_odds": odds}
        parts.append(pd.DataFrame({**columns, "label": truth if role == "source" else np.nan}))
    return pd.concat(parts)


def predictions(right):
    """Predictions on test images of which the share `right` is classified correctly."""
    truth = np.repeat(np.arange(GALAXIES) % 2, CAMERAS)
    called = np.where(np.arange(len(truth)) / len(truth) < right, truth, 1 - truth)
    parts = []
    for role, domain in (("source", "pristine"), ("target", "noisy")):
        columns: dict[str, Any] = {"row": np.arange(len(truth))}
        columns |= {"galaxy": np.repeat(np.arange(GALAXIES), CAMERAS)}
        columns |= {"camera": np.tile(np.arange(CAMERAS), GALAXIES), "block": 0, "role": role}
        columns |= {"domain": domain, "label": truth, "probability": 0.1 + 0.8 * called, "threshold": 0.5}
        parts.append(pd.DataFrame(columns))
    return evaluation.join(parts)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    address = f"sqlite:///{folder}/registry.db"
    client = MlflowClient(tracking_uri=address)
    experiment = client.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    client.create_run(experiment, tags={TRAINING_TAG: "t"})
    return address


@pytest.fixture
def team(address, tmp_path, monkeypatch, request):
    """A registry with a separate model for each test; the configuration is the checkout's."""
    name = re.sub(r"\W", "-", request.node.name)
    config = compose(["filters=two", f"tracking.model={name}", f"tracking.uri='{address}'"])
    monkeypatch.setattr(promoting, "compose", lambda overrides: config)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    registry = Registry(address)

    def register(label, gain, right=0.7, **facts):
        folder = tmp_path / label
        folder.mkdir()
        facts_of(**facts).write(folder)
        validation(gain, int.from_bytes(label.encode()) % 1000).to_csv(folder / "validation.csv", index=False)
        evaluation.write_predictions(predictions(right), folder / "predictions.csv")
        run_id = registry.run_of("t", "e")
        assert run_id is not None
        return registry.publish(folder, f"{name}_candidates", run_id, {FINGERPRINT: label}, label)[0]

    def champion():
        version = registry.champion(name)
        return version and version.tags[FINGERPRINT]

    def recorded(label, model=f"{name}_candidates"):
        version = registry.same(model, label)
        assert version is not None
        return version.tags[OUTCOME], json.loads(version.tags[DETAILS])

    def files(version):
        client = MlflowClient(tracking_uri=address)
        place = client.get_model_version_download_uri(version.name, str(version.number))
        return Path(urlparse(place).path)

    return SimpleNamespace(
        name=name,
        config=config,
        registry=registry,
        register=register,
        champion=champion,
        recorded=recorded,
        files=files,
    )


def promote(number=None, **options):
    return promote_step((), number, **options)


def test_the_first_candidate_wins_and_is_not_promoted_twice(team):
    with pytest.raises(UserError, match="no candidate is registered"):
        promote()
    team.register("a", 1.0)
    assert "there was no champion" in promote()
    assert team.champion() == "a"
    assert team.recorded("a")[0] == "first"
    assert "is already the champion" in promote()
    assert len(team.registry.versions(team.name)) == 1


def test_a_better_candidate_wins_and_a_worse_one_is_refused(team):
    team.register("a", 1.0)
    promote()
    team.register("worse", 0.2)
    with pytest.raises(UserError, match=r"does not replace .*information_maximisation") as caught:
        promote()
    assert str(caught.value).count("\n") == 1
    assert team.champion() == "a"
    outcome, details = team.recorded("worse")
    assert outcome == "refused"
    assert details["difference"]["high"] < 0
    team.register("better", 3.0)
    assert "is now the champion" in promote()
    assert team.champion() == "better"
    for model in (f"{team.name}_candidates", team.name):
        outcome, details = team.recorded("better", model)
        assert outcome == "won"
        assert details["difference"]["low"] > 0
        assert details["champion_before"] == f"models:/{team.name}/1"
        assert (details["validator"], details["resamples"]) == ("information_maximisation", 2000)
    with pytest.raises(UserError, match="does not replace"):
        promote(1)
    with pytest.raises(UserError, match="no version 9"):
        promote(9)


def test_an_equally_good_candidate_is_refused(team):
    team.register("a", 1.0)
    promote()
    team.register("b", 1.0)
    with pytest.raises(UserError, match="lower bound must be above 0"):
        promote()


@pytest.mark.parametrize(
    ("what", "value"),
    [("data_hash", "e" * 64), ("split", SPLIT | {"seed": 1}), ("target", "other")],
)
def test_models_for_different_data_or_domains_are_not_compared(team, what, value):
    team.register("a", 1.0)
    promote()
    team.register("b", 3.0, **{what: value})
    with pytest.raises(UserError, match=f"cannot be compared because they differ in {what}"):
        promote()
    assert team.champion() == "a"
    assert team.recorded("b")[1]["incomparable"] == [what]
    promote(force="another survey")
    assert team.champion() == "b"
    assert team.recorded("b")[0] == "forced"


@pytest.mark.parametrize(("what", "value"), [("filter_set", "three"), ("source", "other")])
def test_models_of_other_filters_or_another_source_are_not_compared(
    team: SimpleNamespace, what: str, value: str
) -> None:
    team.register("a", 1.0)
    promote()
    team.register("b", 3.0, **{what: value})
    with pytest.raises(UserError):
        promote()
    assert team.champion() == "a"
    assert team.recorded("b")[1]["incomparable"] == [what]


def test_the_oracle_gate_is_shut_to_one_that_is_better_by_chance(team: SimpleNamespace) -> None:
    team.register("a", 1.0, right=0.70)
    promote()
    team.register("b", 3.0, right=0.72)
    with pytest.raises(UserError):
        promote(oracle_gate=True)
    assert team.champion() == "a"
    gate = team.recorded("b")[1]["oracle_gate"]
    assert gate["low"] <= 0 < gate["value"]


def test_force_records_its_reason_and_the_comparison(team):
    team.register("a", 1.0)
    promote()
    team.register("b", 0.2)
    assert "forced (a has a bug)" in promote(force="a has a bug")
    assert team.champion() == "b"
    outcome, details = team.recorded("b", team.name)
    assert (outcome, details["reason"]) == ("forced", "a has a bug")
    assert details["difference"]["high"] < 0


def test_force_on_the_first_candidate_also_records_its_reason(team):
    team.register("a", 1.0)
    promote(force="the paper's model")
    for model in (f"{team.name}_candidates", team.name):
        outcome, details = team.recorded("a", model)
        assert (outcome, details["reason"], details["champion_before"]) == (
            "first",
            "the paper's model",
            None,
        )


@pytest.mark.parametrize("damage", ["lost", "facts.json"])
def test_a_broken_champion_is_replaced_only_by_force(team, damage):
    broken = team.register("a", 1.0)
    promote()
    place = team.files(broken)
    if damage == "lost":
        shutil.rmtree(place)
    else:
        (place / damage).write_bytes(b"\xff")
    team.register("b", 1.0)
    with pytest.raises(UserError) as caught:
        promote()
    assert str(caught.value).count("\n") == 1
    assert team.champion() == "a"
    promote(force="the champion is broken")
    assert team.champion() == "b"
    outcome, details = team.recorded("b")
    assert (outcome, details["reason"]) == ("forced", "the champion is broken")
    assert "\n" not in details["incomparable"]


def test_a_broken_candidate_is_not_forced(team):
    team.register("a", 1.0)
    promote()
    broken = team.register("b", 1.0)
    shutil.rmtree(team.files(broken))
    with pytest.raises(UserError):
        promote(force="never mind")
    assert team.champion() == "a"


def test_only_the_oracle_gate_uses_test_labels(team):
    team.register("a", 1.0, right=0.7)
    promote()
    team.register("b", 3.0, right=0.6)
    with pytest.raises(UserError, match="oracle gate"):
        promote(oracle_gate=True)
    details = team.recorded("b")[1]
    assert details["difference"]["low"] > 0
    assert details["oracle_gate"]["high"] < 0
    promote()
    assert team.champion() == "b"
    assert "oracle_gate" not in team.recorded("b")[1]
    team.register("c", 6.0, right=0.95)
    promote(oracle_gate=True)
    assert team.recorded("c")[1]["oracle_gate"]["low"] > 0


def test_a_validator_that_needs_features_is_refused_with_the_reason(team, monkeypatch):
    team.register("a", 1.0)
    promote()
    team.register("b", 3.0)
    selection = team.config.selection.model_copy(update={"best_by": "importance_weighted_risk"})
    changed = team.config.model_copy(update={"selection": selection})
    monkeypatch.setattr(promoting, "compose", lambda overrides: changed)
    with pytest.raises(UserError, match="features, but registered models do not contain them"):
        promote()
    assert team.champion() == "a"


@pytest.mark.parametrize("first", ["good", "best"])
def test_of_two_simultaneous_promotions_the_second_challenges_the_first(team, monkeypatch, first):
    """Both candidates beat the champion; while one is compared with it, the other becomes the champion."""
    team.register("a", 1.0)
    promote()
    numbers = {"good": 2, "best": 3}
    team.register("good", 2.0)
    team.register("best", 4.0)
    (second,) = numbers.keys() - {first}
    original = Registry.copy
    interrupted: list[object] = []

    def copy_after_the_other(registry, version, name, tags):
        if not interrupted:
            interrupted.append(version)
            promote(numbers[first])
        return original(registry, version, name, tags)

    monkeypatch.setattr(Registry, "copy", copy_after_the_other)
    if second == "best":
        promote(numbers[second])
    else:
        with pytest.raises(UserError, match="does not replace"):
            promote(numbers[second])
    assert team.champion() == "best"
    assert team.recorded(first)[1]["champion_before"] == f"models:/{team.name}/1"
    outcome, details = team.recorded(second)
    assert outcome == ("won" if second == "best" else "refused")
    assert details["champion_before"] == team.registry.same(team.name, first).uri
    tags = team.registry.same(team.name, second).tags
    assert tags.get(OUTCOME) == ("won" if second == "best" else None), "only a champion is tagged as one"


def test_a_champion_that_keeps_changing_ends_the_promotion(team, monkeypatch):
    team.register("a", 1.0)
    promote()
    team.register("b", 3.0)
    other = team.registry.champion(team.name)
    changing = iter(range(10, 100))
    monkeypatch.setattr(
        Registry, "champion", lambda *_: dataclasses.replace(other, number=next(changing), tags={})
    )
    monkeypatch.setattr(promoting, "_compare", lambda *_: promoting._Verdict(True, "better", {}))
    with pytest.raises(UserError, match="changed 3 times"):
        promote()
    monkeypatch.undo()
    assert team.champion() == "a"


def test_a_promotion_overtaken_at_the_last_moment_fails(team, monkeypatch):
    team.register("a", 1.0)
    promote()
    team.register("b", 3.0)
    monkeypatch.setattr(Registry, "set_champion", lambda *_: None)  # as if another promotion followed it
    with pytest.raises(UserError, match="at the same moment"):
        promote()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1", "2"], "only one VERSION"),
        (["--force", "because", "--oracle-gate"], "take one of them"),
        (["--force", " "], "needs a reason"),
    ],
)
def test_the_command_refuses_contradictory_arguments(arguments, message):
    result = CliRunner().invoke(cli_models.promote, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_the_command_distinguishes_a_version_from_overrides(monkeypatch):
    calls: list[tuple[object, ...]] = []

    def record(*arguments: object) -> str:
        calls.append(arguments)
        return "done"

    monkeypatch.setattr(promoting, "promote_step", record)
    arguments = ["tracking.model=x", "12", "--oracle-gate"]
    assert CliRunner().invoke(cli_models.promote, arguments).output == "done\n"
    assert calls == [(("tracking.model=x",), 12, None, True)]
