"""One generation at work: its prompt, method, draws, text and counts. Knows nothing of llama.cpp."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.events import Result, Timings, TokenEvent, Usage
from selar_local.engine.text_stream import TextStream
from selar_local.errors import SelarError
from selar_local.methods.base import Method, NextInput, StepView, Vocabulary
from selar_local.methods.distribution import draw, filtered_distribution
from selar_local.thinking import ThinkingSplitter

__all__ = ["Message", "ModelVocabulary", "Prefilled", "Request", "Sequence"]


class ModelVocabulary(Vocabulary, Protocol):
    """What a sequence needs of the model's vocabulary."""

    def piece(self, token: int) -> bytes:
        """The token's bytes; control tokens are empty."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends the generation."""


@dataclass(frozen=True)
class Prefilled:
    """Progress of the prompt: `done` of `total` tokens are in the KV cache."""

    done: int
    total: int


Message = TokenEvent | Prefilled | Result | SelarError


@dataclass(frozen=True)
class Request:
    """Everything one generation needs.

    split_thinking: tell thinking and answer apart (chat). events: report every step, not the result alone
    (waking the caller for each token costs a fast model one or two per cent).
    """

    prompt: tuple[int, ...]
    method: Method
    sampling: SamplingConfig
    generation: GenerationConfig
    prompt_tail: str = ""
    split_thinking: bool = True
    events: bool = True


class Sequence:
    """The state of one request from its admission to its result."""

    def __init__(self, request: Request, vocabulary: ModelVocabulary) -> None:
        self.request = request
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self.cancelled = threading.Event()
        self.slot = -1
        self.position = 0
        self.next_input: NextInput | None = None
        self.finished = False
        self.failed = False
        self.prefer_rows = request.method.feeds_vectors
        self._vocabulary = vocabulary
        greedy = request.sampling.greedy or request.method.greedy
        self._sampling = replace(request.sampling, greedy=greedy or request.sampling.temperature == 0)
        self.seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbits(32)
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._text = TextStream(request.generation.stop)
        self._splitter = ThinkingSplitter(request.prompt_tail)
        self._tokens: list[int] = []
        self._answer: list[str] = []
        self._thought: list[str] = []
        self._explored = 0
        self._entropies: list[float] = []
        self._started = time.perf_counter()
        self._first_logits: float | None = None
        self._stepper = request.method.start(vocabulary)

    @property
    def pending_prompt(self) -> Many[int]:
        """Prompt tokens that are not in the KV cache yet."""
        return self.request.prompt[self.position :]

    def begin(self) -> None:
        """The sequence was admitted: its clock starts."""
        self._started = time.perf_counter()

    def prefilled(self, count: int) -> None:
        """`count` more prompt tokens are in the KV cache."""
        self.position += count
        self.messages.put(Prefilled(self.position, len(self.request.prompt)))

    def take(self, logits: npt.NDArray[np.float32], capacity: int) -> None:
        """One step: logits -> distribution -> token -> method -> next input, and its event."""
        if self._first_logits is None:
            self._first_logits = time.perf_counter()
            if self.request.generation.max_tokens == 0:
                self.finish("length")
                return
        request = self.request
        n_candidates = request.method.n_candidates
        distribution = filtered_distribution(logits, self._sampling, n_candidates)
        token = int(distribution.ids[0]) if self._sampling.greedy else draw(distribution, self._random.random())
        ending = self._vocabulary.is_end(token)
        answer, thought = ("", "") if ending else self._split(self._text.feed(self._vocabulary.piece(token)))
        decision = self._stepper(
            StepView(logits, distribution, token, self._sampling.temperature, self._splitter.in_thinking)
        )
        self.next_input = decision.next_input
        self._tokens.append(token)
        reason = self._end(ending, capacity)
        if reason:
            rest, rest_thought = self._split(self._text.flush(), last=True)
            answer, thought = answer + rest, thought + rest_thought
        explored = decision.explored and not ending
        self._record(answer, thought, decision.entropy, explored)
        if request.events:
            top_ids, top_probs = distribution.ids[:n_candidates].tolist(), distribution.probs[:n_candidates].tolist()
            top = tuple(zip(top_ids, top_probs, strict=True))
            index = len(self._tokens) - 1
            self.messages.put(TokenEvent(index, token, answer, thought, decision.entropy, explored, top))
        if reason:
            self.finish(reason, context_full=self.position >= capacity and reason == "length")

    def _end(self, ending: bool, capacity: int) -> str | None:
        if ending or self._text.stopped:
            return "stop"
        limit = self.request.generation.max_tokens
        if (limit is not None and len(self._tokens) >= limit) or self.position >= capacity:
            return "length"
        return None

    def _split(self, text: str, last: bool = False) -> tuple[str, str]:
        """(answer, thinking) of newly released text. The splitter runs on raw prompts too: scopes depend on it."""
        pieces = self._splitter.feed(text) if text else []
        if last:
            pieces = [*pieces, *self._splitter.flush()]
        if not self.request.split_thinking:
            return text, ""
        return "".join(t for t, inside in pieces if not inside), "".join(t for t, inside in pieces if inside)

    def _record(self, answer: str, thought: str, entropy: float | None, explored: bool) -> None:
        if answer:
            self._answer.append(answer)
        if thought:
            self._thought.append(thought)
        if entropy is not None:
            self._entropies.append(entropy)
        self._explored += explored

    def finish(self, reason: str, error: SelarError | None = None, context_full: bool = False) -> None:
        """End the sequence: its result (after `error`, if there is one) is the last message."""
        if self.finished:
            return
        self.finished = True
        if error is not None:
            self.failed = True
            self.messages.put(error)
        # What was held back (half a character, the beginning of a stop string) was said all the same.
        self._record(*self._split(self._text.flush(), last=True), None, False)
        now = time.perf_counter()
        first = self._first_logits or now
        count = len(self._tokens)
        self.messages.put(
            Result(
                text="".join(self._answer),
                thinking="".join(self._thought),
                finish_reason=reason,
                usage=Usage(len(self.request.prompt), count, self._explored),
                timings=Timings(first - self._started, now - first, count),
                mean_entropy=sum(self._entropies) / len(self._entropies) if self._entropies else None,
                context_full=context_full,
                stop_string=self._text.stop_reason,
                seed=self.seed,
                tokens=tuple(self._tokens),
            )
        )
