"""Studies made by hand and by chance, for the tests of figures and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from selar_local.evaluation.records import BINS, Answer, MethodRun, Study
from selar_local.methods import Selar

FACTS = {
    "model_sha256": "ab" * 32, "quantisation": "Q4_K_M", "selar_local": "0.1", "backend": "cpu", "seed": 3,
    "samples": 2, "parallel": 8, "max_tokens": 512, "problems": 60, "sampling": {"temperature": 0.6},
    "template_hash": None, "sampling_given": {"temperature": 0.7}, "ctx_size": 2048,
}  # fmt: skip


def selar(**given: Any) -> dict[str, Any]:
    """All options of SeLaR, as a log has them."""
    return asdict(Selar(**given))


def told(label: str, right: Mapping[str, Sequence[int]], method: str | None = None, **more: Any) -> MethodRun:
    """A run with these answers: 1 is right, 0 is wrong; 100 tokens each, 10 of them explored, but for cot."""
    method = method or label.split(maxsplit=1)[0]
    explored = 0 if method == "cot" else 10
    answers = tuple(
        Answer(problem, place, bool(one), more.get("tokens", 100), explored, seconds=1.0)
        for problem, samples in right.items()
        for place, one in enumerate(samples, 1)
    )
    return MethodRun(label, method, answers, more.get("options", {}), wall_seconds=more.get("wall_seconds", 12.0))


def drawn(
    label: str,
    logit: float,
    seed: int,
    *,
    problems: int = 60,
    samples: int = 2,
    options: Mapping[str, Any] | None = None,
    explored: float = 0.1,
    counted: bool = False,
) -> MethodRun:
    """A run by chance; the problems are as hard for every method. counted: with words and slips."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(99).normal(size=problems)
    answers = []
    for place in range(problems):
        for sample in range(1, samples + 1):
            tokens = int(rng.integers(200, 400))
            right = bool(rng.random() < 1 / (1 + np.exp(-logit - 2 * hard[place])))
            cut = bool(rng.random() < 0.05)
            text = {"words": tokens // 2, "doubled": place % 3, "merged": place % 2, "missing": 0} if counted else {}
            answers.append(Answer(f"q{place}", sample, right, tokens, int(explored * tokens), cut, False, 1.5, **text))
    entropies = tuple(int(1000 / (1 + place)) for place in range(BINS))
    return MethodRun(label, label.split(maxsplit=1)[0], tuple(answers), options or {}, entropies, 99.0)


def full_study(task: str = "gsm8k", model: str = "tiny.gguf") -> Study:
    """All kinds of rows: baseline, SeLaR, its ablations, a sweep."""
    runs = (
        drawn("cot", 0.2, 1, explored=0),
        drawn("selar", 0.4, 2, options=selar()),
        drawn("selar contrast=0", 0.3, 3, options=selar(contrast=0.0)),
        drawn("selar tau=0 symbol_guard=off", -2.5, 4, options=selar(tau=0, symbol_guard=False), explored=1),
        drawn("selar invert_gate=on", -2.5, 5, options=selar(invert_gate=True)),
        *(
            drawn(f"selar tau={tau}", logit, 6 + place, options=selar(tau=tau))
            for place, (tau, logit) in enumerate(((0.3, 0.2), (0.4, 0.2), (0.6, -2.5)))
        ),
    )
    return Study(task, model, runs, FACTS)
