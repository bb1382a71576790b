"""What the figures of a training state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from mergershift.config import compose
from mergershift.images import Prepared
from mergershift.stages.headings import heading_of, labelled_domain, labelled_sizes


@pytest.mark.parametrize(
    ("choices", "title", "labelled"),
    [
        (["adaptation=mmd"], "mmd · two filters · pristine → noisy · seed 3", ("source", "pristine")),
        (["transfer=noisy_to_pristine"], "source_only · two filters · noisy → pristine · seed 3", None),
        (
            ["transfer=oracle_target_only"],
            "oracle · two filters · pristine → noisy · seed 3",
            ("target", "noisy"),
        ),
    ],
)
def test_a_heading_names_method_filters_direction_and_seed(
    choices: list[str], title: str, labelled: tuple[str, str] | None
) -> None:
    config = compose(["filters=two", "seed=3", *choices])
    heading = heading_of(config, "mock")
    assert heading.title == title
    assert "MOCK" in heading.images
    assert "archive's" in heading_of(config, "archive").images
    assert labelled_domain(config) == (labelled or ("source", "noisy"))


def test_only_the_rows_that_a_training_reads_are_counted() -> None:
    rows: dict[tuple[Any, ...], list[int]] = {
        ("train", "source", False): [0, 1, 2, 3],
        ("train", "source", True): [0, 1, 2],
        ("validation", None, True): [4],
        ("validation", None, False): [4, 5],
    }
    prepared = SimpleNamespace(
        table=pd.DataFrame({"row": range(6), "galaxy": [7, 7, 8, 8, 9, 9]}),
        rows=lambda split, domain, trains=None, unique=False: np.array(rows[split, trains, unique]),
    )
    for rule, training, validation in (("unique", 3, 1), ("all", 4, 2)):
        config = compose([f"training.validation_rows={rule}", f"training.training_rows={rule}"])
        sizes = labelled_sizes(config, cast(Prepared, prepared))
        assert sizes == (
            f"training images: {training} (galaxies: 2), validation images: {validation} (galaxies: 1)"
        )
