"""Mistakes in a prediction's arguments are reported before any library is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mergershift.core.errors import UserError
from mergershift.predicting.arguments import FORMATS, check_arguments
from mergershift.predicting.writers import WRITERS


def check(*images: str, model: str = "models:/m@champion", output: str = "p.ecsv", **changed: object) -> None:
    """Check arguments that are right but for those given."""
    options = {"overwrite": False, "unit": None} | changed
    check_arguments(images or ("image.npy",), model, Path(output), **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("image.npy", "there.ecsv"):
        Path(name).touch()
    for name in ("images", "folder.fits"):
        Path(name).mkdir()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"output": "there.ecsv"}, "--overwrite"),
        ({"output": "folder.fits", "overwrite": True}, "exists"),
        ({"output": "table.csv"}, ".ecsv, .fits, .parquet"),
        ({"output": "image.npy/in/table.ecsv"}, "image.npy is not a folder"),
        ({"model": "models:/m"}, "not a model URI"),
        ({"model": "models:/m/x"}, "not a model URI"),
        ({"model": "nowhere"}, "no such folder"),
        ({"unit": "bananas"}, "--unit bananas: unit 'bananas' is unknown"),
        ({"unit": "counts"}, "detector counts"),
    ],
)
def test_what_is_wrong_is_named_in_two_lines(arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        check(**arguments)  # type: ignore[arg-type]
    assert reason in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_images_of_which_none_exists_are_refused() -> None:
    with pytest.raises(UserError, match=r"gone\.npy: refused: no such file\.\n1 more were not found"):
        check("gone.npy", "*.fit")
    check("gone.npy", "*.npy")
    check("images")


def test_right_arguments_pass() -> None:
    check(output="new/folder/p.parquet", model="models:/m/3", unit="nJy/pixel")
    check(output="there.ecsv", overwrite=True, model="images")


def test_every_format_that_passes_has_a_writer() -> None:
    assert tuple(WRITERS) == FORMATS


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("mergershift.predicting.arguments", ("numpy", "astropy", "torch", "mlflow", "pydantic")),
        ("mergershift.registry.choice", ("torch", "mlflow")),
    ],
)
def test_what_checks_arguments_loads_nothing_slow(module: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(heavy) & set(done.stdout.split())
