import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_training
import roofline
from bench_data import write_random
from roofline_count import (
    BETWEEN,
    CONVOLUTION,
    DENSE,
    IMAGES,
    OPTIMISER,
    PENALTY,
    REST,
    Work,
    network_parts,
    optimiser_work,
    penalty_work,
)

from mergershift.adaptation.coral import coral
from mergershift.images import Prepared

FILTERS, MAPS, WEIGHTS = (2, 1, 3, 3), (2, 4, 4), (3, 8)


def tiny() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1, bias=False),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3, bias=False),
    )


def test_operations_and_bytes_are_those_of_the_shapes() -> None:
    parts = network_parts(tiny(), torch.zeros(5, 1, 4, 4), item=4)
    work = parts.work
    assert list(work) == [(CONVOLUTION, FILTERS), (BETWEEN, MAPS), (DENSE, WEIGHTS)]
    images, maps, pooled, logits = 5 * 16, 5 * 2 * 16, 5 * 2 * 4, 5 * 3
    # 9 products and sums for each value of the maps, forward and for the weights; the images need no gradient
    assert work[CONVOLUTION, FILTERS].operations == 2 * 9 * maps * 2
    assert work[CONVOLUTION, FILTERS].traffic == 4 * ((images + 18 + maps) + (maps + images + 2 * 18))
    # each of both layers: read, write; read the gradient, read the input again, write its gradient
    assert work[BETWEEN, MAPS].traffic == 4 * (5 * maps + (maps + pooled + pooled + 2 * maps))
    assert work[BETWEEN, MAPS].operations == 0
    # 8 products and sums for each logit, forward, for the weights and for the features
    assert work[DENSE, WEIGHTS].operations == 2 * 8 * logits * 3
    assert work[DENSE, WEIGHTS].traffic == 4 * ((40 + 24 + logits) + (logits + 40 + 2 * 24 + 40))
    assert parts.largest == 4 * maps


def test_layers_of_equal_weights_are_one_part() -> None:
    network = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1, bias=False) for _ in range(2)))
    work = network_parts(network, torch.zeros(5, 2, 4, 4), item=2).work
    assert [part.name for part in work.values()] == ["convolution 1, 2"]
    assert next(iter(work.values())).operations == 2 * 18 * 160 * (2 + 3)


@pytest.mark.parametrize(
    ("operator", "inputs", "part"),
    [
        ("aten::mkldnn_convolution", [[3, 1, 4, 4], [2, 1, 3, 3], [2]], (CONVOLUTION, FILTERS)),
        ("aten::convolution_backward", [[3, 2, 4, 4], [3, 1, 4, 4], [2, 1, 3, 3]], (CONVOLUTION, FILTERS)),
        # by pairs of columns
        ("aten::mkldnn_convolution", [[3, 2, 4, 2], [4, 2, 3, 3], []], (CONVOLUTION, FILTERS)),
        ("aten::copy_", [[5, 4, 4, 2]], (BETWEEN, MAPS)),
        ("aten::reshape", [[5, 2, 4, 2]], (IMAGES, ())),
        ("aten::native_batch_norm", [[5, 2, 4, 4], [2], []], (BETWEEN, MAPS)),
        ("aten::threshold_backward", [[5, 2, 2, 2], [5, 2, 2, 2]], (BETWEEN, MAPS)),
        ("aten::addcmul", [[8], [20, 8], [8]], (BETWEEN, MAPS)),  # rows of 4 columns and 2 channels
        ("aten::addmm", [[3], [5, 8], [8, 3]], (DENSE, WEIGHTS)),
        ("aten::mm", [[3, 5], [5, 8]], (DENSE, WEIGHTS)),
        ("aten::lerp_", [[3, 8], [3, 8]], (OPTIMISER, ())),
        ("aten::asinh", [[5, 1, 4, 4]], (IMAGES, ())),
        ("aten::index_select", [[320, 1], [], [80]], (IMAGES, ())),  # pixels of all images
        ("aten::fill_", [[80], []], (IMAGES, ())),
        ("aten::fill_", [[96], []], (BETWEEN, MAPS)),  # maps of three images
        ("aten::mm", [[10, 8], [8, 10]], (PENALTY, ())),
        ("aten::exp", [[10, 10]], (PENALTY, ())),
        ("aten::sum", [[]], (REST, ())),
    ],
)
def test_an_operator_belongs_to_the_part_of_its_shapes(
    operator: str, inputs: list[list[int]], part: object
) -> None:
    assert network_parts(tiny(), torch.zeros(5, 1, 4, 4), item=4).part_of(operator, inputs) == part


def test_a_bound_is_the_larger_of_both() -> None:
    assert Work("x", CONVOLUTION, 100, 10).bound(peak=10, bandwidth=10) == 10
    assert Work("x", CONVOLUTION, 100, 10).bound(peak=1000, bandwidth=10) == 1


def test_the_products_of_a_penalty_are_counted_in_both_directions() -> None:
    source, target = (torch.randn(4, 10, requires_grad=True) for _ in range(2))
    work = penalty_work(lambda: coral(source, target), (source, target))
    # the Gram matrix of 8 rows, two products for its gradient, and the quadratic form of its squares
    assert work.operations == pytest.approx(3 * 2 * 8 * 8 * 10, rel=0.2)
    assert work.traffic == 3 * 4 * 80
    assert optimiser_work([torch.zeros(10)]).traffic == 280


def test_a_real_step_is_divided_into_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_training.BATCH, "deepmerge", 4)
    write_random(tmp_path / "images", channels=3, train=12, others=4)
    case = bench_training.Case("deepmerge", "mmd", Prepared(tmp_path / "images"), tmp_path, threads=1)
    text = roofline.roofline(case, "trainer=cpu_one_thread")
    for part in ("convolution 1", "normalisation, ReLU, pooling 3", "dense 4", "step"):
        assert any(line.startswith(f"{part} ") for line in text.splitlines()), text
    step = next(line for line in text.splitlines() if line.startswith("step "))
    assert float(step.split()[1]) > float(step.split()[2]) > 0
    assert "The largest gap: " in text
