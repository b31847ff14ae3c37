"""/v1/chat/completions, whole and streamed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import selar_local as sl
from selar_local.advice import advice
from selar_local.server.app import create_app
from selar_local.server.config import Defaults

from .conftest import HELLO, TEMPLATE, Api, events

METHODS = ["cot", "cot-greedy", "selar", "soft-thinking", "swir"]


def merged(chunks, index=0):
    """(content, reasoning, finish_reason) of one choice of a stream."""
    choices = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
    parts = ["".join(c["delta"].get(name) or "" for c in choices) for name in ("content", "reasoning_content")]
    reasons = [c["finish_reason"] for c in choices if c["finish_reason"]]
    assert len(reasons) == 1 and choices[-1]["finish_reason"]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    return (*parts, reasons[0])


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_the_engine_s(api, engine, method):
    answer = api.chat(selar={"method": method}).json()
    result = engine.generate(messages=HELLO, method=method, seed=1, max_tokens=8)
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == result.text
    assert choice["finish_reason"] == result.finish_reason
    assert answer["object"] == "chat.completion" and answer["model"] == api.service.model
    assert answer["id"].startswith("chatcmpl-")
    usage = answer["usage"]
    assert usage["prompt_tokens"] == result.usage.prompt_tokens
    assert usage["completion_tokens"] == result.usage.completion_tokens == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_minus_one_is_no_limit(name, api, engine):
    body = {"max_tokens": None, name: -1, "seed": 1}
    answer = api.chat(**body).json()
    result = engine.generate(messages=HELLO, seed=1)
    assert answer["choices"][0]["message"]["content"] == result.text
    assert answer["usage"]["completion_tokens"] == result.usage.completion_tokens > 8


def test_top_k_of_minus_one_is_off(api):
    texts = {api.chat(top_k=number, seed=1).json()["choices"][0]["message"]["content"] for number in (-1, 0)}
    assert len(texts) == 1


@pytest.mark.parametrize("body", [{}, {"n": 3}, {"stop": ["e", "a"]}, {"selar": {"thinking": True}}, {"max_tokens": 0}])
def test_a_stream_says_the_same(api, body):
    whole = api.chat(max_tokens=body.get("max_tokens", 24), **{k: v for k, v in body.items() if k != "max_tokens"})
    whole = whole.json()
    response = api.chat(**{"max_tokens": 24, **body}, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, last = events(response.text)
    assert last == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    for choice in whole["choices"]:
        content, reasoning, reason = merged(chunks, choice["index"])
        assert content == choice["message"]["content"]
        assert reasoning == choice["message"].get("reasoning_content", "")
        assert reason == choice["finish_reason"]
    assert chunks[-1]["choices"] == []
    counts = ("prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details")
    assert {k: chunks[-1]["usage"][k] for k in counts} == {k: whole["usage"][k] for k in counts}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_without_include_usage_there_is_none(api):
    *chunks, _ = events(api.chat(stream=True).text)
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


def test_n_are_those_of_the_following_seeds(api):
    together = api.chat(n=3, seed=7, selar={"events": True}).json()
    alone = [api.chat(seed=7 + i).json()["choices"][0]["message"]["content"] for i in range(3)]
    assert [c["message"]["content"] for c in together["choices"]] == alone
    assert [c["index"] for c in together["choices"]] == [0, 1, 2]
    assert [c["selar"]["seed"] for c in together["choices"]] == [7, 8, 9]
    assert together["usage"]["completion_tokens"] == 24
    assert together["usage"]["prompt_tokens"] == api.chat().json()["usage"]["prompt_tokens"]


def test_no_seed_is_another_each_time(api):
    seeds = {api.chat(seed=s, selar={"events": True}).json()["choices"][0]["selar"]["seed"] for s in (None, -1, None)}
    assert len(seeds) == 3


def test_thinking_is_reasoning_content(api):
    answer = api.chat(selar={"thinking": True}, max_tokens=6).json()
    message = answer["choices"][0]["message"]
    assert message["content"] == "" and message["reasoning_content"]
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 6}
    assert "reasoning_content" not in api.chat(selar={"thinking": False}).json()["choices"][0]["message"]


@pytest.mark.parametrize("stop", ["e", ["zzz", "e"]])
def test_stop_strings_end_the_text(api, stop):
    free = api.chat(max_tokens=60).json()["choices"][0]["message"]["content"]
    assert "e" in free
    choice = api.chat(max_tokens=60, stop=stop).json()["choices"][0]
    assert choice["message"]["content"] == free[: free.index("e")]
    assert choice["finish_reason"] == "stop"


def test_max_completion_tokens_counts_before_max_tokens(api):
    assert api.chat(max_completion_tokens=3, max_tokens=5).json()["usage"]["completion_tokens"] == 3
    none = api.chat(max_tokens=0).json()
    assert none["choices"][0]["finish_reason"] == "length" and none["usage"]["completion_tokens"] == 0


def test_logprobs_are_told(api, engine):
    answer = api.chat(logprobs=True, top_logprobs=3).json()
    entries = answer["choices"][0]["logprobs"]["content"]
    steps = list(engine.stream(messages=HELLO, seed=1, max_tokens=8, logprobs=3))
    assert len(entries) == len(steps) == 8
    for entry, step in zip(entries, steps, strict=True):
        assert entry["logprob"] == pytest.approx(step.logprobs.token) and entry["logprob"] <= 0
        assert [t["logprob"] for t in entry["top_logprobs"]] == pytest.approx([v for _, v in step.logprobs.top])
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
    text = b"".join(bytes(entry["bytes"]) for entry in entries).decode("utf-8", "replace")
    assert text == answer["choices"][0]["message"]["content"]
    streamed = events(api.chat(logprobs=True, top_logprobs=3, stream=True).text)[:-1]
    told = [c["logprobs"]["content"][0] for chunk in streamed for c in chunk["choices"] if "logprobs" in c]
    assert told == entries
    assert api.chat().json()["choices"][0]["logprobs"] is None
    assert api.chat(logprobs=True).json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_events_tell_each_step(api, engine):
    body = {"selar": {"tau": 0.2, "symbol_guard": False, "events": True}}
    result = engine.generate(messages=HELLO, method=sl.Selar(tau=0.2, symbol_guard=False), seed=1, max_tokens=8)
    facts = api.chat(**body).json()["choices"][0]["selar"]
    assert facts == {
        "method": "selar", "explored_steps": result.usage.explored_steps, "latent_steps": 0,
        "mismatched_steps": result.usage.mismatched_steps, "seed": 1,
        "mean_entropy": result.mean_entropy, "notes": [], "hint": None,
    }  # fmt: skip
    assert facts["explored_steps"] > 0
    chunks = events(api.chat(**body, stream=True).text)[:-1]
    *steps, last = [c["selar"] for chunk in chunks for c in chunk["choices"] if "selar" in c]
    assert [step["token"] for step in steps] == list(result.tokens)
    assert sum(step["explored"] for step in steps) == facts["explored_steps"]
    assert math.isclose(sum(step["entropy"] for step in steps) / 8, facts["mean_entropy"])
    assert last == facts
    told = engine.stream(messages=HELLO, method=sl.Selar(tau=0.2, symbol_guard=False), seed=1, max_tokens=8)
    for step, event in zip(steps, told, strict=True):
        assert ("fed" in step) is event.explored and step.get("kept") == event.kept and "drawn" not in step
        rows = sorted(event.fed, key=lambda row: -abs(row[1])) if event.explored else []
        assert [tuple(row[:2]) for row in step.get("fed", [])] == rows
        assert all(text == engine.token_bytes(i).decode("utf-8", "replace") for i, _, text in step.get("fed", []))
    assert "selar" not in api.chat().json()["choices"][0]


@pytest.mark.parametrize("stream", [False, True])
def test_options_without_effect_are_in_the_notes(api, stream):
    body = {"selar": {"method": "coconut", "events": True}, "stream": stream}
    answer = api.chat(**body)
    facts = (events(answer.text)[-2] if stream else answer.json())["choices"][0]["selar"]
    assert facts["notes"] == [
        "this model has no token <|start-latent|>: it was probably not trained for coconut, expect broken text"
    ]


def test_a_choice_that_explored_often_ends_with_a_hint(api, engine):
    method = {"tau": 0.2, "symbol_guard": False}
    body = {"max_tokens": 40, "selar": {**method, "events": True}}
    usage = engine.generate(messages=HELLO, method=sl.Selar(**method), seed=1, max_tokens=40).usage
    hint = advice(sl.Selar(**method), usage)
    assert hint is not None and "max_share=0.15" in hint
    assert api.chat(**body).json()["choices"][0]["selar"]["hint"] == hint
    assert events(api.chat(**body, stream=True).text)[-2]["choices"][0]["selar"]["hint"] == hint
    assert (
        api.chat(**{**body, "selar": {"method": "cot", "events": True}}).json()["choices"][0]["selar"]["hint"] is None
    )


def test_latent_steps_are_told(api):
    facts = api.chat(selar={"method": "coconut", "latent_steps": 3, "events": True}).json()["choices"][0]["selar"]
    assert facts["latent_steps"] == 3


def test_options_without_a_method_are_the_default_s(engine):
    api = Api(create_app(engine, defaults=Defaults(method=sl.Selar(tau=0.1, k=4), sampling={"top_k": 5, "seed": 3})))
    explored = api.post("/v1/chat/completions", messages=HELLO, max_tokens=20, selar={"events": True}).json()
    expected = engine.generate(messages=HELLO, method=sl.Selar(tau=0.1, k=4), top_k=5, seed=3, max_tokens=20)
    assert explored["choices"][0]["message"]["content"] == expected.text
    assert explored["choices"][0]["selar"]["seed"] == 3
    changed = api.post("/v1/chat/completions", messages=HELLO, max_tokens=20, selar={"tau": 2, "events": True}).json()
    assert changed["choices"][0]["selar"]["explored_steps"] == 0
    other = api.post("/v1/chat/completions", messages=HELLO, max_tokens=20, top_k=9, selar={"method": "cot"}).json()
    expected = engine.generate(messages=HELLO, method="cot", top_k=9, seed=3, max_tokens=20)
    assert other["choices"][0]["message"]["content"] == expected.text


@pytest.mark.parametrize("method", ["selar", "cot", "soft-thinking"])
def test_temperature_0_is_greedy_with_every_method(api, engine, method):
    answer = api.chat(temperature=0, selar={"method": method}).json()
    expected = engine.generate(messages=HELLO, method=method, greedy=True, max_tokens=8)
    assert answer["choices"][0]["message"]["content"] == expected.text
    assert api.chat(selar={"method": method, "greedy": True}).json()["choices"] == answer["choices"]


def test_messages_reach_the_template(api, engine):
    parts = [
        {"role": "developer", "content": "be"},
        {"role": "user", "content": [{"type": "text", "text": "the"}, {"type": "text", "text": " end"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "x", "content": "5"},
    ]
    expected = engine.render([{**parts[0], "role": "system"}, *parts[1:]])
    seen = []
    original = engine.begin
    engine.begin = lambda emit, **request: seen.append(request) or original(emit, **request)
    try:
        assert api.chat(parts).status_code == 200
    finally:
        del engine.begin
    assert engine.render(seen[0]["messages"]) == expected
    assert '"id": "x"' in expected


def test_what_changes_nothing_is_ignored(api):
    body = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "user": "me", "store": True}
    assert (
        api.chat(**body, tools=[], response_format={"type": "text"}).json()["choices"] == api.chat().json()["choices"]
    )


@pytest.mark.parametrize("name", ["default", None])
def test_names_of_the_model(api, engine, name):
    for model in (name, Path(engine.info.path).name, Path(engine.info.path).stem):
        assert api.chat(model=model, max_tokens=1).json()["model"] == Path(engine.info.path).stem


SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2, 30]}},
    "required": ["ok", "n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema_is_followed(api, stream):
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    response = api.chat(response_format=form, max_tokens=200, stream=stream, selar={"events": True})
    if stream:
        chunks = events(response.text)[:-1]
        content, reasoning, reason = merged(chunks)
        facts = chunks[-1]["choices"][0]["selar"]
    else:
        choice = response.json()["choices"][0]
        content, reasoning, reason = choice["message"]["content"], "", choice["finish_reason"]
        facts = choice["selar"]
    value = json.loads(content)
    assert set(value) == {"ok", "n"} and value["n"] in (1, 2, 30)
    assert (reasoning, reason, facts["explored_steps"]) == ("", "stop", 0)


def test_json_object_begins_an_object(api):
    content = api.chat(response_format={"type": "json_object"}, max_tokens=30).json()["choices"][0]["message"][
        "content"
    ]
    assert content.startswith("{")


def test_a_forced_form_is_the_answer_even_where_the_template_opens_a_thinking(tiny):
    always = TEMPLATE.replace("{% if enable_thinking is defined and enable_thinking %}", "{% if true %}")
    with sl.load(tiny(chat_template=always, thinking_tokens=True), threads=1) as engine:
        api = Api(create_app(engine))
        form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
        for stream in (False, True):
            response = api.chat(response_format=form, max_tokens=200, stream=stream)
            content = (
                merged(events(response.text)[:-1])[0] if stream else response.json()["choices"][0]["message"]["content"]
            )
            assert set(json.loads(content)) == {"ok", "n"}


def test_a_model_that_takes_ids_alone(family_model) -> None:
    with sl.load(family_model("glm4", chat_template=TEMPLATE), threads=1) as engine:
        api = Api(create_app(engine))
        answer = api.chat(selar={"events": True}).json()
        assert any(note.startswith("soft methods cannot be used: ") for note in answer["choices"][0]["selar"]["notes"])
        refused = api.chat(selar={"method": "selar"})
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == ("selar.method", "unsupported_method")
        options = api.get("/v1/selar").json()
        assert "takes no vectors" in options["no_vectors"]
        assert {one["name"] for one in options["methods"]} == {"cot", "cot-greedy"}
