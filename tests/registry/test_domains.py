"""Of which images the distances of a model are: those that its training saw, as it saw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells.samples import CENTRE, config_of
from images.samples import NOISY, write_prepared
from registry.samples import facts_of, program_of, stamps, write_package
from training.samples import LIGHTER

from mergershift.classifier.classifier import build_classifier
from mergershift.images import Prepared
from mergershift.registry import WEIGHTS, ModelFacts
from mergershift.registry.domains import domain_features, domain_measures, quantiles_of
from mergershift.registry.reference import LEVELS, Reference


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


def test_measures_are_of_the_stored_images_that_each_domain_trained_on(disjoint: Prepared) -> None:
    """Images of these samples have one value, that of their row."""
    found = domain_measures(config_of(penalty=witness(uses_target=True)), disjoint, ("f814w", "f160w"))
    assert list(found.quantiles) == ["pristine", "noisy"]
    source, target = [0, 1, 16, 17, 18], [2, 3, 19, 20, 21]
    for domain, rows in (("pristine", source), ("noisy", [NOISY + row for row in target])):
        for name in ("f814w", "f160w"):
            levels = found.quantiles[domain][name]["sky_level"]
            np.testing.assert_allclose(levels, np.quantile(rows, found.levels), atol=0.05)
            assert "size" not in found.quantiles[domain][name]
    assert found.ranges("f160w", "size") == found.ranges("f999w", "size") == []
    assert len(found.ranges("f160w", "sky_noise")) == 2


def test_the_measures_are_stored_with_the_model_but_are_not_part_of_its_fingerprint(tmp_path: Path) -> None:
    reference = Reference(levels=LEVELS, quantiles={"noisy": quantiles_of(stamps(20), ("f814w", "f160w"))})
    plain, known = facts_of(), facts_of(reference=reference)
    weights = write_package(tmp_path / "package", known, program_of(images=20)).parent / WEIGHTS
    assert ModelFacts.read(weights.parent) == known
    assert known.fingerprint(weights) == plain.fingerprint(weights)
