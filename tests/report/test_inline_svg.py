"""Figures keep their content, and only that, when they are made small for the page."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from mergershift.report.inline_svg import compressed, inline, path
from mergershift.report.style import INK, MUTED
from mergershift.report.svg import style

COLOURS = {INK.light: "ink", MUTED.light: "muted"}


def converted(figure: Figure, number: int = 1) -> tuple[ElementTree.Element, str]:
    """The figure as the page shows it, and matplotlib's SVG."""
    text = io.StringIO()
    with style():
        FigureCanvasSVG(figure).print_svg(text)
    return ElementTree.fromstring(inline(text.getvalue(), "a <figure>", COLOURS, number)), text.getvalue()


def texts(tree: ElementTree.Element) -> list[str]:
    return sorted("".join(found.itertext()) for found in tree.iter() if found.tag.endswith("text"))


def corners(text: str) -> list[tuple[float, float]]:
    """Corners of a path with relative coordinates."""
    points: list[tuple[float, float]] = []
    for command, numbers in re.findall(r"([Mlhvcqz])([^Mlhvcqz]*)", text):
        values = [float(value) for value in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", numbers)]
        last = points[-1] if points else (0.0, 0.0)
        if command == "M":
            points.append((values[0], values[1]))
        elif command == "h":
            points.append((last[0] + values[0], last[1]))
        elif command == "v":
            points.append((last[0], last[1] + values[0]))
        elif command != "z":
            points.append((last[0] + values[-2], last[1] + values[-1]))
    return points


def drawn_path(points: np.ndarray, command: str = "L") -> str:
    return "M " + f" \n{command} ".join(f"{x:.6f} {y:.6f}" for x, y in points)


def test_rounding_a_path_moves_no_corner_by_more_than_half_a_unit() -> None:
    points = np.random.default_rng(0).uniform(-50, 400, (500, 2)).cumsum(axis=0)
    points[100:200, 1] = points[100, 1]
    points[300:400, 0] = points[300, 0]
    for digits in (1, 2):
        written = path(drawn_path(points), digits)
        np.testing.assert_allclose(corners(written), points, atol=0.51 * 10**-digits)
    assert len(path(drawn_path(points))) < 0.6 * len(drawn_path(points))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("M 0 0 \nL 0 3.5 \n", "M0 0v3.5"),
        ("M 1.26 -2 \nL 10 -2 \nz\n", "M1.3-2h8.7z"),
        ("M 0 1 \nC 1 2 3 4 5 6 \nz\n", "M0 1c1 1 3 3 5 5z"),
        ("M 0 0 \nQ 0.5 0.25 1 0 \n", "M0 0q.5.2 1 0"),
        ("M 5 5 \nL 6 6 \nz\nL 5 9 \n", "M5 5l1 1zv4"),
    ],
)
def test_paths_are_written_relatively(text: str, expected: str) -> None:
    assert path(text).replace("q.5 .2", "q.5.2") == expected


def test_equal_points_share_a_marker_at_their_places() -> None:
    figure = Figure(figsize=(3, 3))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 216), ylim=(216, 0))
    axes.set_axis_off()
    places = np.random.default_rng(1).uniform(20, 200, (50, 2)).round(1)
    axes.scatter(places[:, 0], places[:, 1], marker="o", facecolor=INK.light, edgecolor=INK.light, s=20)
    root, text = converted(figure)
    (marker,) = root.iter("marker")
    (points,) = (
        drawn for drawn in root.iter("path") if f"url(#{marker.get('id')})" in drawn.get("style", "")
    )
    np.testing.assert_allclose(sorted(corners(points.attrib["d"])), sorted(map(tuple, places)), atol=0.06)
    assert "var(--ink)" in marker[0].attrib["style"]
    assert len(ElementTree.tostring(root)) < 0.2 * len(text)


def test_text_lines_and_colours_are_kept() -> None:
    with style():
        figure = Figure(figsize=(3, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1, 2], [0, 2, 1], color="#123456")
        axes.set(xlabel="a & b", ylabel="up", title="title")
    root, text = converted(figure)
    original = ElementTree.fromstring(text)
    assert texts(root) == texts(original)
    assert "a & b" in texts(root)
    assert root.get("aria-label") == "a <figure>"
    written = ElementTree.tostring(root, encoding="unicode")
    assert "stroke: #123456" in written
    assert "var(--muted)" in written
    assert MUTED.light not in written
    assert re.search(r"rotate\(-90 [\d.]+ [\d.]+\)", written)


def test_ids_differ_between_figures_and_are_all_found() -> None:
    found = []
    for number in (1, 2):
        figure = Figure(figsize=(3, 3), layout="constrained")
        figure.subplots().plot(range(5), "o-")
        root, _ = converted(figure, number)
        text = ElementTree.tostring(root, encoding="unicode")
        ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) == set(ids)
        found += ids
    assert len(found) == len(set(found))


def test_an_image_drawn_twice_is_stored_once() -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    figure = Figure(figsize=(3, 3))
    for left in (0.0, 0.5):
        axes = figure.add_axes((left, 0, 0.5, 0.5))
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="none")
    root, _ = converted(figure)
    (image,) = root.iter("image")
    uses = [use for use in root.iter("use") if use.get("href") == f"#{image.get('id')}"]
    places = [float(re.findall(r"[\d.]+", use.attrib["transform"])[-2]) for use in uses]
    assert places == [pytest.approx(0, abs=1), pytest.approx(108, abs=1)]


def test_images_become_smaller_with_nearly_the_same_pixels() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.normal(60, 20, (51, 51, 3)).clip(0, 255).astype(np.uint8)
    pixels[20:30, 20:30] = (250, 40, 120)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    source = f"data:image/png;base64,\n{base64.b64encode(png.getvalue()).decode()}"
    small = compressed(source)
    assert small == compressed(source)
    assert len(small) < 0.6 * len(source)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(small.partition(",")[2]))), dtype=int)
    assert np.abs(shown[22:28, 22:28].mean((0, 1)) - (250, 40, 120)).max() < 3
    brightness = (values.mean(axis=2).ravel() for values in (shown, pixels))
    assert np.corrcoef(*brightness)[0, 1] > 0.9


def test_an_image_with_transparent_pixels_keeps_them() -> None:
    png = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(png, "png")
    source = f"data:image/png;base64,\n{base64.b64encode(png.getvalue()).decode()}"
    assert compressed(source) == source.replace("\n", "")
