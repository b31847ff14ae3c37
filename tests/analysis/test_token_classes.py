"""Kinds of tokens, told from the texts of the steps."""

from __future__ import annotations

import time

import pytest

from selar_local.analysis.token_classes import CLASSES, token_classes

START, CONTINUATION, NUMBER, SYMBOL, SPACE, SPECIAL = CLASSES


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        (["The", " sky", " is", " blu", "e", "."], [START, START, START, START, CONTINUATION, SYMBOL]),
        ([" 12", "3", " apples", " 4th"], [NUMBER, NUMBER, START, NUMBER]),
        (["\n", "\n\n", "  ", "\t", "Step"], [SPACE, SPACE, SPACE, SPACE, START]),
        (["(", "hello", ")", ":", "\n", "x", "2"], [SYMBOL, START, SYMBOL, SYMBOL, SPACE, START, NUMBER]),
        (["It", "'s", " don", "’t", " '", "quoted", "'"],
         [START, CONTINUATION, START, CONTINUATION, SYMBOL, START, SYMBOL]),
        ([" =", " \\", "frac", "{", "1", "}", "²", " ½"],
         [SYMBOL, SYMBOL, START, SYMBOL, NUMBER, SYMBOL, NUMBER, NUMBER]),
        (["你", "好", "，", "三"], [START, CONTINUATION, SYMBOL, START]),
        (["ca", "fe\u0301", "\u0301"], [START, CONTINUATION, CONTINUATION]),
        (["word", "2", "vec"], [START, NUMBER, CONTINUATION]),
        (["<think>", "\n", "So", "</think>", " <tool_call>"], [SPECIAL, SPACE, START, SPECIAL, SPECIAL]),
        (["end", ""], [START, SPECIAL]),
        (["a", "", "b"], [START, SPECIAL, CONTINUATION]),
        # Pieces of a character: the whole comes out with the last of them.
        (["", "", "", "😀", "!"], [SYMBOL, SYMBOL, SYMBOL, SYMBOL, SYMBOL]),
        (["na", "", "ïve"], [START, CONTINUATION, CONTINUATION]),
        (["", "\ufffd"], [SYMBOL, SYMBOL]),
        (["\u200b", "x"], [SYMBOL, START]),
        ([""], [SPECIAL]),
        ([], []),
    ],
)  # fmt: skip
def test_classes(texts, classes):
    assert token_classes(texts) == classes


def test_long_texts_take_no_longer_than_their_length():
    started = time.perf_counter()
    assert len(token_classes([""] * 100_000 + ["x"] * 100_000)) == 200_000
    assert time.perf_counter() - started < 5
