"""Advice on answers that explored very often: when there is some, and what it says."""

from __future__ import annotations

import pytest

import selar_local as sl
from selar_local.advice import advice
from selar_local.engine.events import Usage


def usage(explored: int, steps: int) -> Usage:
    return Usage(prompt_tokens=9, completion_tokens=steps, explored_steps=explored)


def test_the_words():
    assert advice(sl.Selar(), usage(69, 100)) == (
        "69 % of the steps explored, where the paper's models explore at 6 to 14 %: words may be doubled, missing or "
        "wrong. Try max_share=0.15, show=heaviest or anchor=0.5."
    )


def test_options_are_written_as_the_reader_would():
    found = advice(sl.Selar(), usage(69, 100), lambda name, value: f"<{name}|{value}>")
    assert found is not None and found.endswith("Try <max_share|0.15>, <show|heaviest> or <anchor|0.5>.")


@pytest.mark.parametrize(
    ("method", "tried"),
    [
        (sl.Selar(show="heaviest"), "max_share=0.15 or anchor=0.5"),
        (sl.Selar(anchor=0.7, show="heaviest"), "max_share=0.15"),
        (sl.Selar(max_share=0.5), "show=heaviest or anchor=0.5"),
        (sl.Selar(max_share=0.5, show="heaviest", anchor=0.1), "a higher tau"),
    ],
)
def test_what_is_set_already_is_not_advised(method: sl.Selar, tried: str):
    found = advice(method, usage(40, 100))
    assert found is not None and found.endswith(f"wrong. Try {tried}.")


@pytest.mark.parametrize(
    ("explored", "steps", "given"),
    [(0, 0, False), (19, 19, False), (20, 20, True), (25, 100, False), (26, 100, True), (5, 20, False), (6, 20, True)],
)
def test_from_more_than_a_quarter_of_twenty_steps_on(explored: int, steps: int, given: bool):
    assert (advice(sl.Selar(), usage(explored, steps)) is not None) == given


@pytest.mark.parametrize(
    "method",
    [sl.CoT(), sl.CoTGreedy(), sl.SoftThinking(), sl.SwiReasoning(), sl.Coconut(), sl.Selar(invert_gate=True)],
)
def test_what_explores_by_design_needs_no_advice(method: sl.Method):
    assert advice(method, usage(100, 100)) is None
