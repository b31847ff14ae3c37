"""Speed, load time and peak memory of selar-local against bare llama.cpp, in one process, interleaved.

    python scripts/bench_decode.py MODEL [--only moi] [--json out.json]

(a) a bare ``llama_decode`` loop with argmax, (b) llama-cpp-python's ``Llama.generate`` with temperature, top-k and
top-p, (c) our ``cot``, (d) our ``selar`` at tau 0 (every step explores) and tau 0.5, both also as a stream, (e) the
other methods; coconut's latent positions count as time, not as steps. All see the same prompt, the same
number of steps, the same threads and the same kernels, and none stops at an end-of-generation token. The rounds take
turns, the figures are medians, and a ratio is the median of the rounds' own ratios to (a).
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
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

PROMPT = "Explain step by step how a bicycle stays upright, and then tell a long story about one."


class Bare:
    """llama.cpp by its C API and nothing else: the yardstick."""

    def __init__(self, path: str, threads: int, ctx_size: int) -> None:
        library.start()
        params = C.llama_model_default_params()
        params.use_extra_bufts = library.repacking_is_safe()
        self.model = C.llama_model_load_from_file(path.encode(), params)
        context = C.llama_context_default_params()
        context.n_ctx = ctx_size
        context.n_threads = context.n_threads_batch = threads
        self.context = C.llama_init_from_model(self.model, context)
        self.n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(self.model))

    def decode(self, prompt: tuple[int, ...], steps: int) -> float:
        """Seconds a step, the prompt left out."""
        C.llama_memory_clear(C.llama_get_memory(self.context), True)
        tokens = (C.llama_token * len(prompt))(*prompt)  # the batch points at it
        C.llama_decode(self.context, C.llama_batch_get_one(tokens, len(prompt)))
        one = (C.llama_token * 1)()
        batch = C.llama_batch_get_one(one, 1)
        one[0] = self._argmax()
        start = time.perf_counter()
        for _ in range(steps):
            C.llama_decode(self.context, batch)
            one[0] = self._argmax()
        return (time.perf_counter() - start) / steps

    def _argmax(self) -> int:
        logits = C.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(logits, (self.n_vocab,)).argmax())

    def close(self) -> None:
        C.llama_free(self.context)
        C.llama_model_free(self.model)


class Generate:
    """llama-cpp-python's own generator."""

    def __init__(self, path: str, threads: int, ctx_size: int) -> None:
        default = C.llama_model_default_params

        def same_kernels() -> Any:  # Llama has no such option; without it a build with AMX may crash
            params = default()
            params.use_extra_bufts = library.repacking_is_safe()
            return params

        C.llama_model_default_params = same_kernels
        try:
            self.llama = llama_cpp.Llama(
                path, n_ctx=ctx_size, n_threads=threads, n_threads_batch=threads, verbose=False
            )
        finally:
            C.llama_model_default_params = default

    def decode(self, prompt: tuple[int, ...], steps: int) -> float:
        self.llama.reset()
        tokens = self.llama.generate(list(prompt), temp=0.6, top_k=20, top_p=0.95, min_p=0.0)
        next(tokens)
        start = time.perf_counter()
        for _ in range(steps):
            next(tokens)
        return (time.perf_counter() - start) / steps


Decode = Callable[[tuple[int, ...], int], float]


def in_worker(engine: Engine, decode: Decode) -> Decode:
    """The same call, made by the engine's worker thread."""
    return lambda prompt, steps: on_worker(engine, lambda: decode(prompt, steps))


def ours(engine: Engine, method: sl.Method, streamed: bool = False) -> Decode:
    """`generate` (the result alone, as evaluation uses it), or a stream whose every token wakes the caller."""

    def decode(_prompt: tuple[int, ...], steps: int) -> float:
        options: dict[str, Any] = {"raw": True, "method": method, "max_tokens": steps + 1, "seed": 7}
        if streamed:
            with engine.stream(PROMPT, **options) as stream:
                for _ in stream:
                    pass
            result = stream.result
        else:
            result = engine.generate(PROMPT, **options)
        if result.usage.completion_tokens != steps + 1:
            raise click.ClickException(f"{method.name} stopped after {result.usage.completion_tokens} tokens")
        return result.timings.decode_seconds / steps

    return decode


