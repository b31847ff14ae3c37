"""Speed on an idle and on a busy machine, by how llama.cpp's threads wait. Interleaved, each way in its own process.

    python scripts/bench_busy.py MODEL [--beside none,2,5,engine] [--parallel 1,4,16] [--json out.json]

A way is a setting of the process that decodes. ``generate`` is llama-cpp-python's ``Llama.generate`` as it is shipped,
``ours`` is selar-local with its defaults, ``spin N`` and ``passive`` fix how OpenMP's threads wait (GOMP_SPINCOUNT,
OMP_WAIT_POLICY) and ``one thread`` their number. Beside it run nothing, so many endless loops of the same priority, or
another engine that is set as the way is. All ways stay loaded and take turns; a figure is the median of the rounds, a
ratio the median of the rounds' own ratios to ``generate`` (many sequences: to ``spin default``).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

WORDS = "A farmer walks to the market with seven sheep and comes back with a goat, a lamp and a long story. "
_WAIT_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_ONE_THREAD = "one thread"
_FOREVER = 0  # tokens of the engine beside: it decodes until it is killed

Figures = dict[str, float]


def environment(way: str) -> dict[str, str]:
    """The environment in which a way's process starts. "spin default" is libgomp's own, as shipped."""
    kept = {name: value for name, value in os.environ.items() if name not in _WAIT_VARIABLES}
    if way == "passive":
        return {**kept, "OMP_WAIT_POLICY": "passive"}
    if way in ("spin default", _ONE_THREAD):
        return {**kept, "GOMP_SPINCOUNT": "300000"}
    if way.startswith("spin "):
        return {**kept, "GOMP_SPINCOUNT": way.removeprefix("spin ")}
    return kept


class Way:
    """One process that has the model open and decodes a round when it is asked to."""

    def __init__(self, way: str, model: str, threads: int, parallel: int, prompt_tokens: int) -> None:
        kind = "generate" if way == "generate" else "ours"
        command = [sys.executable, __file__, model, "--serve", kind, "--parallel", str(parallel)]
        command += ["--prompt-tokens", str(prompt_tokens)]
        command += ["--threads", "1" if way == _ONE_THREAD else str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(way)
        )
        self._answer()  # it has loaded

    def round(self, tokens: int) -> Figures:
        """Decode one round; its figures."""
        self.start(tokens)
        return self._answer()

    def start(self, tokens: int) -> None:
        """Ask for a round without waiting for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{tokens}\n")
        self._process.stdin.flush()

    def _answer(self) -> Figures:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException("a process that decodes has ended")
        figures: Figures = json.loads(line)
        return figures

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def beside(load: str, model: str, threads: int, way: str) -> Iterator[None]:
    """What runs meanwhile: "none", a number of endless loops, or "engine"."""
    with ExitStack() as stack:
        if load == "engine":
            other = Way(way, model, threads, 1, 32)
            stack.callback(other.close)
            other.start(_FOREVER)
        elif load != "none":
            for _ in range(int(load)):
                loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                stack.callback(loop.wait)
                stack.callback(loop.kill)
        yield


def serve(kind: str, model: str, threads: int, parallel: int, prompt_tokens: int) -> None:
    """The process of a way: a number of tokens on each line of standard input, a line of figures for each."""
    make = generate if kind == "generate" else ours
    decode = make(model, threads, parallel, prompt_tokens)
    decode(8)
    print("{}", flush=True)
    for line in sys.stdin:
        while int(line) == _FOREVER:
            decode(512)
        print(json.dumps(decode(int(line))), flush=True)


