"""What a trace costs a run, and how soon its page can be used.

    python scripts/bench_trace.py MODEL [MODEL ...] [--steps 96] [--rounds 7] [--page 20000]

Of each MODEL: the same stream without a trace, with `run --trace`'s file, and with what `run --trace-html` keeps in
memory. The rounds take turns; a ratio is the median of the rounds' own ratios of tokens/s to the stream without. The
bar is 0.98. "first trace of a file" is a run whose model was not hashed before: the hash is computed meanwhile. What a
trace does after the last token (texts of the tokens, the rest of the hash, making the page) is given in seconds.

Of the page, with --page STEPS: seconds to make it, its size, and, where Playwright and Chromium are there, seconds from
opening it to the first step shown under the pointer. The bar is 2 s for 20,000 steps.
"""

from __future__ import annotations

import importlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

import selar_local as sl
from selar_local.analysis.page import trace_page
from selar_local.analysis.token_texts import token_texts
from selar_local.engine.engine import Engine
from selar_local.trace import TraceRecorder, TraceWriter, load_trace

ROOT = Path(__file__).parent.parent
PROMPT = "Explain step by step how a bicycle stays upright, and then tell a long story about one."
METHOD = sl.Selar(tau=0.5)
TRACES = {"with --trace": "file", "with --trace-html": "memory", "first trace of a file": "hashing"}

Cost = tuple[float, float]


def one_run(engine: Engine, steps: int, trace: TraceWriter | TraceRecorder | None) -> Cost:
    """Seconds a step as the engine counts them, and seconds after the last token."""
    with engine.stream(PROMPT, raw=True, method=METHOD, max_tokens=steps, seed=7) as stream:
        if trace is not None:
            sampling = METHOD.sampling({})
            trace.begin(engine.info.as_dict(), stream.method, sampling, stream.seed, stream.prompt)
        for event in stream:
            if trace is not None:
                trace.step(event)
    result = stream.result
    if result.usage.completion_tokens != steps:
        raise click.ClickException(
            f"the run ended after {result.usage.completion_tokens} tokens: ask for fewer --steps"
        )
    start = time.perf_counter()
    if trace is not None:
        trace.end(result, engine.token_bytes)
    if isinstance(trace, TraceWriter):
        trace.close()
    elif trace is not None and (recorded := trace.trace("bench")) is not None:
        trace_page([recorded], token_texts([recorded]))
    return result.timings.decode_seconds / steps, time.perf_counter() - start


def traced(engine: Engine, steps: int, kind: str, folder: Path) -> Cost:
    """The same with a trace of this kind."""
    if kind == "memory":
        return one_run(engine, steps, TraceRecorder())
    with TraceWriter(folder / "trace.jsonl", click.echo) as writer:
        if kind == "file":
            return one_run(engine, steps, writer)
        with empty_cache(folder):
            return one_run(engine, steps, writer)


class empty_cache(AbstractContextManager[None]):
    """No hash is known meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "cache"

    def __enter__(self) -> None:
        self._before = os.environ.get("SELAR_LOCAL_CACHE")
        shutil.rmtree(self._folder, ignore_errors=True)
        os.environ["SELAR_LOCAL_CACHE"] = str(self._folder)

    def __exit__(self, *exception: object) -> None:
        if self._before is None:
            del os.environ["SELAR_LOCAL_CACHE"]
        else:
            os.environ["SELAR_LOCAL_CACHE"] = self._before


def bench_cost(path: str, threads: int, steps: int, rounds: int) -> None:
    """Print what each kind of trace costs on this model."""
    with tempfile.TemporaryDirectory() as name, sl.load(path, threads=threads) as engine:
        engine._runtime.model.is_end = lambda token: False  # type: ignore[method-assign]
        folder = Path(name)
        rows: dict[str, Callable[[], Cost]] = {"without": lambda: one_run(engine, steps, None)}
        for label, kind in TRACES.items():
            rows[label] = lambda kind=kind: traced(engine, steps, kind, folder)  # type: ignore[misc]
        found: dict[str, list[Cost]] = {label: [] for label in rows}
        order = list(rows)
        for label in order[:3]:
            rows[label]()  # warm up; the hash of the file is known from then on
        for turn in range(rounds):
            for label in order[turn % len(order) :] + order[: turn % len(order)]:
                found[label].append(rows[label]())
    click.echo(f"{Path(path).name}, {threads} threads, {rounds} rounds of {steps} steps")
    for label, costs in found.items():
        ratios = [base / own for (base, _), (own, _) in zip(found["without"], costs, strict=True)]
        each, after = (statistics.median(column) for column in zip(*costs, strict=True))
        told = (
            f"{1e3 * each:8.2f} ms a step  {statistics.median(ratios):6.3f} x ({min(ratios):.3f} to {max(ratios):.3f})"
        )
        click.echo(f"  {label:24}{told}  {after:6.2f} s after the last token")


def bench_page(steps: int, rounds: int) -> None:
    """Print how soon the page of a trace of so many steps is there and can be used."""
    sys.path.insert(0, str(ROOT))
    long_trace = importlib.import_module("tests.support.traces").long_trace
    with tempfile.TemporaryDirectory() as name:
        source = long_trace(Path(name) / "long.jsonl", steps)
        start = time.perf_counter()
        traces = [load_trace(source)]
        page = trace_page(traces, token_texts(traces))
        made = time.perf_counter() - start
        target = Path(name) / "page.html"
        target.write_bytes(page)
        click.echo(f"page of {steps:,} steps: made in {made:.2f} s, {len(page) / 1e6:.1f} MB")
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            click.echo("  Playwright is not there: it was not opened")
            return
        names = ("chromium", "chromium-browser", "google-chrome")
        found = os.environ.get("SELAR_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
            seconds = [opened(browser, target) for _ in range(rounds)]
            browser.close()
    ready, used = (statistics.median(column) for column in zip(*seconds, strict=True))
    most = max(second for _, second in seconds)
    click.echo(f"  ready after {ready:.2f} s, a step under the pointer shown after {used:.2f} s (at most {most:.2f})")


def opened(browser: Any, target: Path) -> Cost:
    """Seconds to the page's own word that it is ready, and to the panel showing a step that was pointed at."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    page.goto(target.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    ready = time.perf_counter() - start
    page.locator(".t").nth(5).hover()
    page.get_by_role("heading", name="step 5").wait_for()
    used = time.perf_counter() - start
    page.close()
    return ready, used


@click.command()
@click.argument("models", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--threads", default=2, show_default=True)
@click.option("--steps", default=96, show_default=True, help="steps of a run")
@click.option("--rounds", default=7, show_default=True)
@click.option("--page", "page_steps", default=0, help="also open the page of a trace of so many steps")
def main(models: tuple[str, ...], threads: int, steps: int, rounds: int, page_steps: int) -> None:
    """Measure what traces cost on MODELS, and their page."""
    for model in models:
        bench_cost(model, threads, steps, rounds)
    if page_steps:
        bench_page(page_steps, rounds)


if __name__ == "__main__":
    main()
