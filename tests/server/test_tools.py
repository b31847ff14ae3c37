"""Tool calls: forced ones, and those found in what a model wrote."""

from __future__ import annotations

import json

import numpy as np
import pytest

from selar_local.engine.transcript import TextStream, Transcript
from selar_local.formats import HERMES
from selar_local.llama.json_schema import SchemaCompiler
from selar_local.server.json_schema import call_schema
from selar_local.server.tools import AnswerOrCall, CallStream, ForcedCall

from .conftest import CHAT, HELLO, events

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Ulm", "Bern"]}, "days": {"$ref": "#/$defs/Days"}},
            "required": ["city", "days"],
            "additionalProperties": False,
            "$defs": {"Days": {"enum": [1, 2]}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def grown(choices):
    """The one call of a stream, of which the name comes first, and the arguments in pieces."""
    first, *more = [call for c in choices for call in c["delta"].get("tool_calls", ())]
    assert first.pop("index") == 0 and set(first) == {"id", "type", "function"}
    assert more and all(set(call) == {"index", "function"} and set(call["function"]) == {"arguments"} for call in more)
    arguments = "".join(call["function"]["arguments"] for call in (first, *more))
    return {**first, "function": {**first["function"], "arguments": arguments}}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_forced_call(api, choice, stream):
    response = api.chat(tools=[WEATHER], tool_choice=choice, max_tokens=200, stream=stream)
    if stream:
        choices = [c for chunk in events(response.text)[:-1] for c in chunk["choices"]]
        assert all(not c["delta"].get("content") for c in choices)
        calls, reason = [grown(choices)], choices[-1]["finish_reason"]
    else:
        (found,) = response.json()["choices"]
        calls, reason = found["message"]["tool_calls"], found["finish_reason"]
        assert found["message"]["content"] is None
    (call,) = calls
    assert reason == "tool_calls" and call["type"] == "function" and call["id"].startswith("call_")
    assert call["function"]["name"] == "weather"
    arguments = json.loads(call["function"]["arguments"])
    assert set(arguments) == {"city", "days"} and arguments["days"] in (1, 2)


def test_the_named_one_of_several_is_called(api):
    choice = {"type": "function", "function": {"name": "clock"}}
    answer = api.chat(tools=[WEATHER, CLOCK], tool_choice=choice, max_tokens=200, temperature=0).json()
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "clock" and json.loads(call["function"]["arguments"]) == {}


def test_a_call_that_is_cut_off_is_text(api):
    choice = api.chat(tools=[WEATHER], tool_choice="required", max_tokens=5).json()["choices"][0]
    assert choice["finish_reason"] == "length" and choice["message"]["content"].startswith("{")
    assert "tool_calls" not in choice["message"]


def test_the_template_gets_the_tools(api, monkeypatch):
    engine, seen = api.service.engine, []
    original = engine.begin
    monkeypatch.setattr(engine, "begin", lambda emit, **request: seen.append(request) or original(emit, **request))
    api.chat(tools=[WEATHER, CLOCK], max_tokens=1)
    assert seen[-1]["tools"] == [WEATHER, CLOCK] and "json_schema" not in seen[-1]
    for body in ({}, {"tools": []}, {"tools": [WEATHER], "tool_choice": "none"}):
        api.chat(**body, max_tokens=1)
        assert seen[-1]["tools"] is None


CALL = '{"name": "f", "arguments": {"x": "é"}}'
OTHER = '{"name": "g", "parameters": {}}'


TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]


