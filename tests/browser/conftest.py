"""A headless Chromium for the pages: $SELAR_CHROMIUM, one on the path, or Playwright's own; without any, skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")  # while it is open, an event loop runs in this thread, which other tests need free
def browser() -> Iterator[Any]:
    """The running browser (Playwright's `Browser`)."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = os.environ.get("SELAR_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    with playwright.sync_playwright() as driver:
        if found is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium: install the package chromium, or run `playwright install chromium`")
        # A container's root has no sandbox; what is opened here is our own.
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield running
        running.close()


@pytest.fixture
def complaints() -> list[str]:
    """What pages said that no page should: uncaught errors, console errors. A test that expects some clears it."""
    return []


@pytest.fixture
def page(browser: Any, complaints: list[str]) -> Iterator[Any]:
    """A page of its own; at the end nothing may have gone wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    opened = context.new_page()
    opened.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    opened.on("console", lambda line: complaints.append(f"console: {line.text}") if line.type == "error" else None)
    yield opened
    context.close()
    assert complaints == []
