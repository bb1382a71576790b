"""Take the README's pictures from this checkout's own study: `make demo && make screenshots`.

Three PNG files in docs/images/: MLflow's list of the study's runs, the top of the study's page, and two trainings
compared in the terminal. They need Playwright (a dependency of the tests) and the machine's Chromium.
"""

from __future__ import annotations

import html
import io
import os
import shutil
import subprocess
import sys
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
TERMINAL = (
    "<body style='margin:0;background:#16202b;color:#dfe7ee;display:inline-block'>"
    "<pre style='margin:20px;font:15px/1.35 DejaVu Sans Mono,monospace'>{}</pre>"
)


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


def comparison(page: Page) -> bytes:
    """Picture of a terminal in which the first two trainings without target labels are compared."""
    cells = sorted(path.parent for path in (ROOT / "outputs/cells").rglob("evaluation"))
    two = [str(cell.relative_to(ROOT)) for cell in cells if "oracle" not in str(cell)][:2]
    command = [sys.executable, "-m", "mergershift", "compare", *two]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "110"}
    )
    if done.returncode:
        raise click.ClickException(done.stderr)
    said = "$ " + " \\\n    ".join(["mergershift compare", *two]) + f"\n{done.stdout}"
    page.set_content(TERMINAL.format(html.escape(said.rstrip())))
    return page.locator("body").screenshot()


@click.command()
@click.option("--port", default=5066, show_default=True)
def main(port: int) -> None:
    """Write docs/images/{runs,study,compare}.png."""
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
        save(comparison(page), "compare")
        chromium.close()


if __name__ == "__main__":
    main()
