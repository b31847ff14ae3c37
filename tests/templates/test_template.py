"""Chat templates: what they get, what they may, and what stops them."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from selar_local.errors import TemplateError
from selar_local.templates import ChatTemplate, sandbox

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n"
    "{{ m['content'] | trim }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must\nalternate') }}{% endif %}"
    "<start>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>model\n{% endif %}"
)
QWEN3 = (
    "{%- for m in messages %}\n    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"
)
R1 = (
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = ns.system ~ m.content %}{% endif %}{% endfor %}{{ bos_token }}{{ ns.system }}"
    "{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'assistant' %}"
    "<|Assistant|>{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
HI = [{"role": "user", "content": "Hi"}]
SYSTEM_HI = [{"role": "system", "content": "Be brief."}, *HI]


def one_line(error: pytest.ExceptionInfo[TemplateError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_chatml():
    template = ChatTemplate.chatml()
    wanted = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert template.render(SYSTEM_HI) == wanted + "<|im_start|>assistant\n"
    assert template.render(SYSTEM_HI, add_generation_prompt=False) == wanted
    assert not template.variables.switch_thinking


def test_llama3_style_gets_its_tokens():
    template = ChatTemplate(LLAMA3, bos_token="<s>", eos_token="</s>")
    assert template.source == LLAMA3
    assert template.render([{"role": "user", "content": " <b>&é "}]) == (
        "<s><|start|>user<|end|>\n\n<b>&é</s><|start|>assistant<|end|>\n\n"
    )


def test_gemma_style_system_text_goes_into_the_first_user_message():
    template = ChatTemplate(GEMMA)
    assert template.render(SYSTEM_HI) == "<start>user\nBe brief.\n\nHi<end>\n<start>model\n"
    two = [SYSTEM_HI[0], {"role": "system", "content": "In verse."}, *HI]
    assert "user\nBe brief.\n\nIn verse.\n\nHi<end>" in template.render(two)
    assert template.render(SYSTEM_HI[:1]) == "<start>user\nBe brief.<end>\n<start>model\n"
    with pytest.raises(TemplateError) as error:
        template.render([*HI, *HI])
    assert one_line(error) == "the model's chat template refuses the messages: roles must alternate"


def test_a_system_text_is_not_dropped_in_silence():
    template = ChatTemplate("{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}")
    assert template.render(SYSTEM_HI) == "[Be brief.\n\nHi]"
    assert SYSTEM_HI[1]["content"] == "Hi"  # the caller's messages stay as they are


def test_thinking_switch():
    template = ChatTemplate(QWEN3)
    assert template.variables.switch_thinking
    assert template.render(HI) == template.render(HI, thinking=True)
    assert template.render(HI, thinking=False) == template.render(HI) + "<think>\n\n</think>\n\n"
    other = ChatTemplate("{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ thinking }}")
    assert other.variables.switch_thinking
    assert [other.render(HI, thinking=x) for x in (None, True)] == ["False", "True"]
    assert not ChatTemplate("{% set thinking = 1 %}{{ thinking }} enable_thinking").variables.switch_thinking


def test_r1_style_opens_the_thinking():
    talk = [*SYSTEM_HI, {"role": "assistant", "content": "<think>hm</think>Ho"}, *HI]
    wanted = "<s>Be brief.<|User|>Hi<|Assistant|>Ho<|User|>Hi<|Assistant|><think>\n"
    assert ChatTemplate(R1, bos_token="<s>").render(talk) == wanted


def test_what_transformers_offers():
    source = (
        "{{ {'a': '<é>'} | tojson }}{{ [1] | tojson(indent=2) }}{{ strftime_now('%Y') | length }}"
        "{% generation %}x{% endgeneration %}{% for i in range(9) %}"
        "{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        "{{ tools[0].name }}{{ '%d of {}' % 3 }}{{ '{:>3}'.format('a') }}"
        "{{ ['a', 'b'] | join(', ') }}{{ 'a' * 3 }}"
        "{% macro m(x) %}({{ x }}){% endmacro %}{{ m('q') }}"
        "{{ 'x-y'.replace('-', '+').split('+') | last | upper }}"
    )
    got = ChatTemplate(source).render(HI, tools=[{"name": "T"}])
    assert got == '{"a": "<é>"}[\n  1\n]4x01T3 of {}  aa, baaa(q)Y'


def test_content_in_parts_and_tool_calls():
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{{ m.tool_calls }}|{% endfor %}")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [1]}]
    assert template.render(messages) == "ab|[1]|"


CALLS = [{"type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": [true, "é"]}'}}]
OPEN_CALL = "{% for m in messages %}{% for c in m.tool_calls %}{{ m.content }}"


@pytest.mark.parametrize(
    "written",
    [
        "{{ c.function.arguments | tojson }}",  # most: an object is wanted
        "{{ '' + c.function.arguments }}",  # DeepSeek's: fails with an object
        "{{ c.function.arguments }}",  # prints what it gets
        "{% if c.function.arguments is string %}{{ c.function.arguments }}"
        "{% else %}{{ c.function.arguments | tojson }}{% endif %}",
    ],
)
def test_arguments_of_tool_calls_are_written_as_json_once(written):
    template = ChatTemplate(OPEN_CALL + written + "{% endfor %}{% endfor %}")
    message = {"role": "assistant", "content": None, "tool_calls": CALLS}
    assert json.loads(template.render([message])) == {"a": 1, "b": [True, "é"]}
    assert CALLS[0]["function"]["arguments"].startswith("{")  # the caller's own stays as it is


@pytest.mark.parametrize("arguments", ["not json", "[1]", None, 7, {"a": 1}])
def test_other_arguments_reach_the_template_as_they_are(arguments):
    template = ChatTemplate(OPEN_CALL + "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}")
    calls = [{"function": {"name": "f", "arguments": arguments}}]
    assert json.loads(template.render([{"role": "assistant", "content": "", "tool_calls": calls}])) == arguments


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["Hi"],
        [{"content": "Hi"}],
        [{"role": "user"}],
        [{"role": "user", "content": 1}],
        [{"role": 1, "content": ""}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": "user", "content": ["Hi"]}],
        [{"role": "user", "content": [{"type": "text"}]}],
    ],
)
def test_bad_messages(messages):
    with pytest.raises(TemplateError) as error:
        ChatTemplate.chatml().render(messages)
    assert "message" in one_line(error)


def test_large_conversations_pass():
    talk = [*SYSTEM_HI, *([*HI, {"role": "assistant", "content": "x" * 2000}] * 1000)]
    assert len(ChatTemplate(QWEN3).render(talk)) > 2_000_000
    document = [{"role": "user", "content": "word " * 400_000}]
    template = ChatTemplate(
        "{{ (messages[0].content | replace('<|im_start|>', '')).replace('</think>', '-').strip() }}"
    )
    assert len(template.render(document)) == 1_999_999


@pytest.mark.parametrize(
    "source", ["", " \n", "{% if %}", "{% for %}", "{{ 1 | nofilter }}", "(" * 10 + "{{ " + "(" * 5000]
)
def test_templates_that_do_not_parse(source):
    with pytest.raises(TemplateError) as error:
        ChatTemplate(source)
    assert "chat template" in one_line(error)


def test_a_template_that_is_too_long():
    with pytest.raises(TemplateError, match="too long"):
        ChatTemplate("x" * 2_000_000)


GROW = (
    "{%% set ns = namespace(x='aa') %%}{%% for i in range(99) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x | length }}"
)
NESTED = "{% set ns = namespace(x=['a']) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
        "{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) recursive %}{% endfor %}{% for a in range(99999) %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ [1] * 10000000000 }}",
        "{{ 'a' * 9999999 * 9999999 }}",
        "{{ '%9999999999d' % 1 }}{{ 1 }}",
        "{{ '%*d' % (9999999999, 1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 9999999999) }}",
        "{{ '%9999999999d' | format(1) }}",
        "{{ strftime_now('%9999999999d') }}",
        "{{ 'a' | center(9999999999) }}",
        "{{ 'a' | indent(9999999999, first=true) }}",
        "{{ [1] | tojson(indent=9999999999) }}",
        "{{ 'a'.ljust(9999999999) }}{{ 'a'.zfill(9999999999) }}",
        "{{ '\t'.expandtabs(9999999999) }}",
        "{{ 'a'.translate({97: 'b'}) }}",
        "{{ lipsum(n=99999) }}",
        GROW % "ns.x ~ ns.x",
        GROW % "ns.x + ns.x",
        GROW % "ns.x | replace('a', 'aa')",
        GROW % "ns.x.replace('a', 'aa')",
        GROW % "ns.x.join(ns.x)",
        GROW % "ns.x | join(ns.x)",
        GROW % "[ns.x, ns.x] | join",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
        "{% set ns.x = y %}{% endfor %}",
        NESTED + "{{ ns.x }}",
        NESTED + "{{ ns.x | tojson }}",
        NESTED + "{{ ns.x | string }}",
        NESTED + "{{ '%s' % ns.x }}",
        NESTED + "{{ 'a' ~ ns.x }}",
        NESTED + "{{ ns }}",
        "{% for i in range(9999) %}{% for j in range(99) %}{{ 'abcdefgh' * 9999 }}{% endfor %}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__ }}{{ ().__class__.__base__ }}{{ messages.nothing.deeper }}",
        "{% include 'x' %}",
    ],
)
def test_hostile_templates_end_soon_and_in_one_line(source, monkeypatch):
    monkeypatch.setattr(sandbox, "_MAX_SECONDS", 1.5)
    monkeypatch.setattr(sandbox, "_MAX_TEXT", 1 << 20)
    begin = time.thread_time()
    with pytest.raises(TemplateError) as error:
        ChatTemplate(source).render(HI)
    assert time.thread_time() - begin < 10
    assert len(one_line(error)) < 400


def test_the_time_limit(monkeypatch):
    monkeypatch.setattr(sandbox, "_MAX_SECONDS", -1.0)
    with pytest.raises(TemplateError, match="too long"):
        ChatTemplate.chatml().render(HI)


def test_threads_do_not_share_a_budget():
    template, hostile = ChatTemplate(QWEN3), ChatTemplate(GROW % "ns.x ~ ns.x")

    def one(i: int) -> str:
        if i % 3 == 0:
            with pytest.raises(TemplateError):
                hostile.render(HI)
        return template.render([{"role": "user", "content": str(i)}])

    with ThreadPoolExecutor(4) as pool:
        assert all(f"\n{i}<|im_end|>" in text for i, text in enumerate(pool.map(one, range(60))))
