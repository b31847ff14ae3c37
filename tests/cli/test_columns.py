"""Texts side by side: every character is there once, in order, and no line is wider than its column."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from selar_local.cli.compare import Piece, side_by_side, wrapped

CHARACTERS = st.sampled_from([*"abc  \n\t.", "ä", "天", "😀", "e\u0301"])
TEXTS = st.lists(st.builds(Piece, st.lists(CHARACTERS, max_size=12).map("".join), st.sampled_from(["", "explored"])))


def text_of(lines):
    return ["".join(cell.character for cell in line) for line in lines]


def plain(text, style):
    return text


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.integers(2, 30))
def test_nothing_is_lost_and_nothing_is_too_wide(pieces, width):
    lines = wrapped(pieces, width)
    assert all(sum(cell.width for cell in line) <= width for line in lines)
    text = "".join(piece.text for piece in pieces).replace("\t", "    ")
    assert "".join(text_of(lines)).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    styles = [cell.style for line in lines for cell in line if cell.character != " "]
    wanted = [piece.style for piece in pieces for character in piece.text if character not in " \n\t"]
    assert styles == wanted


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text("ab cd\n", max_size=80), min_size=1, max_size=4), st.integers(20, 80))
def test_columns_are_of_equal_width(texts, width):
    rows = side_by_side([[Piece(text)] for text in texts], width, plain)
    column = (width - 2 * (len(texts) - 1)) // len(texts)
    assert all(wcswidth(row) <= width for row in rows)
    for number, text in enumerate(texts):
        start = number * (column + 2)
        cut = [row[start : start + column].rstrip() for row in rows]
        assert cut[: text.count("\n") + 1] or not text
        assert "".join(cut).replace(" ", "") == text.replace("\n", "").replace(" ", "")
        assert all(row[start + column : start + column + 2].strip() == "" for row in rows)


def test_words_are_kept_whole_where_they_fit():
    lines = text_of(wrapped([Piece("the quick "), Piece("brown", "explored"), Piece(" fox")], 10))
    assert lines == ["the quick", "brown fox"]
    assert text_of(wrapped([Piece("abcdefghijkl")], 5)) == ["abcde", "fghij", "kl"]
    assert text_of(wrapped([Piece("one\n\ntwo")], 5)) == ["one", "", "two"]
    assert text_of(wrapped([Piece("天天天")], 5)) == ["天天", "天"]
    assert text_of(wrapped([], 5)) == [""]


def test_styles_are_painted_and_do_not_count():
    rows = side_by_side(
        [[Piece("a "), Piece("b", "explored")], [Piece("c")]], 10, lambda text, style: f"<{text}>" if style else text
    )
    assert rows == ["a <b>   c"]
