"""The engine against the oracle: Mixture of Inputs and Multiplex Thinking, in models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import tiny_gguf

import selar_local as sl
from selar_local.methods.base import Mixture, Token

from .methods import Selar
from .moi import MoI
from .multiplex import Multiplex
from .parity import three_ways
from .playing import Played, Run, opened, play
from .prompts import CLOSED, NARROW, OPENED, OTHER, PROMPT, WIDE
from .test_fed_rows import native_quantise
from .texts import Plain
from .together import Together
from .weights import FLAVOURS, Weights

flavours = pytest.mark.parametrize("flavour", FLAVOURS)
Model = Callable[..., Path]

MOI = [
    MoI(),
    MoI(beta=0.0),
    MoI(beta=0.5, candidates=7),
    MoI(beta=2.0, mix_on="filtered"),
    MoI(normaliser="vocabulary"),
    MoI(mix_on="filtered", normaliser="vocabulary", candidates=5),
    MoI(direct_mixture=True),
    MoI(direct_mixture=True, mix_on="filtered", candidates=4),
    MoI(tau=0.6),
    MoI(tau=0.4, k=5, beta=0.5, mix_on="filtered"),
    MoI(scope="thinking"),
]
MULTIPLEX = [
    Multiplex(),
    Multiplex(draws=1),
    Multiplex(draws=2, averaged=True),
    Multiplex(draws=8),
    Multiplex(show="heaviest"),
    Multiplex(draws=5, averaged=True, show="heaviest"),
]


def heaviest(decision: sl.methods.base.Decision) -> int:
    chosen = decision.next_input
    assert isinstance(chosen, Mixture)
    return int(chosen.ids[chosen.weights.argmax()])


@flavours
def test_moi(flavour: str, thinker: Model) -> None:
    path = thinker(flavour)
    asked = (PROMPT, OTHER, *OPENED)
    runs = [Run(asked[i % len(asked)], own, seed, guard=True) for i, own in enumerate(MOI) for seed in (None, 2)]
    runs += [Run(OPENED[0], MoI(scope="thinking"), 4), Run(CLOSED, MoI(scope="thinking"), 3)]
    runs += [Run(PROMPT, MOI[0], 7, WIDE), Run(OTHER, MoI(candidates=3), 5, WIDE), Run(PROMPT, MOI[3], 1, NARROW)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert exact.explored > 0.6 * exact.positions, exact
    for own in played:
        if own.run.settings.beta >= 1 and not own.run.settings.direct_mixture:
            for event, look in zip(own.events, own.looks, strict=True):
                assert not look.decision.explored or heaviest(look.decision) == event.token
    gated = [own for own in played if own.run.settings.tau is not None]
    decisions = [look.decision for own in gated for look in own.looks]
    assert {decision.explored for decision in decisions} == {True, False}
    assert all(d.entropy >= min(own.tau for own in MOI if own.tau) for d in decisions if d.explored)


@flavours
@pytest.mark.parametrize("thinks", [True, False])
def test_multiplex(flavour: str, thinks: bool, tiny: Model, thinker: Model) -> None:
    path = thinker(flavour) if thinks else tiny(architecture=flavour, seed=1)
    asked = OPENED if thinks else (PROMPT, OTHER)
    runs = [
        Run(asked[(i + (seed or 0)) % len(asked)], own, seed)
        for i, own in enumerate(MULTIPLEX)
        for seed in (None, 2, 5)
    ]
    runs += [Run(OTHER, MULTIPLEX[0], 8, WIDE), Run(CLOSED, MULTIPLEX[3], 3), Run(PROMPT, MULTIPLEX[3], 1, NARROW)]
    with opened(path, parallel=4) as engine:
        end = engine.runtime.model.token_of("</think>")
        played = play(engine, runs)
    exact, *_ = three_ways(played, Together(Weights.load(path)))
    assert exact.explored > 0.2 * exact.positions, exact
    assert (end is not None) == thinks
    closed = [own for own in played if own.run.prompt != CLOSED and closing(own, end) is not None]
    assert len(closed) >= (4 if thinks else 0)
    for own in closed:  # the closing token's plain row is fed, and no step is mixed after it
        at = closing(own, end)
        assert not any(look.decision.explored for look in own.looks[at:])
        assert at == len(own.fed) or own.fed[at].next_input == Token(end)
    (after,) = (own for own in played if own.run.prompt == CLOSED)
    assert after.result.usage.explored_steps == (0 if thinks else after.result.usage.explored_steps)


def closing(played: Played, end: int | None) -> int | None:
    return next((i for i, event in enumerate(played.events) if event.token == end), None)


@flavours
def test_one_draw_is_cot_to_the_bit(flavour: str, thinker: Model) -> None:
    with opened(thinker(flavour), parallel=2) as engine:
        runs = [Run(prompt, own, seed) for prompt in OPENED[:3] for seed in (1, 2) for own in (Plain(), Multiplex(1))]
        played = play(engine, runs)
    for cot, one in zip(played[::2], played[1::2], strict=True):
        assert [(e.token, e.text, e.top) for e in cot.events] == [(e.token, e.text, e.top) for e in one.events]
        assert all(np.array_equal(a.logits, b.logits) for a, b in zip(cot.looks, one.looks, strict=True))
        assert one.result.usage.explored_steps == 0 and one.result.text == cot.result.text


@flavours
def test_texts_that_end(flavour: str, ender: Model) -> None:
    path = ender(flavour)
    settings = [MoI(), MoI(tau=0.3), MoI(direct_mixture=True), Multiplex(), Multiplex(8, show="heaviest")]
    runs = [Run(prompt, own, (None, 3)[i % 2]) for own in settings for i, prompt in enumerate(OPENED)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    three_ways(played, Together(Weights.load(path)))
    ended = [own for own in played if own.result.finish_reason == "stop"]
    assert {type(own.run.settings) for own in ended} == {MoI, Multiplex}
    assert not any(own.events[-1].explored for own in ended)


@flavours
def test_side_by_side_in_one_batch(flavour: str, thinker: Model) -> None:
    path = thinker(flavour)
    methods = [MoI(), Multiplex(), Plain(), Selar(tau=0.2, k=4), MoI(beta=0.5, tau=0.5), Multiplex(2, averaged=True)]
    runs = [Run(OPENED[i], own, seed, max_tokens=9 + i) for seed in (None, 8) for i, own in enumerate(methods)]
    with opened(path, parallel=6) as engine:
        three_ways(play(engine, runs), Together(Weights.load(path)))


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K"])
@pytest.mark.parametrize("flavour", ["llama", "qwen3"])
def test_rows_of_quantised_models(flavour: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_gguf, "quantize", native_quantise)
    options = {"architecture": flavour, "token_embd_type": kind, "n_embd": 256, "n_ff": 64, "seed": 2}
    path = tiny_gguf.write_tiny_gguf(tmp_path / "model.gguf", tie_embeddings=False, **options)
    runs = [Run(PROMPT, own, seed) for own in (*MOI[:3], *MULTIPLEX[:4]) for seed in (None, 7)]
    with opened(path, parallel=4) as engine:
        played = play(engine, runs)
    assert three_ways(played, Together(Weights.load(path)))[1].explored > 0
