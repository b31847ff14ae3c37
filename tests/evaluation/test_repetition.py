"""Which generations ended in a loop."""

from __future__ import annotations

import random
import time

import pytest

from selar_local.evaluation import slips
from selar_local.evaluation.slips import is_repetitive

SENTENCE = "Wait, let me check the second sum once more, because 17 + 25 is 42. "
PROSE = "".join(f"Step {i}: we add {i * 7 % 13} to {i * i} and keep the result of line {i + 3}. " for i in range(80))


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        (PROSE + SENTENCE * 4, True),
        (PROSE + SENTENCE * 3, False),
        (PROSE + SENTENCE * 4 + SENTENCE[:30], True),
        (PROSE + SENTENCE * 20 + "\n\n", True),
        (SENTENCE * 20 + PROSE, False),
        (PROSE, False),
        ("", False),
        ("a", False),
        ("The answer is 1" + "0" * 40, False),
        ("0" * 199, False),
        ("0" * 200, True),
        ("|---" * 12 + "|", False),
        (PROSE[:1200] * 5, True),
        (PROSE[:1201] * 5, False),
        ("".join(f"{SENTENCE}({i}) " for i in range(50)), False),
    ],
)
def test_texts(text, loops):
    assert is_repetitive(text) is loops


def naive(tokens: str, longest: int, turns: int, shortest: int) -> bool:
    """The definition, word by word."""
    for period in range(1, longest + 1):
        covered = period
        while covered < len(tokens) and tokens[-1 - covered] == tokens[-1 - covered + period]:
            covered += 1
        if len(tokens) > period and covered >= max(turns * period, shortest):
            return True
    return False


def test_it_is_the_definition(monkeypatch):
    draw = random.Random(3)
    seen = set()
    for _ in range(3000):
        piece = "".join(draw.choices("012", k=draw.randrange(1, 7)))
        tokens = "".join(draw.choices("012", k=draw.randrange(12))) + piece * draw.randrange(6)
        tokens += piece[: draw.randrange(len(piece) + 1)]
        limits = {"longest": draw.randrange(1, 7), "turns": draw.randrange(2, 5), "shortest": draw.randrange(12)}
        for name, limit in limits.items():
            monkeypatch.setattr(slips, name.upper(), limit)
        expected = naive(tokens, **limits)
        assert is_repetitive(tokens) is expected, (tokens, limits)
        seen.add(expected)
    assert seen == {True, False}


def test_a_long_text_costs_no_more_than_its_end():
    text = ("ab" * 599 + "c") * 3000
    begin = time.process_time()
    assert is_repetitive(text)
    assert time.process_time() - begin < 1
