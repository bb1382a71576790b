"""Which candidates become champions, which are refused and why, and what is recorded."""

import dataclasses
import re
import shutil
from datetime import UTC, datetime
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
from mergershift.config import Config, compose
from mergershift.core.errors import UserError
from mergershift.registry import promote as promoting
from mergershift.registry.comparison import Comparison, Measured
from mergershift.registry.outcome import OUTCOME, PROMOTION
from mergershift.registry.promote import promote_step
from mergershift.tracking.find_run import TRAINING_TAG
from mergershift.tracking.model_registry import Registry

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
        return registry.publish(folder, f"{name}_candidates", run_id, label, {}, f"Model {label}.")[0]

    def champion():
        version = registry.champion(name)
        return version and version.fingerprint

    def recorded(label, model=f"{name}_candidates"):
        version = registry.same(model, label)
        assert version is not None
        assert version.tags[PROMOTION] in version.description
        return version.tags[OUTCOME], version.tags[PROMOTION]

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
        promote=lambda number=None, **options: promote_step(config, number, **options),
        files=files,
    )


TODAY = datetime.now(UTC).date().isoformat()
BOUNDS = r"difference (\S+) \[(\S+), (\S+)\], on 80 target validation images of 20 galaxies"


def bounds(sentence):
    """The difference and its bounds in a sentence about a comparison."""
    found = re.search(BOUNDS, sentence)
    assert found is not None, sentence
    return [float(number) for number in found.groups()]


def gate_bounds(clause):
    """The difference and its bounds in the clause about the oracle gate."""
    assert "target test images of 40 galaxies, with their labels" in clause
    return [float(number) for number in re.findall(r"[+-]\d+\.\d+", clause)[:3]]


def test_the_first_candidate_wins_and_is_not_promoted_twice(team):
    with pytest.raises(UserError, match="no candidate is registered"):
        team.promote()
    team.register("a", 1.0)
    assert "there was no champion" in team.promote()
    assert team.champion() == "a"
    assert team.recorded("a")[0] == "first"
    assert "is already the champion" in team.promote()
    assert len(team.registry.versions(team.name)) == 1


def test_a_better_candidate_wins_and_a_worse_one_is_refused(team):
    team.register("a", 1.0)
    team.promote()
    team.register("worse", 0.2)
    with pytest.raises(UserError, match=r"does not replace .*balanced transport") as caught:
        team.promote()
    assert str(caught.value).count("\n") == 1
    assert team.champion() == "a"
    outcome, sentence = team.recorded("worse")
    assert outcome == "refused"
    assert sentence.startswith(f"Not promoted on {TODAY}: balanced transport 0.")
    assert f"of {team.name} version 1, difference -" in sentence
    assert bounds(sentence)[2] < 0
    champion = team.registry.champion(team.name)
    assert champion.tags[OUTCOME] == "first"
    assert f"Remained champion on {TODAY}: balanced transport" in champion.description
    assert f"of {team.name}_candidates version 2, difference +" in champion.description
    team.register("better", 3.0)
    assert "is now the champion" in team.promote()
    assert team.champion() == "better"
    for model, begin in (
        (f"{team.name}_candidates", f"Promoted on {TODAY} as {team.name} version 2"),
        (team.name, f"Champion since {TODAY}"),
    ):
        outcome, sentence = team.recorded("better", model)
        assert outcome == "won"
        assert sentence.startswith(f"{begin}: balanced transport 0.")
        assert f" of {team.name} version 1, difference +" in sentence
        gained = bounds(sentence)
        assert gained[1] > 0
    outcome, sentence = team.recorded("a", team.name)
    assert outcome == "replaced"
    assert sentence.startswith(f"Champion until {TODAY}, replaced by {team.name} version 2: ")
    assert bounds(sentence) == [-gained[0], -gained[2], -gained[1]]
    with pytest.raises(UserError, match="does not replace"):
        team.promote(1)
    with pytest.raises(UserError, match="no version 9"):
        team.promote(9)