def read(text, size, *, several=True):
    """What a streamed answer gives out before its end, the rest, and the calls."""
    transcript, data = Transcript(form=HERMES, tools=TOOLS), text.encode()
    stream, whole = CallStream(several=several), CallStream(several=several)
    said = [*(transcript.feed(data[i : i + size]) for i in range(0, len(data), size)), transcript.finish()]
    news = [new for one in said for new in stream.feed(one.calls)] + stream.finish(transcript)
    shown = [one.answer for one in said[:-1]]
    assert transcript.answer == "".join(shown) + said[-1].answer
    whole.finish(transcript)
    assert [call["function"] for call in stream.calls] == [call["function"] for call in whole.calls]
    texts = {call["index"]: "" for call in news}
    for call in news:
        texts[call["index"]] += call["function"]["arguments"]
    assert list(texts.values()) == [call["function"]["arguments"] for call in stream.calls]
    return shown, said[-1].answer, stream.calls


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (f"<tool_call>\n{CALL}\n</tool_call>", "", ["f"]),
        (f"well <tool_call>{CALL}</tool_call>\n<tool_call>{OTHER}</tool_call>", "well ", ["f", "g"]),
        (f"<tool_call>{CALL}", "", ["f"]),
        (CALL, "", ["f"]), (f"\n {OTHER}\n", "", ["g"]),
        (f"<tool_call>{CALL}</tool_call> done", " done", ["f"]),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', "", ["f"]),
        (f"```json\n{CALL}\n```", "", ["f"]), (f"Let me see:\n\n```json\n{CALL}\n```\n", "Let me see:", ["f"]),
        (f"```\n{OTHER}\n```", "", ["g"]), (f"```json\n[{CALL}, {OTHER}]\n```", "", ["f", "g"]),
        (f"[{CALL}]", "", ["f"]),
        (f"```json\n{CALL}\n```\n```json\n{OTHER}\n```", "", ["f", "g"]), (f"```json\n{CALL}", "", ["f"]),
        (f"<tool_call>{CALL}</tool_call>\n```json\n{OTHER}\n```", "", ["f", "g"]),
        ('```json\n{"a": 1}\n```', '```json\n{"a": 1}\n```', []), ("```python\nf(1)\n```", "```python\nf(1)\n```", []),
        ('```json\n{"name": "h", "arguments": {}}\n```', '```json\n{"name": "h", "arguments": {}}\n```', []),
        ("a ` b `` c ``", "a ` b `` c ``", []), (f"{CALL} and so on", f"{CALL} and so on", []),
        ("plain < text <tool", "plain < text <tool", []),
        ("<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>", []),
        ('{"name": "h", "arguments": {}}', '{"name": "h", "arguments": {}}', []),
        ('{"name": "f"}', '{"name": "f"}', []),
        ('{"name": ["f"], "arguments": {}}', '{"name": ["f"], "arguments": {}}', []),
        ('{"name": "f", "arguments": {"x": NaN}}', '{"name": "f", "arguments": {"x": NaN}}', []),
        ('{"name": "f", "arguments": 7}', '{"name": "f", "arguments": 7}', []),
        ('{"a": ' * 5000, '{"a": ' * 5000, []), ("{ no json", "{ no json", []), ("", "", []), ("  \n", "  \n", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_calls_are_found_however_the_text_comes(text, content, calls, size):
    shown, rest, found = read(text, size)
    assert "".join(shown) + rest == content
    assert [call["function"]["name"] for call in found] == calls
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in found)
    assert not calls or not any("<tool_call>" in piece for piece in shown)


def test_text_before_a_call_is_not_kept_back():
    transcript = Transcript(form=HERMES, tools=TOOLS)
    pieces = (b"I ", b"look <", b"b> <tool", b"_call>")
    assert [transcript.feed(piece).answer for piece in pieces] == ["I ", "look ", "<b> ", ""]


def test_one_call_where_one_is_wanted():
    text = f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>"
    assert len(read(text, 7)[2]) == 2 and len(read(text, 7, several=False)[2]) == 1


@pytest.mark.parametrize("length", range(1, len(f"<tool_call>{CALL}")))
def test_a_call_that_was_cut_off_is_neither_lost_nor_invented(length):
    """Its name and the arguments so far are there; what has no name yet is text."""
    text = f"<tool_call>{CALL}"[:length]
    shown, rest, found = read(text, 5)
    if not found:
        assert "".join(shown) + rest == text
    for call in found:
        assert (call["function"]["name"] == "f" and CALL.endswith(call["function"]["arguments"] + "}")) or (
            call["function"]["arguments"] in CALL
        )


@pytest.mark.parametrize("length", range(len(CALL) + 1))
def test_a_forced_call_grows_and_is_text_before_it_has_its_name(length):
    reader, stream = ForcedCall(TOOLS), CallStream()
    for at in range(0, length, 3):
        stream.feed(reader.feed(CALL[at : min(at + 3, length)])[1])
    content, rest = reader.finish()
    stream.feed(rest)
    written = CALL[len('{"name": "f", "arguments": ') : length]
    if length <= len('{"name": "f", "arguments": '):
        assert (content, stream.calls) == (CALL[:length], [])
    else:
        assert content == "" and stream.calls[0]["function"] == {"name": "f", "arguments": written[:10]}


def allows(schema, text):
    """Whether a text may be written under a schema."""
    grammar = SchemaCompiler([bytes([byte]) for byte in range(256)] + [b""], [256]).grammar(schema)
    for token in [*text.encode(), 256]:
        if not np.isfinite(grammar.mask(np.zeros(257, np.float32))[token]):
            return False
        grammar.accept(token)
    return True


