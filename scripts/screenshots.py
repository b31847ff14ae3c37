"""The pictures in docs/images: the terminal, the trace page and the chat page, with a model of yours.

    python scripts/screenshots.py MODEL [--prompt TEXT] [--out docs/images]

Needs the extra `test` (Playwright) and Chromium, and rich (extra `eval`). Seeds are fixed: with the same model, build
and machine the same texts come out.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

PROMPT = "A farmer has 3 pens of 12 sheep and sells 7. How many are left? Think step by step."
COMMAND = [sys.executable, "-c", "from selar_local.cli.main import main; main()"]
_WIDTH, _COLUMNS = 1180, 100
_SHOWN = 120_000


def on_a_terminal(words: list[str]) -> str:
    """What a command prints on a terminal, colours included."""
    main, side = pty.openpty()
    said = bytearray()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "1000"}  # the picture breaks the lines
    environment.pop("NO_COLOR", None)
    with subprocess.Popen([*COMMAND, *words], stdin=side, stdout=side, stderr=side, env=environment) as process:
        os.close(side)
        try:
            while block := os.read(main, 4096):
                said += block
        except OSError:  # the other side is gone
            pass
    os.close(main)
    if process.returncode:
        raise click.ClickException(said.decode("utf-8", "replace"))
    return said.decode("utf-8", "replace").replace("\r\n", "\n")


def terminal_picture(command: str, output: str) -> str:
    """An SVG of a terminal. Progress bars, which a carriage return takes back, are left out."""
    lines = [line.rpartition("\r")[2] for line in output.split("\n") if "trace page written" not in line]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=_COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {command}"))
        console.print(Text.from_ansi("\n".join(lines).strip()))
        return console.export_svg(title="selar-local")


@contextmanager
def chat_page(model: str) -> Iterator[str]:
    """`serve --ui`; yields the page's address."""
    words = [*COMMAND, "serve", model, "--ui", "--port", "0", "-c", "2048", "-n", "160", "--seed", "3"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(line.split()[-1] for line in server.stderr if line.startswith("chat page: "))
        finally:
            server.terminate()


def chat(page: Page, model: str, prompt: str, out: Path) -> None:
    """The chat page after an answer, pointing at an exploration step."""
    with chat_page(model) as address:
        page.goto(address)
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Message").fill(prompt)
        page.keyboard.press("Enter")
        page.locator("#stop").wait_for(state="visible", timeout=_SHOWN)
        page.locator("#send").wait_for(state="visible", timeout=_SHOWN)
        explored = page.locator("article.assistant .t.x:not(.blank)")
        if explored.count():
            explored.last.hover()
        page.screenshot(path=out)


def trace(page: Page, file: Path, out: Path) -> None:
    """The trace page at the first exploration step."""
    page.goto(file.as_uri())
    page.keyboard.press("n")
    page.screenshot(path=out)


@click.command()
@click.argument("model")
@click.option("--prompt", default=PROMPT, help="what is asked")
@click.option("--out", default="docs/images", type=click.Path(path_type=Path), help="the folder of the pictures")
def main(model: str, prompt: str, out: Path) -> None:
    """Make terminal.png, trace.png, chat-light.png and chat-dark.png."""
    out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_file = Path(folder) / "trace.html"
        said = on_a_terminal(
            ["run", model, prompt, "--seed", "3", "-n", "160", "-c", "2048", "--trace-html", str(page_file)]
        )
        shown = f'selar-local run {Path(model).name} "{prompt}" --seed 3'
        browser: Any = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": _WIDTH, "height": 780}, color_scheme=scheme)
            chat(page, model, prompt, out / f"chat-{scheme}.png")
            page.close()
        page = browser.new_page(viewport={"width": _WIDTH, "height": 860})
        trace(page, page_file, out / "trace.png")
        page.set_content(f"<style>svg {{ inline-size: 100%; display: block }}</style>{terminal_picture(shown, said)}")
        page.locator("svg").first.screenshot(path=out / "terminal.png")
        browser.close()
    click.echo("\n".join(str(path) for path in sorted(out.glob("*.png"))))


if __name__ == "__main__":
    main()