def bench_decode(
    path: str, threads: int, ctx_size: int, steps: int, rounds: int, only: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Milliseconds a step and ratios of tokens/s to the bare loop. only: beginnings of the rows' names; (): all."""
    peer, generator = Bare(path, threads, ctx_size), Generate(path, threads, ctx_size)
    with sl.load(path, threads=threads, ctx_size=ctx_size) as engine:
        bare, generate = in_worker(engine, peer.decode), in_worker(engine, generator.decode)
        engine._runtime.model.is_end = lambda token: False  # type: ignore[method-assign]
        prompt = engine.tokenize(PROMPT)
        rows: dict[str, Decode] = {
            "bare llama_decode, argmax": bare,
            "Llama.generate": generate,
            "cot": ours(engine, sl.CoT()),
            "selar, tau 0": ours(engine, sl.Selar(tau=0.0, symbol_guard=False)),
            "selar, tau 0.5": ours(engine, sl.Selar(tau=0.5)),
            "soft-thinking, every step soft": ours(engine, sl.SoftThinking()),
            "swir": ours(engine, sl.SwiReasoning()),
            "swir, window 0: many soft steps": ours(engine, sl.SwiReasoning(window_size=0, symbol_guard=False)),
            "coconut, 6 latent steps": ours(engine, sl.Coconut()),
            "moi, every step": ours(engine, sl.MoI()),
            "multiplex, 3 draws at every step": ours(engine, sl.Multiplex()),
            "cot, streamed": ours(engine, sl.CoT(), streamed=True),
            "selar, tau 0, streamed": ours(engine, sl.Selar(tau=0.0, symbol_guard=False), streamed=True),
            "selar, tau 0.5, streamed": ours(engine, sl.Selar(tau=0.5), streamed=True),
        }
        order = [name for name in rows if not only or name.startswith(("bare", *only))]
        seconds: dict[str, list[float]] = {name: [] for name in order}
        for name in order:
            rows[name](prompt, min(steps, 16))  # warm up
        for turn in range(rounds):
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                seconds[name].append(rows[name](prompt, steps))
    peer.close()
    base = seconds[order[0]]
    return {
        name: {
            "ms_per_step": 1e3 * statistics.median(times),
            "tokens_per_second": 1 / statistics.median(times),
            "ratio_to_bare": statistics.median(b / t for b, t in zip(base, times, strict=True)),
            "rounds_ms": [round(1e3 * t, 3) for t in times],
        }
        for name, times in seconds.items()
    }


def bench_load(path: str, threads: int, ctx_size: int, rounds: int) -> dict[str, Any]:
    """Seconds to a ready context: bare, ours with the injection check's result cached, and ours measuring it."""

    def load_bare() -> None:
        Bare(path, threads, ctx_size).close()

    def load_ours(check_again: bool) -> None:
        config = sl.config.EngineConfig(threads=threads, ctx_size=ctx_size)
        Engine(path, config, check_again=check_again).close()

    rows: dict[str, Callable[[], None]] = {
        "bare model + context": load_bare,
        "selar-local": lambda: load_ours(False),
        "selar-local, first load of a file": lambda: load_ours(True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for load in rows.values():
        load()
    for _ in range(rounds):
        for name, load in rows.items():
            start = time.perf_counter()
            load()
            seconds[name].append(time.perf_counter() - start)
    base = seconds["bare model + context"]
    return {
        name: {
            "seconds": statistics.median(times),
            "ratio_to_bare": statistics.median(t / b for b, t in zip(base, times, strict=True)),
        }
        for name, times in seconds.items()
    }


def bench_memory(path: str, threads: int, ctx_size: int) -> dict[str, float]:
    """Peak resident MB of a fresh process that loads the model and decodes 32 steps, each way."""
    peaks = {}
    for name in ("bare", "ours"):
        command = [
            sys.executable,
            __file__,
            path,
            "--threads",
            str(threads),
            "--ctx-size",
            str(ctx_size),
            "--peak",
            name,
        ]
        peaks[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {**peaks, "difference": peaks["ours"] - peaks["bare"]}


def peak(which: str, path: str, threads: int, ctx_size: int) -> float:
    """This process's own peak after the work `bench_memory` describes."""
    if which == "bare":
        bare = Bare(path, threads, ctx_size)
        bare.decode(tuple(range(100, 120)), 32)
    else:
        with sl.load(path, threads=threads, ctx_size=ctx_size) as engine:
            engine.generate(PROMPT, raw=True, max_tokens=32, seed=7)
    import resource  # not on Windows

    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--threads", default=2, show_default=True)
@click.option("--ctx-size", default=4096, show_default=True)
@click.option("--steps", default=64, show_default=True, help="decode steps a round")
@click.option("--rounds", default=7, show_default=True)
@click.option("--only", multiple=True, help="only rows of the decoding that begin so, and the bare loop")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the figures to this file")
@click.option("--peak", "which", type=click.Choice(["bare", "ours"]), hidden=True)
def main(
    model: str,
    threads: int,
    ctx_size: int,
    steps: int,
    rounds: int,
    only: tuple[str, ...],
    json_path: str | None,
    which: str | None,
) -> None:
    """Compare decoding speed, load time and peak memory on MODEL."""
    if which:
        click.echo(peak(which, model, threads, ctx_size))
        return
    report: dict[str, Any] = {
        "model": Path(model).name,
        "threads": threads,
        "steps": steps,
        "rounds": rounds,
        "machine": {"system": platform.platform(), "llama.cpp": library.system_info()},
        "versions": {"selar_local": sl.__version__, "llama_cpp_python": llama_cpp.__version__, "numpy": np.__version__},
        "decode": bench_decode(model, threads, ctx_size, steps, rounds, only),
    }
    if not only:
        report |= {
            "memory_mb": bench_memory(model, threads, ctx_size),
            "load": bench_load(model, threads, ctx_size, rounds),
        }
    click.echo(f"{report['model']}, {threads} threads, {rounds} rounds of {steps} steps")
    for name, row in report["decode"].items():
        figures = (
            f"{row['ms_per_step']:9.2f} ms {row['tokens_per_second']:9.1f} tok/s {row['ratio_to_bare']:7.3f} x bare"
        )
        click.echo(f"  {name:34}{figures}")
    for name, row in report.get("load", {}).items():
        click.echo(f"  load: {name:34}{row['seconds']:8.3f} s {row['ratio_to_bare']:7.3f} x bare")
    if memory := report.get("memory_mb"):
        click.echo(
            f"  peak memory: bare {memory['bare']:.0f} MB, ours {memory['ours']:.0f} MB "
            f"({memory['difference']:+.0f} MB)"
        )
    if json_path:
        Path(json_path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
