"""The engine against the oracle, step by step: tokens, gates, probabilities, and the vectors that are fed."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from support.tiny_gguf import QuickReader, dequantise_to_f32, tiny_vocabulary, write_tiny_gguf

import selar_local as sl
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.engine.engine import Engine
from selar_local.llama import ggml
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.runtime import Feed, LlamaRuntime
from selar_local.methods.base import Mixture, StepView
from selar_local.methods.distribution import filtered_distribution
from selar_local.methods.symbols import symbol_ids

from .methods import Filters, Selar, Step, selar_step
from .transformer import Cache, ModelInput, Transformer, softmax
from .weights import FLAVOURS, Array, Weights

STEPS = 12
EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off"}
PROMPT = "the answer is so the number of the user — and we 12+7=\n\nin the system: "


# -- the oracle, many runs at a time ----------------------------------------------------------


class Together(Transformer):
    """The oracle's transformer over one new position of each of many texts: every matrix is read once for all."""

    def forward_each(self, inputs: Sequence[ModelInput], caches: Sequence[Cache]) -> Array:
        """Feed each text its input, extend its cache; (texts, n_vocab) logits."""
        rows = [self.rows[item] if isinstance(item, int | np.integer) else item for item in inputs]
        states = np.stack(rows).astype(np.float64) * self.embedding_scale
        positions = np.array([len(cache) for cache in caches])
        for layer in range(self.hyper.n_layer):
            states = self._block(layer, states, positions, caches)
        return self._norm("output_norm", states) @ self.weights.output.T

    def _attention(self, layer: int, states: Array, positions: Any, cache: Any) -> Array:
        if isinstance(cache, Cache):
            return super()._attention(layer, states, positions, cache)
        hyper, name = self.hyper, f"blk.{layer}"
        queries = self._heads(f"{name}.attn_q", states, hyper.n_head)
        keys = self._heads(f"{name}.attn_k", states, hyper.n_head_kv)
        values = self._heads(f"{name}.attn_v", states, hyper.n_head_kv)
        if f"{name}.attn_q_norm.weight" in self.weights.tensors:
            queries = self._norm(f"{name}.attn_q_norm", queries)
            keys = self._norm(f"{name}.attn_k_norm", keys)
        queries, keys = self._rope(layer, queries, positions), self._rope(layer, keys, positions)
        mixed = np.empty((len(states), hyper.n_head, hyper.head_dim))
        group = hyper.n_head // hyper.n_head_kv
        for i, own in enumerate(cache):
            seen, worth = own.extend(layer, keys[i : i + 1], values[i : i + 1])
            if hyper.is_windowed(layer):
                seen, worth = seen[-hyper.window :], worth[-hyper.window :]
            query = queries[i].reshape(hyper.n_head_kv, group, hyper.head_dim)
            shares = softmax(np.einsum("kgd,pkd->kgp", query, seen) / hyper.head_dim**0.5)
            mixed[i] = np.einsum("kgp,pkd->kgd", shares, worth).reshape(hyper.n_head, -1)
        return self._linear(f"{name}.attn_output", mixed.reshape(len(states), -1))


@dataclass(frozen=True)
class Run:
    """One decoding as both sides do it. `seed` None: greedy."""

    prompt: str
    settings: Selar
    guard: bool = False
    seed: int | None = None
    filters: Filters = Filters()
    plain: bool = False  # CoT: the drawn token is every next input

    @property
    def uniforms(self) -> list[float] | None:
        """The engine's draws: one number a step."""
        if self.seed is None:
            return None
        return np.random.Generator(np.random.PCG64(self.seed)).random(STEPS).tolist()

    @property
    def method(self) -> sl.Method:
        if self.plain:
            return sl.CoT() if self.seed is not None else sl.CoTGreedy()
        s = self.settings
        return sl.Selar(k=s.k, tau=s.tau, contrast=s.contrast, symbol_guard=self.guard, gate_on=s.gate_on)

    @property
    def sampling(self) -> dict[str, Any]:
        f = self.filters
        options = {"temperature": f.temperature, "top_k": f.top_k, "top_p": f.top_p, "min_p": f.min_p}
        return {**options, "greedy": self.seed is None, "seed": self.seed}


def oracle_runs(transformer: Together, prompts: dict[str, Sequence[int]], runs: Sequence[Run]) -> list[list[Step]]:
    """Each run's steps. A prompt is computed once; all runs advance together. End tokens do not end them."""
    started: dict[str, tuple[Array, Cache]] = {}
    for text, ids in prompts.items():
        cache = transformer.new_cache()
        started[text] = transformer.forward(list(ids), cache), cache
    caches = [started[run.prompt][1].copy() for run in runs]
    logits = np.stack([started[run.prompt][0] for run in runs])
    uniforms = [run.uniforms for run in runs]
    steps: list[list[Step]] = [[] for _ in runs]
    for number in range(STEPS):
        for own, run, row, draws in zip(steps, runs, logits, uniforms, strict=True):
            settings = replace(run.settings, tau=2.0) if run.plain else run.settings  # no entropy reaches 2
            own.append(selar_step(row, transformer.rows, run.filters, settings, draws and draws[number]))
        if number < STEPS - 1:
            inputs: list[ModelInput] = [own[-1].token if own[-1].vector is None else own[-1].vector for own in steps]
            logits = transformer.forward_each(inputs, caches)
    return steps


