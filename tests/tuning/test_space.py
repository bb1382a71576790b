"""The ranges in conf/tuning/, and the conversion between the configuration and a trial's values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.trial import FixedTrial, Trial

from mergershift.config import Config, compose
from mergershift.config.tuning_schema import RangeConfig, TuningConfig
from mergershift.core.errors import UserError
from mergershift.core.nesting import nested
from mergershift.tuning.space import applied, current, resolved, suggest

CONF = Path(__file__).parents[2] / "conf"
# The methods of published trainings are what they are.
METHODS = sorted(
    path.stem for path in (CONF / "adaptation").glob("*.yaml") if not path.stem.endswith("_2021")
)


def searched(overrides: Sequence[str]) -> tuple[Config, TuningConfig]:
    config = compose(overrides)
    assert config.tuning is not None
    return config, config.tuning


def suggest_fixed(drawn: dict[str, Any], ranges: dict[str, RangeConfig]) -> dict[str, Any]:
    return suggest(cast(Trial, FixedTrial(drawn)), ranges)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_ranges_around_its_defaults(project, method):
    """Every searched key exists in the configuration, and the search can start from the configured values."""
    config, tuning = searched([f"adaptation={method}", f"tuning={method}"])
    ranges = tuning.ranges
    values = current(config, ranges)
    assert values is not None
    assert applied(config, resolved(values, ranges)) == config
    assert not tuning.oracle


def test_there_are_no_ranges_without_a_method():
    named = {path.stem for path in (CONF / "tuning").glob("[!_]*.yaml")}
    assert named == set(METHODS)


def test_ranges_are_not_part_of_a_trainings_configuration(project):
    """Changing a range retrains nothing."""
    plain, tuned = compose(["adaptation=mmd"]), compose(["adaptation=mmd", "tuning=mmd"])
    assert tuned.dump() == plain.dump()
    assert tuned.digest() == plain.digest()


def test_suggested_values_reach_the_configuration(project):
    config, tuning = searched(["adaptation=mmd", "tuning=mmd"])
    ranges = tuning.ranges
    drawn = {
        "network.dropout": 0.25,
        "training.optimizer.lr": 0.002,
        "training.optimizer.weight_decay": 0.01,
        "training.softening": 3.0,
        "adaptation.penalty.sigmas": "narrow",
        "adaptation.weighting.trade_off": 5.0,
    }
    values = suggest_fixed(drawn, ranges)
    assert values == drawn
    changed = applied(config, resolved(values, ranges))
    assert changed.network["dropout"] == 0.25
    assert changed.training.optimizer["lr"] == 0.002
    assert changed.training.softening == 3.0
    assert changed.adaptation.penalty["sigmas"] == [0.01, 0.1, 1, 5, 10]
    assert changed.adaptation.weighting["trade_off"] == 5.0
    assert changed.digest() != config.digest()
    assert current(changed, ranges) == drawn


def test_a_search_does_not_start_from_a_default_that_is_out_of_range(project):
    config, tuning = searched(["adaptation=mmd", "tuning=mmd", "training.softening=500"])
    assert current(config, tuning.ranges) is None


def test_integers_stay_integers(project):
    overrides = ["tuning=source_only", "+tuning.space.training.batch_size={low: 32, high: 256}"]
    config, tuning = searched(overrides)
    defaults = current(config, tuning.ranges)
    assert defaults is not None
    values = suggest_fixed(defaults, tuning.ranges)
    assert values["training.batch_size"] == 128
    assert isinstance(values["training.batch_size"], int)


def test_a_key_can_be_removed_from_the_search(project):
    _, tuning = searched(["tuning=mmd", "adaptation=mmd", "tuning.space.network.dropout=null"])
    assert "network.dropout" not in tuning.ranges


def test_a_key_that_does_not_exist_is_named(project):
    config, tuning = searched(["network=resnet18", "tuning=source_only"])
    with pytest.raises(UserError, match=r"no key network\.dropout.*\n.*tuning\.space\.network\.dropout=null"):
        current(config, tuning.ranges)


def test_a_range_that_does_not_fit_its_key_is_refused(project):
    text = "+tuning.space.training.schedule={low: 0, high: 1}"
    config, tuning = searched(["tuning=source_only", text])
    with pytest.raises(UserError, match=r"training\.schedule is 'one_cycle', expected a number"):
        current(config, tuning.ranges)
    with pytest.raises(UserError, match=r"tuning\.space: training\.batch_size: found 0"):
        applied(config, {"training.batch_size": 0})
    with pytest.raises(UserError, match=r"tuning\.space: network: _target_ os\.system is refused"):
        applied(config, {"network._target_": "os.system"})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tuning.space.training.softening={low: 3, high: 2}", "low < high"),
        ("tuning.space.training.softening={low: 0, high: 2, log: true}", "low above 0"),
        ("tuning.space.training.softening=3", "expected low and high, or choices"),
        ("tuning.objectives=[target_labels]", "tuning.objectives"),
        ("tuning.objectives=[domain_distance,domain_distance]", "the same objective twice"),
        ("tuning.trials=0", "tuning.trials"),
    ],
)
def test_an_impossible_search_is_refused(project, override, message):
    with pytest.raises(UserError, match=message):
        compose(["tuning=source_only", override])


def test_a_search_by_target_labels_is_an_oracle():
    tuning = TuningConfig(
        objectives=("oracle_target_balanced_accuracy",),
        space={"seed": {"low": 0, "high": 1}},
        trials=1,
        pruning=False,
        seed=0,
        patience=0,
        storage=None,
        name=None,
        heartbeat=1,
        retries=0,
    )
    assert tuning.oracle


def test_a_name_of_ones_own_for_a_search_by_target_labels_begins_with_oracle(project):
    by_labels = ["tuning=mmd", "tuning.objectives=[target_entropy,oracle_target_balanced_accuracy]"]
    with pytest.raises(UserError, match=r"name is best, .* expected a name that starts with oracle_"):
        compose([*by_labels, "tuning.name=best"])
    for accepted in ([*by_labels, "tuning.name=oracle_best"], ["tuning=mmd", "tuning.name=best"]):
        assert compose(accepted).tuning is not None


def test_nested():
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
