"""Zero points in headers of real pipelines, compared with calculations by hand."""

from __future__ import annotations

from typing import Any

import pytest
from predicting.headers import F160W, header

from mergershift.predicting.units import stated_unit
from mergershift.predicting.zero_points import ZeroPoint, zero_point


def read(
    cards: dict[str, Any], primary: dict[str, Any] | None = None, plane: int | None = None
) -> ZeroPoint | None:
    headers = (header(cards), header(primary or {}))
    return zero_point(headers, stated_unit(cards.get("BUNIT")), plane)


@pytest.mark.parametrize(
    ("cards", "jansky"),
    [
        (
            {"BUNIT": "ELECTRONS/S", "PHOTFNU": (1.52e-7, "inverse sensitivity, Jy*sec/electron")} | F160W,
            1.52e-7,
        ),
        ({"BUNIT": "ELECTRONS/S"} | F160W, 1.5206e-7),
        ({"BUNIT": "ELECTRONS/S", "PHOTFNU": 0.0} | F160W, 1.5206e-7),
        ({"FLUXMAG0": 63095734448.0194}, 3631 * 10**-10.8),
        ({"MAGZERO": 23.9}, 1.00006e-6),
        ({"MAGZERO": "23.9"}, 1.00006e-6),
        ({"BUNIT": "adu", "MAGZPT": (25.0, "AB zero point")}, 3.631e-7),
        ({"BUNIT": "", "MAGZERO": 0.0, "ZP": 25.0}, 3.631e-7),
        ({"BUNIT": "counts", "ABZP": 25.0, "MAGZPT": 99.0}, 3.631e-7),
    ],
)
def test_zero_points_of_counts(cards: dict[str, Any], jansky: float) -> None:
    found = read(cards)
    assert found is not None
    assert found.jansky == pytest.approx(jansky, rel=1e-4)


def test_zero_points_by_second_are_divided_by_the_exposure_of_total_counts() -> None:
    total = read({"BUNIT": "ELECTRONS"} | F160W, {"EXPTIME": 1000.0})
    assert total is not None
    assert total.jansky == pytest.approx(1.5206e-10, rel=1e-4)
    assert "EXPTIME = 1000 s" in total.words
    assert read({"BUNIT": "ELECTRONS"} | F160W) is None
    assert read({"BUNIT": "counts", "MAGZERO": 25.0}, {"EXPTIME": 1000.0}) == read({"MAGZERO": 25.0})


@pytest.mark.parametrize("unit", ["10.0*nanoJansky", "MJy/sr", "nanomaggy", "mag(AB/arcsec2)"])
def test_a_unit_of_flux_counts_before_a_zero_point_that_is_left_over(unit: str) -> None:
    assert read({"BUNIT": unit, "PHOTFNU": 1.52e-7, "MAGZERO": 25.0} | F160W) is None


def test_photfnu_counts_before_a_unit_that_rounds_it() -> None:
    for unit, photfnu in (("0.152*nanoJansky", 1.5234e-10), ("0.000*nanoJansky", 4.1e-13)):
        found = read({"BUNIT": unit, "PHOTFNU": photfnu})
        assert found is not None
        assert found.jansky == photfnu
    assert read({"BUNIT": "0.152*nanoJansky", "PHOTFNU": 1.6e-10}) is None


@pytest.mark.parametrize(
    "cards",
    [
        {"MAGZPT": (25.0, "[mag] Vega zero point")},
        {"MAGZPT": 25.0, "PHOTSYS": "VEGA"},
        {"MAGZP": 20.5, "ORIGIN": "2MASS  "},
        {"MAGZPT": 24.0, "TELESCOP": "UKIRT"},
        {"BSOFTEN": 31.5, "BOFFSET": 0.7, "ZPT": 25.0},
        {"BUNIT": "K", "MAGZERO": 25.0},
        {"MAGZERO": 99.0},
        {"PHOTFLAM": 1.93e-20, "BUNIT": "ELECTRONS/S"},
        {"BUNIT": "counts/s"},
    ],
)
def test_what_is_no_zero_point_in_ab(cards: dict[str, Any]) -> None:
    assert read(cards) is None


def test_planes_of_a_cube_have_their_own_zero_points_or_share_one_in_magnitudes() -> None:
    cards = {"BUNIT": "counts/s", "MAGZERO1": 25.0, "MAGZERO2": 27.5}
    first, second = read(cards, plane=1), read(cards, plane=2)
    assert first is not None
    assert second is not None
    assert first.jansky / second.jansky == pytest.approx(10)
    assert read({"MAGZERO": 25.0}, plane=2) == read({"MAGZERO": 25.0})
    assert read({"BUNIT": "counts/s"} | F160W, plane=2) is None