def generate(model: str, threads: int, _parallel: int, prompt_tokens: int) -> Any:
    """llama-cpp-python's own generator, with nothing of this package loaded."""
    import time

    import llama_cpp

    llama = llama_cpp.Llama(model, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
    prompt = llama.tokenize((WORDS * 40).encode())[:prompt_tokens]

    def decode(tokens: int) -> Figures:
        llama.reset()
        start = time.perf_counter()
        drawn = llama.generate(prompt, temp=0.6, top_k=20, top_p=0.95, min_p=0.0)
        next(drawn)
        first = time.perf_counter()
        for _ in range(tokens):
            next(drawn)
        return {"prompt_seconds": first - start, "tokens_per_second": tokens / (time.perf_counter() - first)}

    return decode


def ours(model: str, threads: int, parallel: int, prompt_tokens: int) -> Any:
    """selar-local with its defaults: one sequence, or several at once."""
    import threading

    import selar_local as sl

    ctx_size = 2048 if parallel == 1 else 768
    engine = sl.load(model, threads=threads, ctx_size=ctx_size, parallel=parallel, prompt_cache=False)
    engine._runtime.model.is_end = lambda token: False  # type: ignore[method-assign]
    prompt = engine.tokenize(WORDS * 40)[:prompt_tokens]
    text = b"".join(map(engine.token_bytes, prompt)).decode()

    def decode(tokens: int) -> Figures:
        results: list[sl.Result] = []

        def one() -> None:
            budget = min(tokens, engine.info.ctx_size - len(prompt) - 8)
            results.append(engine.generate(text, raw=True, method="selar", max_tokens=budget, seed=7))

        workers = [threading.Thread(target=one) for _ in range(parallel)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        speeds = [result.timings for result in results]
        return {
            "prompt_seconds": max(one.prefill_seconds for one in speeds),
            "tokens_per_second": sum(one.tokens for one in speeds) / max(one.decode_seconds for one in speeds),
        }

    return decode


def bench(
    model: str, ways: list[str], load: str, threads: int, parallel: int, tokens: int, rounds: int, prompt_tokens: int
) -> dict[str, Any]:
    """The figures of all ways beside one load."""
    found: dict[str, list[Figures]] = {way: [] for way in ways}
    with ExitStack() as stack:
        opened = {way: Way(way, model, threads, parallel, prompt_tokens) for way in ways}
        for way in opened.values():
            stack.callback(way.close)
        for turn in range(rounds):
            for name in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                with beside(load, model, threads, name):
                    found[name].append(opened[name].round(tokens))
    base = found[ways[0]]
    rows = {}
    for name, figures in found.items():
        speeds = [one["tokens_per_second"] for one in figures]
        rows[name] = {
            "tokens_per_second": statistics.median(speeds),
            "ratio": statistics.median(s / b["tokens_per_second"] for s, b in zip(speeds, base, strict=True)),
            "prompt_seconds": statistics.median(one["prompt_seconds"] for one in figures),
            "rounds": [round(speed, 2) for speed in speeds],
        }
    return rows


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--beside", "loads", default="none,2,5,engine", show_default=True, help="what runs meanwhile")
@click.option("--ways", default="generate,ours,spin 300,spin 1000,spin 3000,passive,one thread", show_default=True)
@click.option("--parallel", default="1", show_default=True, help="sequences at once, several figures by commas")
@click.option("--threads", default=2, show_default=True)
@click.option("--prompt-tokens", default=500, show_default=True)
@click.option("--tokens", default=48, show_default=True, help="tokens a sequence and round")
@click.option("--rounds", default=7, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the figures to this file")
@click.option("--serve", "kind", type=click.Choice(["generate", "ours"]), hidden=True)
def main(
    model: str,
    loads: str,
    ways: str,
    parallel: str,
    threads: int,
    prompt_tokens: int,
    tokens: int,
    rounds: int,
    json_path: str | None,
    kind: str | None,
) -> None:
    """Compare how threads wait, on MODEL."""
    if kind is not None:
        serve(kind, model, threads, int(parallel), prompt_tokens)
        return
    report: dict[str, Any] = {
        "model": Path(model).name, "threads": threads, "tokens": tokens, "rounds": rounds,
        "machine": {"system": platform.platform(), "cores": os.cpu_count()}, "figures": {},
    }  # fmt: skip
    for load in loads.split(","):
        for count in map(int, parallel.split(",")):
            chosen = [way for way in ways.split(",") if count == 1 or way != "generate"]
            rows = bench(model, chosen, load, threads, count, tokens, rounds, prompt_tokens)
            report["figures"][f"beside {load}, {count} at once"] = rows
            click.echo(f"{report['model']}, beside {load}, {count} at once, {threads} threads, {rounds} rounds")
            for name, row in rows.items():
                speed = f"{row['tokens_per_second']:8.1f} tok/s {row['ratio']:7.3f} x {chosen[0]}"
                prompt = f"{prompt_tokens}-token prompt {row['prompt_seconds']:6.2f} s"
                click.echo(f"  {name:14}{speed}   {prompt}   {row['rounds']}")
    if json_path:
        Path(json_path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
