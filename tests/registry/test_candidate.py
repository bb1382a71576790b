"""What is registered of a training: the network, threshold and temperature chosen without target labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cells.samples import config_of, log_odds, prepare_tiny, write_checkout, write_selection, write_training
from images.samples import relabel

from mergershift.archive import Domain
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import model_file
from mergershift.classifier import inference
from mergershift.evaluation import best_temperature, negative_log_likelihood
from mergershift.registry.candidate import Candidate
from mergershift.registry.member import Member

LIMITS = {1: 13.0, 2: 113.0}
"""Epoch -> limit of its network; the second is what an oracle would take."""
ODD_ONE = 5
"""Row of a validation image that shows no merger and looks like one, so that sureness has a price."""


@pytest.fixture
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    checkout = write_checkout(tmp_path / "checkout")
    monkeypatch.chdir(checkout)
    prepared, cell = prepare_tiny(config_of()), checkout / "outputs/cells/x"
    relabel(prepared, Domain.PRISTINE, np.array([ODD_ONE]))
    write_training(cell, config_of(), LIMITS)
    write_selection(cell, epoch=1, threshold=0.4, oracle_epoch=2, oracle_threshold=0.7)
    # The features of these networks vary in one direction only, along which there is no distance.
    monkeypatch.setattr(Member, "distances", lambda _: np.ones((8, 5)))
    return Candidate([FinishedTraining.read(cell)], prepared)


def test_it_is_the_network_and_the_threshold_of_the_label_free_choice(candidate: Candidate) -> None:
    assert candidate.members[0].weights == model_file(candidate.training.folder / "train", 1)
    rows = np.array([0, 10, 20])
    images = candidate.prepared.images(Domain.PRISTINE, rows)
    logits = inference.activations(candidate.members[0].classifier, images)[1]
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], log_odds(rows, LIMITS[1]), atol=1e-5)
    assert (candidate.facts.epoch, candidate.facts.for_views(1).threshold) == (1, 0.4)


def test_its_temperature_fits_labelled_images(candidate: Candidate) -> None:
    rows = candidate.prepared.rows("validation", unique=True)
    labels = (rows < ODD_ONE).astype(int)
    odds = log_odds(rows, LIMITS[1])
    found = candidate.facts.temperature
    assert found == pytest.approx(best_temperature(labels, odds, balanced=candidate.balanced), rel=1e-3)
    risks = [
        negative_log_likelihood(labels, odds, found * factor, balanced=candidate.balanced)
        for factor in (0.9, 1, 1.1)
    ]
    assert risks[1] == min(risks)


def test_promotion_gets_each_domains_own_scores_and_no_target_label(candidate: Candidate) -> None:
    rows = candidate.prepared.rows("validation", unique=True)
    table = candidate.validation_table()
    assert set(table["role"]) == {"source", "target"}
    for role, noisy in (("source", False), ("target", True)):
        part = table[table["role"] == role]
        np.testing.assert_array_equal(part["row"], rows)
        np.testing.assert_allclose(part["log_odds"], log_odds(rows, LIMITS[1], noisy), atol=1e-5)
    source, target = (table[table["role"] == role]["label"] for role in ("source", "target"))
    assert source.tolist() == [int(row < ODD_ONE) for row in rows]
    assert target.isna().all()