# -- the engine's side, and the comparison ----------------------------------------------------


def engine_runs(engine: Engine, runs: Sequence[Run]) -> list[list[sl.TokenEvent]]:
    """Each run's events, one run after the other."""
    events = []
    for run in runs:
        with engine.stream(run.prompt, raw=True, method=run.method, max_tokens=STEPS, **run.sampling) as stream:
            events.append(list(stream))
    return events


@dataclass
class Tally:
    """What was compared: steps, of them exploration steps, the largest differences; where a comparison ended early."""

    runs: int = 0
    steps: int = 0
    explored: int = 0
    probability: float = 0.0
    entropy: float = 0.0
    ended: list[str] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.ended = []

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.steps} steps, {self.explored} explored; largest difference: probability "
            f"{self.probability:.2g}, entropy {self.entropy:.2g}; ended early: {self.ended or 'none'}"
        )


def near(values: Sequence[float] | Array, bound: float, margin: float) -> bool:
    """Whether one of the values lies within `margin` of `bound`."""
    return bool(np.any(np.abs(np.asarray(values) - bound) <= margin))


def on_an_edge(step: Step, run: Run, uniform: float | None, margin: float) -> str | None:
    """Why a difference of `margin` in probabilities or entropy can change what is decided at this step."""
    f = run.filters
    if not run.plain and run.settings.tau > 0 and near([step.entropy], run.settings.tau, margin):
        return f"entropy {step.entropy:.6f} at tau"
    falling = np.sort(step.logits)[::-1][: f.top_k or None]
    kept = softmax(falling / f.temperature)
    if near(np.cumsum(kept), f.top_p, margin):
        return "a cumulative probability at top_p"
    shares = filtered_shares(step, f)
    if near(-np.diff(shares[: run.settings.k + 1]), 0.0, margin) or (uniform is None and near(shares[1:2], shares[0], margin)):
        return "two probabilities alike"
    if uniform is not None and near(np.cumsum(shares), uniform, margin):
        return "a cumulative probability at the drawn number"
    return None


def filtered_shares(step: Step, filters: Filters) -> Array:
    from .methods import filtered_distribution as filtered

    return filtered(step.logits, filters)[1]


def compare(run: Run, events: Sequence[sl.TokenEvent], steps: Sequence[Step], margin: float, tally: Tally) -> None:
    """Fail where the two differ by more than `margin`, or decide differently for no reason of that size."""
    uniforms = run.uniforms or [None] * STEPS
    tally.runs += 1
    for event, step, uniform in zip(events, steps, uniforms, strict=False):
        last = event is events[-1] and len(events) < STEPS  # an end token is fed nowhere
        found = [(token, p) for token, p in event.top if p > 0]
        same = event.token == step.token and [token for token, _ in found] == step.ids[: len(event.top)].tolist()
        if not run.plain and not last:
            same = same and event.explored == step.explored
        if not same:
            # Where something lies on the edge of a decision the two may decide differently, rightly so; what
            # follows can then not be compared.
            edge = on_an_edge(step, run, uniform, margin)
            assert edge, f"{run}: step {event.index}: {event} but the oracle {step}"
            tally.ended.append(f"step {event.index}: {edge}")
            return
        probability = np.abs(np.array([p for _, p in found]) - step.probabilities[: len(event.top)]).max()
        assert probability <= margin, f"{run}: step {event.index}: {event} but the oracle {step}"
        tally.probability = max(tally.probability, float(probability))
        if run.plain:
            assert event.entropy is None and not event.explored
        else:
            assert event.entropy is not None
            assert abs(event.entropy - step.entropy) <= margin, f"{run}: step {event.index}: {event}, oracle {step}"
            tally.entropy = max(tally.entropy, abs(event.entropy - step.entropy))
        tally.steps += 1
        tally.explored += event.explored


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[Engine]:
    with Engine(path, EngineConfig(**{"threads": 1, "ctx_size": 128, **EXACT, **options})) as engine:
        yield engine


def guarded_ids(engine: Engine) -> frozenset[int]:
    return symbol_ids(engine._runtime.model)


def compared(engine: Engine, weights: Path, runs: Sequence[Run], margin: float) -> Tally:
    """Decode `runs` on both sides and compare them all."""
    transformer = Together(Weights.load(weights))
    prompts = {run.prompt: engine.tokenize(run.prompt) for run in runs}
    guarded = guarded_ids(engine)
    known = [replace(run, settings=replace(run.settings, guarded=guarded)) if run.guard else run for run in runs]
    tally = Tally()
    for run, events, steps in zip(
        runs, engine_runs(engine, runs), oracle_runs(transformer, prompts, known), strict=True
    ):
        compare(run, events, steps, margin, tally)
    print(tally)
    return tally
