"""The engine's side of a comparison: texts decoded, and all that went into and came out of llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import selar_local as sl
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.engine.events import Result, TokenEvent
from selar_local.engine.model_info import describe
from selar_local.engine.prompts import Prompts
from selar_local.engine.scheduler import Scheduler
from selar_local.engine.sequence import Sequence
from selar_local.llama.inputs import Feed
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Decision, NextInput, Stepper, StepView
from selar_local.methods.symbols import symbol_ids

from .methods import Filters, Selar, uniform_numbers
from .moi import MoI
from .multiplex import Multiplex
from .outcomes import Known, Text
from .soft_thinking import SoftThinking
from .swireasoning import Swir
from .texts import Coconut, Plain, Settings, text_of
from .weights import Array

STEPS = 12
EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off"}


@dataclass(frozen=True)
class Run:
    """One decoding as both sides do it. Ids of the vocabulary are filled in by `known_to`."""

    prompt: str
    settings: Settings
    seed: int | None = None  # None: greedy
    filters: Filters | None = None  # None: the method's own
    guard: bool = False
    max_tokens: int | None = STEPS
    more: Mapping[str, Any] = field(default_factory=dict)  # options of the engine's method that the oracle lacks
    keep_form: bool = True

    @cached_property
    def method(self) -> sl.Method:
        """The engine's."""
        own, options = self.settings, dict(self.more)
        if isinstance(own, Plain):
            return sl.CoT() if self.seed is not None else sl.CoTGreedy()
        if isinstance(own, Selar):
            names = "k tau contrast gate_on gate_by strict_gate invert_gate scope repel anchor show max_share"
            return sl.Selar(symbol_guard=self.guard, **{name: getattr(own, name) for name in names.split()}, **options)
        if isinstance(own, SoftThinking):
            for name in ("temperature", "top_k", "top_p", "min_p") if own.after else ():
                options[f"after_{name}"] = getattr(own.after, name)
            names = "max_topk noise noise_temperature cold_stop_entropy cold_stop_steps"
            return sl.SoftThinking(**{name: getattr(own, name) for name in names.split()}, **options)
        if isinstance(own, Swir):
            options = {"soft_mass": 1.0, "soft_rows": 0, **options}
            names = "beta_on window_size max_switch_count think_start think_end"
            options |= {name: getattr(own, name) for name in names.split()}
            return sl.SwiReasoning(alpha=own.alpha_0, beta=own.beta_0, symbol_guard=self.guard, **options)
        if isinstance(own, MoI):
            names = "beta candidates mix_on normaliser direct_mixture scope tau k"
            return sl.MoI(symbol_guard=self.guard, **{name: getattr(own, name) for name in names.split()}, **options)
        if isinstance(own, Multiplex):
            return sl.Multiplex(draws=own.draws, averaged=own.averaged, show=own.show, **options)
        return sl.Coconut(latent_steps=own.n_latent, latent_start=own.start, latent_end=own.end)

    @property
    def options(self) -> dict[str, Any]:
        """How the engine samples, and how long."""
        own, f = {"greedy": self.seed is None, "seed": self.seed or 0, "max_tokens": self.max_tokens}, self.filters
        own["keep_form"] = self.keep_form
        if f is None:
            return own
        return {"temperature": f.temperature, "top_k": f.top_k, "top_p": f.top_p, "min_p": f.min_p, **own}


@dataclass(frozen=True)
class Look:
    """What the engine's method was shown at a position, and what it decided."""

    logits: npt.NDArray[np.float32] = field(repr=False)
    hidden: Array | None = field(repr=False)
    decision: Decision
    switch_count: int | None


@dataclass(frozen=True)
class Fed:
    """An input, and the row of floats that went into llama.cpp; None where the input went as a token's id."""

    sequence: int
    position: int
    next_input: NextInput
    row: Array | None


@dataclass(frozen=True)
class Played:
    """One run as the engine did it; looks and inputs start behind the prompt, and no input follows the last look."""

    run: Run
    known: Known
    prompt: tuple[int, ...]
    events: list[sl.TokenEvent]
    result: Result
    looks: list[Look]
    fed: list[Fed]

    @cached_property
    def uniforms(self) -> list[float | None]:
        """The numbers that tokens are drawn with, one a look; None where the most probable is taken."""
        if self.run.seed is None or isinstance(self.run.settings, Coconut):
            return [None] * len(self.looks)
        return list(uniform_numbers(self.run.seed, len(self.looks)))

    @property
    def limit(self) -> int | None:
        """The most tokens that the text may have, so far as the oracle knows."""
        return self.run.settings.max_tokens if isinstance(self.run.settings, Swir) else self.run.max_tokens

    def text(self, rows: Array) -> Text:
        """The oracle at its beginning."""
        return text_of(self.run.settings, self.run.filters, replace(self.known, rows=rows))


class Spy(Stepper):
    """Notes what a method's stepper sees and decides."""

    def __init__(self, inner: Stepper) -> None:
        self.inner, self.looks = inner, list[Look]()

    @property
    def sampling(self) -> SamplingConfig | None:
        return self.inner.sampling

    def __call__(self, view: StepView) -> Decision:
        decision = self.inner(view)
        hidden = None if view.hidden is None else view.hidden.astype(np.float64)
        switch_count = getattr(self.inner, "switch_count", None)
        self.looks.append(Look(view.logits.copy(), hidden, decision, switch_count))
        return decision


_MOST = 16  # sequences of an engine


