"""Advice on answers that explored very often: when there is some, and what it says."""

from __future__ import annotations

import pytest

import selar_local as sl
from selar_local.advice import advice
from selar_local.engine.events import Usage


def usage(explored: int, steps: int) -> Usage:
    return Usage(prompt_tokens=9, completion_tokens=steps, explored_steps=explored)


def test_the_words() -> None:
    assert advice(sl.Selar(), usage(69, 100)) == (
        "69 % of the steps explored, where the paper's models explore at 6 to 14 %: words may be doubled, missing or "
        "wrong. Try contrast=0, anchor=0.5 and max_share=0.15."
    )


def test_options_are_written_as_the_reader_would() -> None:
    found = advice(sl.Selar(), usage(69, 100), lambda name, value: f"<{name}|{value}>")
    assert found is not None and found.endswith("wrong. Try <contrast|0>, <anchor|0.5> and <max_share|0.15>.")


@pytest.mark.parametrize("anchor", [0.0, 0.3, 0.5, 0.9])
def test_an_option_that_is_set_is_not_advised(anchor: float) -> None:
    found = advice(sl.Selar(anchor=anchor, max_share=0.5), usage(40, 100))
    assert found is not None and found.endswith("wrong. Try contrast=0 and max_share=0.15.")
    found = advice(sl.Selar(anchor=anchor, contrast=0.5), usage(40, 100))
    assert found is not None and found.endswith("wrong. Try max_share=0.15.")


@pytest.mark.parametrize(
    ("explored", "steps", "given"),
    [(0, 0, False), (19, 19, False), (20, 20, True), (25, 100, False), (26, 100, True), (5, 20, False), (6, 20, True)],
)
def test_from_more_than_a_quarter_of_twenty_steps_on(explored: int, steps: int, given: bool) -> None:
    assert (advice(sl.Selar(), usage(explored, steps)) is not None) == given


@pytest.mark.parametrize(
    "method",
    [sl.CoT(), sl.CoTGreedy(), sl.SoftThinking(), sl.SwiReasoning(), sl.Coconut(), sl.Selar(invert_gate=True)],
)
def test_what_explores_by_design_needs_no_advice(method: sl.Method) -> None:
    assert advice(method, usage(100, 100)) is None
