"""Throughput of an evaluation against the engine's own, on the same requests, interleaved.

    python scripts/bench_eval.py MODEL [--parallel 16] [--json out.json]

The engine's own: as many threads as sequences, each calling ``generate`` for one request after the other. The
evaluation: the same prompts, methods and seeds by `selar_local.evaluation`, with Inspect's logs written, from the call
of Inspect to its return; the grading, a step of its own, is left out. No answer ends before its budget. The figures
are medians, a ratio is the median of the rounds' own ratios of tokens/s.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.evaluation import facts, plan, runner
from selar_local.evaluation.config import EvaluationConfig, MethodSpec, methods_of, seed_of
from selar_local.evaluation.generation import METER, shared_engines
from selar_local.evaluation.problems import Problem, load_problems, prompt_of


def own(engine: sl.Engine, spec: MethodSpec, problems: list[Problem], parallel: int, steps: int) -> float:
    """Tokens per second of the engine alone."""
    waiting: Iterator[Problem] = iter(problems)
    lock = threading.Lock()
    tokens: list[int] = []

    def work() -> None:
        while True:
            with lock:
                problem = next(waiting, None)
            if problem is None:
                return
            result = engine.generate(
                messages=[{"role": "user", "content": prompt_of(problem)}],
                method=spec.method,
                max_tokens=steps,
                seed=seed_of(0, problem.id, 1),
            )
            tokens.append(result.usage.completion_tokens)

    threads = [threading.Thread(target=work) for _ in range(parallel)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(tokens) / (time.perf_counter() - start)


def evaluated(study: plan.Evaluation, spec: MethodSpec, metadata: dict[str, Any]) -> float:
    """Tokens per second of the evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = METER.tokens, time.perf_counter()
        runner._generate(study, spec, None, Path(folder), metadata, plan.Observer())
        return (METER.tokens - before) / (time.perf_counter() - start)


def bench(path: str, threads: int, parallel: int, answers: int, steps: int, rounds: int) -> dict[str, Any]:
    """Tokens per second of both, and their ratio, for each method."""
    config = EvaluationConfig(limit=answers, max_tokens=steps, parallel=parallel)
    problems = load_problems(config.task, None, answers, config.seed)
    specs = methods_of("cot,selar")
    size = facts.context_for(Path(path), [prompt_of(one) for one in problems], steps)
    engine_config = EngineConfig(ctx_size=size, parallel=parallel, threads=threads)
    study = plan.Evaluation(config, tuple(specs), tuple(problems), Path(path), engine_config, {})
    report: dict[str, Any] = {}
    with sl.Engine(path, engine_config) as engine, shared_engines().lend(engine, Path(path)):
        engine._runtime.model.is_end = lambda token: False  # type: ignore[method-assign]
        metadata = {**study.settings(), **facts.environment()}
        for spec in specs:  # warm: Inspect is imported, the prompts' beginnings are in the cache
            evaluated(replace(study, problems=study.problems[:parallel]), spec, metadata)
        for spec in specs:
            pairs: list[tuple[float, float]] = []
            for turn in range(rounds):
                both = {}
                for name in ("own", "evaluated") if turn % 2 else ("evaluated", "own"):
                    if name == "own":
                        both[name] = own(engine, spec, problems, parallel, steps)
                    else:
                        both[name] = evaluated(study, spec, metadata)
                pairs.append((both["own"], both["evaluated"]))
            report[spec.label] = {
                "engine": statistics.median(a for a, _ in pairs),
                "evaluation": statistics.median(b for _, b in pairs),
                "ratio": statistics.median(b / a for a, b in pairs),
                "rounds": [[round(a, 1), round(b, 1)] for a, b in pairs],
            }
    return report


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--parallel", default=16, show_default=True, help="answers decoded together")
@click.option("--threads", default=2, show_default=True)
@click.option("--answers", default=64, show_default=True, help="a round")
@click.option("--steps", default=96, show_default=True, help="tokens an answer")
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the figures to this file")
def main(model: str, parallel: int, threads: int, answers: int, steps: int, rounds: int, json_path: str | None) -> None:
    """Compare an evaluation's throughput on MODEL with that of the engine itself."""
    figures = bench(model, threads, parallel, answers, steps, rounds)
    click.echo(
        f"{Path(model).name}, {parallel} at once, {threads} threads, {rounds} rounds of {answers} x {steps} tokens"
    )
    for label, row in figures.items():
        click.echo(
            f"  {label:8} engine {row['engine']:8.1f} tok/s, evaluation {row['evaluation']:8.1f} tok/s, "
            f"ratio {row['ratio']:.3f}"
        )
    if json_path:
        report = {"model": Path(model).name, "machine": platform.platform(), "parallel": parallel, "methods": figures}
        Path(json_path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
