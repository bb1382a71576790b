"""Take the README's pictures from this checkout's own study: `make demo && make screenshots`.

Two PNG files in docs/images/: MLflow's list of the study's runs, and the top of the study's page. They need Playwright
(a dependency of the tests) and the machine's Chromium.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
from many_runs import BROWSERS, serving
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
LARGEST = 150_000
"""Bytes of a picture."""
WIDTH, HEIGHT = 1600, 900


def save(picture: bytes, name: str) -> None:
    """Save a picture with 128 colours; raises click.ClickException if it is too large."""
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(128).save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise click.ClickException(f"{path}: {size} bytes, expected at most {LARGEST}")
    click.echo(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")


def list_of_runs(page: Page, address: str) -> bytes:
    """Picture of MLflow's list of the study's runs, without what surrounds it."""
    page.goto(address)
    page.get_by_role("link", name=" · ").first.wait_for()
    page.get_by_role("button", name="Hide banner").click()
    page.get_by_role("button", name="Close", exact=True).click()  # the assistant's panel
    page.get_by_role("button", name="Toggle sidebar").click()
    page.get_by_role("columnheader", name="method").first.wait_for()
    rows = page.get_by_role("link", name=" · ").last.bounding_box()
    assert rows is not None
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": rows["y"] + 60})


def study_page(page: Page) -> bytes:
    """Picture of the study's page down to its table of contents."""
    page.set_viewport_size({"width": 1200, "height": HEIGHT})
    page.goto((ROOT / "outputs/report/index.html").as_uri())
    contents = page.get_by_role("navigation").bounding_box()
    assert contents is not None
    return page.screenshot(clip={"x": 0, "y": 0, "width": 1200, "height": contents["y"]})


@click.command()
@click.option("--port", default=5066, show_default=True)
def main(port: int) -> None:
    """Write docs/images/{runs,study}.png."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(f"no browser is installed ({', '.join(BROWSERS)})")
    with serving(ROOT, port, "--study") as pages, sync_playwright() as playwright:
        # As root, as in a container, Chromium refuses to run in its sandbox.
        chromium = playwright.chromium.launch(executable_path=browser, chromium_sandbox=os.geteuid() != 0)
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        save(list_of_runs(page, pages[0]), "runs")
        save(study_page(page), "study")
        chromium.close()


if __name__ == "__main__":
    main()
