"""Anthropic's Messages API, by the unmodified client."""

from __future__ import annotations

import json

import pytest

from selar_local.server.app import create_app
from selar_local.server.config import ServerConfig

from .conftest import HELLO, Api

anthropic = pytest.importorskip("anthropic")

SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
TOOL = {"name": "f", "description": "a function", "input_schema": SCHEMA}
PATH = "/v1/messages"


@pytest.fixture(scope="module")
def client(live):
    with anthropic.Anthropic(base_url=live, api_key="any", max_retries=0, timeout=30) as opened:
        yield opened


def ask(client, messages=HELLO, **more):
    extra = {"seed": 1, **more.pop("extra_body", {})}
    return client.messages.create(
        **{"model": "default", "messages": messages, "max_tokens": 8, "extra_body": extra, **more}
    )


def test_a_text_is_that_of_the_chat(client, engine):
    answer = ask(client)
    result = engine.generate(messages=HELLO, seed=1, max_tokens=8)
    assert [(block.type, block.text) for block in answer.content] == [("text", result.text)]
    assert answer.stop_reason == "max_tokens" and answer.role == "assistant"
    assert answer.usage.output_tokens == 8
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == result.usage.prompt_tokens
    instructed = ask(client, system=[{"type": "text", "text": "so", "cache_control": {"type": "ephemeral"}}])
    assert instructed.content[0].text == engine.generate(
        messages=[{"role": "system", "content": "so"}, *HELLO], seed=1, max_tokens=8
    ).text  # fmt: skip


def test_a_stream_is_the_whole_answer_in_pieces(client):
    whole = ask(client)
    with client.messages.stream(model="default", messages=HELLO, max_tokens=8, extra_body={"seed": 1}) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert final.content[0].text == whole.content[0].text
    assert final.stop_reason == "max_tokens" and final.usage.output_tokens == 8


def test_thinking(client):
    answer = ask(client, thinking={"type": "enabled", "budget_tokens": 1024})
    assert answer.content[0].type == "thinking" and answer.content[0].thinking
    with client.messages.stream(
        model="default", messages=HELLO, max_tokens=8, thinking={"type": "enabled", "budget_tokens": 1024},
        extra_body={"seed": 1},
    ) as stream:  # fmt: skip
        final = stream.get_final_message()
    assert final.content[0].thinking == answer.content[0].thinking


def test_a_forced_call_and_its_result(client):
    forced = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}, "max_tokens": 200}
    answer = ask(client, **forced)
    (call,) = answer.content
    assert call.type == "tool_use" and call.input["n"] in (1, 2) and answer.stop_reason == "tool_use"
    with client.messages.stream(model="default", messages=HELLO, extra_body={"seed": 1}, **forced) as stream:
        final = stream.get_final_message()
    assert final.content[0].input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "7"}]}
    turns = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert ask(client, turns, tools=[TOOL]).content


def test_blocks_become_the_messages_of_a_chat(api, asked):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "b"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {"n": 1}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": "x"}, {"type": "text", "text": "and"}]},
    ]  # fmt: skip
    body = {"max_tokens": 1, "tools": [TOOL], "tool_choice": {"type": "auto"}, "stop_sequences": ["q"], "system": "s"}
    assert api.post(PATH, messages=turns, **body).status_code == 200
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}
    assert asked[-1]["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "reasoning_content": "hm", "tool_calls": [call], "content": "b"},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
        {"role": "user", "content": "and"},
    ]
    assert asked[-1]["stop"] == ("q",) and asked[-1]["tools"][0]["function"]["parameters"] == SCHEMA


def test_a_last_message_of_the_assistant_is_the_beginning_of_the_answer(api, engine):
    turns = [*HELLO, {"role": "assistant", "content": "and so"}]
    answer = api.post(PATH, messages=turns, max_tokens=8, seed=1).json()
    assert answer["content"][0]["text"] == engine.generate(
        messages=turns, continue_final_message=True, seed=1, max_tokens=8
    ).text  # fmt: skip


