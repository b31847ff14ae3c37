"""The counter of slips against hand-made labels."""

from __future__ import annotations

import time

import pytest
import slip_cases as cases

from selar_local.errors import MissingExtra
from selar_local.evaluation import slips
from selar_local.evaluation.slips import KINDS, Slips, count_slips


def label(case: cases.Case) -> str:
    return case[0][:60]


def counted(text: str, question: str = "") -> tuple[int, ...]:
    found = count_slips(text, question)
    return tuple(getattr(found, kind) for kind in KINDS)


@pytest.mark.parametrize("case", (*cases.CLEAN, *cases.FORMULAS, *cases.BROKEN), ids=label)
def test_labels(case):
    text, *expected = case
    assert counted(text) == tuple(expected)


@pytest.mark.parametrize("case", cases.NOT_SEEN, ids=label)
def test_what_it_does_not_see(case):
    """Where this fails the counter has become better: move the case to those that it sees."""
    text, *expected = case
    assert counted(text) != tuple(expected)


def test_there_are_enough_cases():
    assert len(cases.CLEAN) + len(cases.FORMULAS) + len(cases.BROKEN) + len(cases.NOT_SEEN) >= 60


def test_words_of_the_question_are_known():
    text, question = (
        "Tarquillo sells Tarquillo's zibblets in Wagga Wagga.",
        "Tarquillo has 3 zibblets. Where is Wagga Wagga?",
    )
    assert counted(text, question) == (0, 0, 0)
    assert counted(text) == (1, 3, 0)
    assert counted("the the", "the number") == (1, 0, 0)


def test_words_are_plain_ones():
    assert count_slips("A well-known rule, isn't it: $x$ is 3 `eggs`.").words == 6
    assert count_slips("") == Slips() == count_slips("\\[ x \\] 3 4 --- **")


def test_a_long_text_costs_little():
    """As long as a thinking of 16,000 tokens; unclosed braces, dollars and ticks are the worst for the patterns."""
    for text in ("the number of eggs is five. " * 2500, "$" * 60000, "\\a{" * 20000, "`a" * 30000, "\\[ a " * 12000):
        begin = time.process_time()
        count_slips(text)
        assert time.process_time() - begin < 2


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spellchecker", None)
    slips._known_words.cache_clear()
    with pytest.raises(MissingExtra, match="pyspellchecker"):
        count_slips("the number")
    slips._known_words.cache_clear()
