"""Options that name a catalogue and its mosaics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mergershift.core.errors import UserError
from mergershift.predicting.mosaics.options import Survey, parse_survey


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.fits", "b_f814w.fits", "a_f814w.fits", "w=1.fits"):
        Path(name).touch()


def parse(
    *images: str,
    catalogue: str | None = "cat.fits",
    mosaic: tuple[str, ...] = ("F814W=a_f814w.fits",),
    weight: tuple[str, ...] = (),
    columns: str | None = None,
) -> Survey | None:
    return parse_survey(images, catalogue, mosaic, weight, columns)


def test_tiles_are_patterns_addresses_or_repeated() -> None:
    survey = parse(
        mosaic=("F814W=?_f814w.fits", "f160w=s3://bucket/x[1].fits", "f814w=a_f814w.fits"),
        weight=("f160w=w=1.fits",),
        columns=" id=NUMBER, Z = z best",
    )
    assert survey is not None
    assert survey.mosaics == {
        "f814w": ("a_f814w.fits", "b_f814w.fits"),
        "f160w": ("s3://bucket/x[1].fits",),
    }
    assert survey.weights == {"f160w": ("w=1.fits",)}
    assert survey.columns == {"id": "NUMBER", "z": "z best"}
    assert parse(catalogue=None, mosaic=()) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"catalogue": None}, "--mosaic: this is for a catalogue"),
        ({"catalogue": None, "mosaic": (), "columns": "z=z"}, "--columns: this is for a catalogue"),
        ({"catalogue": "gone.fits"}, "gone.fits: no such file"),
        ({"mosaic": ()}, "there are no mosaics"),
        ({"mosaic": ("a_f814w.fits",)}, "which filter is it?"),
        ({"mosaic": ("f814w=gone*.fits",)}, "no such file"),
        ({"weight": ("f160w=w=1.fits",)}, "no mosaic in this filter"),
        ({"weight": ("f814w=w=1.fits", "f814w=a_f814w.fits")}, "2 files of weights for 1 of the mosaic"),
        ({"columns": "mag=MAG_AUTO"}, "expected one of id, ra, dec, z"),
        ({"columns": "z=a,z=b"}, "z is given twice"),
    ],
)
def test_what_is_wrong_is_named_in_two_lines(options: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(**options)  # type: ignore[arg-type]
    assert reason in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_images_beside_a_catalogue_are_refused() -> None:
    with pytest.raises(UserError, match="cannot be predicted together"):
        parse("a_f814w.fits")


def test_nothing_slow_is_loaded() -> None:
    code = "import sys, mergershift.predicting.mosaics.options; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "astropy", "torch", "scipy"} & set(done.stdout.split())
