"""What a step costs the host: microseconds from the return of one `llama_decode` to the call of the next, by part.

    python scripts/profile_step.py MODEL... [-np 1 -np 16] [--steps 200] [--json out.json]

The engine decodes as in a real run, so caches are as cold as there. Each text is streamed to a thread that reads it.
The parts are functions of the engine, wrapped by a clock: a part does not count the parts that it calls. The clock
itself takes some 0.5 us a call. The figures are medians over the steps; "all" is the median of the whole, not the sum.
"all, processor" is the thread's time on a core: where it is much less than "all", the thread waits for the interpreter
or for a core, as on a busy machine.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click
from llama_cpp import llama_cpp as C

import selar_local as sl
from selar_local.engine import sequence
from selar_local.engine.events import Message, Result
from selar_local.engine.transcript import Transcript
from selar_local.llama.context import LlamaContext
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.input_batch import InputBatch
from selar_local.methods import METHODS, distribution, selar

PROMPT = "Explain step by step how a bicycle stays upright, and then tell a long story about one."
_REST = "scheduler and step"
_WAKING = "waking the caller"
_PROCESSOR = "all, processor"
#: Where each function is looked up, its name there, and the part that it is.
_PARTS: tuple[tuple[Any, str, str], ...] = (
    (LlamaContext, "logits_of_all", "logits view"),
    (distribution, "top_k", "top-k"),
    (sequence, "filtered_distribution", "filters"),
    (sequence, "draw", "draw"),
    (selar._Gate, "__call__", "method"),
    (Transcript, "feed", "text"),
    (sequence.Sequence, "_report", "event"),
    (EmbeddingTable, "row", "row mixing"),
    (EmbeddingTable, "mix", "row mixing"),
    (InputBatch, "of_tokens", "batch"),
    (InputBatch, "of_rows", "batch"),
)


class Clock:
    """Splits the time of the thread that decodes among the parts."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []  # microseconds
        self._spent: dict[str, float] = defaultdict(float)
        self._stack = [_REST]
        self._thread: int | None = None
        self._last = 0.0
        self._last_processor = 0.0

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, whose time counts for `part`."""

        def run(*values: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return call(*values, **named)
            self._count()
            self._stack.append(part)
            try:
                return call(*values, **named)
            finally:
                self._count()
                self._stack.pop()

        return run

    def decoding(self, call: Callable[..., int]) -> Callable[..., int]:
        """`llama_decode`, which ends a step and begins the next."""

        def run(*values: Any) -> int:
            if self._thread == threading.get_ident():
                self._count()
                processor = 1e6 * (time.thread_time() - self._last_processor)
                self.steps.append({**self._spent, _PROCESSOR: processor})
            code = call(*values)
            self._spent.clear()
            self._thread, self._last_processor = threading.get_ident(), time.thread_time()
            self._last = time.perf_counter()
            return code

        return run

    def _count(self) -> None:
        now = time.perf_counter()
        self._spent[self._stack[-1]] += 1e6 * (now - self._last)
        self._last = now


@contextmanager
def wrapped(clock: Clock) -> Iterator[None]:
    """Within: the clock sees all parts."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in (*_PARTS, (C, "llama_decode", ""))]
    for owner, name, part in _PARTS:
        setattr(owner, name, clock.timed(part, getattr(owner, name)))
    C.llama_decode = clock.decoding(C.llama_decode)
    try:
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def profile(path: str, method: str, rows: int, steps: int) -> dict[str, float]:
    """The medians of one setting, in microseconds."""
    clock = Clock()
    with sl.load(path, parallel=rows, ctx_size=steps + 64) as engine, wrapped(clock):
        # No text ends early. `ignore_eos` would do it by a bias, which costs a copy of the logits.
        engine._runtime.model.is_end = lambda token: False  # type: ignore[method-assign]
        readers = []
        for seed in range(rows):
            inbox: SimpleQueue[Message] = SimpleQueue()
            reader = threading.Thread(target=_read, args=(inbox,))
            reader.start()
            readers.append(reader)
            engine.begin(clock.timed(_WAKING, inbox.put), PROMPT, method=METHODS[method](), max_tokens=steps, seed=seed)
        for reader in readers:
            reader.join()
    return _medians(clock.steps[rows + 10 : -rows])  # without prompts, first steps, and texts that have ended


def _read(inbox: SimpleQueue[Message]) -> None:
    while not isinstance(inbox.get(), Result):
        pass


def _medians(steps: Iterable[dict[str, float]]) -> dict[str, float]:
    steps = list(steps)
    parts = dict.fromkeys([*(part for _, _, part in _PARTS), _WAKING, _REST])
    found = {part: statistics.median(step.get(part, 0.0) for step in steps) for part in parts}
    whole = {"all": statistics.median(sum(step.values()) - step[_PROCESSOR] for step in steps)}
    return {**found, **whole, _PROCESSOR: statistics.median(step[_PROCESSOR] for step in steps)}


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--rows", "-np", multiple=True, default=(1, 16), show_default=True, help="texts decoded together")
@click.option("--method", default="selar", show_default=True, type=click.Choice(["selar", "cot"]))
@click.option("--steps", default=200, show_default=True, help="tokens of each text")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="also write the figures to this file")
def main(models: tuple[str, ...], rows: tuple[int, ...], method: str, steps: int, json_file: str | None) -> None:
    """Print the host's microseconds a step, by part, for each MODEL and number of rows."""
    found = {f"{Path(model).stem} {n}": profile(model, method, n, steps) for model in models for n in rows}
    for name, figures in found.items():
        click.echo(f"{name} row{'' if name.endswith(' 1') else 's'}, {method}: microseconds a step")
        for part, value in figures.items():
            click.echo(f"  {part:20}{value:9.1f}")
    if json_file:
        Path(json_file).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