def test_references_move_with_their_schema():
    schema = call_schema([("a", WEATHER["function"]["parameters"]), ("b", {"type": "object"})])
    for call in ('{"name":"a","arguments":{"city":"Ulm","days":2}}', '{"name":"b","arguments":{}}'):
        assert allows(schema, call)


ANSWER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "$defs": {"Name": {"enum": ["Ada"]}},
    "properties": {"name": {"$ref": "#/$defs/Name"}}, "required": ["name"], "additionalProperties": False,
}  # fmt: skip


def test_a_form_beside_tools_leaves_the_model_free_to_call(api, asked):
    """The answer has the form, or is a call, whose arguments have theirs."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": ANSWER}}
    for body in ({"response_format": form}, {"json_schema": ANSWER}):
        (choice,) = api.chat(tools=[WEATHER], max_tokens=200, **body).json()["choices"]
        called, text = choice["message"].get("tool_calls"), choice["message"]["content"]
        assert choice["finish_reason"] == ("tool_calls" if called else "stop")
        assert (json.loads(text) == {"name": "Ada"}) if text else called
        assert asked[-1]["tools"] == [WEATHER]
    schema = asked[-1]["json_schema"]
    assert allows(schema, '{"name":"Ada"}') and allows(schema, '{"name":"weather","arguments":{"city":"Ulm","days":2}}')
    assert not allows(schema, '{"name":"weather"}') and not allows(schema, '{"name":"weather","arguments":{"days":2}}')
    api.chat(tools=[WEATHER], tool_choice="none", json_schema=ANSWER, max_tokens=1)
    assert asked[-1]["json_schema"] == ANSWER and asked[-1]["tools"] is None
    api.chat(tools=[WEATHER], tool_choice="required", json_schema=ANSWER, max_tokens=1)
    assert not allows(asked[-1]["json_schema"], '{"name":"Ada"}')


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (CALL, "", [("f", '{"x": "é"}')]),
        ('{"name": "h", "arguments": {}}', ..., []),
        ('{"name": "f"}', ..., []),
        ('{"name": "f", "age": 3}', ..., []),
        ('{ "rows": [{"name": "f", "arguments": {}}]}', ..., []),
        (CALL[:-1], ..., []),
        ("[1, 2]", ..., []),
    ],
)
def test_an_answer_or_a_call(text, content, calls, size):
    reader, stream, shown = AnswerOrCall(TOOLS), CallStream(), ""
    for at in range(0, len(text), size):
        said, found = reader.feed(text[at : at + size])
        shown += said
        stream.feed(found)
    said, found = reader.finish()
    stream.feed(found)
    assert shown + said == (text if content is ... else content)
    assert [tuple(call["function"].values()) for call in stream.calls] == calls


def test_an_answer_streams_once_it_can_be_no_call():
    reader = AnswerOrCall(TOOLS)
    assert reader.feed('{"city": "Ulm", ')[0] == '{"city": "Ulm", ' and reader.feed('"x')[0] == '"x'


def test_objects_have_the_declared_properties_alone_unless_the_schema_says_more():
    def parameters(schema):
        return call_schema([("f", schema)])["$defs"]["tool0"]

    plain = {"type": "object", "properties": {"default": {"type": "object", "properties": {"a": {}}}}}
    found = parameters(plain)
    assert found["additionalProperties"] is found["properties"]["default"]["additionalProperties"] is False
    value = {"type": "object", "properties": {"a": 1}}
    for same in (
        {"type": "object"}, {**plain, "additionalProperties": True}, {"allOf": [plain, {"type": "object"}]},
        {"enum": [value]}, {"type": "object", "properties": {"a": {}}, "anyOf": [{}]},
    ):  # fmt: skip
        assert parameters(same).get("additionalProperties") == same.get("additionalProperties")


def test_a_written_call_comes_through_the_endpoint(api, monkeypatch):
    """A random model calls nothing: what it writes is replaced on its way."""
    written = f"so <tool_call>{OTHER.replace('g', 'clock', 1)}</tool_call>"

    def feed(self, piece):
        given, self.stopped = self.stopped, True
        return "" if given else written

    monkeypatch.setattr(TextStream, "feed", feed)
    body = {"messages": HELLO, "tools": [CLOCK], "seed": 1, "stop": ["e"], "max_tokens": 60}
    (choice,) = api.post(CHAT, **body).json()["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == "so "
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": "{}"}
    chunks = events(api.post(CHAT, **body, stream=True).text)[:-1]
    deltas = [c["delta"] for chunk in chunks for c in chunk["choices"]]
    assert [d["content"] for d in deltas if d.get("content")] == ["so "]
    assert [len(d["tool_calls"]) for d in deltas if "tool_calls" in d] == [1]
