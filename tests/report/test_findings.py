"""The page claims a difference only where the corrected test and the interval support it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from report.small_study import ORACLE_TRANSFER, Compared, contender, results, setting

from mergershift.evaluation.conclusions import Conclusion, conclude, disagrees
from mergershift.report.findings import headline, sentences

GAIN, OPEN = (0.1, 0.05, 0.15, 0.01), (0.1, 0.05, 0.15, 0.135)
WORSE, NOISE = (-0.1, -0.15, -0.05, 0.01), (0.1, -0.05, 0.15, 0.4)


@pytest.mark.parametrize(
    ("compared", "conclusion", "disagree"),
    [
        (GAIN, Conclusion.GAIN, False),
        (WORSE, Conclusion.LOSS, False),
        (OPEN, Conclusion.OPEN, True),
        (NOISE, Conclusion.OPEN, False),
        ((0.1, -0.05, 0.15, 0.01), Conclusion.OPEN, False),
        ((0.1, float("nan"), float("nan"), float("nan")), Conclusion.OPEN, False),
    ],
)
def test_a_claim_needs_test_and_interval(compared: Compared, conclusion: Conclusion, disagree: bool) -> None:
    row = pd.Series(dict(zip(("difference", "low", "high", "p_holm"), compared, strict=True)))
    assert conclude(row) is conclusion
    assert disagrees(row) == disagree


def two_methods(
    compared: Compared, loss: tuple[float, float, float] = (0.2, 0.1, 0.3), best: str = "mmd"
) -> str:
    study = results(
        [setting([contender("source_only"), contender("mmd")], best)], {"mmd": compared}, loss=loss
    )
    return " ".join([headline(*study), *sentences(*study)])


def test_a_supported_gain_is_reported_with_its_share() -> None:
    text = two_methods(GAIN)
    assert "loses 0.200 of balanced accuracy on noisy ones. MMD is shown to win part of it back." in text
    assert "Chosen without target labels, by target entropy: MMD." in text
    assert (
        "+0.100 [+0.050, +0.150], p = 0.010 after Holm’s correction, wins back 50 % [20 %, 80 %] of the loss"
        in text
    )


@pytest.mark.parametrize("compared", [OPEN, NOISE])
def test_a_gain_without_support_is_not_claimed(compared: Compared) -> None:
    text = two_methods(compared)
    assert "remains open: it is not distinguishable from source only with 6 test galaxies" in text
    assert "is not distinguishable from 0" in text
    assert ("the interval is before Holm’s correction" in text) == (compared is OPEN)
    assert "wins back" not in text
    assert "50 %" not in text


def test_the_area_is_given_beside_the_accuracy() -> None:
    direction, gathered = results([setting([contender("source_only"), contender("mmd")])], {"mmd": GAIN})
    assert "In AUC" not in " ".join(sentences(direction, gathered)), "summaries of earlier versions have none"
    for name, numbers in {"auc_drop": (0.21, 0.1, 0.32), "auc_won_back": (0.25, -0.4, 0.6)}.items():
        columns = [name, f"{name}_low", f"{name}_high"]
        gathered.comparison[columns] = numbers
    gathered = replace(gathered)  # which finds the rows of its tables anew
    text = " ".join(sentences(direction, gathered))
    assert (
        "In AUC, which no threshold enters, source only loses 0.210 [0.100, 0.320], of which MMD wins back "
        "25 % [−40 %, 60 %]."
    ) in text


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, "With one seed, all of this is about these trainings"),
        (3, "Three seeds hardly show the scatter between trainings: five are the least for a claim"),
        (5, ""),
    ],
)
def test_few_seeds_are_no_claim_about_a_method(seeds: int, words: str) -> None:
    direction, gathered = results([setting([contender("source_only"), contender("mmd")])], {"mmd": GAIN})
    study = gathered.study.model_copy(update={"seeds": tuple(range(seeds))})
    text = " ".join(sentences(direction, replace(gathered, study=study)))
    assert words in text
    assert ("least for a claim" in text) == bool(words)


def test_a_loss_is_claimed_if_its_corrected_test_supports_it() -> None:
    direction, gathered = results([setting([contender("source_only"), contender("mmd")])], {"mmd": GAIN})
    assert "loses 0.200 of balanced accuracy" in headline(direction, gathered)
    gathered.comparison["drop_p_holm"] = 0.06
    assert "loses no balanced accuracy on noisy ones for certain" in headline(direction, gathered)


def test_a_choice_that_is_worse_or_no_adaptation_is_named() -> None:
    assert "demonstrably worse than no adaptation" in two_methods(WORSE)
    assert "Source only, that is, no adaptation" in two_methods(GAIN, best="source_only")


def test_a_loss_that_is_not_certain_is_not_won_back() -> None:
    text = headline(
        *results(
            [setting([contender("source_only"), contender("mmd")])], {"mmd": GAIN}, loss=(0.02, -0.1, 0.1)
        )
    )
    assert "loses no balanced accuracy on noisy ones for certain: 0.020" in text
    assert text.endswith("MMD is shown to be better than source only.")


def test_many_methods_are_counted_and_the_best_named() -> None:
    names = ["mmd", "coral", "dann", "cdan", "adabn"]
    contenders = [contender("source_only"), *(contender(name) for name in names)]
    gains: dict[str, Compared] = {
        name: (0.1 + 0.01 * index, 0.05, 0.2, 0.01) for index, name in enumerate(names[:4])
    }
    text = headline(*results([setting(contenders)], gains | {"adabn": OPEN}))
    assert "4 of 5 methods are shown to win part of it back, CDAN most." in text


def test_only_what_is_lost_is_won_back() -> None:
    contenders = [contender("source_only"), contender("mmd")]
    both = [setting(contenders, filters=filters) for filters in ("two", "three")]
    direction, gathered = results(both, {"mmd": GAIN})
    three = gathered.comparison["filters"] == "three"
    gathered.comparison.loc[three, ["drop", "drop_low", "drop_high"]] = (-0.02, -0.05, 0.01)
    text = headline(direction, gathered)
    assert "not everywhere for certain" in text
    assert "With two filters, MMD is shown to win part of it back" in text
    assert "with three filters, MMD is shown to be better than source only" in text


def test_filter_sets_are_named_where_they_differ() -> None:
    contenders = [contender("source_only"), contender("mmd")]
    both = [setting(contenders, filters=filters) for filters in ("two", "three")]
    direction, gathered = results(both, {"mmd": GAIN})
    assert headline(direction, gathered).endswith("MMD is shown to win part of it back.")
    three = gathered.comparison["filters"] == "three"
    gathered.comparison.loc[three, ["p_holm", "drop"]] = 0.3
    gathered = replace(gathered)  # which finds the rows of its tables anew
    text = headline(direction, gathered)
    assert "0.200 (two filters) and 0.300 (three filters)" in text
    assert (
        "With two filters, MMD is shown to win part of it back; with three filters, no method is shown"
        in text
    )
    choices = sentences(direction, gathered)[:2]
    assert [choice.partition(":")[0] for choice in choices] == ["With two filters", "With three filters"]


@pytest.mark.parametrize("auc", [0.6, 0.8])
def test_the_oracle_is_called_no_bound_if_a_method_exceeds_it(auc: float) -> None:
    contenders = [contender("source_only"), contender("mmd"), contender(ORACLE_TRANSFER)]
    metrics = {
        ("mmd", "auc"): auc,
        (ORACLE_TRANSFER, "auc"): 0.7,
        (ORACLE_TRANSFER, "balanced_accuracy"): 0.65,
    }
    text = " ".join(sentences(*results([setting(contenders)], {"mmd": OPEN}, metrics)))
    assert "the oracle, trained on noisy labels, reaches 0.650 [0.640, 0.660]" in text
    assert ("It is no bound: the AUC of MMD (0.800) is above its 0.700." in text) == (auc > 0.7)
