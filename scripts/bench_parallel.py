"""Throughput of many generations at once against a bare multi-sequence ``llama_decode`` loop, interleaved.

    python scripts/bench_parallel.py MODEL [--parallel 8,16] [--json out.json]

The bare loop feeds every sequence its argmax as an id, in one batch a step, and does nothing else. Ours generate
the same number of tokens for the same prompts, by ``generate`` from as many threads. The rounds take turns, the figures
are medians, and a ratio is the median of the rounds' own ratios of tokens/s.
"""

from __future__ import annotations

import json
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as C
from on_worker import on_worker

import selar_local as sl
from selar_local.engine.engine import Engine
from selar_local.llama import library

PROMPT = "Explain step by step how a bicycle stays upright, and then tell a long story about number {}."


class Bare:
    """llama.cpp by its C API and nothing else: the yardstick."""

    def __init__(self, path: str, threads: int, parallel: int, ctx_size: int) -> None:
        library.start()
        params = C.llama_model_default_params()
        params.use_extra_bufts = library.repacking_is_safe()
        self.model = C.llama_model_load_from_file(path.encode(), params)
        context = C.llama_context_default_params()
        context.n_ctx, context.n_seq_max = ctx_size * parallel, parallel
        context.n_threads = context.n_threads_batch = threads
        self.context = C.llama_init_from_model(self.model, context)
        self.n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(self.model))
        self.batch = C.llama_batch_init(512, 0, 1)

    def decode(self, prompts: list[tuple[int, ...]], steps: int) -> float:
        """Tokens per second of all sequences together, their prompts included in the time."""
        C.llama_memory_clear(C.llama_get_memory(self.context), True)
        chosen, start = [], time.perf_counter()
        for sequence, prompt in enumerate(prompts):
            self._fill([(token, i, sequence) for i, token in enumerate(prompt)], last_only=True)
            C.llama_decode(self.context, self.batch)
            chosen.append(self._argmax(len(prompt) - 1))
        for step in range(steps):
            self._fill([(token, len(prompts[i]) + step, i) for i, token in enumerate(chosen)], last_only=False)
            C.llama_decode(self.context, self.batch)
            chosen = [self._argmax(row) for row in range(len(prompts))]
        return steps * len(prompts) / (time.perf_counter() - start)

    def _fill(self, inputs: list[tuple[int, int, int]], last_only: bool) -> None:
        batch = self.batch
        batch.n_tokens = len(inputs)
        for i, (token, position, sequence) in enumerate(inputs):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = not last_only or i == len(inputs) - 1

    def _argmax(self, row: int) -> int:
        logits = C.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(logits, (self.n_vocab,)).argmax())

    def close(self) -> None:
        C.llama_batch_free(self.batch)
        C.llama_free(self.context)
        C.llama_model_free(self.model)


def ours(engine: Engine, method: sl.Method, parallel: int, steps: int) -> float:
    """Tokens per second of `parallel` generations at once, their prompts included in the time."""
    results: list[sl.Result] = []

    def one(number: int) -> None:
        results.append(
            engine.generate(PROMPT.format(number), raw=True, method=method, max_tokens=steps + 1, seed=number)
        )

    threads = [threading.Thread(target=one, args=(number,)) for number in range(parallel)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if any(result.usage.completion_tokens != steps + 1 for result in results):
        raise click.ClickException("a generation ended early")
    return steps * parallel / seconds


def bench(path: str, threads: int, parallel: int, steps: int, rounds: int, ctx_size: int) -> dict[str, Any]:
    """Tokens per second and ratios to the bare loop at `parallel` sequences."""
    bare = Bare(path, threads, parallel, ctx_size)
    with sl.load(path, threads=threads, ctx_size=ctx_size, parallel=parallel, prompt_cache=False) as engine:
        engine._runtime.model.is_end = lambda token: False  # type: ignore[method-assign]
        prompts = [engine.tokenize(PROMPT.format(number)) for number in range(parallel)]
        rows: dict[str, Callable[[], float]] = {
            "bare llama_decode, argmax": lambda: on_worker(engine, lambda: bare.decode(prompts, steps)),
            "cot": lambda: ours(engine, sl.CoT(), parallel, steps),
            "selar, tau 0.5": lambda: ours(engine, sl.Selar(), parallel, steps),
            "selar, tau 0": lambda: ours(engine, sl.Selar(tau=0.0, symbol_guard=False), parallel, steps),
        }
        speeds: dict[str, list[float]] = {name: [] for name in rows}
        for run in rows.values():
            run()
        order = list(rows)
        for turn in range(rounds):
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                speeds[name].append(rows[name]())
    bare.close()
    base = speeds[order[0]]
    return {
        name: {
            "tokens_per_second": statistics.median(own),
            "ratio_to_bare": statistics.median(a / b for a, b in zip(own, base, strict=True)),
            "rounds": [round(speed, 2) for speed in own],
        }
        for name, own in speeds.items()
    }


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--parallel", default="8,16", show_default=True, help="sequences at once, several figures by commas")
@click.option("--threads", default=2, show_default=True)
@click.option("--ctx-size", default=512, show_default=True, help="per sequence")
@click.option("--steps", default=64, show_default=True, help="tokens a sequence and round")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the figures to this file")
def main(
    model: str, parallel: str, threads: int, ctx_size: int, steps: int, rounds: int, json_path: str | None
) -> None:
    """Compare the throughput of many sequences on MODEL."""
    report: dict[str, Any] = {
        "model": Path(model).name,
        "threads": threads,
        "steps": steps,
        "rounds": rounds,
        "machine": {"system": platform.platform(), "llama.cpp": library.system_info()},
        "versions": {"selar_local": sl.__version__, "llama_cpp_python": llama_cpp.__version__, "numpy": np.__version__},
        "parallel": {},
    }
    for count in map(int, parallel.split(",")):
        figures = report["parallel"][str(count)] = bench(model, threads, count, steps, rounds, ctx_size)
        click.echo(f"{report['model']}, {count} at once, {threads} threads, {rounds} rounds of {steps} tokens each")
        for name, row in figures.items():
            click.echo(f"  {name:28}{row['tokens_per_second']:9.1f} tok/s {row['ratio_to_bare']:7.3f} x bare")
    if json_path:
        Path(json_path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
