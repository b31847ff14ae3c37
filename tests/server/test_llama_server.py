"""What clients of llama-server rely on, of what an OpenAI server has. docs/SERVER.md says what differs, and why."""

from __future__ import annotations

import json

import pytest

import selar_local as sl
from selar_local.cli.serve import _logged
from selar_local.server.app import create_app

from .conftest import CHAT, HELLO, TEXT, Api, events

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


@pytest.mark.parametrize("pairs", [False, True])
def test_a_bias_of_minus_100_keeps_tokens_out(api, pairs):
    banned = api.post("/tokenize", content="e t a o").json()["tokens"]
    biases = [[token, -100] for token in banned] if pairs else {str(token): -100 for token in banned}
    given = {"temperature": 0, "max_tokens": 40, "logprobs": True, "logit_bias": biases}
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


def test_logprobs_of_a_stream_spell_it(api):
    chunks = events(api.chat(temperature=0, max_tokens=5, logprobs=True, top_logprobs=3, stream=True).text)[:-1]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    entries = [entry for choice in choices for entry in (choice.get("logprobs") or {"content": ()})["content"]]
    said = "".join(choice["delta"].get("content", "") for choice in choices)
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode("utf-8", "replace") == said
    assert len(entries) == 5 and all(len(entry["top_logprobs"]) == 3 for entry in entries)


def test_a_prompt_of_tokens_is_that_of_its_text(api):
    tokens = api.post("/tokenize", content="the end of", add_special=True).json()["tokens"]
    given = {"temperature": 0, "max_tokens": 6}
    for prompt in (tokens, [tokens, tokens], [tokens, "the end of"]):
        texts = {choice["text"] for choice in api.text(prompt, **given).json()["choices"]}
        assert texts == {api.text("the end of", **given).json()["choices"][0]["text"]}
    assert api.text([1, 2, "the end", 3]).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_ends_where_the_context_does(api, stream):
    """Nothing is shifted out of it, and no token is lost: the last one needs no place."""
    room = api.service.engine.info.ctx_size
    prompt = api.post("/tokenize", content="the end of all ", add_special=True).json()["tokens"] * 400
    options = {"max_tokens": -1, "ignore_eos": True, "stream_options": {"include_usage": True} if stream else None}
    response = api.text(prompt[: room - 20], **options, stream=stream)
    chunks = events(response.text)[:-1] if stream else [response.json()]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert reasons[-1] == "length" and not any(reasons[:-1])
    assert chunks[-1]["usage"]["completion_tokens"] == 21


def test_a_prompt_that_was_read_before_is_counted_as_cached(api):
    prompt = "the quick end of all things that were said before and after it " * 3
    before = api.metric("cached_tokens_total")
    api.text(prompt, max_tokens=2)
    cached = api.text(prompt + "and on", max_tokens=2).json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached > 0 and api.metric("cached_tokens_total") >= before + cached


def test_a_beginning_of_the_answer_goes_on(api):
    """Its text is not repeated; a text in parts is one as well."""
    parts = [{"type": "text", "text": "We"}, {"type": "text", "text": "ll"}]
    prompts = []
    for content in ("Well", parts):
        begun = [*SAID, {"role": "assistant", "content": content}]
        prompts.append(api.post("/apply-template", messages=begun).json()["prompt"])
        answer = api.chat(begun, temperature=0).json()["choices"][0]["message"]["content"]
        assert answer == api.text(prompts[-1], temperature=0).json()["choices"][0]["text"]
    assert prompts[0] == prompts[1] and prompts[0].endswith("assistant\nWell")


def test_a_template_may_ask_for_the_date(tiny):
    from datetime import datetime

    template = "Today is {{ strftime_now('%d %b %Y') }}. {{ messages[0].content }}"
    with sl.load(tiny(chat_template=template), threads=1, ctx_size=256) as engine:
        prompt = Api(create_app(engine)).post("/apply-template", messages=HELLO).json()["prompt"]
    assert prompt.startswith(f"Today is {datetime.now():%d %b %Y}.")


def test_a_path_forges_no_line_of_the_log(engine):
    lines = []
    api = Api(create_app(engine, on_request=lambda line: lines.append(_logged(line))))
    assert api.get("/v1/x%0D%0AGET /forged 200").status_code == 404
    (line,) = lines
    assert "forged" in line and len(line.splitlines()) == 1


