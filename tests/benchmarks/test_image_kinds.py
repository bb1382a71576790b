"""Every kind of file of the benchmark, with an untrained network that reacts to every change of its images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from registry.samples import facts_of, program_of, stamps, write_package

from mergershift.registry.domains import quantiles_of
from mergershift.registry.reference import LEVELS, Reference

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import image_kinds


def noisy(count: int, seed: int) -> np.ndarray:
    """Draw images with more noise than those that the network's stretch was fitted to."""
    noise = np.random.default_rng(seed).normal(0, 0.4, (count, 2, 75, 75))
    return (stamps(count, seed) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = program_of()
    with torch.no_grad():
        (classifier,) = program.classifiers
        last = [module for module in classifier.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight *= 30
    quantiles = quantiles_of(noisy(200, 5), ("f814w", "f160w"))
    facts = facts_of(reference=Reference(levels=LEVELS, quantiles={"noisy": quantiles}))
    return write_package(tmp_path_factory.mktemp("package"), facts, program)


@pytest.mark.system
def test_no_kind_of_file_is_silently_wrong_or_refused_in_vain(model: Path) -> None:
    made = list(image_kinds.outcomes(model, noisy(3, 7).astype(float), ""))
    assert len(made) > 60
    assert {f"{form.group} {form.name}": verdict for form, _, verdict in made if verdict != "right"} == {}


def test_another_number_without_a_word_is_called_silent() -> None:
    outcome = image_kinds.Outcome([0.5, 0.1], "", "")
    assert outcome.verdict("same", [0.9, 0.1]) == "SILENT"
    assert outcome.verdict("same", [0.5, 0.1]) == "right"
    assert image_kinds.Outcome([0.5], "sky differs in f814w", "").verdict("sky differs", [0.9]) == "right"
