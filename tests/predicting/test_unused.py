"""Options that did not count, and files that were passed over, are said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mergershift.core.errors import UserError
from mergershift.predicting.arguments import parse_filters
from mergershift.predicting.planes import Description, Given, Plane
from mergershift.predicting.unused import passed_over_files, unused_options

FULL = Plane((75, 75), "f814w", "nJy/pixel", pixel_arcsec=(0.1, 0.1))
KNOWN = Description((FULL, replace(FULL, filter="f160w")), 2.0)
BARE = Description((Plane((75, 75)),) * 2)
GIVEN = Given("uJy/arcsec2", 0.05, 1.0, ("f814w", "f160w"))


def test_properties_that_images_give_themselves_are_counted_by_option():
    said = unused_options([(KNOWN, 3), (BARE, 2)], GIVEN)
    assert [line.split(" was")[0] for line in said] == ["--unit", "--pixel-arcsec", "--redshift", "--filters"]
    assert all("3 of 5 images" in line and "--override" in line for line in said)


@pytest.mark.parametrize(
    ("found", "given"),
    [
        (BARE, GIVEN),
        (KNOWN, replace(GIVEN, override=True)),
        (KNOWN, Given()),
        (replace(KNOWN, planes=(replace(FULL, unit="counts"),) * 2), Given("uJy/arcsec2")),
    ],
)
def test_options_that_count_are_not_mentioned(found, given):
    assert unused_options([(found, 1)], given) == []


def test_files_of_other_formats_are_counted_but_not_the_output(tmp_path):
    for name in ("a.tiff", "b.tiff", "c.npy", "p.ecsv"):
        (tmp_path / name).touch()
    (line,) = passed_over_files([str(tmp_path)], [tmp_path / "p.ecsv"])
    assert line.startswith("2 files passed over (2 .tiff)")
    assert passed_over_files([str(tmp_path / "a.tiff")]) == []


@pytest.mark.parametrize("text", ["", "f814w,", "f814w,F814W"])
def test_lists_of_filters_name_each_once(text):
    with pytest.raises(UserError, match="--filters"):
        parse_filters(text)
    assert parse_filters("F814W, f160w") == ("f814w", "f160w")
