"""Roles of HDUs and files by their names."""

from __future__ import annotations

import pytest
from astropy.io.fits import Header

from mergershift.predicting.hdu_roles import bad_bits, common_stem, role_of_file, role_of_hdu, without_role


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("SCI", "image"),
        ("", "image"),
        ("F160W", "image"),
        ("WHT", "weight"),
        ("F160W_WHT", "weight"),
        ("ERR", "error"),
        ("VAR_POISSON", "error"),
        ("VARIANCE", "error"),
        ("UNCERT", "error"),
        ("DQ", "bad"),
        ("MASK", "bad"),
        ("CON", "other"),
        ("CTX", "other"),
        ("SEG", "other"),
        ("PSF", "other"),
    ],
)
def test_an_hdu_is_known_by_its_name(name, role):
    assert role_of_hdu(name) == role


@pytest.mark.parametrize(
    ("stem", "role", "image"),
    [
        ("g0_f160w_sci", "image", "g0_f160w"),
        ("g0_f160w_wht", "weight", "g0_f160w"),
        ("hlsp_candels_hst_wfc3_f160w_v1.0_wht", "weight", "hlsp_candels_hst_wfc3_f160w_v1.0"),
        ("g0_f160w_drz_weight", "weight", "g0_f160w_drz"),
        ("f160w.rms", "error", "f160w"),
        ("field_seg", "other", "field"),
        ("weightless", "image", "weightless"),
        ("mask", "image", "mask"),
    ],
)
def test_a_file_is_known_by_the_end_of_its_name(stem, role, image):
    assert role_of_file(stem) == role
    assert without_role(stem) == image


@pytest.mark.filterwarnings("ignore:Keyword name")
def test_bits_that_mean_no_value_are_those_that_the_headers_define():
    planes = {"MP_BAD": 0, "MP_SAT": 1, "MP_CR": 3, "MP_EDGE": 4, "MP_DETECTED": 5, "MP_NO_DATA": 8}
    assert bad_bits((Header(planes), Header())) == 0b1_0000_1011
    assert bad_bits((Header(), Header({"TELESCOP": "JWST"}))) == 1
    assert bad_bits((Header(), Header({"TELESCOP": "HST"}))) == -1


@pytest.mark.parametrize(
    ("weights", "image", "role"),
    [
        ("g0_wht_f814w", "g0_sci_f814w", "weight"),
        ("ls-0-invvar-F814W", "ls-0-image-F814W", "weight"),
        ("EUC_MOSAIC-VIS-RMS_TILE7", "EUC_MOSAIC-VIS_TILE7", "error"),
    ],
)
def test_roles_are_found_within_the_names_of_files(weights: str, image: str, role: str) -> None:
    assert (role_of_file(weights), role_of_file(image)) == (role, "image")
    assert common_stem(weights) == common_stem(image)
