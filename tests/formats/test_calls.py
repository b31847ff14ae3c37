"""What the rules on calls say, beyond what every family's example shows."""

from __future__ import annotations

import json

import pytest

from selar_local.formats import format_of

from .examples import EXAMPLES, read, text_of

HERMES = "<tool_call>\n{name, arguments}\n</tool_call><think>"
CODER = "<tool_call>\n<function=f>\n<parameter=k>\n</think>"
NOW = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'


def calls_of(text: str, template: str = HERMES, tail: str = "") -> list[tuple[str, object]]:
    return [(call.name, json.loads(call.arguments)) for call in read([text], template, tail)[0].calls]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (f"before{NOW}after", "beforeafter"),
        (f"before {NOW} after", "before  after"),
        (f"a\n{NOW}\n{NOW}\nb", "a\n\n\nb"),
        (f"a\n\n{NOW}\n{NOW}\n", "a"),
        (f" \n{NOW}", ""),
        ("text\n", "text\n"),
        ("say <tool_call> or </tool_call>\n", "say <tool_call> or </tool_call>\n"),
        ("<tool_call>no json</tool_call>", "<tool_call>no json</tool_call>"),
        ('<tool_call>{"a": 1}</tool_call>', '<tool_call>{"a": 1}</tool_call>'),
    ],
)
def test_content_around_calls_is_kept(text, content):
    assert read([text], HERMES)[0].content == content


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "weather", "arguments": {"city": "X"}}',
        '{"arguments": {"city": "X"}, "name": "weather"}',
        '{"id": "7", "name": "weather", "parameters": {"city": "X"}}',
        '{"name": "weather", "arguments": "{\\"city\\": \\"X\\"}"}',
    ],
)
def test_keys_in_any_order(text):
    assert calls_of(f"<tool_call>{text}</tool_call>") == [("weather", {"city": "X"})]
    assert calls_of(f"<tool_call>\n{text}\n") == [("weather", {"city": "X"})]  # the JSON tells its end


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "weather", "arguments": {"city": "X"}',
        '{"name": "weather", "arguments": {"city": NaN}}',
        '{"name": "weather", "arguments": [1]}',
        '{"name": "weather", "arguments": {"city": }}',
        '{"name": 1, "arguments": {}}',
        '{"name": "weather", "arguments": {]}}',
        '{"name": "weather", "arguments": ' + '{"a":' * 2000 + "1" + "}" * 2001,
    ],
)
def test_broken_json_is_no_call(text):
    assert calls_of(f"<tool_call>{text}</tool_call>") == []
    assert calls_of(f"<tool_call>{text}") == []


def test_arguments_come_while_they_grow():
    reader = format_of(HERMES).reader("", None)
    assert reader.feed('<tool_call>\n{"name": "f"') == []
    assert [(d.kind, d.text) for d in reader.feed(', "arguments": {"a": "lo')] == [
        ("call", "f"), ("arguments", '{"a": "lo'),
    ]  # fmt: skip
    assert [(d.kind, d.text) for d in reader.feed("ng")] == [("arguments", "ng")]
    cut = reader.finish().cut
    assert cut is not None and (cut.name, cut.arguments) == ("f", '{"a": "long')


