"""How long an app waits for a token after llama.cpp has died in its process, beside a normal load.

    python scripts/bench_recovery.py MODEL [--rounds 7]

Each round loads MODEL in a process of its own and waits for the first token; then it kills that process, asks again
and waits for the first token of the new one. The figures are medians, the ratio is the median of the rounds' own.
"""

from __future__ import annotations

import os
import signal
import statistics
import time

import click

import selar_local as sl
from selar_local.errors import EngineCrashed

PROMPT = "Why is the sky blue?"


def first_token(engine: sl.Engine | sl.IsolatedEngine) -> None:
    """Ask for one token and wait for it."""
    engine.generate(PROMPT, max_tokens=1)


def one_round(model: str, threads: int) -> tuple[float, float]:
    """Seconds to the first token: of a load, and after a death."""
    start = time.perf_counter()
    with sl.load(model, isolated=True, threads=threads) as engine:
        first_token(engine)
        loaded = time.perf_counter() - start
        os.kill(engine.process_id, signal.SIGKILL)
        start = time.perf_counter()
        while True:
            try:
                first_token(engine)
                return loaded, time.perf_counter() - start
            except EngineCrashed:  # asked before the death was noticed
                continue


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(model: str, threads: int, rounds: int) -> None:
    """Measure the first token after a crash on MODEL."""
    one_round(model, threads)
    pairs = [one_round(model, threads) for _ in range(rounds)]
    loaded, again = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    click.echo(f"first token of a load {loaded:.2f} s, after a crash {again:.2f} s: {ratio:.2f} x")


if __name__ == "__main__":
    main()
