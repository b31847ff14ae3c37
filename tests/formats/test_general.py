"""The general format: it tells thinking and answer apart as an independent implementation does, and knows no calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selar_local.formats import TAGS, format_of

from .examples import read
from .splitter import split_thinking

words = st.lists(
    st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "<th", "</", "nk>", "\n", " ", "a", "é<"]),
    max_size=12,
).map("".join)


@given(words, st.sampled_from(["", "<think>\n", "[THINK]", "<think></think>"]), st.data())
def test_it_splits_as_before(text, tail, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    parsed, _ = read(pieces, "", tail)
    assert (parsed.thinking, parsed.content) == split_thinking(text, tail)
    assert parsed.calls == []


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_each_pair(opening, closing):
    parsed, _ = read([f"\n{opening}\nwhy\n\nso\n{closing}\n\nBecause.\n"], "")
    assert (parsed.thinking, parsed.content) == ("why\n\nso", "Because.\n")
    thinking = format_of(f"{{{{ '{opening}' }}}}").thinking
    assert thinking is not None and (thinking.opening, thinking.closing) == (opening, closing)
    assert format_of(f"x {closing}").closes_thinking(f"bot {opening}\n\n{closing}\n\n")


def test_a_template_without_tags_has_no_thinking():
    form = format_of("{{ messages[0].content }}")
    assert (form.name, form.thinking) == ("general", None)
    assert {"<think>", "</think>"} <= set(form.markers)


def test_only_a_possible_tag_is_held_back():
    reader = format_of("").reader()
    assert reader.feed("<thi") == [] and not reader.in_thinking
    assert reader.feed("nk>") == [] and reader.in_thinking
    assert [d.text for d in reader.feed("\nso <b")] == ["so <b"]
    assert reader.feed("\n</") == []
    assert [(d.kind, d.text) for d in reader.feed("p>")] == [("thinking", "\n</p>")]
    assert reader.feed("</think>\n") == [] and not reader.in_thinking
    assert [(d.kind, d.text) for d in reader.feed("a <think>")] == [("content", "a <think>")]


def test_calls_are_text():
    text = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    assert read([text], "")[0].content == text


@pytest.mark.parametrize(
    "text",
    [
        "<|START_THINKING|>Why.<|END_THINKING|><|START_RESPONSE|>So.<|END_RESPONSE|>",
        "<|channel>thought\nWhy.\n<channel|>So.",
        "<|inner_prefix|>Why.<|inner_suffix|>So.",
        "<|channel|>analysis<|message|>Why.<|end|><|start|>assistant<|channel|>final<|message|>So.",
        "Here is my thought process:\nWhy.\nHere is my response:\nSo.",
    ],
)
def test_families_whose_template_is_lost(text):
    for pieces in ([text], list(text)):
        parsed, _ = read(pieces, "")
        assert (parsed.thinking, parsed.content) == ("Why.", "So.")


def test_an_answer_without_thinking_has_no_channel():
    assert read(["<|channel|>final<|message|>So."], "")[0].content == "So."
