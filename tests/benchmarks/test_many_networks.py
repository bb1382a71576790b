"""Networks trained as one end with the weights of networks trained one after another; ratios of their times."""

import sys
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import many_networks
from many_networks import Case, Form, Seconds, step, table, verdict
from stacked_networks import Images, Network, Separate, Stacked, made_up_images

SEEDS = [Network(seed, rate=1e-3 * (1 + seed), trade_off=0.3 * seed) for seed in range(5)]


def rows(number: int, same: bool = False) -> list[torch.Tensor]:
    """Rows `(5, 12)` of source and target, different ones for every network unless they are to be the same."""
    generator = torch.Generator().manual_seed(number)
    drawn = [torch.randint(30, (1 if same else len(SEEDS), 12), generator=generator) for _ in range(2)]
    return [part.expand(len(SEEDS), -1) for part in drawn]


def images(dtype: torch.dtype = torch.float64) -> Images:
    return made_up_images(size=12, rows=30, dtype=dtype, device="cpu")


@pytest.mark.parametrize("method", ["source_only", "mmd", "dann"])
@pytest.mark.parametrize("form", ["grouped", "vmapped", "same_batches"])
def test_five_seeds_train_as_one_as_they_do_alone(method: str, form: str) -> None:
    alone, together = Separate(SEEDS, method, images()), Stacked(SEEDS, method, images(), form)
    for number in range(3):
        batch = rows(number, same=form == "same_batches")
        torch.testing.assert_close(together.step(*batch), alone.step(*batch), rtol=1e-9, atol=1e-9)
    found = together.weights()
    assert len({float(seed.sum()) for seed in found["encoder.0.weight"]}) == len(SEEDS)
    for name, expected in alone.weights().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-7, atol=1e-8, msg=name)


def test_a_rate_and_a_trade_off_move_only_their_own_network() -> None:
    changed = [Network(0), Network(1, rate=1e-2, trade_off=3.0)]
    stacks = [Stacked(networks, "mmd", images()) for networks in ([Network(0), Network(1)], changed)]
    for stack in stacks:
        for number in range(2):
            stack.step(*(part[:2] for part in rows(number)))
    before, after = (stack.weights()["head.0.weight"] for stack in stacks)
    torch.testing.assert_close(before[0], after[0], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(before[1], after[1], rtol=1e-2)


def test_in_bfloat16_the_losses_agree_within_its_rounding() -> None:
    alone, together = (kind(SEEDS, "mmd", images(torch.bfloat16)) for kind in (Separate, Stacked))
    for number in range(3):
        batch = rows(number)
        # bfloat16 keeps 8 bits: a rounding is 2**-9 of a value, and every layer adds some.
        torch.testing.assert_close(together.step(*batch), alone.step(*batch), rtol=0.03, atol=0.03)


def test_ratios_are_to_the_faster_reference_on_as_many_cores() -> None:
    milliseconds = {
        Form("package", 1, 1): 30.0,
        Form("alone", 1, 1): 20.0,
        Form("package", 2, 1): 12.0,
        Form("alone", 2, 1): 16.0,
        Form("grouped", 1, 1): 10.0,
        Form("grouped", 1, 2): 24.0,
    }
    found = {form: [Seconds(wall / 1000, wall / 500)] * 3 for form, wall in milliseconds.items()}
    rows = list(table(Case(5, "mmd", "fp32"), found))
    ratios = {row["form"]: row["ratio"] for row in rows}
    assert ratios["grouped, 1 x 1"] == pytest.approx(2.0)
    assert ratios["grouped, 1 x 2"] == pytest.approx(0.5)
    assert ratios["package, 2 x 1"] == pytest.approx(1.0)
    assert "on 2 cores: a stack does not pay, at best 0.50" in verdict(rows)


def test_processes_share_all_networks_and_a_reference_steps_them_one_by_one() -> None:
    assert Form("grouped", 2, 1).requests(5) == [("grouped", 3, 1, 1), ("grouped", 2, 1, 1)]
    assert Form("grouped", 1, 2).requests(5) == [("grouped", 5, 1, 2)]
    assert Form("package", 2, 1).requests(5) == [("package", 1, 3, 1), ("package", 1, 2, 1)]


@pytest.mark.parametrize("form", ["package", "alone", "grouped", "same_batches"])
def test_a_worker_steps_its_share_and_answers_with_the_processors_seconds(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SIZE": 8, "ROWS": 20, "BATCH": 6}.items():
        monkeypatch.setattr(many_networks, name, value)
    here, there = Pipe()
    worker = Thread(target=many_networks.work, args=(there, Case(2, "mmd", "fp32"), "cpu"))
    worker.start()
    seconds = step([here], Form(form, 1, 1), 2)
    here.send(None)
    worker.join()
    assert 0 < seconds.processor < 5
    assert seconds.wall > 0
