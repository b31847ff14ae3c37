"""Thinking and answer told apart in a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selar_local.formats import GENERAL, TAGS

words = st.lists(
    st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "<th", "</", "nk>", "\n", " ", "a", "é<"]),
    max_size=12,
).map("".join)


class Splitter:
    """The general format's reader: pieces of text, and whether each is thinking."""

    def __init__(self, tail: str = "") -> None:
        self._reader = GENERAL.reader(tail)

    @property
    def in_thinking(self) -> bool:
        return self._reader.in_thinking

    def feed(self, text: str) -> list[tuple[str, bool]]:
        return [(delta.text, delta.kind == "thinking") for delta in self._reader.feed(text)]

    def flush(self) -> list[tuple[str, bool]]:
        return [(delta.text, delta.kind == "thinking") for delta in self._reader.finish().rest]


def fed(pieces: list[str], tail: str = "") -> tuple[str, str]:
    splitter = Splitter(tail)
    out = [piece for text in pieces for piece in splitter.feed(text)] + splitter.flush()
    assert all(text for text, _ in out)
    flags = [thinks for _, thinks in out]
    assert flags == sorted(flags, reverse=True)  # all thinking stands before all answer
    return "".join(t for t, thinks in out if thinks), "".join(t for t, thinks in out if not thinks)


def split_thinking(text: str, tail: str = "") -> tuple[str, str]:
    return fed([text], tail)


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_each_pair(opening, closing):
    assert split_thinking(f"\n{opening}\nwhy\n\nso\n{closing}\n\nBecause.\n") == ("why\n\nso", "Because.\n")
    assert split_thinking(f"why{closing}x", f"<bot>{opening}\n") == ("why", "x")


@pytest.mark.parametrize(
    ("text", "tail", "thinking", "answer"),
    [
        ("Okay.\n</think>\n\n42", "<|Assistant|><think>\n", "Okay.", "42"),
        ("<think>\nOkay.</think>42", "<think>", "Okay.", "42"),  # the tag repeated
        ("42", "<think>\n\n</think>\n\n", "", "42"),  # closed by the template: enable_thinking=False
        ("</think>\n\n42", "<think>\n", "", "42"),
        ("<think>\n\n</think>\n\n42", "", "", "42"),
        ("Write <think> so </think>.", "", "", "Write <think> so </think>."),
        ("<think>a</think>b<think>c</think>", "", "a", "b<think>c</think>"),
        ("</think>\n\n42", "", "", "42"),  # closes nothing, at the start
        ("a [/THINK]</think> b", "", "", "a [/THINK]</think> b"),
        ("<think>a [/THINK] b</think>c", "", "a [/THINK] b", "c"),
        ("<think>cut short\n", "", "cut short\n", ""),
        ("<think>ends in a half </thi", "", "ends in a half </thi", ""),
        ("<thi", "", "", "<thi"),
        ("  plain", "", "", "  plain"),
        ("\n ", "", "", "\n "),
        ("<thinking>no</thinking>", "", "", "<thinking>no</thinking>"),
        ("<think>x</think>\n    code", "", "x", "    code"),
        ("", "", "", ""),
    ],
)
def test_cases(text, tail, thinking, answer):
    assert split_thinking(text, tail) == (thinking, answer)
    assert fed(list(text), tail) == (thinking, answer)


def test_only_a_possible_tag_is_held_back():
    splitter = Splitter()
    assert splitter.feed("<thi") == [] and not splitter.in_thinking
    assert splitter.feed("nk>") == [] and splitter.in_thinking
    assert splitter.feed("\nso <b") == [("so <b", True)]
    assert splitter.feed("\n</") == []
    assert splitter.feed("p>") == [("\n</p>", True)]
    assert splitter.feed("</think>\n") == [] and not splitter.in_thinking
    assert splitter.feed("a <think>") == [("a <think>", False)]


def test_the_start_is_known_from_the_prompt():
    assert Splitter("... <think>\n").in_thinking
    assert not Splitter("say <think> to me<|im_end|>").in_thinking


@given(words, st.sampled_from(["", "<think>\n", "[THINK]", "<think></think>"]), st.data())
def test_any_chunks_give_the_same(text, tail, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert fed(pieces, tail) == split_thinking(text, tail)


@given(st.text("ab \n<>/", max_size=30))
def test_without_tags_nothing_changes(text):
    assert split_thinking(text) == ("", text)


def test_a_thinking_that_closes_at_once_is_over_at_once() -> None:
    for tail in ("<think>", "<think>\n"):
        splitter = Splitter(tail)
        assert splitter.in_thinking
        assert splitter.feed("</think>") == []
        assert not splitter.in_thinking
    repeated = Splitter("<think>\n")
    assert repeated.feed("<thi") == [] and repeated.in_thinking
    assert repeated.feed("nk>a") == [("a", True)]
