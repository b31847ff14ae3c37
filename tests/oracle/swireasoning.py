"""SwiReasoning written from its definition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Literal

import numpy as np

from .methods import Filters, Ids, LatentStep, Mode, draw, entropy_in_nats, filtered_distribution
from .transformer import ModelInput, Transformer, softmax
from .weights import Array

Switch = Literal["to_soft", "to_normal"]

FIRST_STEP_SHARE = 0.9  # of the soft vector at step 0; the rest is backslash-n's
TERMINATION_BUDGET = 32


@dataclass(frozen=True)
class Swir:
    """SwiReasoning's settings, and the ids of tokens that it knows; None where the vocabulary lacks one."""

    max_tokens: int
    window_size: int = 512
    alpha_0: float = 1.0
    beta_0: float = 0.7
    beta_on: Literal["token", "soft"] = "token"  # what beta is the share of: the token, or the soft vector
    max_switch_count: int | None = None
    guarded: frozenset[int] = frozenset()  # these are fed as they are while the mode is soft
    think_start: int | None = None
    think_end: int | None = None
    backslash_n: int | None = None
    convergence: tuple[int, ...] = ()
    termination: tuple[int, ...] = ()

    def ramp(self, start: float, number: int) -> float:
        """Alpha or beta of a step."""
        return start + (1.0 - start) * number / self.max_tokens


@dataclass(frozen=True)
class SwirState:
    """What a step leaves to the next one."""

    number: int = 0  # of the step to come
    mode: Mode = "soft"
    locked: bool = False
    reference: float = nan  # entropy at the last switch
    stay: int = 0  # steps since then
    switch_count: int = 0  # from soft to normal
    queue: tuple[int, ...] = ()  # tokens still to be injected
    budget: int | None = None  # steps left before the text is cut

    @property
    def finished(self) -> bool:
        """Whether the text ends here."""
        return self.budget == 0


@dataclass(frozen=True)
class SwirStep(LatentStep):
    """One generated token, the mode and the switches after it."""

    switch_count: int
    injected: bool
    switch: Switch | None


@dataclass(frozen=True)
class Mixture:
    """Weights of rows."""

    ids: Ids
    weights: Array

    @classmethod
    def of(cls, *parts: tuple[int, float]) -> Mixture:
        """Single tokens by share; one named twice gets both."""
        ids, places = np.unique([token for token, _ in parts], return_inverse=True)
        return cls(ids, np.bincount(places, [share for _, share in parts]))

    def with_token(self, token: int, share: float) -> Mixture:
        """`share` of this mixture of the whole vocabulary, the rest of one token."""
        return Mixture(self.ids, share * self.weights + (1.0 - share) * (self.ids == token))


def choose(state: SwirState, drawn: int, swir: Swir) -> tuple[int, SwirState]:
    """The step's token: the queue's next one, else the drawn one, which may lock the mode."""
    if state.queue:
        return state.queue[0], replace(state, queue=state.queue[1:])
    if drawn == swir.think_end:
        return drawn, replace(state, mode="normal", locked=True)
    return drawn, state


def switch_mode(state: SwirState, entropy: float, swir: Swir) -> tuple[Switch | None, SwirState]:
    """Compare the entropy with the one at the last switch."""
    if state.number == 0:
        return None, replace(state, reference=entropy)
    state = replace(state, stay=state.stay + 1)
    switched = replace(state, stay=0, reference=entropy)
    if state.mode == "soft" and entropy < state.reference:
        return "to_normal", replace(switched, mode="normal", switch_count=state.switch_count + 1)
    rested = not state.locked and state.stay >= swir.window_size
    if state.mode == "normal" and rested and entropy > state.reference:
        return "to_soft", replace(switched, mode="soft")
    return None, state


def next_mixture(state: SwirState, switch: Switch | None, token: int, p0: Array, swir: Swir) -> Mixture | None:
    """What is fed after a step in the mode that `state` has by then; None: the token."""
    if state.mode == "normal":
        if switch != "to_normal" or swir.think_end is None:
            return None
        beta = swir.ramp(swir.beta_0, state.number)
        if swir.beta_on == "soft":
            return Mixture(np.arange(len(p0)), p0).with_token(swir.think_end, beta)
        return Mixture.of((token, beta), (swir.think_end, 1.0 - beta))
    if token in swir.guarded:
        return None
    soft = Mixture(np.arange(len(p0)), p0)
    if state.number == 0 and swir.backslash_n is not None:
        return soft.with_token(swir.backslash_n, FIRST_STEP_SHARE)
    if switch == "to_soft" and swir.think_start is not None:
        return soft.with_token(swir.think_start, swir.ramp(swir.alpha_0, state.number))
    return soft


def control(state: SwirState, switch: Switch | None, swir: Swir) -> SwirState:
    """Count switches against their maximum, and steps against the budget."""
    if switch == "to_normal" and (most := swir.max_switch_count) is not None:
        if state.switch_count > 2 * most:
            state = replace(state, queue=swir.termination, budget=TERMINATION_BUDGET)
        elif state.switch_count >= most:
            state = replace(state, queue=swir.convergence)
    return state if state.budget is None else replace(state, budget=state.budget - 1)


def swir_step(
    state: SwirState,
    logits: Array,
    rows: Array,
    filters: Filters,
    swir: Swir,
    uniform: float | None,
    *,
    end_ids: Collection[int] = (),
) -> tuple[SwirStep, SwirState]:
    """Decide one token, the mode, and what is fed. The text ends at an end token or where the state is finished."""
    p0 = softmax(logits)
    entropy = entropy_in_nats(p0)
    injected = bool(state.queue)
    drawn = draw(*filtered_distribution(logits, filters), uniform)
    token, state = choose(state, drawn, swir)
    switch, state = switch_mode(state, entropy, swir)
    mixture = None if token in end_ids else next_mixture(state, switch, token, p0, swir)
    ids, weights, vector = None, None, None
    if mixture is not None:
        ids, weights = mixture.ids, mixture.weights
        vector = weights @ (rows if len(ids) == len(rows) else rows[ids])  # copying them all takes long
    state = control(state, switch, swir)
    step = SwirStep(
        token=token,
        entropy=entropy,
        explored=mixture is not None,
        mode=state.mode,
        ids=ids,
        weights=weights,
        vector=vector,
        logits=logits,
        switch_count=state.switch_count,
        injected=injected,
        switch=switch,
    )
    return step, replace(state, number=state.number + 1)


def swireasoning(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    swir: Swir,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    uniforms: Sequence[float] | None = None,
) -> Iterator[SwirStep]:
    """Decode at most `n_steps` tokens; greedy without `uniforms`. A token of `end_ids` is yielded and ends the text.

    The ramps go by `swir.max_tokens`, which is `n_steps` in a run that is not cut short.
    """
    filters, state = filters or Filters(), SwirState()
    cache = transformer.new_cache()
    inputs: Sequence[ModelInput] = prompt
    for number in range(n_steps):
        logits = transformer.forward(inputs, cache)
        uniform = None if uniforms is None else uniforms[number]
        step, state = swir_step(state, logits, transformer.rows, filters, swir, uniform, end_ids=end_ids)
        yield step
        if step.token in end_ids or state.finished:
            return
        inputs = [step.token if step.vector is None else step.vector]
