"""Plans of conversion for images with different known properties."""

import numpy as np
import pytest
from registry.samples import facts_of, stamps

from mergershift.predicting.conversion import Assumed, Description, make_plan
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.predicting.units import Refused

FACTS = facts_of()
KNOWN = Description((2, 150, 150), "uJy/arcsec2", (0.09375, 0.09375), 2.0)
NOTHING = Assumed()


def test_finer_pixels_of_a_larger_field_are_converted_to_the_networks() -> None:
    images = np.kron(stamps(2).astype(float), np.ones((2, 2)))
    larger = np.pad(images, ((0, 0), (0, 0), (25, 25), (25, 25)), constant_values=7.0)
    # Two pixels exactly cover one of the network's: 150 pixels span the field.
    scale = FACTS.field_kpc / kpc_per_arcsec(2.0) / 150
    plan = make_plan(Description((2, 200, 200), "MJy/sr", (scale, scale), 2.0), NOTHING, FACTS)
    factor = 1e12 / (180 / np.pi * 3600) ** 2
    np.testing.assert_allclose(plan(larger), stamps(2) * factor, rtol=1e-5, atol=1e-6)
    assert plan.note == (
        f"re-binned from 200 x 200 pixels of {scale:.4g} arcsec at z = 2; converted from MJy/sr"
    )


def test_pixels_twice_as_coarse_as_the_networks_are_accepted() -> None:
    scale = FACTS.field_kpc / kpc_per_arcsec(2.0) / 38
    plan = make_plan(Description((2, 38, 38), "uJy/arcsec2", (scale, scale), 2.0), NOTHING, FACTS)
    assert plan(np.ones((1, 2, 38, 38))).shape == (1, 2, 75, 75)


def test_images_on_the_networks_grid_are_unchanged() -> None:
    plan = make_plan(Description((2, 75, 75), "uJy/arcsec2", (0.1875, 0.1875), 2.0), NOTHING, FACTS)
    images = stamps(3).astype(float)
    assert plan(images) is images
    assert plan.note == ""


@pytest.mark.parametrize(
    ("found", "assumed"),
    [
        (Description((2, 75, 75), "uJy/arcsec2"), NOTHING),
        (Description((2, 75, 75)), Assumed(unit="uJy/arcsec2")),
        (Description((2, 75, 75), headerless=True), NOTHING),
    ],
)
def test_images_of_the_networks_size_without_a_scale_are_accepted_as_is(
    found: Description, assumed: Assumed
) -> None:
    plan = make_plan(found, assumed, FACTS)
    assert plan.window is None
    assert plan.note == "as is"


def test_an_array_may_have_another_unit() -> None:
    plan = make_plan(Description((2, 75, 75), headerless=True), Assumed(unit="nJy/arcsec2"), FACTS)
    images = stamps(1).astype(float)
    np.testing.assert_allclose(plan(images), images * 1e-3)
    assert plan.note == "as is; converted from nJy/arcsec2"


def test_the_header_takes_precedence_over_assumptions() -> None:
    assumed = Assumed("Jy/beam", 5.0, 9.0)
    assert make_plan(KNOWN, assumed, FACTS) == make_plan(KNOWN, NOTHING, FACTS)
    bare = Description((2, 150, 150))
    assert make_plan(bare, Assumed("uJy/arcsec2", 0.09375, 2.0), FACTS) == make_plan(KNOWN, NOTHING, FACTS)


def test_channels_are_put_in_the_models_order() -> None:
    found = Description((3, 75, 75), "uJy/arcsec2", filters=("f356w", "f160w", "f814w"))
    plan = make_plan(found, NOTHING, FACTS)
    images = stamps(2, channels=3).astype(float)
    np.testing.assert_array_equal(plan(images), images[:, [2, 1]])
    assert plan.note == "as is; channels selected by filter"
    right = Description((2, 75, 75), "uJy/arcsec2", filters=("f814w", "f160w"))
    assert make_plan(right, NOTHING, FACTS).channels is None


@pytest.mark.parametrize(
    ("found", "assumed", "reason"),
    [
        (Description((3, 75, 75), headerless=True), NOTHING, "3 channels, but the model needs 2"),
        (
            Description((2, 75, 75), "uJy/arcsec2", filters=("f606w", "f160w")),
            NOTHING,
            "f606w, f160w, but the model",
        ),
        (
            Description((2, 75, 75), "uJy/arcsec2", filters=("f160w", "f160w")),
            NOTHING,
            "the model needs f814w",
        ),
        (Description((2, 75, 75), "uJy/arcsec2", filters=("f814w",)), NOTHING, "1 filter names"),
        (Description((2, 75, 75)), NOTHING, "BUNIT is missing"),
        (Description((2, 75, 75), "MJy/sr"), NOTHING, "--pixel-arcsec"),
        (Description((2, 64, 64), headerless=True), NOTHING, "64 x 64 pixels of unknown scale"),
        (Description((2, 75, 75), headerless=True), Assumed(redshift=1.0), "--pixel-arcsec"),
        (Description((2, 75, 75), headerless=True), Assumed(pixel_arcsec=0.2), "--redshift"),
        (Description((2, 150, 150), "uJy/arcsec2", (0.1, 0.1)), NOTHING, "--redshift"),
        (Description((2, 150, 150), "uJy/arcsec2", (0.1, 0.1), -1.0), NOTHING, "redshift -1"),
        (Description((2, 150, 150), "uJy/arcsec2", (0.0, 0.0), 2.0), NOTHING, "expected positive numbers"),
        (Description((2, 150, 150), "counts", (0.1, 0.1), 2.0), NOTHING, "zero point"),
        (Description((2, 75, 75), "uJy/arcsec2", (0.1, 0.1), 2.0), NOTHING, "shows 64 x 64 kpc .* needs 120"),
        (Description((2, 200, 100), "uJy/arcsec2", (0.1, 0.1), 2.0), NOTHING, "shows 171 x 85 kpc"),
        (
            Description((2, 75, 75), "uJy/arcsec2", (3600.0, 3600.0), 0.1),
            NOTHING,
            r"120 kpc span 0\.018\d* x 0\.018\d* pixels .*3600 arcsec at z = 0\.1\), "
            r"but the model needs at least 37\.5 a side",
        ),
        (Description((2, 80, 80), "uJy/arcsec2", (0.2, 0.39), 2.0), NOTHING, r"span 70\.4 x 36\.1 pixels"),
    ],
)
def test_images_that_cannot_be_converted_are_refused_with_the_reason(
    found: Description, assumed: Assumed, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        make_plan(found, assumed, FACTS)
