"""The time of one decode by how many of an engine's sequences have an input, with fillers and without.

    python scripts/bench_fillers.py MODEL [--parallel 16] [--rounds 9]

Each round decodes every row of the table once with fillers and once without. The figures are medians, in milliseconds.
What is measured is the decode with its batch: no sampling, no text.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import click

from selar_local.config import EngineConfig
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Token

_PROMPT = 48  # tokens


def rows(parallel: int) -> dict[str, list[int]]:
    """The sequences that have an input."""
    everyone = list(range(parallel))
    found = {str(n): everyone[:n] for n in range(1, parallel + 1)}
    found |= {"every second": everyone[::2], "8 of 12, without the middle": [*range(4), *range(8, 12)]}
    for holes in ((parallel // 2,), (parallel // 3, parallel // 2, parallel // 2 + 2)):
        found[f"{parallel - len(holes)}, without {' '.join(map(str, holes))}"] = [i for i in everyone if i not in holes]
    return found


class Sequences:
    """An engine's sequences, each at a position of its own."""

    def __init__(self, runtime: LlamaRuntime, n: int) -> None:
        self._runtime = runtime
        self._usable = runtime.fillers.usable
        self._positions = [_PROMPT] * n
        for sequence in range(n):
            runtime.prefill([Chunk(sequence, 0, range(100, 100 + _PROMPT), True)], bool)

    def step(self, chosen: Sequence[int], *, fillers: bool) -> float:
        """Milliseconds of one decode of an input of each of these."""
        self._runtime.fillers.usable = fillers and self._usable
        feeds = [Feed(one, self._positions[one], Token(200 + one)) for one in chosen]
        start = time.perf_counter()
        self._runtime.step(feeds, False)
        for one in chosen:
            self._positions[one] += 1
        return 1000 * (time.perf_counter() - start)


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--parallel", default=16, show_default=True, help="sequences of the engine")
@click.option("--rounds", default=9, show_default=True)
@click.option("-t", "--threads", default=2, show_default=True)
def main(model: Path, parallel: int, rounds: int, threads: int) -> None:
    """Print the table."""
    config = EngineConfig(parallel=parallel, threads=threads, ctx_size=_PROMPT + 2 * rounds * (parallel + 4))
    runtime = LlamaRuntime(model, config)
    sequences, table = Sequences(runtime, parallel), rows(parallel)
    times: dict[tuple[str, bool], list[float]] = {(name, fillers): [] for name in table for fillers in (True, False)}
    for turn in range(rounds):
        for name, chosen in table.items():
            for fillers in (True, False) if turn % 2 else (False, True):
                times[name, fillers].append(sequences.step(chosen, fillers=fillers))
    click.echo(f"{model.name}, {threads} threads, {platform.processor() or platform.machine()}; ms, n {rounds}")
    click.echo(f"{'inputs':24}{'without':>10}{'fillers':>10}")
    for name in table:
        without, with_them = (statistics.median(times[name, fillers]) for fillers in (False, True))
        click.echo(f"{name:24}{without:10.1f}{with_them:10.1f}")
    runtime.close()


if __name__ == "__main__":
    main()
