"""The engine against the oracle: Soft Thinking, SwiReasoning and Coconut, in models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .methods import Selar
from .parity import Margins, Walk, three_ways
from .playing import Run, opened, play
from .prompts import (
    CLOSED,
    NARROW,
    OPENED,
    OTHER,
    PROMPT,
    WIDE,
    with_latent_markers,
    with_line_break,
    without_line_break,
)
from .soft_thinking import SoftThinking
from .swireasoning import Swir
from .texts import Coconut, Plain
from .together import Together
from .transformer import softmax
from .weights import FLAVOURS, Weights

flavours = pytest.mark.parametrize("flavour", FLAVOURS)
Model = Callable[..., Path]

SEEDS = (None, 3)

SOFT = [
    SoftThinking(),
    SoftThinking(noise="gumbel"),
    SoftThinking(noise="dirichlet"),
    SoftThinking(max_topk=3),
    SoftThinking(noise="gumbel", noise_temperature=1.2, max_topk=4),
    SoftThinking(noise="dirichlet", noise_temperature=0.2),
    SoftThinking(cold_stop_entropy=1.0, cold_stop_steps=4),  # counted anew where entropies go up and down
    SoftThinking(cold_stop_entropy=1.45, cold_stop_steps=5),
    SoftThinking(cold_stop_entropy=9.0, cold_stop_steps=7),
    SoftThinking(cold_stop_entropy=9.0, cold_stop_steps=3, after=WIDE, noise="gumbel"),
    SoftThinking(cold_stop_entropy=9.0, cold_stop_steps=1, after=NARROW),
]


@flavours
@pytest.mark.parametrize("thinks", [True, False])
def test_soft_thinking(flavour: str, thinks: bool, tiny: Model, thinker: Model) -> None:
    path = thinker(flavour) if thinks else tiny(architecture=flavour, seed=1)
    asked = OPENED if thinks else (PROMPT, OTHER)
    runs = [Run(asked[(i + (seed or 0)) % len(asked)], own, seed) for i, own in enumerate(SOFT) for seed in (None, 2)]
    runs += [Run(asked[0], SOFT[0], None, NARROW), Run(OTHER, SOFT[8], 5, WIDE), Run(CLOSED, SOFT[1], 3)]
    with opened(path, parallel=4) as engine:
        end = engine.runtime.model.token_of("</think>")
        played = play(engine, runs)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert min(exact.seen["soft"], exact.seen["normal"]) > 0.2 * exact.positions, exact
    assert (end is not None) == thinks
    closed = [own for own in played if any(event.token == end for event in own.events)]
    never = [own for own in played if own.run.settings.cold_stop_entropy == 0 and own not in closed]
    assert len(closed) >= (5 if thinks else 0)
    assert not any(event.mode == "normal" for own in never for event in own.events if own.run.prompt != CLOSED)


SWIR = [
    Swir(20, window_size=1),
    Swir(20, window_size=0, alpha_0=0.4, beta_0=0.2),
    Swir(20, window_size=3, alpha_0=0.1, beta_0=0.9),
    Swir(20, window_size=1, beta_0=0.3, beta_on="soft"),
    Swir(20, window_size=2, alpha_0=0.0, beta_0=0.0, think_start=300, think_end=260),
]
# Switches come fast, or so far apart that the budget after the third one is used up before the next.
INJECTING = [Swir(40, window_size=1, alpha_0=0.6, max_switch_count=most) for most in (1, 2)]
ENDING = Swir(120, window_size=33, alpha_0=0.6, max_switch_count=1)


@flavours
@pytest.mark.parametrize("thinks", [True, False])
def test_swireasoning(flavour: str, thinks: bool, tiny: Model) -> None:
    metadata = with_line_break() if thinks else without_line_break()
    path = tiny(architecture=flavour, seed=1, thinking_tokens=thinks, metadata=metadata)
    prompts = (OPENED[1] if thinks else PROMPT, OTHER)
    runs = [Run(prompts[seed is None], own, seed, guard=seed is None, max_tokens=20) for own in SWIR for seed in SEEDS]
    runs += [Run(OTHER, own, seed, max_tokens=40) for own, seed in zip(INJECTING, (4, None), strict=True)]
    runs += [Run(CLOSED, SWIR[0], 5, WIDE), Run(OTHER, ENDING, max_tokens=120)]
    with opened(path, parallel=4, ctx_size=192) as engine:
        played = play(engine, runs)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert min(exact.seen["soft"], exact.seen["normal"]) > 0.2 * exact.positions, exact
    assert exact.seen["injected"] >= (10 if thinks else 60), exact
    assert any(event.mode == "soft" and not event.explored for own in played if own.run.guard for event in own.events)
    assert all((own.run.settings.backslash_n is not None) == thinks for own in played)
    if not thinks:  # where nothing locks the mode, its switches come as often as they can
        assert len(played[-1].events) < 120 and played[-1].result.finish_reason == "length"


@flavours
def test_swireasoning_that_closes_its_thinking(flavour: str, thinker: Model) -> None:
    path = thinker(flavour)
    with opened(path, parallel=4) as engine:
        end = engine.runtime.model.token_of("</think>")
        runs = [Run(OPENED[i], own, seed, max_tokens=20) for i, own in enumerate(SWIR[:4]) for seed in SEEDS]
        runs += [Run(OPENED[i], SWIR[1], seed, WIDE, max_tokens=14) for i in (4, 5) for seed in SEEDS]
        played = play(engine, [*runs, Run(OPENED[5], SWIR[0], max_tokens=None)])
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert min(exact.seen["soft"], exact.seen["normal"]) > 0.1 * exact.positions, exact
    assert sum(any(event.token == end for event in own.events) for own in played) >= 4


COCONUT = [
    Coconut(n, start, end) for n in (0, 1, 3) for start, end in ((None, None), (300, 260), (300, None), (None, 260))
]


@flavours
@pytest.mark.parametrize("marked", [True, False])
def test_coconut(flavour: str, marked: bool, tiny: Model) -> None:
    options = {"thinking_tokens": True, "metadata": with_latent_markers()} if marked else {}
    path = tiny(architecture=flavour, seed=1, **options)
    runs = [Run((PROMPT, *OPENED)[i % 7], own, SEEDS[i % 2], max_tokens=9) for i, own in enumerate(COCONUT)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert exact.explored == 4 * (0 + 1 + 3)
    plans = [2 if marked else sum(token is not None for token in (own.start, own.end)) for own in COCONUT]
    assert exact.seen["latent"] == exact.explored + sum(plans)
    for own in played:
        assert own.result.usage.latent_steps == own.run.settings.n_latent


@flavours
def test_texts_that_end(flavour: str, ender: Model) -> None:
    path = ender(flavour)
    settings = [
        SoftThinking(),
        SoftThinking(noise="gumbel"),
        SoftThinking(cold_stop_entropy=9.0, cold_stop_steps=1, after=WIDE),  # an end at the step of the stop
        SoftThinking(cold_stop_entropy=9.0, cold_stop_steps=3),
        SWIR[0],
        SWIR[1],
        Coconut(2),
    ]
    runs = [Run(prompt, own, SEEDS[i % 2]) for own in settings for i, prompt in enumerate(OPENED)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    three_ways(played, Together(Weights.load(path)))
    ended = [own for own in played if own.result.finish_reason == "stop"]
    assert {type(own.run.settings) for own in ended} == {SoftThinking, Swir, Coconut}
    assert {own.events[-1].mode for own in ended} == {"soft", "normal"}


@flavours
def test_methods_side_by_side_in_one_batch(flavour: str, thinker: Model) -> None:
    """Tokens, mixtures and hidden states in the same decodes; texts that start, think and end at different steps."""
    path = thinker(flavour)
    methods = [
        (Coconut(3), 12),
        (Plain(), 9),
        (Selar(tau=0.2, k=4, repel=2), 12),
        (SoftThinking(noise="gumbel"), 10),
        (Swir(12, window_size=1, alpha_0=0.5), 12),
        (Selar(tau=0.3, anchor=0.5, show="heaviest"), 6),
        (SoftThinking(cold_stop_entropy=9.0, cold_stop_steps=3, after=WIDE), 12),
        (Swir(15, window_size=0, max_switch_count=1), 15),
    ]
    runs = [
        Run(OPENED[i % 6], settings, seed, max_tokens=length)
        for order, seed in ((methods, None), (methods[::-1], 8))
        for i, (settings, length) in enumerate(order)
    ]
    with opened(path, parallel=8) as engine:
        three_ways(play(engine, runs), Together(Weights.load(path)))


@flavours
@pytest.mark.parametrize(("more", "left_out"), [({}, 1e-3), ({"soft_mass": 0.9}, 0.1), ({"soft_rows": 8}, 1.0)])
def test_a_bounded_soft_vector(flavour: str, more: dict[str, float], left_out: float, tiny: Model) -> None:
    """SwiReasoning's soft vector of the likeliest rows only is off by twice what is left out, times the largest row."""
    path = tiny(architecture=flavour, seed=1, metadata=with_line_break())
    bounds = {"soft_mass": 0.999, "soft_rows": 512, **more}
    runs = [Run(prompt, Swir(12, window_size=1), seed, more=bounds) for prompt in (PROMPT, OTHER) for seed in (None, 1)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    oracle = Together(Weights.load(path))
    tally = Walk(played, "logits", oracle, Margins(inputs=1e9)).tally
    assert tally.whole == tally.runs
    rows = oracle.rows
    largest = np.linalg.norm(rows, axis=1).max()
    missing = []
    for own in played:
        for look, fed in zip(own.looks[1:], own.fed[1:], strict=False):  # at the first step another token is mixed in
            mixture = look.decision.next_input
            if look.decision.mode != "soft" or not look.decision.explored:
                continue
            p = softmax(look.logits)
            kept = p[mixture.ids]
            missing.append(1.0 - kept.sum())
            np.testing.assert_allclose(kept, np.sort(p)[::-1][: len(kept)], atol=1e-7)
            np.testing.assert_allclose(mixture.weights, kept / kept.sum(), atol=1e-6)
            apart = np.linalg.norm(fed.row / oracle.embedding_scale - p @ rows)
            assert 1e-6 < apart <= 2 * missing[-1] * largest
            assert missing[-1] < left_out + 1e-6 and len(mixture.ids) <= bounds["soft_rows"]
    assert len(missing) > 5 and max(missing) > left_out / 20