CALLED = [
    {"role": "user", "content": "the end?"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "test", "input": {"success": True}}]},
]
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "text", "text": "the"}, {"type": "text", "text": " end"}]}],
        [*HELLO, {"role": "assistant", "content": "Hi there!"}, {"role": "user", "content": "How are you?"}],
        [*CALLED, {"role": "user", "content": [RESULT]}],
        [*CALLED, {"role": "user", "content": [{"type": "text", "text": "Here it is:"}, RESULT]}],
        [*CALLED, {"role": "user", "content": [{**RESULT, "is_error": True}]}],
    ],
)
def test_messages_of_the_other_api(api, messages):
    body = {"model": "test", "max_tokens": 5, "messages": messages, "metadata": {"user_id": "me"}, "top_k": 40}
    answer = api.post("/v1/messages", **body, temperature=0.5, top_p=0.9, stop_sequences=["END"]).json()
    assert answer["type"] == "message" and answer["content"][0]["type"] == "text" and "timings" not in answer
    usage = answer["usage"]
    count = api.post("/v1/messages/count_tokens", messages=messages).json()
    assert count == {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]}


@pytest.mark.parametrize("thinking", [None, {"type": "enabled", "budget_tokens": 1024}])
def test_blocks_of_a_stream_have_their_places(api, thinking):
    body = {"model": "x", "max_tokens": 12, "messages": HELLO, "seed": 1, "stream": True, "thinking": thinking}
    blocks = [block.split("\n") for block in api.post("/v1/messages", **body).text[:-2].split("\n\n")]
    found = [json.loads(lines[1].removeprefix("data: ")) for lines in blocks]
    assert [lines[0] for lines in blocks] == [f"event: {one['type']}" for one in found]
    assert found[0]["message"]["content"] == [] and found[0]["message"]["usage"]["input_tokens"] > 0
    starts, stops = (
        [one["index"] for one in found if one["type"] == f"content_block_{what}"] for what in ("start", "stop")
    )
    assert starts == stops == list(range(len(starts)))
    assert found[1]["content_block"]["type"] == ("thinking" if thinking else "text")
    kinds = [one["delta"]["type"] for one in found if one["type"] == "content_block_delta" and one["index"] == 0]
    assert kinds[-1] == ("signature_delta" if thinking else "text_delta")
    assert [one["type"] for one in found[-2:]] == ["message_delta", "message_stop"]
    assert found[-2]["usage"]["output_tokens"] == 12 and found[-2]["delta"]["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"messages": []}, {"messages": HELLO, "logit_gate": {}},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "AAAA"}}]}]},
    ],
)  # fmt: skip
def test_what_are_no_messages_of_the_other_api(api, body):
    response = api.post("/v1/messages", model="x", max_tokens=5, **body)
    assert response.status_code == 400 and response.json()["type"] == "error"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"type": "json_schema", "name": "x", "schema": {"const": "foo"}}, '"foo"'),
        ({"type": "json_object"}, "{"), ({"type": "text"}, ""),
    ],
)  # fmt: skip
def test_the_form_of_a_response(api, form, text):
    made = api.post("/responses", input="the end", max_output_tokens=10, text={"format": form}).json()
    (message,) = [item for item in made["output"] if item["type"] == "message"]
    assert made["id"].startswith("resp_") and message["id"].startswith("msg_")
    assert message["content"][0]["text"].startswith(text)
    refused = api.post("/responses", input="a", text={"format": {"type": "json_schema", "name": "x"}})
    assert refused.status_code == 400


def test_the_events_of_a_response_name_one_response_and_one_message(api):
    text = api.post("/responses", input="the end", max_output_tokens=6, seed=1, stream=True).text
    found = [json.loads(block.partition("data: ")[2]) for block in text[:-2].split("\n\n")]
    assert len({one["response"]["id"] for one in found if "response" in one}) == 1
    items = {one["item_id"] for one in found if "item_id" in one} | {
        one["item"]["id"] for one in found if "item" in one
    }
    assert len(items) == 1 and found[-1]["type"] in ("response.completed", "response.incomplete")
    said = "".join(one["delta"] for one in found if one["type"] == "response.output_text.delta")
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == said
