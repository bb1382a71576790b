"""Of which images the distances of a model are: those that its training saw, as it saw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells.samples import CENTRE, config_of
from images.samples import NOISY, write_prepared
from training.samples import LIGHTER

from mergershift.classifier.classifier import build_classifier
from mergershift.images import Prepared
from mergershift.registry.domains import domain_features


def witness(*, uses_target: bool) -> dict[str, Any]:
    """A method that lights up what is labelled, in the training alone."""
    return {"_target_": "training.samples.Witness", "uses_target": uses_target, "lighten": True}


@pytest.fixture
def disjoint(tmp_path: Path) -> Prepared:
    """Each domain trains on galaxies of its own."""
    return write_prepared(tmp_path / "images", disjoint=True)


def rows_of(prepared: Prepared, split: str, *, uses_target: bool) -> list[int]:
    """The row of each image whose features are taken, with what its domain and the method add to it."""
    config = config_of(penalty=witness(uses_target=uses_target))
    features = domain_features(config, prepared, build_classifier(config), split)
    return np.round(features[:, 0] - CENTRE).astype(int).tolist()


def test_features_are_of_images_that_each_domain_trained_on_as_the_network_got_them(
    disjoint: Prepared,
) -> None:
    """Each rendering once; what a method does to labelled images it does here too."""
    source, target = [0, 1, 16, 17, 18], [2, 3, 19, 20, 21]
    expected = [LIGHTER + row for row in source]
    assert rows_of(disjoint, "train", uses_target=False) == expected
    assert rows_of(disjoint, "train", uses_target=True) == expected + [NOISY + row for row in target]


def test_images_held_out_are_of_the_same_domains(disjoint: Prepared) -> None:
    rows = [4, 5, 22, 23, 24]
    expected = [LIGHTER + row for row in rows]
    assert rows_of(disjoint, "validation", uses_target=False) == expected
    assert rows_of(disjoint, "validation", uses_target=True) == expected + [NOISY + row for row in rows]
