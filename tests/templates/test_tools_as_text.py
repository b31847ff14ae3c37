"""Tools on templates that cannot show them: in the system message, calls and results as texts."""

from __future__ import annotations

from typing import Any

import pytest

from selar_local.templates import ChatTemplate

WITHOUT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)
WITH = "{% if tools %}TOOLS {{ tools | tojson }}\n{% endif %}" + WITHOUT
LATE = WITHOUT.replace("[{{", "{% if loop.last and tools %}TOOLS {{ tools | tojson }}{% endif %}[{{", 1)
GEMMA = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + WITHOUT
TOOL = {"type": "function", "function": {"name": "weather", "description": "Ein é", "parameters": {"type": "object"}}}
CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
    {"role": "tool", "tool_call_id": "a", "content": "rain"},
    {"role": "tool", "tool_call_id": "a", "content": "sun"},
    {"role": "assistant", "content": "Rain, then sun."},
    {"role": "user", "content": "Thanks"},
]


@pytest.mark.parametrize(("source", "shows"), [(WITHOUT, False), (WITH, True), (LATE, True), (GEMMA, False)])
def test_whether_a_template_shows_tools(source: str, shows: bool) -> None:
    template = ChatTemplate(source)
    assert template.shows_tools == shows
    text = template.render(TURNS, tools=[TOOL])
    assert "weather" in text and ("TOOLS" in text) == shows
    assert "You can call these tools" not in ChatTemplate(source).render(TURNS[:1])


def test_everything_is_there_as_text() -> None:
    system = {"role": "system", "content": "Be brief."}
    text = ChatTemplate(WITHOUT).render([system, *TURNS], tools=[TOOL])
    assert text.startswith("[system] Be brief.\n\nYou can call these tools")
    assert '{"name": "weather", "description": "Ein é", "parameters": {"type": "object"}}' in text
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
    assert f"[assistant] {call}\n{call}\n" in text
    results = "<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>"
    assert f"[user] {results}\n[assistant] Rain, then sun.\n[user] Thanks\n>" in text
    folded = ChatTemplate(GEMMA).render(TURNS, tools=[TOOL])
    assert folded.startswith("[user] You can call these tools") and "[system]" not in folded


def test_chatml_that_was_assumed_shows_them_too() -> None:
    assert "weather" in ChatTemplate.chatml().render(TURNS, tools=[TOOL])
