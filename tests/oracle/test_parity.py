"""The engine against the oracle: tokens, gates, probabilities, and the vectors that are fed.

Each decoding is compared twice. *From the same state*: the oracle is fed, step by step, what the engine says it
chose; the two then agree closely at every step. *Free*: each side goes its own way from the prompt on. A soft step
carries the difference of the arithmetic on and makes it grow, tenfold a step where it is worst, in trained models as in
the tiny random ones here: a free run may part, but only after soft steps, and the others must agree to the end.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from support import tiny_gguf
from support.tiny_gguf import QuickReader, dequantise_to_f32

import selar_local as sl
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.engine.engine import Engine
from selar_local.llama import ggml
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.runtime import Feed, LlamaRuntime
from selar_local.methods.base import Mixture, StepView
from selar_local.methods.distribution import filtered_distribution as ours
from selar_local.methods.symbols import symbol_ids

from .methods import Filters, Selar, Step, filtered_distribution, selar_step, soft_vector
from .transformer import Cache, ModelInput, Transformer, softmax
from .weights import FLAVOURS, Array, Weights

STEPS = 12
EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off"}
PROMPT = "the answer is so the number of the user — and we 12+7=\n\nin the system: "
FREE_MARGIN = 1e-3
# From the same state only the arithmetic of one step differs (float32 against float64): 1e-5 was seen.
MARGIN = 1e-4
# ggml's GELU is a table of half-precision numbers: whatever lies on the edge of a rounding moves logits by up to 4e-3.
GEMMA_MARGIN = 2e-3
# Soft steps after which a difference of that size may have grown beyond FREE_MARGIN: tenfold a step was seen in the
# tiny models. Gemma's roundings start out there.
SOFT_BEFORE_PARTING, GEMMA_SOFT_BEFORE_PARTING = 2, 1

Events = list[sl.TokenEvent]


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
    filters: Filters = field(default_factory=Filters)
    plain: bool = False  # CoT: the drawn token is every next input
    ends: frozenset[int] = frozenset()  # drawing one of these ids ends the text

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


def oracle_runs(
    transformer: Together,
    prompts: dict[str, Sequence[int]],
    runs: Sequence[Run],
    followed: Sequence[Events] | None = None,
) -> list[list[Step]]:
    """Each run's steps; all runs advance together, a prompt is computed once. End tokens do not end them.

    followed: the oracle decides for itself, but goes on with what these events say was chosen.
    """
    started: dict[str, tuple[Array, Cache]] = {}
    for text, ids in prompts.items():
        cache = transformer.new_cache()
        started[text] = transformer.forward(list(ids), cache), cache
    caches = [started[run.prompt][1].copy() for run in runs]
    logits = np.stack([started[run.prompt][0] for run in runs])
    uniforms = [run.uniforms for run in runs]
    steps: list[list[Step]] = [[] for _ in runs]
    for number in range(STEPS):
        inputs: list[ModelInput] = []
        for i, run in enumerate(runs):
            settings = replace(run.settings, tau=2.0) if run.plain else run.settings  # no entropy reaches 2
            uniform = None if (draws := uniforms[i]) is None else draws[number]
            step = selar_step(logits[i], transformer.rows, run.filters, settings, uniform)
            steps[i].append(step)
            if followed is None:
                inputs.append(step.token if step.vector is None else step.vector)
            else:
                inputs.append(said(followed[i][min(number, len(followed[i]) - 1)], run, transformer.rows))
        if number < STEPS - 1:
            logits = transformer.forward_each(inputs, caches)
    return steps


def said(event: sl.TokenEvent, run: Run, rows: Array) -> ModelInput:
    """The next input of an event, as the oracle makes it of the probabilities and the entropy reported there."""
    if not event.explored:
        return event.token
    assert event.entropy is not None
    ids, probabilities = [token for token, _ in event.top], np.array([p for _, p in event.top])
    return soft_vector(probabilities / probabilities.sum(), rows[ids], run.settings.contrast * event.entropy)


# -- the engine's side, and the comparison ----------------------------------------------------


def engine_runs(engine: Engine, runs: Sequence[Run]) -> list[Events]:
    """Each run's events; as many runs at once as the engine was opened for."""
    streams: list[sl.Stream] = []
    events: list[Events] = []
    for run in runs:
        if len(streams) - len(events) == engine.config.parallel:
            events.append(list(streams[len(events)]))
        streams.append(engine.stream(run.prompt, raw=True, method=run.method, max_tokens=STEPS, **run.sampling))
    return events + [list(stream) for stream in streams[len(events) :]]


