"""One generation at work: its prompt, method, draws, text and counts. Knows nothing of llama.cpp."""

from __future__ import annotations

import copy
import math
import secrets
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from selar_local.engine.events import Logprobs, Result, Timings, TokenEvent, Usage, fed_by
from selar_local.engine.messages import Emit, Message, Prefilled
from selar_local.engine.request import ModelVocabulary, Request
from selar_local.engine.text_stream import TextStream
from selar_local.errors import SelarError
from selar_local.methods.base import Decision, NextInput, Setting, StepView, Token
from selar_local.methods.distribution import Distribution, draw, filtered_distribution, top_k
from selar_local.methods.entropy import softmax
from selar_local.thinking import ThinkingSplitter, closes_thinking

__all__ = ["Sequence"]


class _Step(NamedTuple):
    """A step that was decided: the drawn token, where it was drawn from, and the method's decision."""

    token: int
    distribution: Distribution
    decision: Decision
    logprobs: Logprobs | None = None


class Sequence:
    """The state of one request from its admission to its result."""

    def __init__(
        self,
        request: Request,
        vocabulary: ModelVocabulary,
        on_finish: Callable[[], None] = lambda: None,
        emit: Emit | None = None,
    ) -> None:
        """on_finish: called once, by whatever thread ends the sequence.

        emit: takes the messages instead of the queue `messages`; called by the worker, it must not wait.
        """
        self.request = request
        self._on_finish = on_finish
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self._emit = self.messages.put if emit is None else emit
        self.cancelled = threading.Event()
        self.slot = -1
        self.position = 0
        self.next_input: NextInput | None = None
        self.fed: list[int] = []  # generated tokens in the KV cache, up to the first input that was none
        self.finished = False
        self.spoilt = False
        self.prefer_rows = request.method.feeds_vectors
        self.wants_hidden = request.method.needs_hidden
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
        self._before_answer: int | None = None
        self._explored = 0
        self._latent = 0
        self._cached = 0
        self._entropies: list[float] = []
        self._logprobs: list[Logprobs] = []
        self._started = time.perf_counter()
        self._core_wait: Callable[[], float | None] = lambda: None
        self._first_logits: float | None = None
        limit = request.generation.max_tokens
        self._stepper = request.method.start(
            Setting(
                vocabulary=vocabulary,
                sampling=self._sampling,
                max_tokens=request.room if limit is None else limit,
                seed=self.seed,
                thinking_over=closes_thinking(request.prompt_tail),
            )
        )

    @property
    def prefilling(self) -> bool:
        """Whether prompt tokens are missing in the KV cache."""
        return self.position < len(self.request.prompt)

    @property
    def mixes(self) -> bool:
        """Whether its prompt may share a batch with those of others."""
        return not self.wants_hidden

    @property
    def pending_prompt(self) -> Many[int]:
        """Prompt tokens that are not in the KV cache yet."""
        return self.request.prompt[self.position :]

    def begin(self, cached: int = 0, core_wait: Callable[[], float | None] = lambda: None) -> None:
        """The sequence was admitted: its clock starts.

        cached: prompt tokens that are in the KV cache already. core_wait: gives the figure of `Timings`.
        """
        self._started = time.perf_counter()
        self._core_wait = core_wait
        self.position = self._cached = cached

    def prefilled(self, count: int) -> None:
        """`count` more prompt tokens are in the KV cache."""
        self.position += count
        self._emit(Prefilled(self.position, len(self.request.prompt)))

    def advanced(self) -> None:
        """The next input is in the KV cache."""
        fed_tokens_alone = self.position == len(self.request.prompt) + len(self.fed)
        if fed_tokens_alone and isinstance(self.next_input, Token):
            self.fed.append(self.next_input.id)
        self.position += 1

    def take(
        self, logits: npt.NDArray[np.float32], capacity: int, hidden: npt.NDArray[np.float32] | None = None
    ) -> None:
        """One step: logits -> distribution -> token -> method -> next input, and its event.

        hidden: the state behind these logits, for methods that want it.
        """
        if self._first_logits is None:
            self._first_logits = time.perf_counter()
            if self.request.generation.max_tokens == 0:
                self.finish("length")
                return
        sampling, constraint = self._stepper.sampling or self._sampling, self.request.constraint
        allowed = logits if constraint is None else constraint.mask(logits)
        distribution = filtered_distribution(allowed, sampling, self.request.method.n_candidates)
        # One number is drawn at every step, used or not: methods that replace tokens leave the others' draws alone.
        token = int(distribution.ids[0]) if sampling.greedy else draw(distribution, self._random.random())
        thinking = self._splitter.in_thinking
        view = StepView(logits, distribution, token, sampling.temperature, thinking, self._thinking_after, hidden)
        if constraint is None:
            decision = self._stepper(view)
        else:
            constraint.accept(token)
            decision = Decision(Token(token), kept="grammar" if self.request.method.feeds_vectors else None)
        self._apply(_Step(token, distribution, decision, self._logprobs_of(logits, token, decision)), capacity)

    def _logprobs_of(self, logits: npt.NDArray[np.float32], token: int, decision: Decision) -> Logprobs | None:
        n = self.request.logprobs
        if n is None or decision.silent:
            return None
        shown = token if decision.token is None else decision.token
        ids, values = top_k(logits, max(n, 1))
        norm = float(values[0]) + math.log(softmax(logits).total)
        top = zip(ids.tolist(), values.tolist(), strict=True)
        return Logprobs(float(logits[shown]) - norm, tuple((i, value - norm) for i, value in top)[:n])

    def _apply(self, step: _Step, capacity: int) -> None:
        decision = step.decision
        self.next_input, self.wants_hidden = decision.next_input, decision.needs_hidden
        if decision.silent:
            self._latent += decision.explored
            if self.position >= capacity:
                self.finish("length", context_full=True)
            return
        token = step.token if decision.token is None else decision.token
        ending = self._vocabulary.is_end(token)
        answer, thought = ("", "") if ending else self._split(self._text.feed(self._vocabulary.piece(token)))
        self._tokens.append(token)
        if step.logprobs is not None:
            self._logprobs.append(step.logprobs)
        reason = self._end(ending, capacity) or ("length" if decision.last else None)
        if reason:
            rest, rest_thought = self._split(self._text.flush(), last=True)
            answer, thought = answer + rest, thought + rest_thought
        explored = decision.explored and not ending
        self._record(answer, thought, decision.entropy, explored)
        if self.request.events:
            n, found = self.request.method.n_candidates, step.distribution
            top = tuple(zip(found.ids[:n].tolist(), found.probs[:n].tolist(), strict=True))
            self._emit(
                TokenEvent(
                    len(self._tokens) - 1,
                    token,
                    answer,
                    thought,
                    decision.entropy,
                    explored,
                    top,
                    drawn=step.token,
                    fed=() if reason else fed_by(decision.next_input),
                    kept="end" if ending and decision.explored else decision.kept,
                    mode=decision.mode,
                    logprobs=step.logprobs,
                )
            )
        if reason:
            self.finish(reason, context_full=self.position >= capacity and reason == "length")

    def _thinking_after(self, token: int) -> bool:
        """Whether the thinking would be open after this token."""
        splitter = copy.copy(self._splitter)
        splitter.feed(self._text.peek(self._vocabulary.piece(token)))
        return splitter.in_thinking

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

    def _record(self, answer: str, thought: str, entropy: float | None, explored: bool, *, step: bool = True) -> None:
        if answer:
            if self._before_answer is None:  # the step's own token is listed already
                self._before_answer = len(self._tokens) - step
            self._answer.append(answer)
        if thought:
            self._thought.append(thought)
        if entropy is not None:
            self._entropies.append(entropy)
        self._explored += explored

    def finish(
        self, reason: str, error: SelarError | None = None, context_full: bool = False, *, spoilt: bool = False
    ) -> None:
        """End the sequence: its result (after `error`, if there is one) is the last message.

        spoilt: what it leaves in the KV cache may be no numbers.
        """
        if self.finished:
            return
        self.finished, self.spoilt = True, spoilt
        self._on_finish()
        if error is not None:
            self._emit(error)
        # What was held back (half a character, the beginning of a stop string) was said all the same.
        self._record(*self._split(self._text.flush(), last=True), None, False, step=False)
        now = time.perf_counter()
        first = self._first_logits or now
        count, prompt = len(self._tokens), len(self.request.prompt)
        self._emit(
            Result(
                text="".join(self._answer),
                thinking="".join(self._thought),
                finish_reason=reason,
                usage=Usage(
                    prompt,
                    count,
                    self._explored,
                    self._latent,
                    self._cached,
                    self._thinking_tokens(reason),
                    min(self.position, prompt),
                ),
                timings=Timings(first - self._started, now - first, count, self._core_wait()),
                mean_entropy=sum(self._entropies) / len(self._entropies) if self._entropies else None,
                context_full=context_full,
                stop_string=self._text.stop_reason,
                seed=self.seed,
                tokens=tuple(self._tokens),
                logprobs=tuple(self._logprobs),
                notes=self.request.notes,
            )
        )

    def _thinking_tokens(self, reason: str) -> int:
        if not self._thought:
            return 0
        if self._before_answer is not None:
            return self._before_answer
        return len(self._tokens) - (reason == "stop" and not self._text.stopped)
