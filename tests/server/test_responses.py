"""OpenAI's Responses API, by the unmodified client."""

from __future__ import annotations

import json

import pytest

from .conftest import HELLO

openai = pytest.importorskip("openai")

SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "name": "f", "description": "a function", "parameters": SCHEMA}
PATH = "/v1/responses"


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=live + "/v1", api_key="any", max_retries=0, timeout=30) as opened:
        yield opened


def ask(client, given=HELLO, **more):
    extra = {"seed": 1, **more.pop("extra_body", {})}
    return client.responses.create(
        model="default", **{"input": given, "max_output_tokens": 8, "extra_body": extra, **more}
    )


def test_a_text_is_that_of_the_chat(client, engine):
    answer = ask(client)
    result = engine.generate(messages=HELLO, seed=1, max_tokens=8)
    assert answer.output_text == result.text and answer.object == "response"
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 8
    assert answer.usage.total_tokens == answer.usage.input_tokens + 8
    assert ask(client, "the end").output_text == answer.output_text
    instructed = ask(client, HELLO, instructions="so", max_output_tokens=200)
    expected = engine.generate(messages=[{"role": "system", "content": "so"}, *HELLO], seed=1, max_tokens=200)
    assert instructed.output_text == expected.text
    assert instructed.status == ("completed" if expected.finish_reason == "stop" else "incomplete")


@pytest.mark.parametrize("thinking", [False, True])
def test_a_stream_is_the_whole_answer_in_pieces(client, thinking):
    extra = {"selar": {"thinking": thinking}}
    whole = ask(client, extra_body=extra)
    *first, last = list(ask(client, extra_body=extra, stream=True))
    assert [event.sequence_number for event in (*first, last)] == list(range(len(first) + 1))
    assert [event.type for event in first[:2]] == ["response.created", "response.in_progress"]
    kind = "reasoning_text" if thinking else "output_text"
    deltas = [event.delta for event in first if event.type == f"response.{kind}.delta"]
    (done,) = [event for event in first if event.type == f"response.{kind}.done"]
    item = last.response.output[0]
    assert last.type == "response.incomplete" and item.type == ("reasoning" if thinking else "message")
    assert "".join(deltas) == done.text == item.content[0].text == whole.output[0].content[0].text
    assert last.response.usage == whole.usage
    assert done.item_id == item.id


def test_a_forced_call_and_its_result(client):
    forced = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}, "max_output_tokens": 200}
    answer = ask(client, **forced)
    (call,) = answer.output
    assert call.type == "function_call" and call.name == "f" and json.loads(call.arguments)["n"] in (1, 2)
    assert answer.status == "completed"
    stream = list(ask(client, **forced, stream=True))
    arguments = "".join(e.delta for e in stream if e.type == "response.function_call_arguments.delta")
    (done,) = [event for event in stream if event.type == "response.function_call_arguments.done"]
    assert arguments == done.arguments == call.arguments
    assert stream[-1].response.output[0].call_id
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
    again = ask(client, [*HELLO, call.model_dump(), result], tools=[TOOL])
    assert again.output_text or again.output


def test_items_become_the_messages_of_a_chat(api, asked):
    items = [
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
    ]
    body = {"tools": [TOOL], "include": ["reasoning.encrypted_content"], "store": False, "max_output_tokens": 1}
    assert api.post(PATH, input=items, reasoning={"effort": None, "summary": "auto"}, **body).status_code == 200
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ("1", "2")]
    assert asked[-1]["messages"] == [
        {"role": "system", "content": "d"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "reasoning_content": "hm", "content": "b", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ]
    assert asked[-1]["tools"] == [{"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}]


def test_a_schema(client):
    form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    assert json.loads(ask(client, text=form, max_output_tokens=200).output_text)["n"] in (1, 2)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, None), ({"input": 7}, "input"), ({}, "input"), ({"previous_response_id": "resp_1"}, None),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content"),
        ({"input": [{"type": "web_search_call"}]}, "input[0]"), ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"), ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"), ({"nonsense": 1}, "nonsense"), ({"max_output_tokens": -5}, None),
        ({"text": {"format": {"type": "json_schema", "schema": {"not": {}}}}}, "text.format"),
        ({"reasoning": {"x": 1}}, "reasoning.x"), ({"model": 7}, "model"), ({"conversation": "x"}, "conversation"),
        ({"n": 2}, "n"), ({"selar": {"events": True}}, "selar.events"), ({"max_output_tokens": 2.5}, None),
        ({"temperature": -1}, "temperature"), ({"input": "a " * 4000}, "input"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_is_a_400(api, body, param, stream):
    given = {"stream": stream, **({"input": "a"} if body else {}), **body}
    response = api.post(PATH, **given)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert param is None or error["param"] is None or error["param"].startswith(param), error


def test_a_failure_in_a_stream_is_an_event(api, monkeypatch):
    from selar_local.errors import DecodeError
    from selar_local.server.chat import _ChatAnswer

    async def chunks(self, job):
        yield {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
        raise DecodeError("it broke")

    monkeypatch.setattr(_ChatAnswer, "chunks", chunks)
    lines = api.post(PATH, input="a", stream=True, max_output_tokens=4).text.strip().split("\n\n")
    head, data = lines[-1].split("\n")
    assert head == "event: error" and json.loads(data.removeprefix("data: "))["message"] == "it broke"
    assert "[DONE]" not in "".join(lines)  # OpenAI's own stream has none here
