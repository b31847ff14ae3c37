"""What clients of llama-server rely on, of what an OpenAI server has. docs/SERVER.md says what differs, and why."""

from __future__ import annotations

import json

import pytest

from .conftest import CHAT, HELLO, TEXT, events

SAID = [{"role": "system", "content": "Book"}, {"role": "user", "content": "the end"}]
PARAMETERS = {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]}
OPEN = {"type": "function", "function": {"name": "test", "parameters": {**PARAMETERS, "additionalProperties": False}}}


@pytest.mark.parametrize("path", ["/health", "/models", "/v1/models", "/metrics"])
def test_what_is_asked_first(api, path):
    assert api.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
def test_an_answer_has_its_id_its_counts_and_its_reason(api, path):
    answer = api.post(path, messages=SAID, max_tokens=8, seed=1).json()
    (choice,) = answer["choices"]
    assert answer["id"].startswith("chatcmpl-") and choice["message"]["role"] == "assistant"
    assert answer["usage"]["completion_tokens"] == 8 and choice["finish_reason"] == "length"
    parts = [{"type": "text", "text": "the"}, {"type": "text", "text": " end"}]
    assert api.chat([SAID[0], {"role": "user", "content": parts}]).status_code == 200


def test_a_stream_has_one_id_its_role_first_and_its_counts_last(api):
    chunks = events(api.chat(SAID, stream=True, stream_options={"include_usage": True}).text)
    assert chunks.pop() == "[DONE]"
    usage = chunks.pop()
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 8
    assert len({chunk["id"] for chunk in (*chunks, usage)}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant" and not deltas[0]["content"]
    assert not any("role" in delta for delta in deltas[1:])
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == "length" and not any(reasons[:-1])
    whole = api.chat(SAID).json()["choices"][0]["message"]["content"]
    assert "".join(delta.get("content", "") for delta in deltas) == whole


def test_the_same_seed_gives_the_same_text_and_another_one_another(api):
    texts = [
        api.text(seed=seed, temperature=1.0, max_tokens=16).json()["choices"][0]["text"] for seed in (42, 42, 1, 2)
    ]
    assert texts[0] == texts[1] and len(set(texts)) == 3
    streamed = events(api.text(seed=42, temperature=1.0, max_tokens=16, stream=True).text)[:-1]
    assert "".join(c["text"] for chunk in streamed for c in chunk["choices"]) == texts[0]


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ({"response_format": {"type": "json_object", "schema": {"const": "42"}}}, ['"42"']),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": "foo"}}}}, ['"foo"']),
        ({"json_schema": {"enum": [1, 2]}}, ["1", "2"]), ({"grammar": 'root ::= "a"{5,5}'}, ["aaaaa"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_the_form_of_an_answer(api, path, form, texts):
    given = {"messages": HELLO} if path == CHAT else {"prompt": "the end"}
    choice = api.post(path, **given, **form, max_tokens=30, seed=1).json()["choices"][0]
    assert (choice["message"]["content"] if path == CHAT else choice["text"]) in texts
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "form",
    [
        {"response_format": {"type": "sound"}}, {"response_format": {"type": "json_object", "schema": 123}},
        {"response_format": {"type": "json_object", "schema": {"type": 123}}}, {"json_schema": {"type": "hiccup"}},
        {"response_format": {"type": "json_object", "other": 1}}, {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_object"}, "json_schema": {}}, {"grammar": "root ::= ("},
        {"response_format": {"type": "json_schema", "schema": {}, "json_schema": {"schema": {}}}},
        {"grammar": 'root ::= "a"', "json_schema": {}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_what_is_no_form_of_an_answer(api, path, form):
    given = {"messages": HELLO} if path == CHAT else {"prompt": "the end"}
    response = api.post(path, **given, **form, max_tokens=4)
    assert response.status_code == 400 and response.json()["error"]["message"]


@pytest.mark.parametrize(
    "messages",
    [
        None,
        "string",
        [123],
        [{}],
        [{"role": 123}],
        [{"role": "system", "content": 123}],
        [{"content": "a"}],
        [*SAID, {}],
    ],
)
def test_what_are_no_messages(api, messages):
    assert api.post(CHAT, messages=messages).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_prompt_that_is_too_long_says_how_long(api, path, stream):
    long = "the end " * 4000
    given = {"messages": [{"role": "user", "content": long}]} if path == CHAT else {"prompt": long}
    response = api.post(path, **given, stream=stream)
    error = response.json()["error"]
    assert response.status_code == 400 and error["type"] == "exceed_context_size_error"
    assert error["code"] == "context_length_exceeded" and "prompt is too long" in error["message"]
    assert error["n_prompt_tokens"] > error["n_ctx"] == api.service.engine.info.ctx_size


def test_logprobs_spell_the_answer(api):
    choice = api.chat(temperature=0, max_tokens=5, logprobs=True, top_logprobs=10).json()["choices"][0]
    entries = choice["logprobs"]["content"]
    assert (
        b"".join(bytes(entry["bytes"]) for entry in entries).decode("utf-8", "replace") == choice["message"]["content"]
    )
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 10 for entry in entries)


def test_a_bias_of_minus_100_keeps_tokens_out(api):
    banned = api.post("/tokenize", content="e t a o").json()["tokens"]
    given = {"temperature": 0, "max_tokens": 40, "logprobs": True, "logit_bias": {str(token): -100 for token in banned}}
    entries = api.chat(**given).json()["choices"][0]["logprobs"]["content"]
    pieces = {bytes(entry["bytes"]) for entry in entries}
    assert pieces and not pieces & {b"e", b" t", b" a", b" o"}


def test_several_choices(api):
    choices = api.chat(SAID, n=2).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert all(choice["message"]["role"] == "assistant" for choice in choices)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_must_be_made(api, stream):
    response = api.chat(tools=[OPEN], tool_choice="required", parallel_tool_calls=False, max_tokens=200, stream=stream)
    if stream:
        deltas = [c["delta"] for chunk in events(response.text)[:-1] for c in chunk["choices"]]
        first, *more = [call for delta in deltas for call in delta.get("tool_calls", ())]
        assert all(call["index"] == 0 and "name" not in call["function"] for call in more)
        arguments = "".join(call["function"]["arguments"] for call in (first, *more))
        call = {"function": {"name": first["function"]["name"], "arguments": arguments}}
        assert not any(delta.get("content") for delta in deltas)
    else:
        message = response.json()["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert not message["content"]
    assert call["function"]["name"] == "test" and json.loads(call["function"]["arguments"]) == {"success": True}


@pytest.mark.parametrize("tools", [{}, {"tools": []}, {"tools": [OPEN], "tool_choice": "none"}])
def test_no_call_where_none_was_offered(api, tools):
    assert "tool_calls" not in api.chat(**tools).json()["choices"][0]["message"]


@pytest.mark.parametrize("add", [True, None])
def test_a_prompt_ends_with_the_turn_of_the_assistant(api, add):
    more = {} if add is None else {"add_generation_prompt": add}
    prompt = api.post("/apply-template", messages=SAID, **more).json()["prompt"]
    assert "Book" in prompt and prompt.endswith("<|im_start|>assistant\n")
    begun = [*SAID, {"role": "assistant", "content": [{"type": "text", "text": "We"}, {"type": "text", "text": "ll"}]}]
    assert api.post("/apply-template", messages=begun, continue_final_message=True).json()["prompt"].endswith("Well")
