"""A headless Chromium for the pages: $SELAR_CHROMIUM, one on the path, or Playwright's own; without any, skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
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
    playwright.expect.set_options(timeout=15_000)  # one core may be all there is
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


@pytest.fixture(scope="module")
def chat_model(tiny: Callable[..., Path]) -> Path:
    """A model for the chat page: slow enough to be stopped, quick enough to be waited for."""
    from server.conftest import TEMPLATE

    return tiny(chat_template=TEMPLATE, thinking_tokens=True, n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512)


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., Any]]:
    """`start_server(*words, **environment)` starts `selar-local serve`; at the end of the module what runs is ended."""
    from support.serving import serving

    with serving() as begin:
        yield begin


@pytest.fixture(scope="module")
def chat_url(chat_model: Path, start_server: Callable[..., Any]) -> str:
    """A server with the chat page. Its answers have 40 tokens, unless asked otherwise."""
    from chat_page import SERVE

    url: str = start_server(chat_model, *SERVE, "--port", 0, "-n", 40, "--seed", 1).listening()
    return url


@pytest.fixture
def open_chat(page: Any, chat_url: str) -> Callable[[], Any]:
    """`open_chat()` is the chat page, ready."""
    from playwright.sync_api import expect

    def opened() -> Any:
        page.goto(chat_url + "/")
        expect(page.locator("#status-text")).to_have_text("ready")
        return page

    return opened


@pytest.fixture
def show_traces(page: Any, tmp_path: Path) -> Callable[..., Any]:
    """`show_traces(*paths, at="#A-5")` writes the page of these traces and opens it from the disk."""
    from playwright.sync_api import expect

    from selar_local.analysis.page import trace_page
    from selar_local.analysis.token_texts import token_texts
    from selar_local.trace import load_trace

    def opened(*paths: Path, at: str = "") -> Any:
        traces = [load_trace(path) for path in paths]
        target = tmp_path / "page.html"
        target.write_bytes(trace_page(traces, token_texts(traces)))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(target.as_uri() + at)
        expect(page.locator("html[data-ready]")).to_be_attached()
        expect(page.locator(".range").first).not_to_be_empty()  # the curve has its width, and is drawn
        assert requests == [target.as_uri()]  # nothing else is asked for
        return page

    return opened
