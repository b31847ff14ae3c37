"""Bytes to text: UTF-8 halves, stop strings, and independence of how the bytes come."""

from __future__ import annotations

import timeit
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selar_local.engine.transcript import TextStream
from selar_local.errors import OptionError


def run(pieces: list[bytes], stop: list[str]) -> tuple[str, str | None]:
    stream = TextStream(stop)
    text = "".join(map(stream.feed, pieces)) + stream.flush()
    assert stream.stopped == (stream.stop_reason is not None)
    return text, stream.stop_reason


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def test_halves_of_a_character_wait():
    stream = TextStream()
    assert [stream.feed(b"a\xf0\x9f"), stream.feed(b"\x98"), stream.feed(b"\x80b")] == [
        "a",
        "",
        "\U0001f600b",
    ]
    assert stream.feed(b"\xc3") == "" and stream.flush() == "\ufffd"


@given(st.binary(max_size=40), st.lists(st.integers(0, 100), max_size=6))
def test_any_cut_of_any_bytes_gives_the_same_text(data, places):
    assert run(cut(data, places), []) == (data.decode("utf-8", "replace"), None)


def naive(text: str, stop: list[str]) -> tuple[str, str | None]:
    for end in range(len(text) + 1):
        complete = [s for s in stop if text[:end].endswith(s)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(
    st.text("abé", max_size=25),
    st.lists(st.text("abé", min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(0, 100), max_size=8),
)
def test_stop_strings_for_any_cut(text, stop, places):
    pieces = cut(text.encode(), places)
    assert run(pieces, stop) == naive(text, stop)
    stream = TextStream(stop)
    shown = ""
    for n, piece in enumerate(pieces):  # what is shown is always a beginning, and no more is held than needed
        shown += stream.feed(piece)
        so_far = b"".join(pieces[: n + 1]).decode("utf-8", "ignore")
        rest = so_far[len(shown) :]
        assert (so_far.startswith(shown) and not rest) or any(s.startswith(rest) or stream.stopped for s in stop)


def test_nothing_comes_after_a_stop():
    stream = TextStream(["END", "STOP"])
    assert stream.feed(b"one ST") == "one " and not stream.stopped
    assert stream.feed(b"OP two END") == ""
    assert stream.stop_reason == "STOP"
    assert stream.feed(b"three") == "" and stream.flush() == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so<|im_end|>x", "so"),
        ("so<|im", "so"),
        ("so <|im_en", "so "),
        ("so <", "so <"),
        ("so E", "so E"),
        ("a<|b", "a<|b"),
    ],
)
def test_no_beginning_of_the_text_that_ends_a_turn_is_shown(text, shown):
    stream = TextStream(("END",), "<|im_end|>")
    assert "".join(map(stream.feed, (c.encode() for c in text))) + stream.flush() == shown


def test_what_looked_like_a_stop_string_is_released():
    stream = TextStream(["</s>"])
    assert stream.feed(b"a </") == "a " and stream.feed(b"b>") == "</b>"
    assert stream.feed(b"x<") == "x" and stream.flush() == "<"


def test_the_first_complete_one_wins_and_then_the_longest():
    assert run([b"xabcd"], ["abcd", "bc"]) == ("xa", "bc")
    assert run([b"xabc"], ["bc", "abc", "c"]) == ("x", "abc")
    assert run([b"xab"], ["abc", "ab"]) == ("x", "ab")


def test_a_plain_string_is_one_stop_and_an_empty_one_an_error():
    assert TextStream("ab").feed(b"xab") == "x"
    for bad in ([""], "", ["a", ""]):
        with pytest.raises(OptionError, match="empty"):
            TextStream(bad)


def test_ordinary_text_is_cheap():
    stream = TextStream()
    best = min(timeit.repeat(lambda: stream.feed(b" hello"), number=10_000, repeat=5)) / 10_000
    assert best < 3e-6
