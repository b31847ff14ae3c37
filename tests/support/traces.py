"""Traces of our own making, for what reads them and shows them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selar_local.config import SamplingConfig
from selar_local.methods import Method, Selar
from selar_local.trace import Trace, TraceWriter, load_trace
from selar_local.trace.trace import trace_of

Record = dict[str, Any]

WORDS = (
    "the",
    " sky",
    " is",
    " blue",
    " because",
    " light",
    ",",
    " of",
    " waves",
    ".",
    "\n",
    " scatters",
    " é",
    " more",
)


def step(
    token: int,
    text: str,
    entropy: float | None = 0.1,
    explored: bool = False,
    top: Sequence[tuple[int, float]] = (),
    **more: Any,
) -> Record:
    """A step's record but for its number. top: without any, the token and two others. more: such as `fed`, `kept`."""
    listed = top or ((token, 0.9), (token + 1, 0.06), (token + 2, 0.04))
    return {
        "type": "step", "token": token, "text": text, "entropy": entropy, "explored": explored,
        "top": [list(candidate) for candidate in listed], **more,
    }  # fmt: skip


def run(method: Method | None = None, prompt: Sequence[int] = (1, 2, 3), **more: Any) -> Record:
    """A run record. more: fields of it, in place of the usual ones."""
    chosen = method or Selar()
    unit = {} if chosen.entropy_unit == "normalised" else {"entropy_unit": chosen.entropy_unit}
    return {
        "type": "run", "version": "0.1.0",
        "model": {"path": "/nowhere/model.gguf", "sha256": None, "architecture": "llama", "n_vocab": 400},
        "method": chosen.name, "options": asdict(chosen), **unit,
        "sampling": {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.0, "greedy": False, "seed": 7},
        "prompt_tokens": list(prompt), **more,
    }  # fmt: skip


def end(count: int, explored: int = 0, **more: Any) -> Record:
    """An end record."""
    return {
        "type": "end", "finish_reason": "stop", "tokens": count, "explored_steps": explored,
        "prefill_seconds": 0.5, "decode_seconds": 2.0, **more,
    }  # fmt: skip


def write(path: Path, head: Record, steps: Sequence[Record], last: Record | None) -> Path:
    """A trace as a file; the steps get their numbers."""
    records = [head, *({"i": i, **one} for i, one in enumerate(steps)), *([last] if last else [])]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def pieces(texts: Mapping[int, str]) -> dict[str, str]:
    """The texts of tokens as an end record holds them."""
    return {str(token): text for token, text in texts.items()}


def long_trace(path: Path, count: int, seed: int = 0, share: float = 0.06) -> Path:
    """A trace of many steps, some of which explored."""
    source = random.Random(seed)
    steps = []
    for i in range(count):
        at = source.randrange(len(WORDS))
        torn = source.random() < share
        entropy = source.uniform(0.5, 1.0) if torn else source.random() ** 4 * 0.5
        first = source.uniform(0.35, 0.5) if torn else source.uniform(0.6, 1.0)
        others = [(at + 20, (1 - first) * 0.7), (at + 40, (1 - first) * 0.3)]
        text = "\n\n" if i % 90 == 89 else WORDS[at]
        steps.append(step(at, text, round(entropy, 6), torn, [(at, first), *others]))
    texts = {
        at + shift: word + mark for at, word in enumerate(WORDS) for shift, mark in ((0, ""), (20, "2"), (40, "3"))
    }
    last = end(count, sum(one["explored"] for one in steps), pieces=pieces(texts))
    return write(path, run(), steps, last)


def trace(*steps: Record, name: str = "t.jsonl", last: bool = True, **head: Any) -> Trace:
    """A trace that was never a file. last: it has an end record; head: arguments of `run`."""
    return trace_of(name, run(**head), steps, end(len(steps)) if last else None)


def written(path: Path, method: Method, done: Any, vocabulary: Any) -> Trace:
    """The trace of a generation of `methods.fakes`, by way of a file."""
    with TraceWriter(path, lambda message: None) as writer:
        writer.begin({"path": "gone.gguf", "n_vocab": vocabulary.n_vocab}, method, SamplingConfig(), 3, (5,))
        for event in done.events:
            writer.step(event)
        writer.end(done.result, vocabulary.piece)
    return load_trace(path)
