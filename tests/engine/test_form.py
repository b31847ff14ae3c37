"""Exploration stays out of form: calls of tools and fenced blocks of JSON. The judge reads the whole text again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.form import needs_form
from scripted_runtime import ScriptedRuntime, drive, outcome, request
from test_decisions import Scripted

from selar_local.engine.scheduler import Scheduler
from selar_local.formats import HERMES, JsonFence
from selar_local.methods.base import Decision, Mixture

TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALL = ["<tool_call>", '{"name": ', '"f", "argu', 'ments": {"a', '": 1}}', "</tool_call>"]


def kept(
    *texts: str, tools: object = TOOLS, other: str = "x", keep: bool = True, **options: object
) -> list[str | None]:
    """Why each step of a method that always mixes the token with another one stayed a certain one."""
    words = list(dict.fromkeys([*texts, other]))
    ids = {word: 10 + i for i, word in enumerate(words)}
    weights = np.array([0.5, 0.5])
    method = Scripted(decide=lambda view, i: Decision(Mixture(np.array([view.token, ids[other]]), weights)))
    sequence = request(
        [5, 5],
        method,
        pieces={i: word.encode() for word, i in ids.items()},
        form=HERMES,
        tools=tools,
        keep_form=keep,
        **options,
    )
    runtime = ScriptedRuntime({5: [ids[text] for text in texts]})
    drive(Scheduler(runtime, 1), sequence)
    events = outcome(sequence).events[: len(texts)]
    assert all(event.explored == (event.kept is None) for event in events)
    assert all(event.fed == ((event.token, 1.0),) for event in events if event.kept)
    return [event.kept for event in events]


def test_a_call_is_certain_from_its_marker_to_its_end():
    assert kept("Well", ", ", *CALL) == [None, None, *["call"] * 6]
    assert kept("Well", ", ", *CALL[:-1], "\n", "</tool_call>", "so") == [None, None, *["call"] * 7, None]
    assert kept("a ", "<", "tool", "_call>", "{") == [None, *["call"] * 4]
    assert kept("a ", "<", "b", "> c") == [None, "call", None, None]


def test_a_token_that_is_mixed_in_may_begin_a_call_too():
    assert kept("a", "b", other="<tool_call>") == ["call", "call"]
    assert kept("a", "b", other="```") == ["call", "call"]
    assert kept("a", "b", other='{"') == ["call", None]  # the answer itself may be a call, at its start alone


def test_an_answer_that_may_be_a_call_as_a_whole():
    assert kept('{"', "name", '": "f", "arguments": {', "}}") == ["call"] * 4
    assert kept('{"a', '": 1}', " and", " more") == ["call", "call", None, None]


def test_without_tools_calls_are_text():
    assert kept("a", *CALL, tools=None) == [None] * 7


def test_a_fenced_block_of_json_is_certain_with_and_without_tools():
    texts = ["So:", "\n", "```", "json", "\n", '{"a', '": 1}', "\n", "```", "\n", "Done"]
    assert kept(*texts, tools=None) == [None, None, *["json"] * 8, None]
    assert kept("```", "python", "\n", "f(1)", "\n", "```", "\n", "x", tools=None)[1:] == [None] * 7
    assert kept("see ", "`", "a", "`", tools=None) == [None] * 4


def test_the_option_and_what_was_no_exploration():
    assert kept(*CALL, keep=False) == [None] * 6
    assert kept("```json", "\n", "{", tools=None, keep=False) == [None] * 3


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from(["`", "``", "```", "json", "js", "on", "\n", " ", "a", "{}", "```json\n", "\n```\n"]),
        max_size=12,
    )
)
def test_any_text_is_judged_alike(texts):
    found = kept(*texts, tools=None) if texts else []
    for i, reason in enumerate(found):
        assert (reason == "json") == needs_form("".join(texts[:i]), (texts[i], "x")), (texts, i)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_fence_does_not_depend_on_how_the_text_comes(size):
    text, fence = "a\n```json\n{}\n```\nb", JsonFence()
    open_after = ""
    for start in range(0, len(text), size):
        fence.feed(text[start : start + size])
        open_after += "1" if fence.open else "0"
    assert open_after[-1] == "0" and (size == 100 or "1" in open_after)