@dataclass
class Tally:
    """What was compared, the largest differences, and where something lay on the edge of a decision."""

    runs: int = 0
    same_text: int = 0  # runs whose tokens are all the same
    steps: int = 0
    agreed: int = 0
    explored: int = 0
    probability: float = 0.0
    entropy: float = 0.0
    edges: list[str] = field(default_factory=list)
    parted: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.agreed} of {self.steps} steps agree ({self.explored} explored) within {self.probability:.2g} in "
            f"probability, {self.entropy:.2g} in entropy; {self.same_text} of {self.runs} texts are the same; edges: "
            f"{self.edges}; parted at {sorted(self.parted)}"
        )


def on_an_edge(step: Step, run: Run, uniform: float | None, margin: float) -> str | None:
    """Why a difference of `margin` in probabilities or entropy may change what is decided here; None: it may not."""

    def near(values: Array, bound: float) -> bool:
        return bool((np.abs(values - bound) <= margin).any())

    filters, tau = run.filters, run.settings.tau
    if not run.plain and tau > 0 and abs(step.entropy - tau) <= margin:
        return "an entropy at tau"
    falling = np.sort(step.logits)[::-1]
    kept = softmax(falling[: filters.top_k or None] / filters.temperature)
    if filters.top_p < 1 and near(np.cumsum(kept), filters.top_p):
        return "a cumulative probability at top_p"
    if filters.min_p > 0 and near(kept / kept[0], filters.min_p):
        return "a probability at min_p"
    shares = filtered_distribution(step.logits, filters)[1]
    if near(np.diff(shares[: max(run.settings.k, 3) + 1]), 0.0):
        return "two probabilities alike"
    if uniform is not None and near(np.cumsum(shares), uniform):
        return "a cumulative probability at the drawn number"
    return None


def difference(event: sl.TokenEvent, step: Step, run: Run) -> tuple[float, float] | None:
    """The largest differences in probability and entropy; None where the two decide differently."""
    found = [(token, p) for token, p in event.top if p > 0]
    expected = list(zip(step.ids.tolist(), step.probabilities.tolist(), strict=True))[: len(event.top)]
    if event.token != step.token or [token for token, _ in found] != [token for token, _ in expected]:
        return None
    probability = max(abs(p - q) for (_, p), (_, q) in zip(found, expected, strict=True))
    if run.plain:
        return None if event.explored or event.entropy is not None else (probability, 0.0)
    if event.entropy is None or event.explored != (step.explored and step.token not in run.ends):
        return None
    return probability, abs(event.entropy - step.entropy)


def shown(step: Step) -> str:
    """The step without its long arrays."""
    chosen = f"token {step.token}, entropy {step.entropy}, explored {step.explored}"
    return f"{chosen}, top {list(zip(step.ids.tolist(), step.probabilities.tolist(), strict=True))}"


def compare(
    run: Run, events: Events, steps: Sequence[Step], margin: float, tally: Tally, soft_free: int | None = None
) -> None:
    """Fail where the two differ by more than `margin` or decide differently, unless there is a reason of that size.

    soft_free: the two ran free, and may part after this many soft steps.
    """
    uniforms = run.uniforms or [None] * STEPS
    assert len(events) == STEPS or events[-1].token in run.ends, run
    tally.runs += 1
    tally.same_text += [event.token for event in events] == [step.token for step in steps[: len(events)]]
    tally.steps += len(events)
    soft = 0
    for event, step, uniform in zip(events, steps, uniforms, strict=False):
        apart = difference(event, step, run)
        if apart is not None and max(apart) <= margin:
            tally.probability, tally.entropy = max(tally.probability, apart[0]), max(tally.entropy, apart[1])
            tally.agreed += 1
            tally.explored += event.explored
            soft += event.explored
            continue
        # Where a number lies within `margin` of the edge of a decision (an entropy at tau, ...) both ways are right.
        # A free comparison ends there, as it does where soft steps have made the difference grow.
        edge = on_an_edge(step, run, uniform, margin) if apart is None else None
        grown = soft_free is not None and soft >= soft_free
        assert edge or grown, f"{run}\n{event}\nbut the oracle: {shown(step)}"
        if edge:
            tally.edges.append(f"{event.index}: {edge}")
        else:
            tally.parted.append(event.index)
        if soft_free is not None:
            return


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[Engine]:
    """An engine that computes as exactly as llama.cpp can."""
    with Engine(path, EngineConfig(**{"threads": 1, "ctx_size": 128, **EXACT, **options})) as engine:
        yield engine


