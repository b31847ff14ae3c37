"""The engine against the oracle: CoT and SeLaR with its switches, in models of every kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .methods import Filters, Selar
from .parity import Margins, margins_of, three_ways, walk
from .playing import STEPS, Played, Run, opened, play
from .prompts import CLOSED, OPENED, PROMPT, QUESTIONS, WIDE
from .texts import Plain
from .together import Together
from .weights import FLAVOURS, Weights

flavours = pytest.mark.parametrize("flavour", FLAVOURS)
Model = Callable[..., Path]


GATES: tuple[Any, ...] = ("filtered", "full")
GRID = [
    Run(PROMPT, Selar(k, tau, contrast, gate_on=gate), seed, guard=guard)
    for k, tau, contrast, gate, (seed, guard) in itertools.product(
        (3, 5), (0.0, 0.3, 0.5), (0.0, 1.0), GATES, ((None, True), (7, False))
    )
]
PLAIN = [Run(PROMPT, Plain(), seed) for seed in (None, 1, 2)]
FILTERED = [
    Run(PROMPT, Selar(4, 0.4), 3, filters)
    for filters in (WIDE, Filters(0.8, 0, 0.7, 0.0), Filters(1.3, 5, 1.0, 0.2), Filters(0.6, 2))
]
# Of a single candidate h is 0: at the gate of a strict one, beyond that of another.
STRICT = [Run(PROMPT, Selar(tau=0.0, strict_gate=strict), None, Filters(0.6, 1)) for strict in (True, False)]

SETTINGS = [
    Selar(tau=0.3, contrast=2.5),
    Selar(tau=0.5, invert_gate=True),
    Selar(tau=0.2, k=4, repel=2),
    Selar(tau=0.2, k=5, repel=4, contrast=2.0),
    Selar(tau=0.3, anchor=0.5),
    Selar(tau=0.3, anchor=0.0),
    Selar(tau=0.3, show="heaviest"),
    Selar(tau=0.3, k=4, show="heaviest", anchor=0.6, contrast=2.0),
    Selar(tau=0.3, repel=2, show="heaviest", anchor=0.4),
    Selar(tau=0.3, max_share=0.5),
    Selar(tau=0.0, max_share=0.34, anchor=0.7, show="heaviest"),
    Selar(tau=0.7, max_share=0.4, invert_gate=True),
    Selar(tau=0.3, max_share=1.0),
]
VARIANTS = [Run(PROMPT, own, seed) for own in SETTINGS for seed in (None, 3)]


@flavours
def test_selar_and_cot(flavour: str, tiny: Model) -> None:
    path = tiny(architecture=flavour, seed=1)
    with opened(path) as engine:
        played = play(engine, [*GRID, *PLAIN, *FILTERED, *STRICT])
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert 0.3 < exact.explored / exact.positions < 0.9


@flavours
def test_variants_of_selar(flavour: str, tiny: Model) -> None:
    path = tiny(architecture=flavour, seed=1)
    with opened(path, parallel=4) as engine:
        played = play(engine, VARIANTS)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert 0.3 < exact.explored / exact.positions < 0.9
    limited = [own for own in played if own.run.settings.max_share < 1]
    assert len(limited) == 6 and all(
        sum(event.explored for event in own.events[:n]) <= own.run.settings.max_share * n
        for own in limited
        for n in range(STEPS + 1)
    )


@flavours
def test_a_limited_share_of_long_texts(flavour: str, tiny: Model) -> None:
    path = tiny(architecture=flavour, seed=1)
    settings = [Selar(tau=0.2, max_share=share) for share in (0.15, 0.3, 0.6)]
    settings += [Selar(tau=0.0, max_share=0.25, anchor=0.5), Selar(tau=0.6, max_share=0.2, invert_gate=True)]
    runs = [Run(PROMPT, own, seed, guard=seed is None, max_tokens=40) for own in settings for seed in (None, 3)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    exact = walk(played, "logits", Together(Weights.load(path)))
    assert exact.agreed == exact.positions and exact.whole == exact.runs, exact
    open_steps = sum((look.decision.entropy or 0.0) >= 0.2 for own in played[:6] for look in own.looks)
    explored = sum(event.explored for own in played[:6] for event in own.events)
    assert 20 < explored < 0.8 * open_steps


@flavours
def test_the_scope_of_thinking(flavour: str, thinker: Model) -> None:
    path = thinker(flavour)
    prompts = (*OPENED, PROMPT, CLOSED)
    runs = [Run(prompt, Selar(tau=0.2, scope="thinking"), seed, WIDE) for prompt in prompts for seed in range(3)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    three_ways(played, Together(Weights.load(path)))
    closing = [own for own in played if own.known.opened and "</think>" in text_of(own)]
    assert len(closing) >= 3
    assert not any(event.explored for own in played if not own.known.opened for event in own.events)


@flavours
def test_the_scope_of_a_thinking_that_the_text_opens(flavour: str, opener: Model) -> None:
    path = opener(flavour)
    runs = [
        Run(f"{i} {ask}", Selar(tau=0.0, scope="thinking"), i, WIDE, max_tokens=4)
        for i in range(4)
        for ask in QUESTIONS
    ]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    three_ways(played, Together(Weights.load(path)))
    openers = [own for own in played if text_of(own).lstrip().startswith("<think>")]
    assert openers and not any(own.events[0].explored for own in openers)
    assert all(event.explored for own in openers if own.events[0].text == "<think>" for event in own.events[1:-1])


def test_the_scope_of_a_thinking_that_closes_at_once(thinker: Model) -> None:
    path = thinker("qwen2")
    own = Selar(tau=0.0, scope="thinking")
    runs = [Run(prompt, own, seed, WIDE, max_tokens=3) for prompt in OPENED for seed in (1, 2, 3)]
    with opened(path, parallel=6) as engine:
        played = play(engine, runs)
    three_ways(played, Together(Weights.load(path)))
    at_once = [own for own in played if text_of(own).lstrip().startswith("</think>")]
    assert at_once and not any(own.events[-1].explored for own in at_once)


def text_of(own: Played) -> str:
    return b"".join(own.known.piece(token) for token in own.result.tokens).decode(errors="replace")


@flavours
def test_texts_that_end(flavour: str, ender: Model) -> None:
    path = ender(flavour)
    settings = [
        (Selar(tau=0.2, show="heaviest"), 1),
        (Selar(tau=0.0, anchor=0.5, show="heaviest", repel=2), 2),
        (Selar(tau=0.6), 1),
        (Selar(tau=0.6), 2),
    ]
    runs = [Run(OPENED[i % 6], own, seed, WIDE) for own, seed in settings for i in range(12)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert exact.seen["ended"] >= 12, exact
    assert not any(own.events[-1].explored for own in played if own.result.finish_reason == "stop")


@flavours
def test_plain_runs_never_part(flavour: str, tiny: Model) -> None:
    """What feeds tokens only carries no difference on: free runs agree to the end within one step's margin."""
    path = tiny(architecture=flavour, seed=1)
    never = [Run(PROMPT, Selar(tau=1.01), run.seed) for run in PLAIN]
    with opened(path) as engine:
        played = play(engine, [*PLAIN, *never])
    oracle = Together(Weights.load(path))
    tally = walk(played, "free", oracle, Margins(free=margins_of(oracle).state, soft_before_parting=STEPS))
    assert tally.whole == len(played) and tally.explored == 0, tally
