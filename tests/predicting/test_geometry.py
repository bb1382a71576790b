"""The field of the model in images of different scale and centre."""

from __future__ import annotations

import math
import re

import pytest
from registry.samples import facts_of

from mergershift.predicting.geometry import find_field
from mergershift.predicting.planes import Plane
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.predicting.units import Refused

FACTS = facts_of()
KPC = kpc_per_arcsec(2.0)
FIELD = FACTS.field_kpc / KPC
"""Field of the model at z = 2 in arcsec."""


def test_a_known_position_is_the_centre_even_of_a_trimmed_image() -> None:
    plane = Plane((381, 501), centre=(180.0, 250.5))
    scale = FIELD / 400
    field = find_field(plane, (scale, scale), 2.0, FACTS)
    assert field.window is not None
    rows, columns = field.window
    for axis, centre in ((rows, 180.0), (columns, 250.5)):
        assert axis.width == pytest.approx(400)
        assert axis.start + axis.first + axis.width / 2 == pytest.approx(centre + 0.5)
    assert rows.padding(381) == (20, 0)
    assert not field.centre_assumed
    assert field.text.endswith("at z = 2 around the galaxy's position, row 180.0 and column 250.5")


@pytest.mark.parametrize(("shape", "assumed"), [((501, 501), True), ((400, 400), False), ((381, 501), None)])
def test_an_unknown_position_is_assumed_to_be_the_centre(
    shape: tuple[int, int], assumed: bool | None
) -> None:
    scale = (FIELD / 400, FIELD / 400)
    if assumed is None:
        with pytest.raises(Refused, match="shows 114 x 150 kpc"):
            find_field(Plane(shape), scale, 2.0, FACTS)
    else:
        assert find_field(Plane(shape), scale, 2.0, FACTS).centre_assumed == assumed


def test_a_cut_out_of_the_field_in_another_cosmology_lacks_a_border() -> None:
    side = 397
    field = find_field(Plane((side, side)), (FIELD / 400, FIELD / 400), 2.0, FACTS)
    assert field.window is not None
    for axis in field.window:
        assert axis.width == pytest.approx(400)
        assert axis.padding(side) == (2, 2)
        assert axis.start + axis.first + axis.width / 2 == pytest.approx(side / 2)
    assert field.centre_assumed


def test_the_central_position_of_an_image_on_the_models_grid_changes_nothing() -> None:
    plane = Plane((75, 75), centre=(37.2, 36.9))
    assert find_field(plane, (FIELD / 75, FIELD / 75), 2.0, FACTS).window is None
    assert (
        find_field(Plane((75, 75), centre=(33.0, 37.0)), (FIELD / 75, FIELD / 75), 2.0, FACTS).window
        is not None
    )


def test_a_physical_scale_needs_no_redshift_and_an_angular_one_does() -> None:
    side = FACTS.field_kpc / 150
    field = find_field(Plane((160, 160), pixel_kpc=(side, side)), None, None, FACTS)
    assert field.window is not None
    assert field.window[0].width == pytest.approx(150)
    assert field.text == "re-binned from 160 x 160 pixels of 0.8 kpc"
    with pytest.raises(Refused, match="--redshift"):
        find_field(Plane((160, 160)), (0.1, 0.1), None, FACTS)


def test_the_width_of_a_star_is_given_in_pixels_of_the_model() -> None:
    plane = Plane((200, 200), psf_arcsec=2 * FIELD / 75)
    assert find_field(plane, (FIELD / 150, FIELD / 150), 2.0, FACTS).psf == pytest.approx(2.0)
    assert math.isnan(find_field(Plane((200, 200)), (FIELD / 150, FIELD / 150), 2.0, FACTS).psf)


@pytest.mark.parametrize(
    ("plane", "reason"),
    [
        (Plane((2000, 2000)), "shows 1600 x 1600 kpc, 13 fields of 120 kpc (2000 x 2000 pixels of"),
        (Plane((200, 2000), centre=(100.0, 1000.0)), "13 fields of 120 kpc"),
        (Plane((150, 150), centre=(0.0, 0.0)), "26% of the model's 120 kpc around the galaxy's position"),
        (Plane((150, 150), centre=(-400.0, 75.0)), "0% of the model's 120 kpc around"),
    ],
)
def test_mosaics_and_images_of_something_else_are_refused(plane: Plane, reason: str) -> None:
    with pytest.raises(Refused, match=re.escape(reason)):
        find_field(plane, (FIELD / 150, FIELD / 150), 2.0, FACTS)


def test_a_mosaic_of_four_fields_is_an_image_of_a_galaxy() -> None:
    assert find_field(Plane((599, 599)), (FIELD / 150, FIELD / 150), 2.0, FACTS).window is not None
