"""Plans of conversion for images with different known properties."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from registry.samples import facts_of, stamps

from mergershift.predicting.conversion import ConversionPlan, light_of, make_plan
from mergershift.predicting.pixels import ArrayPixels
from mergershift.predicting.planes import Description, Given, Pair, Plane, StoredPlane
from mergershift.predicting.reading import read_images
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.predicting.units import Refused

FACTS = facts_of()


def described(
    shape: tuple[int, int, int],
    unit: str | None = None,
    pixel_arcsec: Pair | None = None,
    redshift: float | None = None,
    filters: tuple[str, ...] = (),
    headerless: bool = False,
) -> Description:
    """Describe images all of whose planes are alike."""
    names = filters or (None,) * shape[0]
    planes = tuple(Plane(shape[1:], name, unit, pixel_arcsec=pixel_arcsec) for name in names)
    return Description(planes, redshift, headerless)


def converted(plan: ConversionPlan, images: NDArray[np.generic]) -> NDArray[np.float32]:
    stored = [StoredPlane(ArrayPixels(images), number) for number in range(images.shape[1])]
    return np.concatenate([block for block, _ in read_images(stored, plan)])


KNOWN = described((2, 150, 150), "uJy/arcsec2", (0.09375, 0.09375), 2.0)
NOTHING = Given()


def test_finer_pixels_of_a_larger_field_are_converted_to_the_networks() -> None:
    images = np.kron(stamps(2).astype(float), np.ones((2, 2)))
    larger = np.pad(images, ((0, 0), (0, 0), (25, 25), (25, 25)), constant_values=7.0)
    # Two pixels exactly cover one of the network's: 150 pixels span the field.
    scale = FACTS.field_kpc / kpc_per_arcsec(2.0) / 150
    plan = make_plan(described((2, 200, 200), "MJy/sr", (scale, scale), 2.0), NOTHING, FACTS)
    factor = 1e12 / (180 / np.pi * 3600) ** 2
    np.testing.assert_allclose(converted(plan, larger), stamps(2) * factor, rtol=1e-5, atol=1e-6)
    assert plan.note == (
        f"re-binned from 200 x 200 pixels of {scale:.4g} arcsec at z = 2; converted from MJy/sr"
    )


def test_pixels_twice_as_coarse_as_the_networks_are_accepted() -> None:
    scale = FACTS.field_kpc / kpc_per_arcsec(2.0) / 38
    plan = make_plan(described((2, 38, 38), "uJy/arcsec2", (scale, scale), 2.0), NOTHING, FACTS)
    assert converted(plan, np.ones((1, 2, 38, 38))).shape == (1, 2, 75, 75)


def test_images_on_the_networks_grid_are_unchanged() -> None:
    plan = make_plan(described((2, 75, 75), "uJy/arcsec2", (0.1875, 0.1875), 2.0), NOTHING, FACTS)
    images = stamps(3).astype(float)
    np.testing.assert_array_equal(converted(plan, images), images)
    assert all(plane.window is None for plane in plan.planes)
    assert plan.note == ""


@pytest.mark.parametrize(
    ("found", "given"),
    [
        (described((2, 75, 75), "uJy/arcsec2"), NOTHING),
        (described((2, 75, 75)), Given(unit="uJy/arcsec2")),
        (described((2, 75, 75), headerless=True), NOTHING),
    ],
)
def test_images_of_the_networks_size_without_a_scale_are_accepted_as_is(
    found: Description, given: Given
) -> None:
    plan = make_plan(found, given, FACTS)
    assert all(plane.window is None for plane in plan.planes)
    assert plan.note == "as is"


def test_an_array_may_have_another_unit() -> None:
    plan = make_plan(described((2, 75, 75), headerless=True), Given(unit="nJy/arcsec2"), FACTS)
    images = stamps(1).astype(float)
    np.testing.assert_allclose(converted(plan, images), images * 1e-3)
    assert plan.note == "as is; converted from nJy/arcsec2"


def test_the_header_takes_precedence_over_assumptions() -> None:
    given = Given("Jy/beam", 5.0, 9.0)
    assert make_plan(KNOWN, given, FACTS) == make_plan(KNOWN, NOTHING, FACTS)
    bare = described((2, 150, 150))
    assert make_plan(bare, Given("uJy/arcsec2", 0.09375, 2.0), FACTS) == make_plan(KNOWN, NOTHING, FACTS)


def test_channels_are_put_in_the_models_order() -> None:
    found = described((3, 75, 75), "uJy/arcsec2", filters=("f356w", "f160w", "f814w"))
    plan = make_plan(found, NOTHING, FACTS)
    images = stamps(2, channels=3).astype(float)
    np.testing.assert_array_equal(converted(plan, images), images[:, [2, 1]])
    assert plan.note == "as is; channels selected by filter"
    right = described((2, 75, 75), "uJy/arcsec2", filters=("f814w", "f160w"))
    assert [plane.plane for plane in make_plan(right, NOTHING, FACTS).planes] == [0, 1]


@pytest.mark.parametrize(
    ("found", "given", "reason"),
    [
        (described((3, 75, 75), headerless=True), NOTHING, "3 channels, but the model needs 2"),
        (
            described((2, 75, 75), "uJy/arcsec2", filters=("f606w", "f160w")),
            NOTHING,
            "f606w, f160w, but the model",
        ),
        (
            described((2, 75, 75), "uJy/arcsec2", filters=("f160w", "f160w")),
            NOTHING,
            "the model needs f814w",
        ),
        (described((2, 75, 75)), NOTHING, "BUNIT is missing"),
        (described((2, 75, 75), "MJy/sr"), NOTHING, "--pixel-arcsec"),
        (described((2, 64, 64), headerless=True), NOTHING, "64 x 64 pixels of unknown scale"),
        (described((2, 75, 75), headerless=True), Given(redshift=1.0), "--pixel-arcsec"),
        (described((2, 75, 75), headerless=True), Given(pixel_arcsec=0.2), "--redshift"),
        (described((2, 150, 150), "uJy/arcsec2", (0.1, 0.1)), NOTHING, "--redshift"),
        (described((2, 150, 150), "uJy/arcsec2", (0.1, 0.1), -1.0), NOTHING, "redshift -1"),
        (described((2, 150, 150), "uJy/arcsec2", (0.0, 0.0), 2.0), NOTHING, "expected positive numbers"),
        (described((2, 150, 150), "counts", (0.1, 0.1), 2.0), NOTHING, "zero point"),
        (described((2, 75, 75), "uJy/arcsec2", (0.1, 0.1), 2.0), NOTHING, "shows 64 x 64 kpc .* needs 120"),
        (described((2, 200, 100), "uJy/arcsec2", (0.1, 0.1), 2.0), NOTHING, "shows 171 x 85 kpc"),
        (
            described((2, 75, 75), "uJy/arcsec2", (3600.0, 3600.0), 0.1),
            NOTHING,
            r"120 kpc span 0\.018\d* x 0\.018\d* pixels .*3600 arcsec at z = 0\.1\), "
            r"but the model needs at least 37\.5 a side",
        ),
        (described((2, 80, 80), "uJy/arcsec2", (0.2, 0.39), 2.0), NOTHING, r"span 70\.4 x 36\.1 pixels"),
    ],
)
def test_images_that_cannot_be_converted_are_refused_with_the_reason(
    found: Description, given: Given, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        make_plan(found, given, FACTS)


def test_a_users_unit_counts_before_counts_of_a_detector_but_not_before_a_flux() -> None:
    plane = Plane((75, 75), "f814w", "ELECTRONS/S")
    given = Given(unit="nJy/arcsec2")
    light, words = light_of(plane, (0.1, 0.1), given)
    assert light.factor == pytest.approx(1e-3)
    assert words == "converted from nJy/arcsec2 instead of ELECTRONS/S"
    assert light_of(replace(plane, unit="uJy/arcsec2"), (0.1, 0.1), given)[0].factor == 1
    with pytest.raises(Refused, match="detector counts"):
        light_of(plane, (0.1, 0.1), Given())


def test_pixels_in_kpc_have_an_angle_by_the_redshift() -> None:
    plane = Plane((150, 150), "f814w", "nJy/pixel", pixel_kpc=(0.8, 0.8))
    found = Description((plane, replace(plane, filter="f160w")), redshift=2.0)
    light = make_plan(found, Given(), FACTS).planes[0].light
    assert light.factor == pytest.approx(1e-3 / (0.8 / kpc_per_arcsec(2.0)) ** 2)
    with pytest.raises(Refused, match="per pixel"):
        make_plan(replace(found, redshift=None), Given(), FACTS)


def test_filters_that_the_user_names_count_where_the_file_names_none_or_is_overruled() -> None:
    swapped = Given(filters=("f160w", "f814w"))
    bare = described((2, 75, 75), headerless=True)
    plan = make_plan(bare, swapped, FACTS)
    assert [made.plane for made in plan.planes] == [1, 0]
    assert "filters f160w, f814w as given" in plan.note
    assert "filters assumed" not in map(str, plan.flags)
    named = described((2, 75, 75), headerless=True, filters=("f814w", "f160w"))
    assert [made.plane for made in make_plan(named, swapped, FACTS).planes] == [0, 1]
    forced = make_plan(named, replace(swapped, override=True), FACTS)
    assert [made.plane for made in forced.planes] == [1, 0]
    assert "instead of f814w, f160w" in forced.note
    half = replace(named, planes=(named.planes[0], bare.planes[1]))
    assert [made.plane for made in make_plan(half, Given(filters=("f814w", "f160w")), FACTS).planes] == [0, 1]