def test_a_string_parameter_comes_while_it_grows():
    reader = format_of(CODER).reader("", [{"function": {"name": "f", "parameters": {
        "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}}}])  # fmt: skip
    reader.feed("<tool_call>\n<function=f>\n<parameter=a>\n")
    assert [d.text for d in reader.feed('one "1"\ntwo\n')] == ['one \\"1\\"\\ntwo']
    assert reader.feed("</param") == []
    assert [d.text for d in reader.feed("s>")] == ["\\n</params>"]


def test_a_call_in_the_thinking_counts_only_at_the_end():
    call = "<tool_call>\n<function=now>\n</function>\n</tool_call>"
    parsed, _ = read([f"why\n{call}\n"], CODER, "<think>\n")
    assert (parsed.thinking, [call.name for call in parsed.calls]) == ("why", ["now"])
    parsed, _ = read([f"{call}\nDone."], CODER, "<think>\n")
    assert (parsed.thinking, parsed.content, len(parsed.calls)) == ("", "\nDone.", 1)
    parsed, _ = read([f"why\n{call} or not\n</think>\n\nHi"], CODER, "<think>\n")
    assert (parsed.thinking, parsed.content, parsed.calls) == (f"why\n{call} or not", "Hi", [])


@pytest.mark.parametrize("many", ["[" * 3000, '{"a":' * 3000, "{a:" * 3000, "]<]minimax[>[<a>" * 3000])
@pytest.mark.filterwarnings("error")
def test_deep_nesting_ends_no_reader(many):
    for example in EXAMPLES:
        for text in (text_of(example), example.text.replace("3", many), example.text.replace("{M}", r"\d" + many)):
            read([text], example.template, example.tail)


SCHEMA = {
    "text": {"type": "string"},
    "whole": {"type": "integer"},
    "real": {"type": "number"},
    "yes": {"type": "boolean"},
    "list": {"type": "array"},
    "object": {"type": "object"},
    "maybe": {"type": ["string", "null"]},
    "nullable": {"type": "string", "nullable": True},
    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "choice": {"enum": ["1", "2"]},
    "ref": {"$ref": "#/$defs/n"},
}


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("text", "12", "12"), ("text", "true", "true"), ("text", '{"a": 1}', '{"a": 1}'), ("text", "", ""),
        ("text", "null", "null"), ("text", '"q"', '"q"'), ("text", "  x ", "  x "),
        ("whole", "12", 12), ("whole", " -3 ", -3), ("whole", "x", "x"), ("whole", "1.5", 1.5),
        ("whole", "9" * 400, int("9" * 400)),
        ("real", "1e20", 1e20), ("real", "2", 2), ("real", "1_000", "1_000"),
        ("yes", "True", True), ("yes", "false", False), ("yes", "perhaps", "perhaps"),
        ("list", "[1, 2]", [1, 2]), ("list", "['a', True]", ["a", True]), ("list", "a", "a"),
        ("object", '{"a": {"b": null}}', {"a": {"b": None}}), ("object", "{'a': None}", {"a": None}),
        ("maybe", "null", None), ("maybe", "x", "x"), ("maybe", "7", "7"), ("nullable", "None", None),
        ("either", "7", 7), ("either", "x", "x"), ("choice", "1", "1"), ("ref", "4", 4), ("ref", "null", None),
        ("unknown", "7", 7), ("unknown", "x y", "x y"), ("unknown", '{"a": 1}', {"a": 1}), ("unknown", "NaN", "NaN"),
    ],
)  # fmt: skip
def test_arguments_are_typed_by_the_schema(key, raw, value):
    parameters = {"properties": SCHEMA, "$defs": {"n": {"type": ["integer", "null"]}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    text = f"<tool_call>\n<function=f>\n<parameter={key}>\n{raw}\n</parameter>\n</function>\n</tool_call>"
    calls = read([text], CODER, "", tools)[0].calls
    found = json.loads(calls[0].arguments)[key]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<function=now>\n</function>\n</tool_call>", [("now", {})]),
        ("<tool_call>\n<function=weather>\n<parameter=city>\nX\n<parameter=days>\n2\n</parameter>\n</function>\n"
         "</tool_call>", [("weather", {"city": "X", "days": 2})]),
        ("<tool_call>\n<function=weather>\n<parameter=city>\nX\n</function>\n</tool_call>",
         [("weather", {"city": "X"})]),
        ("<tool_call>\n<function=weather>\n<parameter=city>\nX\n</parameter>\n</tool_call>",
         [("weather", {"city": "X"})]),
        (NOW, [("now", {})]),
        ("<tool_call>\n<function=weather>\n<parameter=city>\nX\n</parameter>\n", []),
        ("<tool_call>\n<function=nothing>\n</function>\n</tool_call>", []),
    ],
)  # fmt: skip
def test_forgotten_tags_are_made_good(text, calls):
    assert calls_of(text, CODER) == calls


@pytest.mark.parametrize(
    ("text", "thinking", "content", "names"),
    [
        ("<|channel|>final<|message|>Hi<|return|>", "", "Hi", []),
        ("Hi", "", "Hi", []),
        ("<|channel|>analysis<|message|>a <|end|> b<|end|><|start|>assistant<|channel|>final<|message|>Hi",
         "a <|end|> b", "Hi", []),
        ("<|channel|>commentary to=python<|message|>print()", "", "", []),
        ('<|channel|>commentary to=functions.now<|message|>{"a": 1', "", "", []),
        (" to=functions.now<|channel|>commentary json<|message|>{}<|call|>", "", "", ["now"]),
        ('<|channel|>final {"a": 1}', "", '{"a": 1}', []),
    ],
)  # fmt: skip
def test_harmony(text, thinking, content, names):
    template = "<|start|>assistant<|channel|>analysis<|message|>"
    for pieces in ([text], list(text)):
        parsed, _ = read(pieces, template, "<|start|>assistant")
        assert (parsed.thinking, parsed.content) == (thinking, content)
        assert [call.name for call in parsed.calls] == names
    forced, _ = read(["Hi"], template, "<|start|>assistant<|channel|>final<|message|>")
    assert (forced.content, forced.thinking) == ("Hi", "")
