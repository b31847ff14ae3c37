"""One generation: its state, and one step from logits to the next input. The scheduler decodes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from selar_local.engine.events import (
    Emit,
    Message,
    Prefilled,
    Result,
    Timings,
    TokenEvent,
    Usage,
    fed_by,
    is_mismatched,
)
from selar_local.engine.logprobs import LogprobReport
from selar_local.engine.request import Request
from selar_local.engine.thinking_budget import ThinkingBudget
from selar_local.engine.transcript import Said, Transcript
from selar_local.errors import SelarError
from selar_local.methods.adjustment import Adjustment
from selar_local.methods.base import Decision, Mixture, NextInput, Setting, StepView, Token
from selar_local.methods.distribution import Distribution, draw, filtered_distribution

if TYPE_CHECKING:
    from selar_local.llama.model import LlamaModel

_PART = 0.05  # of a mix: a token with less of it does not touch the form of a call or of JSON


class Sequence:
    """The state of one request from its admission to its result. The scheduler's thread alone changes it."""

    def __init__(
        self,
        request: Request,
        vocabulary: LlamaModel,
        on_finish: Callable[[], None] = lambda: None,
        emit: Emit | None = None,
    ) -> None:
        """on_finish: called once, by the thread that ends the sequence.

        emit: takes the messages instead of the queue `messages`. The scheduler's thread calls it, so it must not wait.
        """
        self.request = request
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self.cancelled = threading.Event()  # any thread may set it
        self.seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbits(32)
        # For the scheduler:
        self.slot = -1
        self.position = 0  # number of inputs in the KV cache
        self.next_input: NextInput | None = None
        self.fed_tokens: list[int] = []  # generated tokens in the KV cache, up to the first input that is no token
        self.finished = False
        self.spoilt = False  # the KV cache may contain NaN
        self.prefer_rows = request.method.feeds_vectors
        self.wants_hidden = request.method.needs_hidden
        self.scores_prompt = request.generation.prompt_logprobs is not None

        self._vocabulary = vocabulary
        self._on_finish = on_finish
        self._emit = self.messages.put if emit is None else emit
        greedy = request.sampling.greedy or request.method.greedy or request.sampling.temperature == 0
        self._sampling = replace(request.sampling, greedy=greedy)
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._adjusted = Adjustment.of(request.sampling, request.changes, request.prompt)
        uses_xtc = request.sampling.xtc_probability > 0 and request.sampling.xtc_threshold <= 0.5
        self._xtc = np.random.Generator(np.random.PCG64([self.seed, 2])) if uses_xtc else None
        self._transcript = Transcript(
            request.prompt_tail,
            request.generation.stop,
            split=request.split_thinking,
            form=request.form,
            tools=request.tools,
            begun=request.begun,
            turn_end=request.turn_end,
        )
        self._budget = ThinkingBudget(request.generation.thinking_budget, request.closing)
        self._tokens: list[int] = []
        self._entropies: list[float] = []
        self._events: list[TokenEvent] = []  # made and not given out
        self._logprobs = LogprobReport(request.generation)
        self._explored = 0
        self._mismatched = 0
        self._latent = 0
        self._cached = 0
        self._started = time.perf_counter()
        self._first_logits: float | None = None
        self._core_wait: Callable[[], float | None] = lambda: None
        limit = request.generation.max_tokens
        self._stepper = request.method.start(
            Setting(
                vocabulary=vocabulary,
                sampling=self._sampling,
                max_tokens=request.room if limit is None else limit,
                seed=self.seed,
                thinking_over=self._transcript.closed_by_prompt,
                thinking=request.form.thinking,
                closing=request.closing if request.form.thinking else (),
            )
        )

    # -- what the scheduler reports ---------------------------------------------------------------

    @property
    def prefilling(self) -> bool:
        """Whether prompt tokens are missing in the KV cache."""
        return self.position < len(self.request.prompt)

    @property
    def pending_prompt(self) -> tuple[int, ...]:
        """Prompt tokens that are not in the KV cache yet."""
        return self.request.prompt[self.position :]

    def begin(self, cached: int = 0, core_wait: Callable[[], float | None] = lambda: None) -> None:
        """The sequence was admitted: its clock starts.

        cached: prompt tokens that are in the KV cache already. core_wait: gives the figure of `Timings`.
        """
        self._started = time.perf_counter()
        self._core_wait = core_wait
        self.position = self._cached = cached

    def score(self, rows: list[npt.NDArray[np.float32]]) -> None:
        """The logits after each of the prompt's next tokens, before `prefilled`."""
        self._logprobs.read(rows, self.request.prompt[self.position + 1 :])

    def prefilled(self, count: int) -> None:
        """`count` more prompt tokens are in the KV cache."""
        self.position += count
        self._emit(Prefilled(self.position, len(self.request.prompt)))

    def advanced(self) -> None:
        """The next input is in the KV cache."""
        only_tokens = self.position == len(self.request.prompt) + len(self.fed_tokens)
        if only_tokens and isinstance(self.next_input, Token):
            self.fed_tokens.append(self.next_input.id)
        self.position += 1

    # -- one step -----------------------------------------------------------------------------------

    def step(
        self, logits: npt.NDArray[np.float32], capacity: int, hidden: npt.NDArray[np.float32] | None = None
    ) -> None:
        """One step: logits -> distribution -> drawn token -> method -> next input, and its event.

        capacity: positions in the KV cache. hidden: the state behind these logits, for methods that want it.
        """
        if self._first_logits is None:
            self._first_logits = time.perf_counter()
            if self.request.generation.max_tokens == 0:
                self.finish("length")
                return
        sampling, constraint = self._stepper.sampling or self._sampling, self.request.constraint
        seen = logits if self._adjusted is None else self._adjusted(logits)
        allowed = seen if constraint is None else constraint.mask(seen)
        xtc = self._xtc is not None and self._xtc.random() <= sampling.xtc_probability
        distribution = filtered_distribution(allowed, sampling, self.request.method.n_candidates, xtc=xtc)
        # Every step draws one number, also where it is not used: replaced tokens do not move the later draws.
        drawn = int(distribution.ids[0]) if sampling.greedy else draw(distribution, self._random.random())
        if constraint is None:
            decision = self._decision(seen, distribution, drawn, sampling.temperature, hidden)
        else:
            constraint.accept(drawn)
            decision = Decision(Token(drawn), kept="grammar" if self.request.method.feeds_vectors else None)
        self.next_input, self.wants_hidden = decision.next_input, decision.needs_hidden
        if not decision.silent:
            self._report(logits, distribution, drawn, decision, capacity)
        else:
            self._latent += decision.explored
            if self.position >= capacity:
                self.finish("length", context_full=True)

    def _decision(
        self,
        logits: npt.NDArray[np.float32],
        distribution: Distribution,
        drawn: int,
        temperature: float,
        hidden: npt.NDArray[np.float32] | None,
    ) -> Decision:
        """The method's decision. It sees a token that the thinking budget forces as the drawn one."""
        in_thinking = self._transcript.in_thinking
        forced = self._budget.next(in_thinking)
        token = drawn if forced is None else forced
        decision = self._stepper(
            StepView(logits, distribution, token, temperature, in_thinking, self._in_thinking_after, hidden)
        )
        if forced is None:
            return self._in_form(decision, drawn)
        kept = "thinking budget" if decision.explored else decision.kept
        return decision._replace(next_input=Token(forced), token=forced, silent=False, kept=kept)

    def _in_form(self, decision: Decision, drawn: int) -> Decision:
        """The decision; a plain token where an explored step would touch the form of a call or of JSON."""
        if not self.request.generation.keep_form or not decision.explored or decision.silent:
            return decision
        token = drawn if decision.token is None else decision.token
        form = self._transcript.form_of(self._vocabulary.piece(one) for one in {token, *_heavy(decision.next_input)})
        return decision if form is None else decision._replace(next_input=Token(token), kept=form)

    def _in_thinking_after(self, token: int) -> bool:
        return self._transcript.in_thinking_after(self._vocabulary.piece(token))

    def _report(
        self,
        logits: npt.NDArray[np.float32],
        distribution: Distribution,
        drawn: int,
        decision: Decision,
        capacity: int,
    ) -> None:
        """Count the step's token, add its text, emit its event; end the generation where it ends."""
        token = drawn if decision.token is None else decision.token
        ending = self._vocabulary.is_end(token) or token in self.request.generation.stop_token_ids
        explored = decision.explored and not ending
        said = self._transcript.feed(b"" if ending else self._vocabulary.piece(token))
        self._tokens.append(token)
        if self._adjusted is not None:
            self._adjusted.accept(token)
        self._explored += explored
        if decision.entropy is not None:
            self._entropies.append(decision.entropy)
        logprobs = self._logprobs.printed(logits, token)
        reason = self._end_of(ending, decision.last, capacity)
        fed = () if reason else fed_by(decision.next_input)
        self._mismatched += is_mismatched(token, fed)
        if reason:
            rest = self._transcript.finish()
            said = Said(said.answer + rest.answer, said.thinking + rest.thinking, said.calls + rest.calls)
        if self.request.events:
            n = self.request.method.n_candidates
            top = tuple(zip(distribution.ids[:n].tolist(), distribution.probs[:n].tolist(), strict=True))
            self._events.append(
                TokenEvent(
                    len(self._tokens) - 1,
                    token,
                    said.answer,
                    said.thinking,
                    decision.entropy,
                    explored,
                    top,
                    drawn=drawn,
                    fed=fed,
                    kept="end" if ending and decision.explored else decision.kept,
                    mode=decision.mode,
                    logprobs=logprobs,
                    calls=said.calls,
                )
            )
        if reason:
            self.finish(reason, context_full=self.position >= capacity and reason == "length")

    def give_out(self) -> None:
        """Give out the events that were made since the last call."""
        for event in self._events:
            self._emit(event)
        self._events.clear()

    def _end_of(self, ending: bool, last: bool, capacity: int) -> str | None:
        """The finish reason after this step; None where the generation goes on."""
        if ending or self._transcript.stopped:
            return "stop"
        limit = self.request.generation.max_tokens
        full = self.position >= capacity
        return "length" if last or full or (limit is not None and len(self._tokens) >= limit) else None

    def finish(
        self, reason: str, error: SelarError | None = None, context_full: bool = False, *, spoilt: bool = False
    ) -> None:
        """End the sequence: its result (after `error`, if there is one) is the last message.

        spoilt: the sequence's KV cache may contain NaN.
        """
        if self.finished:
            return
        self.finished, self.spoilt = True, spoilt
        self.give_out()
        self._on_finish()
        if error is not None:
            self._emit(error)
        text = self._transcript
        text.finish()
        now = time.perf_counter()
        first = self._first_logits or now
        count, prompt = len(self._tokens), len(self.request.prompt)
        self._emit(
            Result(
                text=text.answer,
                thinking=text.thinking,
                finish_reason=reason,
                usage=Usage(
                    prompt_tokens=prompt,
                    completion_tokens=count,
                    explored_steps=self._explored,
                    latent_steps=self._latent,
                    cached_tokens=self._cached,
                    thinking_tokens=text.thinking_tokens(ended_by_token=reason == "stop" and not text.stopped),
                    prompt_read=min(self.position, prompt),
                    mismatched_steps=self._mismatched,
                ),
                timings=Timings(first - self._started, now - first, count, self._core_wait()),
                mean_entropy=sum(self._entropies) / len(self._entropies) if self._entropies else None,
                context_full=context_full,
                stop_string=text.stop_string,
                seed=self.seed,
                tokens=tuple(self._tokens),
                logprobs=tuple(self._logprobs.of_text),
                prompt_logprobs=tuple(self._logprobs.of_prompt),
                notes=self.request.notes,
                calls=text.calls,
                cut_call=text.cut_call,
            )
        )


def _heavy(chosen: NextInput) -> list[int]:
    """The tokens that have a part in the mix; wide mixes have hundreds of others with next to nothing."""
    if not isinstance(chosen, Mixture):
        return []
    return [i for i, w in zip(chosen.ids.tolist(), chosen.weights.tolist(), strict=True) if abs(w) >= _PART]
