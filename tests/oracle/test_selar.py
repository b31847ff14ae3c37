"""SeLaR's oracle, and what all methods share, against examples worked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .methods import Selar, Step, cot, noise_generator, selar, selar_step, soft_weights, uniform_numbers
from .scripted import ALL, Scripted, cases, close, logits_of
from .selar import selar_batch
from .transformer import Transformer
from .weights import Array, Weights

# Three likely tokens (0, 1, 3), each 0.3, and token 2 with 0.1; so h = 1 and the weights are -1/3, 2/3, 2/3.
EVEN, SURE = logits_of(0.3, 0.3, 0.1, 0.3), logits_of(0.98, 0.01, 0.01, 0.0)


def test_draws_and_noise_are_numpy_s_own_streams() -> None:
    one = np.random.Generator(np.random.PCG64(11))
    assert uniform_numbers(11, 3) == [one.random(), one.random(), one.random()]
    assert noise_generator(11).random() == np.random.Generator(np.random.PCG64([11, 1])).random() != one.random()


def one_step(logits: Array, uniform: float | None = None, ends: Sequence[int] = (), **options: Any) -> Step:
    return selar_step(logits, np.eye(4), ALL, Selar(**options), uniform, end_ids=ends)


@cases(
    ("shares", "strength", "repel", "expected"),
    [
        ([1 / 2, 1 / 4, 1 / 4], 1.0, 1, [0.0, 1 / 2, 1 / 2]),
        # C = 2/3 of the first and 1/3 of the second: (1, 1/2, 1/2) less that.
        ([1 / 2, 1 / 4, 1 / 4], 1.0, 2, [1 / 3, 1 / 6, 1 / 2]),
        ([1 / 3, 1 / 3, 1 / 3], 0.6, 2, [8 / 15 - 0.3, 8 / 15 - 0.3, 8 / 15]),
        ([1 / 2, 1 / 2], 0.8, 2, [1 / 2, 1 / 2]),  # fewer left than asked for: nothing to move away from
    ],
)
def test_repulsion(shares: list[float], strength: float, repel: int, expected: list[float]) -> None:
    close(soft_weights(np.array(shares), strength, repel), expected, atol=1e-15)
    logits = logits_of(*shares, *[0.0] * (4 - len(shares)))
    step = selar_step(logits, np.eye(4), replace(ALL, min_p=0.1), Selar(tau=0.0, repel=repel), None)
    close(step.vector[step.ids], soft_weights(np.array(shares), step.entropy, repel), atol=1e-15)


@cases(("k", "repel"), [(3, 3), (3, 0), (2, 2)])
def test_repulsion_is_from_fewer_than_k(k: int, repel: int) -> None:
    with pytest.raises(ValueError, match="repel"):
        Selar(k=k, repel=repel)


@cases(
    ("uniform", "options", "ids", "weights", "token"),
    [
        (0.95, {"anchor": 1.0}, [0, 1, 3], [-1 / 3, 2 / 3, 2 / 3], 2),
        (0.95, {"anchor": 0.5}, [0, 1, 3, 2], [-1 / 6, 1 / 3, 1 / 3, 1 / 2], 2),
        (0.5, {"anchor": 0.25}, [0, 1, 3], [-1 / 12, 11 / 12, 1 / 6], 1),
        (0.8, {"anchor": 0.0}, [0, 1, 3], [0, 0, 1], 3),
        (0.1, {"show": "heaviest"}, [0, 1, 3], [-1 / 3, 2 / 3, 2 / 3], 1),
        (0.95, {"show": "heaviest"}, [0, 1, 3], [-1 / 3, 2 / 3, 2 / 3], 1),
        (0.8, {"show": "heaviest", "anchor": 0.9}, [0, 1, 3], [-0.3, 0.6, 0.7], 3),
        (0.95, {"show": "heaviest", "anchor": 0.4}, [0, 1, 3, 2], [-2 / 15, 4 / 15, 4 / 15, 0.6], 2),
        (0.1, {"show": "heaviest", "contrast": 3.0}, [0, 1, 3], [-5 / 3, 4 / 3, 4 / 3], 1),
        (0.1, {"show": "heaviest", "contrast": 0.0}, [0, 1, 3], [1 / 3, 1 / 3, 1 / 3], 0),
    ],
)
def test_anchor_and_shown_token(uniform: float, options: Any, ids: Any, weights: Any, token: int) -> None:
    step = one_step(EVEN, uniform, **options)
    assert (step.token, step.mixed_ids.tolist(), step.ids.tolist()) == (token, ids, [0, 1, 3])
    close(step.weights, weights, atol=1e-15)
    close(step.vector[ids], weights, atol=1e-15)
    close(step.vector.sum(), 1.0)


def test_a_drawn_end_token_leaves_nothing_to_show_or_to_feed() -> None:
    assert one_step(EVEN, 0.1, show="heaviest").token == 1
    step = one_step(EVEN, 0.1, ends=[0], show="heaviest")
    assert (step.token, step.drawn, step.explored, step.vector, step.mixed_ids) == (0, 0, False, None, None)
    assert [s.token for s in selar(Scripted(EVEN, EVEN), [0], 2, end_ids={1}, settings=Selar(show="heaviest"))] == [1]


def test_the_inverted_gate_opens_below_tau() -> None:
    options = [{"invert_gate": invert, "guarded": guarded} for guarded in ((), {0}) for invert in (False, True)]
    assert [one_step(EVEN, **own).explored for own in options] == [True, False, False, False]
    assert [one_step(SURE, **own).explored for own in options] == [False, True, False, False]
    assert [one_step(EVEN, tau=1, k=2, invert_gate=invert).explored for invert in (False, True)] == [True, False]


def test_the_strict_gate_is_closed_at_tau() -> None:
    alone = logits_of(1, 0, 0, 0)  # h is 0
    assert [one_step(alone, tau=0.0, strict_gate=strict).explored for strict in (False, True)] == [True, False]
    assert one_step(EVEN, strict_gate=True).explored and not one_step(SURE, strict_gate=True).explored
    assert one_step(alone, tau=0.0, strict_gate=True, invert_gate=True).explored


@cases(
    ("opens", "closes", "uniforms", "explored"),
    [
        (None, 3, [0.1, 0.7, 0.1, 0.1], [True, False, False, False]),
        (3, None, [0.1, 0.7, 0.1, 0.4], [False, False, True, True]),
        (3, 1, [0.7, 0.1, 0.4, 0.1], [False, True, False, False]),
    ],
)
def test_scope(opens: int | None, closes: int | None, uniforms: list[float], explored: list[bool]) -> None:
    def thinking(shown: Sequence[int]) -> bool:
        return (opens is None or opens in shown) and closes not in shown

    settings = Selar(scope="thinking")
    steps = selar(Scripted(*[EVEN] * 4), [0], 4, settings=settings, filters=ALL, uniforms=uniforms, thinking=thinking)
    assert [step.explored for step in steps] == explored
    assert all(s.explored for s in selar(Scripted(EVEN, EVEN), [0], 2, uniforms=[0, 0.8], thinking=lambda _: False))
    with pytest.raises(ValueError, match="told"):
        next(selar(Scripted(EVEN), [0], 1, settings=settings))


@cases("batch_gate", [True, False])
def test_batch_gate(batch_gate: bool) -> None:
    """Texts: sure of a guarded token / exploring at the first step only / ended at the first step."""
    settings = Selar(guarded=frozenset({0}), batch_gate=batch_gate)
    model, draws = Scripted(SURE, EVEN, EVEN, SURE, SURE), [[0.1, 0.1], [0.4, 0.1], [0.95, 0.1]]
    one, two = selar_batch(model, [[1], [2], [3]], 2, filters=ALL, settings=settings, uniforms=draws, end_ids={2})
    assert [(step.token, step.explored) for step in one.values()] == [(0, batch_gate), (1, True), (2, False)]
    assert list(two) == [0, 1] and not any(step.explored for step in two.values())
    own = -(0.98 * log(0.98) + 0.02 * log(0.01)) / log(3)
    close(model.fed[3][0], [0.98 * (1 + own) - own, *[0.01 * (1 + own)] * 2, 0.0] if batch_gate else 0)
    close(model.fed[4][0], [-1 / 3, 2 / 3, 0, 2 / 3])


def test_without_the_batch_gate_texts_together_are_each_alone(tiny: Callable[..., Path]) -> None:
    model = Transformer(Weights.load(tiny(architecture="llama", seed=1)))
    prompts, draws = [[40, 71, 300], [5, 260]], [uniform_numbers(seed, 6) for seed in (1, 2)]
    options: Any = {"settings": Selar(tau=0.3, scope="thinking"), "thinking": lambda shown: len(shown) > 2}
    together = list(selar_batch(model, prompts, 6, uniforms=draws, **options))
    for i in range(2):
        for steps, alone in zip(together, selar(model, prompts[i], 6, uniforms=draws[i], **options), strict=True):
            assert (steps[i].token, steps[i].explored) == (alone.token, alone.explored)
            close(steps[i].logits, alone.logits)
    assert [any(step.explored for step in steps.values()) for steps in together[:3]] == [False] * 3
    assert any(step.explored for steps in together[3:] for step in steps.values())


def test_a_text_alone_has_no_batch_gate_and_cot_never_explores() -> None:
    gated = Selar(guarded=frozenset({0}), batch_gate=True)
    assert not next(selar_batch(Scripted(EVEN), [[0]], 1, settings=gated))[0].explored
    model = Scripted(EVEN, SURE)
    assert [step.explored for step in cot(model, [5, 6], 2, uniforms=[0.4, 0.0])] == [False, False]
    assert model.fed == [[5, 6], [1]]
