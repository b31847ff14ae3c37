"""Every family: found by its template, read right, whatever the pieces, and cut off anywhere."""

from __future__ import annotations

import json
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selar_local.formats import FORMATS, format_of

from .examples import EXAMPLES, IDS, Example, first_of, read, text_of

of_every_family = pytest.mark.parametrize("example", EXAMPLES, ids=IDS)


@of_every_family
def test_its_template_tells_the_family(example: Example) -> None:
    assert format_of(example.template).name == example.name


def test_every_family_has_an_example() -> None:
    assert {form.name for form in FORMATS} - {example.name for example in EXAMPLES} == {"general"}


@of_every_family
def test_thinking_content_and_calls(example: Example) -> None:
    parsed, _ = read([text_of(example)], example.template, example.tail)
    assert (parsed.thinking, parsed.content) == (example.thinking, example.content)
    assert [(call.name, json.loads(call.arguments), call.id) for call in parsed.calls] == [
        ("weather", first_of(example), example.ids[0]),
        ("now", {}, example.ids[1]),
    ]
    assert parsed.cut is None


@of_every_family
def test_the_pieces_do_not_matter(example: Example) -> None:
    text = text_of(example)
    whole = read([text], example.template, example.tail)[1]
    assert read(list(text), example.template, example.tail)[1] == whole
    for at in range(1, len(text), 2):
        assert read([text[:at], text[at:]], example.template, example.tail)[1] == whole, text[:at]


@of_every_family
def test_a_cut_off_call_is_not_lost_and_not_invented(example: Example) -> None:
    text = text_of(example)
    whole, _ = read([text], example.template, example.tail)
    named = 0
    read_by = format_of(example.template).read
    # A tag that closes a call, at the very end, is read as one even within a value: the close before it is forgotten.
    closes = (*(end for _, end in getattr(read_by, "blocks", ())), getattr(read_by, "call_close", "\0"))
    for end in range(0, len(text), 2):
        if text[:end].endswith(closes) and example.marker.endswith(closes):
            continue
        parsed, _ = read([text[:end]], example.template, example.tail)
        assert parsed.calls == whole.calls[: len(parsed.calls)], text[:end]
        if parsed.cut is not None and parsed.cut.name:
            named += 1
            call = whole.calls[len(parsed.calls)]
            assert call.name == parsed.cut.name, text[:end]
            pairs = zip(call.arguments, parsed.cut.arguments, strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            assert len(parsed.cut.arguments) - same < 80, text[:end]  # no more than a value that is not typed yet
    assert named > 20


@of_every_family
def test_other_tools_are_no_calls(example: Example) -> None:
    other = [{"type": "function", "function": {"name": "other", "parameters": {}}}]
    assert read([text_of(example)], example.template, example.tail, other)[0].calls == []


@of_every_family
def test_without_tools_marked_calls_are_calls(example: Example) -> None:
    calls = read([text_of(example)], example.template, example.tail, None)[0].calls
    bare = not example.content
    assert [call.name for call in calls] == ([] if bare else ["weather", "now"])


@of_every_family
def test_chatter_about_a_marker_is_content(example: Example) -> None:
    form = format_of(example.template)
    starts = form.read.starts
    tail = example.tail if not example.thinking else "<none>"
    for start in starts:
        text = f"One writes {start} so, and it is text."
        parsed, _ = read([text], example.template, tail)
        if example.name in ("gemma-4", "muse"):
            continue
        assert (parsed.content, parsed.calls, parsed.cut) == (text, [], None), start


@of_every_family
def test_markers_are_in_the_text_or_nowhere(example: Example) -> None:
    form = format_of(example.template)
    assert all(marker for marker in form.markers)
    assert form.thinking is None or (form.thinking.closing in form.thinking.end)
    if example.thinking:
        assert form.thinking is not None and form.thinking.closing in example.text


def soup(example: Example) -> st.SearchStrategy[str]:
    """Texts out of the family's own pieces, in any order."""
    form = format_of(example.template)
    text = text_of(example)
    quarters = [text[at : at + len(text) // 4] for at in range(0, len(text), len(text) // 8)]
    pieces = [
        *form.markers,
        *form.read.starts,
        "{",
        "}",
        '"',
        "\\",
        "\n",
        " ",
        "weather",
        "<",
        "[",
        "]",
        "a",
        *quarters,
    ]
    return st.lists(st.sampled_from(pieces), max_size=14).map("".join)


@of_every_family
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_text_in_any_pieces(example: Example, data: st.DataObject) -> None:
    text = data.draw(soup(example))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    tail = data.draw(st.sampled_from([example.tail, ""]))
    assert read(pieces, example.template, tail)[1] == read([text], example.template, tail)[1]
