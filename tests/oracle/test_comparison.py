"""The comparison itself: its oracles are those of the methods, and it finds whatever differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.methods.base import Mixture, Token

from .coconut import coconut, think
from .methods import Filters, Selar, cot, noise_generator, selar, uniform_numbers
from .outcomes import Known
from .parity import MARGINS, Walk
from .playing import Played, Run, opened, play
from .prompts import OTHER, PROMPT, with_line_break
from .selar import selar_batch
from .soft_thinking import THINKING, SoftThinking, soft_thinking
from .swireasoning import Swir, swireasoning
from .texts import Coconut, Plain, Settings, text_of
from .together import Together
from .transformer import Raw, Transformer
from .weights import Weights

IDS, STEPS, SEED = [40, 71, 300, 5], 9, 4
DRAWS = uniform_numbers(SEED, STEPS)
SWIR = Swir(STEPS, 1, alpha_0=0.3, think_start=300, think_end=260, backslash_n=264)


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Path]) -> Transformer:
    return Transformer(Weights.load(tiny(architecture="qwen3", seed=1)))


def follow(model: Transformer, settings: Settings) -> Iterator[tuple[Any, Any]]:
    """Outcomes of a text that goes its own way."""
    text = text_of(settings, None, Known(model.rows, frozenset(), SEED))
    cache, inputs = model.new_cache(), list(IDS)
    for uniform in DRAWS:
        logits, hidden = model.forward_with_hidden(inputs, cache)
        outcome = text.look(logits, hidden, uniform)
        yield outcome, text
        inputs = [outcome.next_input]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Plain(), lambda m: cot(m, IDS, STEPS, uniforms=DRAWS)),
        (Selar(tau=0.2), lambda m: selar(m, IDS, STEPS, settings=Selar(tau=0.2), uniforms=DRAWS)),
        (SWIR, lambda m: swireasoning(m, IDS, STEPS, SWIR, uniforms=DRAWS)),
        (
            SoftThinking(noise="gumbel", cold_stop_entropy=9.0, cold_stop_steps=5),
            lambda m: soft_thinking(
                m,
                IDS,
                STEPS,
                settings=SoftThinking(noise="gumbel", cold_stop_entropy=9.0, cold_stop_steps=5),
                uniforms=DRAWS,
                noise=noise_generator(SEED),
            ),
        ),
    ],
)
def test_texts_are_the_oracles_own(settings: Settings, expected: Callable[..., Any], model: Transformer) -> None:
    for (outcome, _), step in zip(follow(model, settings), expected(model), strict=True):
        assert (outcome.token, outcome.explored) == (step.token, step.explored)
        assert outcome.entropy == (None if isinstance(settings, Plain) else step.entropy)
        assert outcome.mode == getattr(step, "mode", None)
        assert np.array_equal(outcome.next_input, step.token if step.vector is None else step.vector)


def test_coconut_s_text_is_the_oracle_s_own(model: Transformer) -> None:
    outcomes = [outcome for outcome, _ in follow(model, Coconut(2, 300, 260))]
    latents = think(model, IDS, 2, model.new_cache(), start=300, end=260)
    inputs = [outcome.next_input for outcome in outcomes]
    assert inputs[0] == 300 and inputs[3] == 260 and [o.token for o in outcomes[:4]] == [None] * 4
    for own, given in zip(inputs[1:3], latents.fed, strict=True):
        assert isinstance(own, Raw) and np.allclose(own.values, given, rtol=0, atol=1e-9)
    texts = coconut(model, IDS, 2, STEPS - 4, start=300, end=260)
    assert [outcome.token for outcome in outcomes[4:]] == [step.token for step in texts]


@pytest.mark.parametrize(
    ("run", "method"),
    [
        (Run(PROMPT, Plain()), sl.CoTGreedy()),
        (Run(PROMPT, Plain(), 1), sl.CoT()),
        (Run(PROMPT, Selar(), guard=True), sl.Selar()),
        (Run(PROMPT, SoftThinking()), sl.SoftThinking()),
        (Run(PROMPT, Swir(1), guard=True, more={"soft_mass": 0.999, "soft_rows": 512}), sl.SwiReasoning()),
        (Run(PROMPT, Coconut(6)), sl.Coconut()),
    ],
)
def test_both_sides_have_the_same_defaults(run: Run, method: sl.Method) -> None:
    assert run.method == method
    sampling, filters = method.sampling({}), THINKING if isinstance(method, sl.SoftThinking) else Filters()
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == astuple(filters)[:4]


@pytest.fixture(scope="module")
def played(tiny: Callable[..., Path]) -> tuple[list[Played], Together]:
    path = tiny(architecture="qwen3", seed=1, metadata=with_line_break())
    runs = [
        *[Run(f"{OTHER}{i}", Selar(tau=0.6), max_tokens=5) for i in range(4)],
        Run(PROMPT, SWIR, 3, max_tokens=STEPS),
        Run(PROMPT, Coconut(2)),
        Run(PROMPT, SoftThinking(noise="gumbel", cold_stop_entropy=9.0, cold_stop_steps=7)),
        Run(OTHER, Selar(tau=0.3), max_tokens=4),
        Run(PROMPT, Plain()),
    ]
    with opened(path, parallel=4) as engine:
        return play(engine, runs), Together(Weights.load(path))


def test_a_batch_walks_as_the_oracle_s_own(played: tuple[list[Played], Together]) -> None:
    together, oracle = played[0][:4], played[1]
    prompts = [own.prompt for own in together]
    expected = list(selar_batch(oracle, prompts, 5, settings=together[0].run.settings))
    seen: list[list[bool]] = []

    class Noting(Walk):
        def _check(self, walker: Any, outcome: Any) -> None:
            seen.append([outcome.token, outcome.explored])
            walker.position += 1
            walker.going = walker.position < 5

    Noting(together, "free", oracle, MARGINS)
    assert seen == [[step.token, step.explored] for steps in expected for step in steps.values()]


def changed(own: Played, at: int, **fields: Any) -> Played:
    """The run with another event."""
    return replace(own, events=[replace(e, **fields) if e.index == at else e for e in own.events])


def decided(own: Played, at: int, **fields: Any) -> Played:
    """The run with another decision."""
    looks = list(own.looks)
    looks[at] = replace(looks[at], decision=looks[at].decision._replace(**fields))
    return replace(own, looks=looks)


def other_input(own: Played, at: int, **fields: Any) -> Played:
    fed = list(own.fed)
    fed[at] = replace(fed[at], **fields)
    return replace(own, fed=fed)


def nudged(own: Played, at: int, by: float) -> Played:
    """The run with another float fed."""
    row = own.fed[at].row
    assert row is not None
    row = row.copy()
    row[3] += by * np.abs(row).max()
    return other_input(own, at, row=row)


def likelier(own: Played, at: int) -> Played:
    (token, p), *others = own.events[at].top
    return changed(own, at, top=((token, p - 2e-3), *others))


SWIRLING, LATENT, SOFT, GATED, PLAIN = 4, 5, 6, 7, 8  # of the runs above
TAMPERINGS: dict[str, tuple[int, Callable[[Played], Played]]] = {
    "token": (SWIRLING, lambda own: changed(own, 2, token=77)),
    "another token of the same probability": (GATED, lambda own: changed(own, 0, top=own.events[0].top[::-1])),
    "probability": (GATED, lambda own: likelier(own, 1)),
    "entropy": (SWIRLING, lambda own: decided(changed(own, 1, entropy=1.0), 1, entropy=1.0)),
    "entropy reported": (SWIRLING, lambda own: changed(own, 1, entropy=1.0)),
    "no entropy": (SOFT, lambda own: decided(changed(own, 1, entropy=None), 1, entropy=None)),
    "explored": (GATED, lambda own: changed(own, 1, explored=not own.events[1].explored)),
    "mode": (SWIRLING, lambda own: decided(own, 1, mode="normal" if own.looks[1].decision.mode == "soft" else "soft")),
    "mode reported": (SWIRLING, lambda own: changed(own, 1, mode="other")),
    "index": (GATED, lambda own: changed(own, 1, index=7)),
    "silence": (LATENT, lambda own: decided(own, 1, silent=False)),
    "switch count": (SWIRLING, lambda own: replace(own, looks=[replace(look, switch_count=9) for look in own.looks])),
    "injection": (SWIRLING, lambda own: decided(own, 2, token=own.events[2].token)),
    "row of a mixture": (SOFT, lambda own: nudged(own, 1, 1e-2)),
    "row of a hidden state": (LATENT, lambda own: nudged(own, 1, 1e-2)),
    "row of a token": (LATENT, lambda own: nudged(own, 4, 1e-2)),
    "token fed": (LATENT, lambda own: other_input(own, 4, next_input=Token(9))),
    "kind of input": (PLAIN, lambda own: other_input(own, 0, next_input=Mixture(np.array([1]), np.ones(1)))),
    "end": (PLAIN, lambda own: replace(own, result=replace(own.result, finish_reason="stop"))),
    "limit": (PLAIN, lambda own: replace(own, run=replace(own.run, max_tokens=20))),
}


@pytest.mark.parametrize("what", TAMPERINGS)
@pytest.mark.parametrize("way", ["logits", "state", "free"])
def test_what_differs_is_found(what: str, way: Any, played: tuple[list[Played], Together]) -> None:
    runs, oracle = played
    number, tamper = TAMPERINGS[what]
    assert Walk([runs[number]], way, oracle, MARGINS).tally.whole == 1
    with pytest.raises(AssertionError):
        Walk([tamper(runs[number])], way, oracle, MARGINS)