def known_to(engine: Engine, runs: Sequence[Run]) -> list[Run]:
    """The runs with the ids that end a text, and those that the symbol guard knows."""
    model = engine._runtime.model
    ends = frozenset(token for token in range(model.n_vocab) if model.is_end(token))
    guarded = symbol_ids(model)
    return [
        replace(run, ends=ends, settings=replace(run.settings, guarded=guarded if run.guard else frozenset()))
        for run in runs
    ]


def both_ways(
    engine: Engine, weights: Path, runs: Sequence[Run], margin: float = MARGIN, soft_free: int = SOFT_BEFORE_PARTING
) -> tuple[Tally, Tally]:
    """Decode `runs` on both sides; compare from the same state, and free."""
    runs = known_to(engine, runs)
    prompts = {run.prompt: engine.tokenize(run.prompt) for run in runs}
    events = engine_runs(engine, runs)
    transformer = Together(Weights.load(weights))
    same, free = Tally(), Tally()
    for run, own, steps in zip(runs, events, oracle_runs(transformer, prompts, runs, events), strict=True):
        compare(run, own, steps, margin, same)
    for run, own, steps in zip(runs, events, oracle_runs(transformer, prompts, runs), strict=True):
        compare(run, own, steps, max(margin, FREE_MARGIN), free, soft_free)
    print(f"\nfrom the same state: {same}\nfree: {free}")
    assert same.agreed >= 0.97 * same.steps, same
    return same, free


# -- tiny models ------------------------------------------------------------------------------

GRID = [
    Run(PROMPT, Selar(k=k, tau=tau, contrast=contrast, gate_on=gate), guard, seed)
    for k, tau, contrast, gate, guard, seed in itertools.product(
        (3, 5), (0.0, 0.3, 0.5), (0.0, 1.0), ("filtered", "full"), (False, True), (None, 7)
    )
]
PLAIN = [Run(PROMPT, Selar(), seed=seed, plain=True) for seed in (None, 1, 2)]
FILTERED = [
    Run(PROMPT, Selar(k=4, tau=0.4), seed=3, filters=filters)
    for filters in (Filters(1.0, 0, 1.0, 0.0), Filters(0.8, 0, 0.7, 0.0), Filters(1.3, 5, 1.0, 0.2), Filters(0.6, 2))
]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_tiny_models_decode_as_the_oracle(flavour: str, tiny: Callable[..., Path]) -> None:
    path = tiny(architecture=flavour, seed=1)
    gemma = flavour == "gemma3"
    with opened(path) as engine:
        assert engine.info.injection_max_abs_diff == 0.0
        limits = (GEMMA_MARGIN, GEMMA_SOFT_BEFORE_PARTING) if gemma else (MARGIN, SOFT_BEFORE_PARTING)
        same, free = both_ways(engine, path, [*GRID, *PLAIN, *FILTERED], *limits)
    assert 0.3 < same.explored / same.agreed < 0.9
    assert free.agreed >= (0.5 if gemma else 0.7) * free.steps and free.same_text > free.runs / 2, free


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_plain_runs_never_part(flavour: str, tiny: Callable[..., Path]) -> None:
    """What feeds tokens only carries no difference on: free runs agree to the end within one step's margin."""
    path = tiny(architecture=flavour, seed=1)
    margin = GEMMA_MARGIN if flavour == "gemma3" else MARGIN
    never = [replace(run, settings=Selar(tau=1.01), plain=False) for run in PLAIN]
    with opened(path) as engine:
        runs = known_to(engine, [*PLAIN, *never])
        events = engine_runs(engine, runs)
        steps = oracle_runs(Together(Weights.load(path)), {PROMPT: engine.tokenize(PROMPT)}, runs)
    tally = Tally()
    for run, own, expected in zip(runs, events, steps, strict=True):
        compare(run, own, expected, margin, tally, soft_free=STEPS)
    assert tally.agreed == len(runs) * STEPS, tally


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_many_texts_at_once_are_each_alone(flavour: str, tiny: Callable[..., Path]) -> None:
    together = Together(Weights.load(tiny(architecture=flavour, seed=1)))
    caches, twins = [together.new_cache() for _ in range(3)], [together.new_cache() for _ in range(3)]
    for length, cache, twin in zip((2, 16, 40), caches, twins, strict=True):
        together.forward(list(range(length)), cache)
        together.forward(list(range(length)), twin)
    for inputs in ([5, together.rows[7] - 0.3 * together.rows[9], 250], [99, 98, 97]):
        expected = [together.forward([item], twin) for item, twin in zip(inputs, twins, strict=True)]
        np.testing.assert_allclose(together.forward_each(inputs, caches), expected, atol=1e-10)


