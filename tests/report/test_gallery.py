"""The choice of images for the galleries."""

import numpy as np
import pandas as pd
import pytest

from mergershift.report.gallery import COMPARED, EXAMPLES, OUTCOMES, against, compared_rows, example_rows


def predictions(seed: int = 0) -> pd.DataFrame:
    """Random predictions on four renderings of each of 40 galaxies."""
    rng = np.random.default_rng(seed)
    galaxy = np.repeat(np.arange(40), 4)
    table = pd.DataFrame({"row": np.arange(160) + 1000, "galaxy": galaxy, "camera": np.tile(range(4), 40)})
    table["label"] = (galaxy < 15).astype(int)
    table["probability"] = rng.random(160).round(2)
    return table.assign(prediction=(table["probability"] >= 0.5).astype(int))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_examples_have_the_outcome_and_different_galaxies(outcome):
    found = example_rows(predictions(), outcome)
    label, prediction = OUTCOMES[outcome]
    assert len(found) == EXAMPLES
    assert (found["label"] == label).all()
    assert (found["prediction"] == prediction).all()
    assert found["galaxy"].is_unique


def test_examples_span_the_whole_ranking():
    table = predictions()
    ranked = table[(table["label"] == 1) & (table["prediction"] == 1)].drop_duplicates("galaxy")
    found = example_rows(table, "true positives")["probability"]
    assert found.is_monotonic_decreasing
    assert found.iloc[0] == ranked["probability"].max()
    assert found.iloc[-1] == ranked["probability"].min()


def test_fewer_images_than_columns_are_not_repeated():
    table = predictions()
    few = table[(table["label"] == 0) | (table["galaxy"] < 2)]
    assert example_rows(few, "true positives")["galaxy"].tolist() in ([0, 1], [1, 0])
    assert example_rows(few[few["label"] == 0], "true positives").empty


@pytest.mark.parametrize("label", [0, 1])
def test_networks_are_compared_on_images_of_all_four_groups(label):
    first, second = predictions(0), predictions(1)
    found = compared_rows(first, second, label)
    assert len(found) == COMPARED
    assert found["galaxy"].is_unique
    assert (found["label"] == label).all()
    right = [
        (
            bool(first.set_index("row").loc[row, "prediction"] == label),
            bool(second.set_index("row").loc[row, "prediction"] == label),
        )
        for row in found["row"]
    ]
    assert right == [(False, True), (True, True), (True, False), (False, False)]


def test_networks_that_agree_are_compared_nonetheless():
    table = predictions()
    table["prediction"] = table["label"]
    assert len(compared_rows(table, table, label=1)) == 4


@pytest.mark.parametrize(
    ("probability", "threshold", "text"),
    [
        (0.95, 0.28, "0.95 ≥ 0.28"),
        (0.251, 0.2522, "0.251 < 0.252"),
        (0.25, 0.25, "0.25 ≥ 0.25"),
        (0.27641, 0.27639, "0.27641 ≥ 0.27639"),
        (0.0, 1.0, "0.00 < 1.00"),
    ],
)
def test_a_probability_and_its_threshold_have_enough_digits_to_compare_them(probability, threshold, text):
    assert against(probability, threshold) == text
