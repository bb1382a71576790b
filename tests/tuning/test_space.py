"""Ranges in conf/tuning/, and the way from the configuration to a trial's values and back."""

from pathlib import Path

import pytest
from optuna.trial import FixedTrial

from mergershift.config import compose
from mergershift.config.schema import TuningConfig
from mergershift.core.errors import UserError
from mergershift.core.nesting import nested
from mergershift.tuning.space import applied, current, resolved, suggest

CONF = Path(__file__).parents[2] / "conf"
METHODS = sorted(path.stem for path in (CONF / "adaptation").glob("*.yaml"))


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_ranges_around_its_defaults(project, method):
    """What is searched exists in the configuration, and the search can begin with what stands there."""
    config = compose([f"adaptation={method}", f"tuning={method}"])
    ranges = config.tuning.ranges
    values = current(config, ranges)
    assert values is not None
    assert applied(config, resolved(values, ranges)) == config
    assert not config.tuning.oracle


def test_no_ranges_without_a_method():
    named = {path.stem for path in (CONF / "tuning").glob("[!_]*.yaml")}
    assert named == set(METHODS)


def test_ranges_do_not_belong_to_a_training(project):
    """A changed range re-trains nothing."""
    plain, tuned = compose(["adaptation=mmd"]), compose(["adaptation=mmd", "tuning=mmd"])
    assert tuned.dump() == plain.dump()
    assert tuned.digest() == plain.digest()


def test_suggested_values_reach_the_configuration(project):
    config = compose(["adaptation=mmd", "tuning=mmd"])
    ranges = config.tuning.ranges
    drawn = {
        "network.dropout": 0.25,
        "training.optimizer.lr": 0.002,
        "training.optimizer.weight_decay": 0.01,
        "training.softening": 3.0,
        "adaptation.penalty.sigmas": "narrow",
        "adaptation.weighting.trade_off": 5.0,
    }
    values = suggest(FixedTrial(drawn), ranges)
    assert values == drawn
    changed = applied(config, resolved(values, ranges))
    assert changed.network["dropout"] == 0.25
    assert changed.training.optimizer["lr"] == 0.002
    assert changed.training.softening == 3.0
    assert changed.adaptation.penalty["sigmas"] == [0.01, 0.1, 1, 5, 10]
    assert changed.adaptation.weighting["trade_off"] == 5.0
    assert changed.digest() != config.digest()
    assert current(changed, ranges) == drawn


def test_a_default_out_of_range_is_no_beginning(project):
    config = compose(["adaptation=mmd", "tuning=mmd", "training.softening=500"])
    assert current(config, config.tuning.ranges) is None


def test_whole_numbers_stay_whole(project):
    overrides = ["tuning=source_only", "+tuning.space.training.batch_size={low: 32, high: 256}"]
    config = compose(overrides)
    values = suggest(FixedTrial(current(config, config.tuning.ranges)), config.tuning.ranges)
    assert values["training.batch_size"] == 128
    assert isinstance(values["training.batch_size"], int)


def test_a_key_is_taken_out_of_the_search(project):
    config = compose(["tuning=mmd", "adaptation=mmd", "tuning.space.network.dropout=null"])
    assert "network.dropout" not in config.tuning.ranges


def test_a_key_that_does_not_exist_is_named(project):
    config = compose(["network=resnet18", "tuning=source_only"])
    with pytest.raises(UserError, match=r"no key network\.dropout.*\n.*tuning\.space\.network\.dropout=null"):
        current(config, config.tuning.ranges)


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
def test_what_cannot_be_searched_is_refused(project, override, message):
    with pytest.raises(UserError, match=message):
        compose(["tuning=source_only", override])


def test_the_oracle_is_known_by_its_objective():
    made = {
        "trials": 1,
        "pruning": False,
        "seed": 0,
        "storage": None,
        "name": None,
        "heartbeat": 1,
        "retries": 0,
    }
    space = {"seed": {"low": 0, "high": 1}}
    oracle = TuningConfig(objectives=("oracle_target_balanced_accuracy",), space=space, **made)
    assert oracle.oracle


def test_nested():
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