def test_what_earlier_code_recorded_is_replaced(team):
    """It kept the comparison as JSON in a tag, and the description was a single paragraph."""
    first = team.register("a", 1.0)
    team.promote()
    copy = team.registry.champion(team.name)
    for version in (first, copy):
        team.registry.tag(version, {OUTCOME: "first", PROMOTION: None, "promotion.details": "{}"})
        team.registry.describe(version, "Classifies galaxies.")
    team.register("b", 3.0)
    team.promote()
    former = team.registry.resolve(copy.uri)
    assert "promotion.details" not in former.tags
    assert former.description == f"Classifies galaxies.\n\n**Promotions**\n\n- {former.tags[PROMOTION]}"


def test_an_equally_good_candidate_is_refused(team):
    team.register("a", 1.0)
    team.promote()
    team.register("b", 1.0)
    with pytest.raises(UserError, match="lower bound must be above 0"):
        team.promote()


@pytest.mark.parametrize(
    ("what", "value"),
    [("data_hash", "e" * 64), ("split", SPLIT | {"seed": 1}), ("target", "other")],
)
def test_models_for_different_data_or_domains_are_not_compared(team, what, value):
    team.register("a", 1.0)
    team.promote()
    team.register("b", 3.0, **{what: value})
    with pytest.raises(UserError, match=f"cannot be compared because they differ in {what}"):
        team.promote()
    assert team.champion() == "a"
    assert f"they differ in {what}" in team.recorded("b")[1]
    team.promote(force="another survey")
    assert team.champion() == "b"
    assert team.recorded("b")[0] == "forced"


@pytest.mark.parametrize(("what", "value"), [("filter_set", "three"), ("source", "other")])
def test_models_of_other_filters_or_another_source_are_not_compared(
    team: SimpleNamespace, what: str, value: str
) -> None:
    team.register("a", 1.0)
    team.promote()
    team.register("b", 3.0, **{what: value})
    with pytest.raises(UserError):
        team.promote()
    assert team.champion() == "a"
    assert f"they differ in {what}" in team.recorded("b")[1]


def test_the_oracle_gate_is_shut_to_one_that_is_better_by_chance(team: SimpleNamespace) -> None:
    team.register("a", 1.0, right=0.70)
    team.promote()
    team.register("b", 3.0, right=0.72)
    with pytest.raises(UserError):
        team.promote(oracle_gate=True)
    assert team.champion() == "a"
    _, gate = team.recorded("b")[1].split("; oracle gate, ")
    assert gate_bounds(gate)[1] <= 0 < gate_bounds(gate)[0]


def test_force_records_its_reason_and_the_comparison(team):
    team.register("a", 1.0)
    team.promote()
    team.register("b", 0.2)
    assert "by force (a has a bug)" in team.promote(force="a has a bug")
    assert team.champion() == "b"
    outcome, sentence = team.recorded("b", team.name)
    assert outcome == "forced"
    assert sentence.startswith(f"Champion since {TODAY}: by force (a has a bug); balanced transport")
    assert bounds(sentence)[2] < 0


def test_force_on_the_first_candidate_also_records_its_reason(team):
    team.register("a", 1.0)
    team.promote(force="the paper's model")
    for model in (f"{team.name}_candidates", team.name):
        outcome, sentence = team.recorded("a", model)
        assert outcome == "first"
        assert sentence.endswith(": by force (the paper's model); there was no champion to beat.")


@pytest.mark.parametrize("damage", ["lost", "facts.json"])
def test_a_broken_champion_is_replaced_only_by_force(team, damage):
    broken = team.register("a", 1.0)
    team.promote()
    place = team.files(broken)
    if damage == "lost":
        shutil.rmtree(place)
    else:
        (place / damage).write_bytes(b"\xff")
    team.register("b", 1.0)
    with pytest.raises(UserError) as caught:
        team.promote()
    assert str(caught.value).count("\n") == 1
    assert team.champion() == "a"
    team.promote(force="the champion is broken")
    assert team.champion() == "b"
    outcome, sentence = team.recorded("b")
    assert outcome == "forced"
    assert ": by force (the champion is broken); " in sentence
    assert "\n" not in sentence


