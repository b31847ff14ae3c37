"""Messages in the way that a template takes them: parts, thinking, calls, a system text."""

from __future__ import annotations

import json
import re
import time

import pytest

from selar_local.errors import TemplateError
from selar_local.templates import ChatTemplate, sandbox

HI = {"role": "user", "content": "Hi"}
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": [true, "é"]}'}}
RESULT = {"role": "tool", "tool_call_id": "a", "name": "add", "content": "2"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."}
THOUGHT = {"role": "assistant", "content": "Ho", "reasoning_content": "Hm."}

PARTS = (
    "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}|{% endfor %}"
)
STRINGS = "{% for m in messages %}{{ m.role }}:{{ '' + m.content }}|{% endfor %}"
BOTH = (
    "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}<{{ part.text }}>{% endfor %}{% endif %}|{% endfor %}"
)


@pytest.mark.parametrize("source", [PARTS, STRINGS, BOTH])
@pytest.mark.parametrize("content", ["abc", [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}]])
def test_contents_arrive_as_texts_and_as_parts(source, content):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": content}, THOUGHT, HI]
    assert ChatTemplate(source).render(messages) == "system:S|user:abc|assistant:Ho|user:Hi|"


LOOP = "{% for m in messages %}{{ m.role }}:"
FIELD = LOOP + "{% if m.FIELD %}<think>{{ m.FIELD }}</think>{% endif %}{{ m.content }}|{% endfor %}"
TYPED = (
    LOOP + "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'thinking' %}<think>{{ part.thinking }}</think>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}|{% endfor %}"
)
BLOCKS = (
    LOOP + "{% if m.content is string %}{% if m.role == 'assistant' %}{{ raise_exception('mixed') }}{% endif %}"
    "{{ m.content }}{% else %}{% for block in m.content.blocks %}{% if block.type == 'thoughts' %}<think>"
    "{{ block.text }}</think>{% else %}{{ block.text }}{% endif %}{% endfor %}{% endif %}|{% endfor %}"
)


@pytest.mark.parametrize(
    "source",
    [FIELD.replace("FIELD", name) for name in ("reasoning_content", "reasoning", "thinking")] + [TYPED, BLOCKS],
)
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_the_thinking_of_earlier_answers_arrives_once(source, name):
    thought = {"role": "assistant", "content": "Ho", name: "Hm."}
    text = ChatTemplate(source).render([HI, thought, HI, {"role": "assistant", "content": "No"}, HI])
    assert text == "user:Hi|assistant:<think>Hm.</think>Ho|user:Hi|assistant:No|user:Hi|"


def test_a_thinking_that_a_template_shows_beside_calls_alone_arrives_there():
    source = LOOP + "{% if m.tool_calls %}{{ m.thinking }}{% endif %}{{ m.content or '' }}|{% endfor %}"
    assert ChatTemplate(source).render([HI, CALLING, RESULT]) == "user:Hi|assistant:Hm.|tool:2|"


def test_a_template_that_shows_no_thinking_gets_none_in_the_text():
    assert ChatTemplate(STRINGS).render([HI, THOUGHT, HI]) == "user:Hi|assistant:Ho|user:Hi|"


def test_a_thinking_that_a_template_refuses_beside_content_is_left_out():
    source = (
        LOOP + "{% if m.thinking and m.content %}{{ raise_exception('both') }}{% endif %}{{ m.thinking }}"
        "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% endif %}|{% endfor %}"
    )
    template = ChatTemplate(source)
    assert template.render([HI, {**CALLING, "content": ""}, RESULT]) == "user:Hi|assistant:Hm.add|tool:2|"
    assert template.render([HI, {**CALLING, "content": "Look."}, RESULT]) == "user:Hi|assistant:Look.add|tool:2|"


ONLY_NONE = (
    LOOP + "{% if m.content is none %}{{ m.tool_calls | tojson }}{% else %}{{ m.content }}{% endif %}|{% endfor %}"
)
PRINTED = LOOP + "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% endif %}|{% endfor %}"
FAILS = (
    LOOP + "{{ '' + m.content }}{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% endif %}|{% endfor %}"
)


@pytest.mark.parametrize("source", [ONLY_NONE, PRINTED, FAILS])
@pytest.mark.parametrize("content", ["", None])
def test_a_call_arrives_with_an_empty_content_of_either_kind(source, content):
    text = ChatTemplate(source).render([HI, {**CALLING, "content": content}, RESULT])
    assert '"name": "add", "arguments": {"a": 1, "b": [true, "é"]}' in text and "None" not in text


def test_content_beside_calls_is_kept():
    text = ChatTemplate(PRINTED).render([HI, {**CALLING, "content": "None of it."}, RESULT])
    assert json.dumps({"a": 1, "b": [True, "é"]}, ensure_ascii=False) in text and "None of it." in text


def test_ids_of_calls_become_short_where_a_template_takes_no_others():
    source = (
        "{% for m in messages %}{% for id in [m.tool_call_id] if m.tool_call_id %}{% if id | length != 9 %}"
        "{{ raise_exception('ids must have 9 letters') }}{% endif %}({{ id }}){% endfor %}"
        "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('ids must have 9 letters') }}"
        "{% endif %}{{ c.function.name }}({{ c.id }}){% endfor %}{% endfor %}"
    )
    calling, result = {**CALLING, "tool_calls": [{**CALL, "id": "call_1"}]}, {**RESULT, "tool_call_id": "call_1"}
    first, second = re.findall(r"\((\w{9})\)", ChatTemplate(source).render([HI, calling, result]))
    assert first == second
    kept = ChatTemplate(source).render([HI, {**CALLING, "tool_calls": [{**CALL, "id": "abcdefgh1"}]}])
    assert kept == "add(abcdefgh1)"
    assert "(call_1)" in ChatTemplate(source.replace("!= 9", "!= 6")).render([HI, calling, result])


TOOLS_ONLY = "{% for t in tools %}{{ t.function.name }}{% endfor %}" + STRINGS


def test_a_template_for_tools_alone_has_a_system_role():
    template = ChatTemplate(TOOLS_ONLY)
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    assert template.render([{"role": "system", "content": "S"}, HI], tools=tools) == "addsystem:S|user:Hi|"
    with pytest.raises(TemplateError, match=r"fails: .* not iterable"):
        template.render([HI])


def test_the_caller_s_messages_stay_as_they_are():
    messages = [HI, dict(CALLING), RESULT]
    before = json.dumps(messages)
    for source in (PRINTED, ONLY_NONE, TYPED, BLOCKS):
        ChatTemplate(source).render(messages)
    assert json.dumps(messages) == before


def test_a_template_that_runs_too_long_is_tried_once(monkeypatch):
    monkeypatch.setattr(sandbox, "_MAX_SECONDS", 1.0)
    template = ChatTemplate("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}")
    assert not template._wants_parts  # the trials are over
    start = time.thread_time()
    with pytest.raises(TemplateError, match="runs too long"):
        template.render([HI, CALLING, RESULT])
    assert time.thread_time() - start < 10