# -- quantised token embeddings, and the vectors that are fed ---------------------------------

_QUANTISE = ggml.symbol(
    "ggml_quantize_chunk",
    ctypes.c_size_t,
    [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p],
)


def native_quantise(values: npt.NDArray[np.float32], kind: GGMLQuantizationType) -> npt.NDArray[Any]:
    """Like `gguf.quants.quantize`, by ggml itself: it can write all types."""
    if values.ndim == 1 or kind in (GGMLQuantizationType.F32, GGMLQuantizationType.BF16):
        return quantize(values, kind)
    if _QUANTISE is None:
        pytest.skip("ggml's own quantisation cannot be reached in this build")
    values = np.ascontiguousarray(values, np.float32)
    rows, columns = values.shape
    out = np.zeros((rows, ggml.row_size(int(kind), columns)), np.uint8)
    importance = np.ones(columns, np.float32)
    _QUANTISE(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, importance.ctypes.data)
    return out.view(np.float16) if kind == GGMLQuantizationType.F16 else out


def made_up(values: npt.NDArray[np.float32], kind: GGMLQuantizationType) -> npt.NDArray[np.uint8]:
    """Random blocks of a type that ggml takes seconds to write. No scale (in byte 1 or the last) is infinite or NaN."""
    traits = ggml.type_traits()[int(kind)]
    shape = (len(values), values.shape[1] // traits.block, traits.block_bytes)
    blocks = np.random.default_rng(6).integers(0, 256, shape, np.uint8)
    blocks[:, :, [1, -1]] &= 0x3F
    return blocks.reshape(len(values), -1)


WRITERS: dict[Callable[..., npt.NDArray[Any]], tuple[str, ...]] = {
    quantize: ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"),
    native_quantise: ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "NVFP4", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
    made_up: ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"),
}


def table_file(path: Path, kind: GGMLQuantizationType, by: Callable[..., Any]) -> npt.NDArray[np.float32]:
    """Write a GGUF file that holds a token-embedding matrix only; its values as gguf reads them."""
    values = np.random.default_rng(3).standard_normal((37, 512), np.float32)
    values[5], values[6, 7] = 0.0, 40.0
    data = by(values, kind)
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tensor,) = QuickReader(path).tensors
    rows: npt.NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
    return rows