def test_a_broken_candidate_is_not_forced(team):
    team.register("a", 1.0)
    team.promote()
    broken = team.register("b", 1.0)
    shutil.rmtree(team.files(broken))
    with pytest.raises(UserError):
        team.promote(force="never mind")
    assert team.champion() == "a"


def test_only_the_oracle_gate_uses_test_labels(team):
    team.register("a", 1.0, right=0.7)
    team.promote()
    team.register("b", 3.0, right=0.6)
    with pytest.raises(UserError, match="oracle gate"):
        team.promote(oracle_gate=True)
    found, gate = team.recorded("b")[1].split("; oracle gate, ")
    assert bounds(found)[1] > 0
    assert gate_bounds(gate)[2] < 0
    team.promote()
    assert team.champion() == "b"
    assert "oracle gate" not in team.recorded("b")[1]
    team.register("c", 6.0, right=0.95)
    team.promote(oracle_gate=True)
    assert gate_bounds(team.recorded("c")[1].split("; oracle gate, ")[1])[1] > 0


def test_a_validator_that_needs_features_is_refused_with_the_reason(team):
    team.register("a", 1.0)
    team.promote()
    team.register("b", 3.0)
    selection = team.config.selection.model_copy(update={"best_by": "importance_weighted_risk"})
    changed = team.config.model_copy(update={"selection": selection})
    with pytest.raises(UserError, match="features, but registered models do not contain them"):
        promote_step(changed, None)
    assert team.champion() == "a"


@pytest.mark.parametrize("first", ["good", "best"])
def test_of_two_simultaneous_promotions_the_second_challenges_the_first(team, monkeypatch, first):
    """Both candidates beat the champion; while one is compared with it, the other becomes the champion."""
    team.register("a", 1.0)
    team.promote()
    numbers = {"good": 2, "best": 3}
    team.register("good", 2.0)
    team.register("best", 4.0)
    (second,) = numbers.keys() - {first}
    original = Registry.copy
    interrupted: list[object] = []

    def copy_after_the_other(registry, version, name):
        if not interrupted:
            interrupted.append(version)
            team.promote(numbers[first])
        return original(registry, version, name)

    monkeypatch.setattr(Registry, "copy", copy_after_the_other)
    if second == "best":
        team.promote(numbers[second])
    else:
        with pytest.raises(UserError, match="does not replace"):
            team.promote(numbers[second])
    assert team.champion() == "best"
    assert f" of {team.name} version 1, " in team.recorded(first)[1]
    outcome, sentence = team.recorded(second)
    assert outcome == ("won" if second == "best" else "refused")
    assert f" of {team.registry.same(team.name, first).title}, " in sentence
    tags = team.registry.same(team.name, second).tags
    assert tags.get(OUTCOME) == ("won" if second == "best" else None), "only a champion is tagged as one"


def test_a_champion_that_keeps_changing_ends_the_promotion(team, monkeypatch):
    team.register("a", 1.0)
    team.promote()
    team.register("b", 3.0)
    other = team.registry.champion(team.name)
    changing = iter(range(10, 100))
    monkeypatch.setattr(
        Registry, "champion", lambda *_: dataclasses.replace(other, number=next(changing), tags={})
    )
    better = Measured("score", {"value": 2.0, "low": 1.0, "high": 3.0}, "images")
    monkeypatch.setattr(promoting, "compare", lambda *_, **__: Comparison((better,)))
    with pytest.raises(UserError, match="changed 3 times"):
        team.promote()
    monkeypatch.undo()
    assert team.champion() == "a"


def test_a_promotion_overtaken_at_the_last_moment_fails(team, monkeypatch):
    team.register("a", 1.0)
    team.promote()
    team.register("b", 3.0)
    monkeypatch.setattr(Registry, "set_champion", lambda *_: None)  # as if another promotion followed it
    with pytest.raises(UserError, match="at the same moment"):
        team.promote()


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
    ((config, *others),) = calls
    assert isinstance(config, Config)
    assert config.tracking.model == "x"
    assert others == [12, None, True]
