"""The study's page as a reader's browser shows it: complete without a network, on a phone, at night and on paper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1600, "height": 1200}
SIZES = "[document.documentElement.scrollWidth, window.innerWidth]"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
CONTRAST = """() => {
    const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const light = colour => {
        const [red, green, blue] = colour.match(/[\\d.]+/g).slice(0, 3).map(part => linear(part / 255));
        return .2126 * red + .7152 * green + .0722 * blue;
    };
    const style = getComputedStyle(document.body);
    const [dark, bright] = [style.color, style.backgroundColor].map(light).sort((one, other) => one - other);
    return (bright + .05) / (dark + .05);
}"""
"""Contrast of text and background as the accessibility guidelines (WCAG 2) define it."""


@pytest.fixture
def address(published: Path) -> str:
    return (published / "outputs/report/index.html").as_uri()


def test_it_loads_nothing_and_reports_no_error(page, address: str) -> None:
    requests: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert [url for url in requests if url.startswith("file:")] == [address]
    assert problems == []


def test_a_phone_shows_its_whole_width(page, address: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(address)
    width, window = page.evaluate(SIZES)
    assert width <= window, "the page as a whole scrolls sideways"
    # A table may scroll in a frame of its own, but no paragraph may be cut.
    for paragraph in page.locator("p:visible, h1:visible, h2:visible, h3:visible").all():
        box = paragraph.bounding_box()
        assert box is not None
        assert box["x"] >= 0, paragraph.inner_text()
        assert box["x"] + box["width"] <= PHONE["width"] + 1, paragraph.inner_text()


def test_the_result_is_on_the_first_screen_of_a_desktop(page, address: str) -> None:
    page.set_viewport_size(DESKTOP)
    page.goto(address)
    result = page.get_by_role("heading", name=re.compile("Result")).first
    box = result.bounding_box()
    assert box is not None
    assert box["y"] < DESKTOP["height"] / 2


def test_at_night_and_on_paper_it_stays_readable(page, address: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(address)
    day, contrasts = page.evaluate(BACKGROUND), [page.evaluate(CONTRAST)]
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) != day
    contrasts.append(page.evaluate(CONTRAST))
    page.emulate_media(media="print", color_scheme="light")
    contrasts.append(page.evaluate(CONTRAST))
    assert min(contrasts) > 7
    assert page.get_by_role("heading", level=1).is_visible()
    assert page.locator("svg:visible").count() > 5
    assert page.pdf(format="A4").startswith(b"%PDF")