def test_a_stop_sequence_is_named(api):
    text = api.post(PATH, messages=HELLO, max_tokens=8, seed=1).json()["content"][0]["text"]
    answer = api.post(PATH, messages=HELLO, max_tokens=8, seed=1, stop_sequences=[text[2:4]]).json()
    assert answer["stop_reason"] == "stop_sequence" and answer["stop_sequence"] == text[2:4]
    assert answer["content"][0]["text"] == text[: text.index(text[2:4])]


def test_the_count_is_that_of_the_prompt(client, api):
    counted = client.messages.count_tokens(model="default", messages=HELLO, system="so", tools=[TOOL])
    answer = ask(client, system="so", tools=[TOOL])
    assert counted.input_tokens == answer.usage.input_tokens + answer.usage.cache_read_input_tokens


def test_what_is_the_client_s_own_business_is_taken(api):
    body = {"metadata": {"user_id": "x"}, "cache_control": {"type": "ephemeral"}, "service_tier": "auto"}
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    assert api.post(PATH, messages=HELLO, max_tokens=2, context_management=edits, **body).status_code == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/messages/count_tokens"])
def test_refusals_before_the_endpoint_have_the_same_form(api, engine, path):
    locked = Api(create_app(engine, ServerConfig(api_keys=("k",))))
    found = [locked.request("POST", path), api.get(path)]
    assert [one.status_code for one in found] == [401, 405]
    assert [one.json()["type"] for one in found] == ["error", "error"]
    assert found[0].json()["error"]["type"] == "authentication_error"
    assert found[0].headers["www-authenticate"] == "Bearer"


def test_whole_numbers_may_have_a_point(api):
    assert api.post(PATH, messages=HELLO, max_tokens=2.0).json()["usage"]["output_tokens"] == 2
    assert api.post("/v1/responses", input="a", max_output_tokens=2.0).json()["usage"]["output_tokens"] == 2


def test_a_schema(api):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    answer = api.post(PATH, messages=HELLO, max_tokens=200, output_config=form, seed=1).json()
    assert json.loads(answer["content"][0]["text"])["n"] in (1, 2)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []}, {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, {"max_tokens": 0},
        {"max_tokens": None}, {"messages": [{"role": "tool", "content": "x"}]}, {"tool_choice": {"type": "x"}},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]}, {"thinking": {"type": "x"}}, {"nonsense": 1},
        {"tools": [{"name": "f", "input_schema": {"not": {}}}], "tool_choice": {"type": "any"}}, {"system": 7},
        {"messages": [{"role": "user", "content": "a " * 4000}]}, {"stop_sequences": 7}, {"temperature": -1},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, {"output_config": {"x": 1}},
        {"output_config": {"format": {"type": "json_object"}}}, {"n": 2}, {"max_tokens": 2.5},
        {"selar": {"events": True}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_done_is_a_400(api, body, stream):
    response = api.post(PATH, **{"messages": HELLO, "max_tokens": 8, "stream": stream, **body})
    assert response.status_code == 400, response.text
    answer = response.json()
    assert (
        answer["type"] == "error" and answer["error"]["type"] == "invalid_request_error" and answer["error"]["message"]
    )
    counted = api.post(PATH + "/count_tokens", **{"messages": HELLO, **body})
    assert counted.status_code in (200, 400) and counted.json()


def test_a_failure_in_a_stream_is_an_event(api, monkeypatch):
    from selar_local.errors import DecodeError
    from selar_local.server.chat import _ChatAnswer

    async def chunks(self, job):
        yield {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
        raise DecodeError("it broke")

    monkeypatch.setattr(_ChatAnswer, "chunks", chunks)
    lines = api.post(PATH, messages=HELLO, stream=True, max_tokens=4).text.strip().split("\n\n")
    head, data = lines[-1].split("\n")
    assert head == "event: error" and json.loads(data.removeprefix("data: "))["error"]["message"] == "it broke"
