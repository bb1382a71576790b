"""Filters of planes, from headers and names."""

from __future__ import annotations

import pytest
from astropy.io.fits import Header

from mergershift.predicting.filters import (
    filter_name,
    filter_of_plane,
    filters_in,
    filters_of_cube,
    without_filters,
)
from mergershift.predicting.units import Refused


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("F160W", "f160w"),
        ("WFC3_IR/F160W", "f160w"),
        ("ACS/WFC/F850LP", "f850lp"),
        ("F150W2", "f150w2"),
        (" HSC-I ", "hsc-i"),
    ],
)
def test_a_filter_is_found_in_a_name_with_its_instrument(text, name):
    assert filter_name(text) == name


@pytest.mark.parametrize(
    "cards",
    [
        {"FILTERS": "F160W,F814W"},
        {"FILTERS": "f160w f814w"},
        {"FILTER": "F160W-F814W"},
        {"BANDS": "F160W;F814W"},
        {"FILTER0": "F160W", "FILTER1": "F814W"},
        {"FILTER1": "F160W", "FILTER2": "F814W"},
        {"FILTER0": "F160W", "FILTER1": "F814W", "FILTER2": "F606W"},
        {"BAND1": "F160W", "BAND2": "F814W"},
    ],
)
def test_lists_of_filters_are_read_in_the_common_spellings(cards):
    assert filters_of_cube((Header(cards), Header()), 2) == ("f160w", "f814w")


def test_letters_are_a_list_of_bands_but_not_of_another_number():
    assert filters_of_cube((Header({"BANDS": "gr"}),), 2) == ("g", "r")
    with pytest.raises(Refused, match="2 channels, but 3 filter names"):
        filters_of_cube((Header({"BANDS": "grz"}),), 2)


def test_filter_wheels_are_no_list():
    wheels = Header({"FILTER1": "CLEAR1L", "FILTER2": "F814W"})
    assert filters_of_cube((wheels,), 2) is None
    assert filters_of_cube((Header({"FILTERS": "F160W,F814W"}), wheels), 2) == ("f160w", "f814w")


def test_numbers_in_two_headers_are_no_list():
    assert filters_of_cube((Header({"FILTER2": "F814W"}), Header({"FILTER1": "F160W"})), 2) is None


@pytest.mark.parametrize(
    ("cards", "names", "found"),
    [
        ({"FILTER": "F160W"}, ("SCI", "1", "g0_f814w"), "f160w"),
        ({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}, ("SCI", "1", ""), "f814w"),
        ({"FILTER1": "F475W", "FILTER2": "CLEAR2L"}, ("SCI", "1", ""), "f475w"),
        ({"FILTER": "F150W2", "PUPIL": "F162M"}, ("SCI", "1", ""), "f162m"),
        ({"FILTER": "F356W", "PUPIL": "CLEAR"}, ("SCI", "1", ""), "f356w"),
        ({"FILTER": "CLEAR", "PUPIL": "F150W"}, ("SCI", "1", ""), "f150w"),
        ({"FILTER": "F322W2", "PUPIL": "GRISMR"}, ("SCI", "1", ""), "f322w2"),
        ({"FILTER1": "F606W", "FILTER2": "POL0V"}, ("SCI", "1", ""), "f606w"),
        ({"FILTER": "F606W;POL60V"}, ("SCI", "1", ""), "f606w"),
        ({"FILTER": "CLEAR1L;F814W"}, ("SCI", "1", ""), "f814w"),
        ({"FILTER1": "F606W", "FILTER2": "F814W"}, ("SCI", "1", "g0_f814w"), None),
        ({"FILTNAM1": "F606W", "FILTNAM2": "", "FILTER1": "36", "FILTER2": "0"}, ("SCI", "1", ""), "f606w"),
        ({"FILTER": "HSC-I", "BAND": "i"}, ("", "", ""), "hsc-i"),
        ({}, ("SCI", "F160W", ""), "f160w"),
        ({}, ("F356W-CLEAR", "", ""), "f356w"),
        ({}, ("", "", "abell_f606w_sci"), "f606w"),
        ({}, ("", "", "f606w_and_f814w"), None),
    ],
)
def test_the_filter_of_a_single_plane(cards, names, found):
    assert filter_of_plane((Header(cards),), names) == found


def test_files_of_one_galaxy_have_one_name_without_the_filter():
    assert filters_in("g0_f814w-f160w") == ["f814w", "f160w"]
    assert (
        without_filters("g0_f814w_drz") == without_filters("g0_F160W_drz") != without_filters("g1_f814w_drz")
    )
    assert without_filters("g0-f356w-clear_drc") == without_filters("g0-f160w_drc")


def test_a_filter_is_found_beside_an_empty_wheel_in_one_card() -> None:
    assert filter_of_plane([Header({"FILTER": "CLEAR1L;F814W"})], ("", "", "")) == "f814w"
