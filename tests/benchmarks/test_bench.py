import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench
import bench_penalties
import bench_table
import bench_training
from bench_data import write_random
from bench_rows import Row, Sample, in_turns, row_of
from reference_networks import reference_of
from reference_training import dihedral, mmd

from mergershift.adaptation.mmd import mmd as our_mmd
from mergershift.classifier.classifier import build_classifier
from mergershift.config import compose
from mergershift.images import Prepared
from mergershift.training.datamodule import TransferData
from mergershift.training.task import TransferTask

ROW = row_of(
    "steps", "a step", "a loop", [Sample(4.0, 2.0), Sample(9.0, 6.0)], [Sample(2.0, 1.0), Sample(3.0, 1.0)]
)


def test_forms_take_turns_and_are_compared_turn_by_turn() -> None:
    turns: list[str] = []

    def turn(name: str) -> Sample:
        turns.append(name)
        return Sample(1.0)

    forms = {name: partial(turn, name) for name in "ab"}
    assert [len(samples) for samples in in_turns(forms, 2).values()] == [2, 2]
    assert turns == ["a", "b", "a", "b"]
    assert (ROW.ratio, ROW.low, ROW.high, ROW.cpu_ratio, ROW.repeats) == (2.5, 2.0, 3.0, 4.0, 2)
    assert (ROW.plain_median, ROW.ours_median) == (6.5, 2.5)
    assert row_of("x", "x", "x", [Sample(1.0)], [Sample(1.0, 1.0)]).cpu_ratio is None


def test_a_group_is_measured_and_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.GROUPS, "steps", lambda options: [ROW])
    monkeypatch.setattr(bench, "README", tmp_path / "README.md")
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    (tmp_path / "README.md").write_text("Head\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nTail\n")
    earlier = {"machine": json.loads(json.dumps(_machine())), "rows": [ROW.plainly() | {"name": "help"}]}
    bench_table.write_results({"commands": earlier}, tmp_path / "results.json")
    arguments = ["--only", "steps", "--save", "--json", str(tmp_path / "own.json")]
    done = CliRunner().invoke(bench.main, arguments, catch_exceptions=False)
    assert "2.50 (2.00 to 3.00, 4.00 in CPU time)  6.5 s against 2.5 s, a loop" in done.output
    measured = bench_table.read_results(tmp_path / "own.json")
    assert [Row(**row) for row in measured["steps"]["rows"]] == [ROW]
    assert measured["steps"]["machine"].keys() >= _machine().keys()
    both = bench_table.read_results(tmp_path / "results.json")
    assert both == {"commands": earlier, **measured}
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("Head\n<!-- bench: begin -->\n| What")
    assert page.endswith("\n<!-- bench: end -->\nTail\n")
    assert "old" not in page
    assert page.index("| a step | a loop | 6.5 s | 2.5 s | **2.50** | 2.00 to 3.00 | 4.00 |") < page.index(
        "| help |"
    )


def _machine() -> dict[str, object]:
    words = {"processor": "P", "instructions": ["avx2"], "onednn_isa": "A", "torch": "2", "commit": "c"}
    return words | {"cores": 2, "threads": 1, "load_before": 0.0, "load_after": 1.0, "seconds": 1}


@pytest.mark.parametrize(
    "text", ["", "<!-- bench: end --><!-- bench: begin -->", "<!-- bench: begin -->" * 2]
)
def test_a_page_without_both_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="once each and in this order"):
        bench_table.regenerate(text, "bench", "table")


def test_the_committed_page_can_be_regenerated() -> None:
    bench_table.regenerate(bench_table.README.read_text(), "bench", "table")


@pytest.mark.parametrize("name", ["deepmerge", "deepmerge_2020", "resnet18"])
def test_the_reference_computes_what_the_network_does(name: str) -> None:
    network = build_classifier(compose([f"network={name}", "filters=two"])).network.eval()
    reference = reference_of(name, network.state_dict(), 2, 75).eval()
    images = torch.randn(3, 2, 75, 75)
    with torch.inference_mode():
        torch.testing.assert_close(tuple(reference(images)), tuple(network(images)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(reference.regularisation(), network.regularisation())


def test_the_plain_penalties_are_those_of_the_methods() -> None:
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(6, 40, generator=generator), torch.randn(6, 40, generator=generator) + 0.3
    torch.testing.assert_close(mmd(source, target), our_mmd(source, target), rtol=1e-4, atol=1e-6)
    for plain, ours, _ in bench_penalties.PENALTIES.values():
        torch.testing.assert_close(plain(source, target), ours(source, target), rtol=1e-2, atol=1e-5)


def test_the_plain_augmentation_draws_symmetries_of_the_square() -> None:
    images = torch.arange(64.0).view(1, 1, 8, 8).repeat(40, 1, 1, 1)
    turned = dihedral(images, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in turned}) == 8
    assert torch.equal(turned.flatten(1).sort().values, images.flatten(1))


def test_a_real_training_is_timed_in_both_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_training.BATCH, "deepmerge", 4)
    write_random(tmp_path / "images", channels=3, train=12, others=4)
    case = bench_training.Case("deepmerge", "mmd", Prepared(tmp_path / "images"), tmp_path, threads=1)
    with bench_training.parts_of(TransferTask, TransferData) as clock:
        bench_training.fit_once(case.config(), case.prepared, tmp_path)
    assert len(clock.ends) == 3
    parts = clock.parts
    assert parts["closure"] < parts["optimizer_step"]
    assert parts["training_step"] + parts["backward"] < parts["closure"]
    assert 0 < parts["log_dict"] < parts["training_step"]
    assert parts["input"] > 0
    assert 0 < case.plain().wall < 10
