"""The trainer that suits the machine, chosen by the flags of its processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergershift.config import compose, machine
from mergershift.config.machine import PRECISIONS, trainer_of_this_machine
from mergershift.config.study import read_study, study_file
from mergershift.config.study_choice import study_in_use, use_study
from mergershift.core.errors import UserError


def processor(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> None:
    """Pretend that the machine's processor has certain flags."""
    path = folder / "cpuinfo"
    flags = " ".join(("fpu", "sse2", "avx2", "avx512_bf16", *more))
    path.write_text(f"processor\t: 0\nmodel name\t: Intel Xeon\nflags\t\t: {flags}\nbugs\t\t:\n")
    monkeypatch.setattr(machine, "_PROCESSORS", path)


@pytest.mark.parametrize(
    ("flags", "expected"), [(("amx_bf16", "amx_tile"), "cpu_bf16"), ((), "cpu_one_thread")]
)
def test_auto_is_the_trainer_that_suits_the_processor(monkeypatch, tmp_path, flags, expected) -> None:
    processor(monkeypatch, tmp_path, *flags)
    assert trainer_of_this_machine() == expected
    assert compose(["trainer=auto"]).trainer == compose([f"trainer={expected}"]).trainer


def test_where_the_flags_are_not_known_it_trains_in_32_bits(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(machine, "_PROCESSORS", tmp_path / "missing")
    assert trainer_of_this_machine() == "cpu_one_thread"


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_precision_is_that_of_the_file(name: str) -> None:
    assert compose([f"trainer={name}"]).trainer.precision == PRECISIONS[name]


def test_a_study_keeps_the_trainer_of_the_machine_where_it_was_chosen(monkeypatch, project, tmp_path) -> None:
    named = study_file().parent / "studies" / "own.yaml"
    text = study_file().read_text() + "  - 1\n"  # one more seed, so that it is no other named study
    named.write_text(text.replace("trainer: cpu_one_thread", "trainer: auto"))
    processor(monkeypatch, tmp_path, "amx_bf16")
    use_study("own")
    processor(monkeypatch, tmp_path)
    assert read_study().trainer == "cpu_bf16"
    assert study_in_use() == "own"


def test_a_study_whose_cells_would_depend_on_the_machine_is_refused(project) -> None:
    study_file().write_text(study_file().read_text().replace("trainer: cpu_one_thread", "trainer: auto"))
    with pytest.raises(UserError, match=r"trainer: auto.*\n.*as `mergershift study use` does"):
        read_study()
