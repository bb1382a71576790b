"""The checks of a GPU run, here on the processor, and fail where something is wrong."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from archive.samples import LARGER, write_sample
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import full_size
import gpu_check


@pytest.mark.parametrize("script", [gpu_check, full_size])
def test_a_machine_without_a_gpu_is_no_failure(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(script.main, [])
    assert done.exit_code == 0
    assert "no GPU" in done.output


def test_a_failed_check_is_counted_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    checks = gpu_check.Checks()
    checks.run("breaks", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    checks.run("differs", lambda: (False, "by 1"))
    checks.run("holds", lambda: (True, "well"))
    assert checks.failed == ["breaks", "differs"]
    assert "ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.system
def test_every_check_passes_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "write_archive", lambda data, **_: write_sample(data, LARGER, ("two",)))
    done = CliRunner().invoke(gpu_check.main, ["--device", "cpu", "--methods", "mmd"])
    assert done.exit_code == 0, done.output
    assert done.output.count("ok  ") == 6
    assert "killed by signal 9" in done.output