@pytest.mark.parametrize(("name", "by"), [(name, by) for by, names in WRITERS.items() for name in names])
def test_rows_are_gguf_s_to_the_bit(
    name: str, by: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.gguf"
    expected = table_file(path, GGMLQuantizationType[name], by)
    table = EmbeddingTable(open_gguf(path))
    assert (table.n_vocab, table.n_embd, table.type_name.upper()) == (37, 512, name)
    assert np.isfinite(expected).all() and np.abs(expected).max() > 0
    ids = np.array([36, 0, 5, 6, 6, 11])
    assert table.rows(ids).tobytes() == expected[ids].tobytes()
    out = np.full(512, np.nan, np.float32)
    table.row(6, out)
    assert out.tobytes() == expected[6].tobytes()
    table.mix(np.array([6]), np.ones(1), out)
    assert out.tobytes() == expected[6].tobytes()
    # And where ggml's functions cannot be reached.
    monkeypatch.setattr("selar_local.llama.ggml.to_float", lambda kind: None)
    assert EmbeddingTable(open_gguf(path)).rows(ids).tobytes() == expected[ids].tobytes()


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0", "Q4_K"])
def test_the_fed_vector_is_the_oracle_s(
    flavour: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_gguf, "quantize", native_quantise)
    options = {"architecture": flavour, "token_embd_type": kind, "n_embd": 256, "n_ff": 32, "n_layer": 1, "seed": 2}
    path = tiny_gguf.write_tiny_gguf(tmp_path / "model.gguf", **options)
    transformer = Transformer(Weights.load(path))
    runtime = LlamaRuntime(path, EngineConfig(threads=1, ctx_size=64, **EXACT))
    try:
        stepper = sl.Selar(k=5, tau=0, symbol_guard=False).start(runtime.model)
        random = np.random.default_rng(4)
        assert runtime.prefill(0, 0, [1, 2], True, bool) is not None
        for position in range(2, 22):
            logits = (4 * random.standard_normal(runtime.model.n_vocab)).astype(np.float32)
            sampling = SamplingConfig(top_p=0.7) if position % 2 else SamplingConfig(temperature=2.0)
            distribution = ours(logits, sampling, 5)
            step = selar_step(
                logits.astype(np.float64),
                transformer.rows,
                Filters(sampling.temperature, top_p=sampling.top_p),
                Selar(k=5, tau=0),
                None,
            )
            decision = stepper(StepView(logits, distribution, step.token, sampling.temperature, False))
            assert isinstance(decision.next_input, Mixture) and step.vector is not None
            runtime.step([Feed(0, position, decision.next_input)], True)
            fed, expected = runtime.batch.rows(1)[0], step.vector * transformer.embedding_scale
            assert np.abs(fed - expected).max() <= 1e-5 * np.abs(expected).max()
    finally:
        runtime.close()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K"])
@pytest.mark.parametrize("flavour", ["llama", "qwen3"])
def test_models_with_quantised_rows_decode_as_the_oracle(
    flavour: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the rows are quantised: llama.cpp rounds what meets a quantised matrix, and the oracle does not."""
    monkeypatch.setattr(tiny_gguf, "quantize", native_quantise)
    options = {"architecture": flavour, "token_embd_type": kind, "n_embd": 256, "n_ff": 64, "seed": 2}
    path = tiny_gguf.write_tiny_gguf(tmp_path / "model.gguf", tie_embeddings=False, **options)
    runs = [run for run in GRID if run.settings.tau == 0.3 and not run.guard]
    with opened(path) as engine:
        same, _ = both_ways(engine, path, runs)
    assert same.explored > 0


# -- a real model -----------------------------------------------------------------------------

REAL_PROMPTS = {
    "arithmetic": "Question: A farmer has 17 sheep and buys 5 more. How many sheep has she now?\nAnswer:",
    "code": 'def is_prime(n):\n    """Return True if n is prime."""\n    if n < 2:\n        return',
    "story": "Once upon a time, in a village at the edge of a dark forest, there lived an old",
    "list": "Five things to pack for a trip to the mountains:\n1. Warm clothes\n2. A map\n3.",
    "non-English": "La capitale de la France est Paris, et la capitale de l'Allemagne est",
    "chat": "<|im_start|>user\nName three colours of the rainbow.<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.fixture(scope="session")
def smollm2_f32(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = dequantise_to_f32(smollm2, tmp_path_factory.mktemp("f32") / "smollm2-f32.gguf")
    yield path
    path.unlink()  # half a gigabyte, and pytest keeps the folders of three sessions


@pytest.mark.gguf
def test_smollm2_decodes_as_the_oracle(smollm2_f32: Path) -> None:
    settings = [
        Selar(k=k, tau=tau, contrast=contrast)
        for k, tau, contrast in itertools.product((3, 5), (0.0, 0.3, 0.5), (0.0, 1.0))
    ]
    runs = [Run(prompt, own) for prompt in REAL_PROMPTS.values() for own in settings]
    runs += [Run(REAL_PROMPTS["arithmetic"], own, guard=True) for own in settings]
    runs += [Run(prompt, Selar(), plain=True) for prompt in REAL_PROMPTS.values()]
    runs += [Run(REAL_PROMPTS["story"], own, seed=5) for own in settings[:6]]

    # Several at once, because a step is bound by reading the weights; one thread, because two that wait for each other
    # take many times as long on a busy machine.
    with opened(smollm2_f32, parallel=8) as engine:
        assert engine.info.injection_max_abs_diff == 0.0
        same, free = both_ways(engine, smollm2_f32, runs)
    assert same.explored > 300
    assert free.agreed >= 0.9 * free.steps and free.same_text >= 0.9 * free.runs, free


@pytest.mark.gguf
def test_rows_of_real_models_are_gguf_s_to_the_bit(models_dir: Path) -> None:
    paths = sorted(models_dir.glob("*.gguf"))
    if not paths:
        pytest.skip(f"no GGUF file in {models_dir}")
    for path in paths:
        (tensor,) = (tensor for tensor in QuickReader(path).tensors if tensor.name == "token_embd.weight")
        table = EmbeddingTable(open_gguf(path))
        ids = np.random.default_rng(0).integers(0, table.n_vocab, 500)
        assert table.rows(ids).tobytes() == dequantize(tensor.data[ids], tensor.tensor_type).tobytes(), path.name
