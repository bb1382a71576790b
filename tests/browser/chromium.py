"""A real browser, the one that the machine has: Playwright drives it, but does not download one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "MERGERSHIFT_REQUIRE_BROWSER"
"""Environment variable with which a missing browser fails the tests that need one, rather than skip them."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the machine's Chromium; skips the test if there is none, or fails it if one is required."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        _do_without(f"no browser is installed ({', '.join(NAMES)})")
    if find_spec("playwright") is None:
        _do_without("Playwright is not installed (pip install playwright)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, as in a container, Chromium refuses to run in its sandbox.
        browser = playwright.chromium.launch(executable_path=found, chromium_sandbox=os.geteuid() != 0)
        try:
            yield browser
        finally:
            browser.close()


def _do_without(reason: str) -> None:
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} is set")
    pytest.skip(reason)
