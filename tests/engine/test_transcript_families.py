"""Every family's output, token bytes at a time, through the transcript of a generation: thinking, answer and calls."""

from __future__ import annotations

import pytest
from formats.examples import EXAMPLES, IDS, TOOLS, Example, text_of

from selar_local.engine.transcript import Transcript
from selar_local.formats import GENERAL, format_of

of_every_family = pytest.mark.parametrize("example", EXAMPLES, ids=IDS)


def spoken(example: Example, size: int, *, tools: bool = True, end: int | None = None) -> Transcript:
    """The transcript of the example's output, given out in pieces that cut characters, too."""
    form = format_of(example.template)
    transcript = Transcript(example.tail, form=form, tools=TOOLS if tools else None)
    data = text_of(example).encode()[:end]
    shown = [transcript.feed(data[i : i + size]) for i in range(0, len(data), size)]
    shown.append(transcript.finish())
    assert "".join(said.answer for said in shown) == transcript.answer
    assert "".join(said.thinking for said in shown) == transcript.thinking
    return transcript


@of_every_family
@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_it_says_what_the_reader_says(example: Example, size: int) -> None:
    transcript = spoken(example, size)
    reader = format_of(example.template).reader(example.tail, TOOLS)
    reader.feed(text_of(example))
    parsed = reader.finish()
    assert (transcript.answer, transcript.thinking) == (parsed.content, parsed.thinking)
    assert transcript.calls == tuple(parsed.calls) and [call.name for call in transcript.calls] == ["weather", "now"]
    assert transcript.cut_call is None
    assert size > 5 or not parsed.thinking or transcript.thinking_tokens(ended_by_token=False) > 0


@of_every_family
def test_without_tools_a_call_is_text(example: Example) -> None:
    transcript = spoken(example, 7, tools=False)
    assert transcript.calls == () and transcript.cut_call is None
    assert "weather" in transcript.answer + transcript.thinking


@of_every_family
def test_whether_the_thinking_goes_on_is_known_before_a_token_is_taken(example: Example) -> None:
    transcript = Transcript(example.tail, form=format_of(example.template), tools=TOOLS)
    data = text_of(example).encode()
    for i in range(0, len(data), 3):
        piece = data[i : i + 3]
        after = transcript.in_thinking_after(piece)
        transcript.feed(piece)
        assert transcript.in_thinking is after


@of_every_family
def test_a_text_cut_off_anywhere_loses_no_call(example: Example) -> None:
    """A call is complete, or cut off with its name, or still text."""
    whole = spoken(example, 100_000)
    for end in range(1, len(text_of(example).encode()), 11):
        transcript = spoken(example, 9, end=end)
        named = [*transcript.calls, *([transcript.cut_call] if transcript.cut_call else [])]
        assert all(call.name in ("weather", "now") for call in named)
        assert transcript.calls == whole.calls[: len(transcript.calls)]


def test_an_unknown_template_has_the_general_format() -> None:
    assert format_of("{{ messages }}").name == GENERAL.name


def test_the_answer_s_first_token_is_counted_where_nothing_comes_with_the_closing_tag() -> None:
    transcript = Transcript("<think>\n")
    for piece in (b"so", b" what", b"</think>", b"\n\n", b"It", b" is"):
        transcript.feed(piece)
    transcript.finish()
    assert (transcript.answer, transcript.thinking) == ("It is", "so what")
    assert transcript.thinking_tokens(ended_by_token=False) == 4