@contextmanager
def noting_inputs(runtime: LlamaRuntime) -> Iterator[list[Fed]]:
    """Within: every input of a step goes into the list."""
    noted = list[Fed]()
    step = runtime.step

    def noting(feeds: Many[Feed], prefer_rows: bool, hidden: bool = False) -> list[npt.NDArray[np.float32]]:
        rows = runtime.batch.rows(_MOST)
        rows[:] = np.nan  # what stays so was not fed
        logits = step(feeds, prefer_rows, hidden)
        places = runtime.batch._sequences.tolist()  # fillers may stand between the feeds
        for feed in feeds:
            row = rows[places.index(feed.sequence)].astype(np.float64)
            noted.append(Fed(*feed, None if np.isnan(row).all() else row))
        return logits

    runtime.step = noting  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        del runtime.step  # type: ignore[method-assign]


def known_to(engine: DirectEngine, run: Run) -> tuple[Run, Known]:
    """The run with the ids of this vocabulary, and what the oracle must be told beside it."""
    model, prompt = engine.runtime.model, run.prompt.rstrip()
    pieces = [model.piece(token) for token in range(model.n_vocab)]  # the model may be closed when they are needed
    known = Known(
        rows=np.zeros((0, 0)),
        ends=frozenset(token for token in range(model.n_vocab) if model.is_end(token)),
        seed=run.seed or 0,
        closed=prompt.endswith("</think>"),
        opened=prompt.endswith("<think>"),
        piece=pieces.__getitem__,
    )
    own, guarded = run.settings, symbol_ids(model) if run.guard else frozenset[int]()
    start, end = model.token_of("<think>"), model.token_of("</think>")
    if isinstance(own, Selar | MoI):
        own = replace(own, guarded=guarded)
    elif isinstance(own, SoftThinking | Multiplex):
        own = replace(own, think_end=end)
    elif isinstance(own, Coconut):
        first = model.token_of("<|start-latent|>") if own.start is None else own.start
        own = replace(own, start=first, end=model.token_of("<|end-latent|>") if own.end is None else own.end)
    elif isinstance(own, Swir):
        start, end = (start if own.think_start is None else own.think_start), own.think_end or end
        answer = "\n\nThe final answer is"
        room = engine.config.ctx_size - len(engine.tokenize(run.prompt)) + 1  # the last token is not fed
        own = replace(
            own,
            guarded=guarded,
            think_start=start,
            think_end=end,
            backslash_n=spelling(engine, b"\\n"),
            max_tokens=room if run.max_tokens is None else run.max_tokens,
            convergence=tuple(model.encode("\n\n</think>\n\n")) if end is None else (end,),
            termination=tuple(model.encode(f"</think>{answer}") if end is None else [end, *model.encode(answer)]),
        )
    return replace(run, settings=own), known


def spelling(engine: DirectEngine, text: bytes) -> int | None:
    """The token that stands for this text, whether or not texts are ever split into it."""
    model = engine.runtime.model
    return next((token for token in range(model.n_vocab) if model.render(token, special=True) == text), None)


class DirectEngine:
    """Runtime, prompts and scheduler without a worker thread: what is decoded together is up to the test."""

    def __init__(self, path: Path, config: EngineConfig) -> None:
        self.config = config
        self.runtime = LlamaRuntime(path, config)
        self.prompts = Prompts(self.runtime.model, describe(self.runtime, config))
        self.scheduler = Scheduler(
            self.runtime, config.parallel, prompt_cache=config.prompt_cache, reuse_answers=config.reuse_answers
        )

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self.runtime.model.prompt_tokens(text))

    def sequence(self, run: Run) -> tuple[Sequence, Spy]:
        """The run as a sequence that waits, and the spy on its method."""
        rendered = self.prompts.rendered(run.prompt, raw=True, method=run.method, **run.options)
        sequence = Sequence(self.prompts.request(self.runtime.model, rendered), self.runtime.model)
        spy = sequence._stepper = Spy(sequence._stepper)
        self.scheduler.waiting.append(sequence)
        return sequence, spy


def play(engine: DirectEngine, runs: Many[Run]) -> list[Played]:
    """Decode the runs, as many at once as the engine was opened for."""
    played: list[Played] = []
    size = engine.config.parallel
    with noting_inputs(engine.runtime) as noted:
        for first in range(0, len(runs), size):
            noted.clear()
            group = [(run, *engine.sequence(run)) for run in runs[first : first + size]]
            while not engine.scheduler.idle:
                engine.scheduler.step()
            for own, sequence, spy in group:
                run, known = known_to(engine, own)
                prompt = sequence.request.prompt
                start = len(prompt)
                fed = [one for one in noted if one.sequence == sequence.slot and one.position >= start]
                assert [one.position for one in fed] == list(range(start, start + len(fed)))
                assert len(fed) == len(spy.looks) - 1
                asked = run.prompt.rstrip("\n") + "\n" if isinstance(run.settings, Coconut) else run.prompt
                assert prompt == engine.tokenize(asked)
                messages = [sequence.messages.get() for _ in range(sequence.messages.qsize())]
                events = [message for message in messages if isinstance(message, TokenEvent)]
                result = messages[-1]
                assert isinstance(result, Result)
                played.append(Played(run, known, prompt, events, result, spy.looks, fed))
    return played


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[DirectEngine]:
    """An engine that computes as exactly as llama.cpp can."""
    engine = DirectEngine(path, EngineConfig(**{"threads": 1, "ctx_size": 128, **EXACT, **options}))
    try:
        assert engine.runtime.injection_max_abs_diff == 0.0
        yield engine
    finally:
        engine.runtime.close()
