"""SwiReasoning's oracle against examples worked by hand."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest

from .methods import Filters
from .scripted import ALL, PLACES, Scripted, cases, close, trace
from .swireasoning import Swir, SwirState, SwirStep, swir_step, swireasoning

SWIR = Swir(10, window_size=2, alpha_0=0.5, think_start=3, think_end=4)


def swir_run(script: str, filters: Filters = ALL, **options: Any) -> tuple[list[SwirStep], list[Any]]:
    model = Scripted(*[PLACES[letter] for letter in script])
    steps = list(swireasoning(model, [0], len(script), replace(SWIR, **options), end_ids={6}, filters=filters))
    return steps, [fed for (fed,) in model.fed[1:]]


@cases(
    ("script", "options", "expected", "switches"),
    [
        # Soft until below the first entropy; in normal mode for two steps at least; each switch sets what is compared.
        ("bdcabbbcaaad", {}, "0+s 0+s 0+s 0+n 0-n 0+s 0+s 0+s 0+n 0-n 0-n 0+s", 2),
        ("babbbb", {"window_size": 3}, "0+s 0+n 0-n 0-n 0+s 0+s", 1),
        ("babaa", {"window_size": 0}, "0+s 0+n 0+s 0+n 0-n", 2),
        ("dcacd", {}, "0+s 0+n 0-n 0-n 0+s", 1),
        # A guarded token is fed as it is while soft; a step to normal is mixed all the same.
        ("bdabb", {"guarded": frozenset({0})}, "0-s 0-s 0+n 0-n 0-s", 1),
        # Drawing </think> locks, with no switch and no mixing: while soft, at once, while normal.
        ("bTdddd", {}, "0+s 4-n 0-n 0-n 0-n 0-n", 0),
        ("Tddd", {}, "4-n 0-n 0-n 0-n", 0),
        ("baTddd", {}, "0+s 0+n 4-n 0-n 0-n 0-n", 1),
        # Without the token there is no lock and nothing to mix.
        ("bTddd", {"think_end": None}, "0+s 4-n 0-n 0+s 0+s", 1),
        ("bE", {}, "0+s 6-n", 1),
        ("cEb", {"guarded": frozenset({6})}, "0+s 6-n", 1),
    ],
)
def test_swir_modes(script: str, options: Any, expected: str, switches: int) -> None:
    steps, _ = swir_run(script, **options)
    assert (trace(steps), steps[-1].switch_count) == (expected, switches)
    assert not any(step.injected for step in steps)


@cases(
    ("script", "options", "number", "vector"),
    [
        ("cb", {}, 0, [0.6, 0.2, 0.2, 0, 0, 0, 0]),
        ("cb", {"backslash_n": 5}, 0, [0.54, 0.18, 0.18, 0, 0, 0.1, 0]),
        ("bcb", {"backslash_n": 5}, 1, [0.6, 0.2, 0.2, 0, 0, 0, 0]),
        ("bdab", {}, 2, [0.76, 0, 0, 0, 0.24, 0, 0]),  # beta is 0.7 + 0.3 * 2 / 10
        ("bdab", {"beta_0": 0.2, "max_tokens": 4}, 2, [0.6, 0, 0, 0, 0.4, 0, 0]),
        ("dcab", {"beta_on": "soft"}, 1, [0.438, 0.146, 0.146, 0, 0.27, 0, 0]),
        ("babcb", {}, 3, [0.39, 0.13, 0.13, 0.35, 0, 0, 0]),  # alpha is 0.5 + 0.5 * 3 / 10
        ("babcb", {"think_start": None}, 3, [0.6, 0.2, 0.2, 0, 0, 0, 0]),
        ("babccb", {}, 4, [0.6, 0.2, 0.2, 0, 0, 0, 0]),  # mixed only where the mode changes
        ("bab", {"think_end": None}, 1, None),
    ],
)
def test_swir_mixtures(script: str, options: Any, number: int, vector: list[float] | None) -> None:
    steps, fed = swir_run(script, **options)
    step = steps[number]
    if vector is None:
        assert (fed[number], step.vector, step.weights, step.ids, step.explored) == (0, None, None, None, False)
        return
    close(fed[number], vector)
    close(step.vector, vector)
    close(step.weights, np.array(vector)[step.ids])
    assert step.weights.sum() == pytest.approx(1.0) and len(set(step.ids.tolist())) == len(step.ids)


def test_swir_draws_filtered_but_mixes_and_measures_all() -> None:
    # At half the temperature the shares of the two most probable are 9 and 1 of 10.
    sharp, nats = Filters(0.5, 2, 1.0, 0.0), -0.6 * log(0.6) - 0.4 * log(0.2)
    steps = [swir_step(SwirState(), PLACES["c"], np.eye(7), sharp, SWIR, uniform)[0] for uniform in (0.89, 0.91)]
    assert trace(steps) == "0+s 1+s"
    for step in steps:
        assert step.entropy == pytest.approx(nats)
        close(step.vector, [0.6, 0.2, 0.2, 0, 0, 0, 0])


def swir_from(letter: str, uniform: float | None = None, **state: Any) -> tuple[SwirStep, SwirState]:
    """One step from the given state, where a second switch injects the convergence ids for the last time."""
    control = replace(SWIR, max_switch_count=1, convergence=(1, 2), termination=(2, 4, 1), max_tokens=20)
    given = SwirState(**{"number": 5, "reference": 0.5, **state})
    return swir_step(given, PLACES[letter], np.eye(7), ALL, control, uniform)


def test_switch_count_control() -> None:
    """Two switches inject the convergence ids, the third the termination ids and the end after 32 tokens."""
    options = {"max_switch_count": 1, "convergence": (1, 2), "termination": (2, 4, 1), "window_size": 1}
    steps, _ = swir_run("bababa" + 40 * "a", **options)
    assert trace(steps[:10]) == "0+s 0+n 1+s 2+n 1+s 2+n 2-n 4-n 1-n 0-n"
    assert [step.switch_count for step in steps[:7]] == [0, 1, 1, 2, 2, 3, 3]
    assert [step.injected for step in steps[:10]] == [False] * 2 + [True] * 7 + [False]
    assert len(steps) == 5 + 32
    assert len(swir_run("bababa" + 40 * "a", **{**options, "max_switch_count": None})[0]) == 46


@cases(("before", "queue"), [(0, (1, 2)), (1, (1, 2)), (2, (2, 4, 1)), (3, (2, 4, 1))])
def test_what_a_switch_injects(before: int, queue: tuple[int, ...]) -> None:
    step, after = swir_from("a", switch_count=before, queue=(2, 0, 0), budget=None)
    assert (step.token, step.injected, step.switch_count) == (2, True, before + 1)
    assert (after.queue, after.budget) == (queue, 31 if before > 1 else None)
    close(step.vector, [0, 0, 0.775, 0, 0.225, 0, 0])  # beta is 0.7 + 0.3 * 5 / 20
    assert swir_from("a", switch_count=before, budget=9)[1].budget == (31 if before > 1 else 8)
    assert swir_from("b", switch_count=before)[1].queue == ()  # no switch
    assert swir_from("a", mode="normal", switch_count=before)[1].queue == ()


def test_an_injected_think_end_does_not_lock_nor_does_the_token_drawn_in_its_place() -> None:
    for letter, queue in (("c", (4,)), ("T", (1,))):
        step, after = swir_from(letter, mode="normal", reference=-1.0, stay=1, queue=queue)
        assert (step.token, step.mode, after.locked, after.queue) == (queue[0], "soft", False, ())
        assert step.explored and after == SwirState(6, "soft", reference=step.entropy)
    assert swir_from("T", mode="normal", reference=-1.0, stay=1)[1].locked
    step, after = swir_from("a", queue=(4,))
    assert (step.ids.tolist(), step.weights.tolist(), after.locked, after.stay) == ([4], [1.0], False, 0)


def test_the_budget_ends_the_text_where_it_is_used_up() -> None:
    assert [swir_from("a", mode="normal", budget=left)[1].finished for left in (2, 1)] == [False, True]
    assert not swir_from("a")[1].finished
