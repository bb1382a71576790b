"""The comparison of fast and plain trainings."""

import sys
from pathlib import Path

import click
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import same_figures

from mergershift.adaptation.mmd import MMD
from mergershift.networks import Activations, deepmerge


def test_plain_and_fast_ways_compute_the_same(monkeypatch):
    """In the plain way, one module after another is called, and the MMD is the textbook's."""
    torch.manual_seed(0)
    network = deepmerge.DeepMerge(2, image_size=16).train()
    images = torch.randn(12, 2, 16, 16)
    penalty = MMD()
    block, called = deepmerge.pooled_block, []

    def counted(*given):
        called.append(given)
        return block(*given)

    monkeypatch.setattr(deepmerge, "pooled_block", counted)

    def outcome():
        both = network(images)
        source, target = (
            Activations(*parts) for parts in zip(*(part.split(6) for part in both), strict=True)
        )
        return both.logits, penalty(source, target, torch.zeros(6))

    fast = outcome()
    assert len(called) == 3
    with same_figures.computed("plain"):
        plain = outcome()
    assert len(called) == 3
    for ours, theirs in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_differences_are_paired_by_seed():
    figures = dict.fromkeys((*same_figures.FIGURES, "CPU seconds"), 2.0)
    results = {
        ("mmd", "plain/1", seed): {name: value * seed for name, value in figures.items()} for seed in (1, 2)
    }
    results |= {("mmd", "fp32/1", 3): figures}  # without a partner
    results |= {
        ("mmd", "fp32/1", seed): {name: value * seed + 0.1 for name, value in figures.items()}
        for seed in (1, 2)
    }
    lines = list(same_figures.table(results, ("plain/1", "fp32/1")))
    assert "| mmd | 2 | target AUC | 3.000 ± 1.414 | 3.100 ± 1.414 | +0.100 [+0.100, +0.100] |" in lines


@pytest.mark.parametrize("text", ["fast/3", "bf16/three"])
def test_an_unknown_form_is_refused(text):
    with pytest.raises(click.BadParameter, match="a number of epochs"):
        same_figures.form_of(text)
