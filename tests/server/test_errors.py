"""What is refused, with which status, and that nothing but OpenAI's form of an error is ever sent."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import selar_local as sl
from selar_local.server import responses
from selar_local.server.app import create_app
from selar_local.server.bridge import Job
from selar_local.server.config import Defaults, ServerConfig
from selar_local.server.schemas import ChatRequest, CompletionRequest

from .conftest import CHAT, HELLO, TEXT, Api, events, until


def check(response, status, param=None, code=None):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) - {"n_prompt_tokens", "n_ctx"} == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"] and "\n" not in error["message"]
    assert error["type"].endswith("error")
    if param is not None:
        assert error["param"] == param, error
    if code is not None:
        assert error["code"] == code, error
    return error


def deep_schema(depth):
    schema = {}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"), ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 1e9}, "temperature"),
        ({"top_p": -0.1}, "top_p"), ({"top_p": 1.5}, "top_p"), ({"top_k": -2}, "top_k"), ({"min_p": 2}, "min_p"),
        ({"seed": -(2**63) - 1}, "seed"), ({"seed": 2**63}, "seed"), ({"seed": 1.5}, "seed"),
        ({"max_tokens": -2}, "max_tokens"), ({"max_tokens": "8"}, "max_tokens"), ({"max_tokens": 2**40}, "max_tokens"),
        ({"max_completion_tokens": -2}, "max_completion_tokens"),
        ({"n": 0}, "n"), ({"n": 17}, "n"), ({"n": 10**30}, "n"),
        ({"stop": [7]}, "stop"), ({"stop": ["x"] * 17}, "stop"), ({"stop": 7}, "stop"),
        ({"stop": "x" * 2000}, "stop"),
        ({"stream": "yes"}, "stream"), ({"stream_options": 7}, "stream_options"),
        ({"presence_penalty": 101}, "presence_penalty"), ({"frequency_penalty": "a"}, "frequency_penalty"),
        ({"logit_bias": {"a": 1}}, "logit_bias"), ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"), ({"functions": [{"name": "f"}]}, "functions"),
        ({"logprobs": 3}, "logprobs"), ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nope"}}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/no"}}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 7}}},
         "response_format.json_schema.schema"),
        ({"tools": [{"type": "web"}]}, "tools[0].type"), ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"), ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"selar": 7}, "selar"), ({"selar": {"method": "magic"}}, "selar.method"),
        ({"selar": {"method": 7}}, "selar.method"),
        ({"selar": {"max_topk": 3}}, "selar.max_topk"), ({"selar": {"nonsense": 3}}, "selar.nonsense"),
        ({"selar": {"raw": True}}, "selar.raw"),
        ({"selar": {"tau": -1}}, "selar.tau"), ({"selar": {"k": 1}}, "selar.k"), ({"selar": {"k": "3"}}, "selar.k"),
        ({"selar": {"events": "yes"}}, "selar.events"), ({"selar": {"thinking": 1}}, "selar.thinking"),
        ({"selar": {"thinking": True}, "response_format": {"type": "json_object"}}, "selar.thinking"),
    ],
)  # fmt: skip
def test_bad_fields_of_a_chat(api, body, param):
    for stream in (False, True):
        check(api.post(CHAT, **{"messages": HELLO, "max_tokens": 1, "stream": stream, **body}), 400, param)
    assert sum(api.service.load) == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [10**6]}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [[1], 2]}, "prompt"), ({"echo": 1}, "echo"), ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": True}, "logprobs"), ({"logprobs": 21}, "logprobs"), ({"selar": {"raw": 1}}, "selar.raw"),
    ],
)  # fmt: skip
def test_bad_fields_of_a_completion(api, body, param):
    check(api.post(TEXT, **{"prompt": "a", "max_tokens": 1, **body}), 400, param)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nonsense", b'{"messages": [}', b"\xff\xfe", b'{"messages": [{"role": "user", "content": "\xe9"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b"[" * 100_000, b'{"a":' * 50_000, b"\0", b"NaN",
        b'{"n": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_bad_json(api, path, body):
    check(api.request("POST", path, content=body), 400)


@pytest.mark.parametrize("body", [b"7", b"[]", b"null", b'"x"', b"{}"])
def test_json_of_another_kind(api, body):
    check(api.request("POST", CHAT, content=body), 400)


def test_the_error_does_not_repeat_what_was_sent(api):
    secret = "my secret words"
    for body in ({"messages": secret}, {"messages": [{"role": secret, "content": ""}]}, {"stop": [secret, ""]}):
        assert secret not in api.post(CHAT, **{"messages": HELLO, **body}).text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 10**9}, {"type": "array", "items": {}, "minItems": 30_000},
        {"type": "string", "pattern": "^a{1,100000}$"}, {"enum": list(range(10_000))}, {"$ref": "https://x.example/y"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, deep_schema(90), deep_schema(100),
        {"type": "string", "pattern": "^((a?){0,40}){0,40}$"}, {"enum": [f"x{i}" for i in range(20_000)]},
        {"allOf": [{"anyOf": [{"properties": {f"p{i}{j}": {}}} for j in range(8)]} for i in range(8)]},
    ],
)  # fmt: skip
def test_schemas_that_would_take_the_memory_or_the_process(api, schema):
    for one in (schema, {"type": "array", "items": schema}):
        form = {"type": "json_schema", "json_schema": {"schema": one}}
        assert api.chat(response_format=form).status_code in (200, 400)
        tool = {"type": "function", "function": {"name": "f", "parameters": one}}
        assert api.chat(tools=[tool], tool_choice="required").status_code in (200, 400)
    assert api.chat().status_code == 200


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_a_tool_s_schema_that_cannot_be_kept_to_is_no_error_where_nothing_is_forced(api, choice):
    for schema in ({"type": "string", "maxLength": 10**9}, {"not": {}}, {"type": "nope"}):
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        assert api.chat(tools=[tool], tool_choice=choice).status_code == 200
    check(api.chat(tools=[tool], tool_choice="required"), 400, "tools")


@pytest.mark.parametrize("name", ["gpt-4", "", "Default", "../x"])
def test_another_model(engine, name):
    api = Api(create_app(engine))
    assert api.chat(model=name).json()["model"] == api.text(model=name).json()["model"] == api.service.model
    api = Api(create_app(engine, ServerConfig(strict_model_name=True)))
    check(api.chat(model=name), 404, "model", "model_not_found")
    check(api.text(model=name), 404, "model", "model_not_found")


def test_unknown_paths_and_methods(api):
    for path in ("/v1", "/v1/chat", "/v1/audio/speech", "/docs", "/openapi.json", "/v1/models/"):
        check(api.get(path), 404)
    check(api.get("/v1/models/gpt-4"), 404, "model", "model_not_found")
    for method, path in (
        ("GET", CHAT),
        ("PUT", TEXT),
        ("POST", "/health"),
        ("DELETE", "/v1/models"),
        ("POST", "/metrics"),
    ):
        assert check(api.request(method, path), 405, code="method_not_allowed")
        assert api.request(method, path).headers["allow"]


def test_a_prompt_that_is_too_long(api, engine):
    long = "the end " * 2000
    for response in (api.chat([{"role": "user", "content": long}], stream=True), api.text(long)):
        check(response, 400, code="context_length_exceeded")
    small = Api(create_app(engine, ServerConfig(max_prompt_tokens=10)))
    check(small.chat(), 400, "messages", "context_length_exceeded")
    check(small.text("the end " * 20, stream=True), 400, "prompt", "context_length_exceeded")
    assert small.text("a").status_code == 200
    assert until(lambda: sum(small.service.load) == 0)


def test_a_body_that_is_too_large(engine):
    api = Api(create_app(engine, ServerConfig(max_body_bytes=1000)))
    assert api.chat().status_code == 200
    big = json.dumps({"messages": HELLO, "x": "y" * 1000}).encode()
    check(api.request("POST", CHAT, content=big), 413, code="body_too_large")

    async def pieces():
        for i in range(0, len(big), 100):
            yield big[i : i + 100]

    check(api.request("POST", CHAT, content=pieces()), 413)  # no Content-Length
    check(api.request("POST", CHAT, content=b"{}", headers={"Content-Length": "9" * 400}), 413)


def test_a_body_that_does_not_come(api, monkeypatch):
    monkeypatch.setattr(responses, "_BODY_SECONDS", 0.05)

    async def begun():
        yield b"{"
        await asyncio.sleep(0.3)

    check(api.request("POST", CHAT, content=begun()), 408, code="timeout")


def test_template_and_calibration_errors(tiny, api):
    check(api.chat(selar={"tau": "auto"}), 400)
    with sl.load(tiny(chat_template="{{ raise_exception('no') }}"), threads=1) as engine:
        check(Api(create_app(engine)).chat(), 400, "messages", "template_error")


def test_a_decode_that_fails_is_a_500(api, engine, monkeypatch):
    may_fail, started = threading.Event(), Job.started

    def fails(*_):
        assert may_fail.wait(30)
        raise sl.errors.DecodeError("llama.cpp failed")

    async def noted(job):
        await started(job)
        may_fail.set()

    monkeypatch.setattr(engine._runtime, "step", fails)
    monkeypatch.setattr(Job, "started", noted)
    first, *_, last = events(api.text(stream=True).text)
    check(api.text(), 500, code="decode_error")
    assert first["choices"][0]["text"] is not None and last["error"]["type"] == "server_error"
    assert api.metric('generations_total{finish_reason="error"}') == 2
    assert sum(api.service.load) == 0
    monkeypatch.undo()
    assert api.text().status_code == 200


def test_an_unforeseen_error_is_a_500_without_its_words(api, monkeypatch, caplog):
    monkeypatch.setattr(api.service, "begin", lambda *_, **__: 1 / 0)
    error = check(api.chat(), 500)
    assert "division" not in error["message"] + caplog.text and "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(api.service.engine, "begin", lambda *_, **__: 1 / 0)
    assert "division" not in check(api.chat(), 500)["message"]


def test_busy_is_a_429(slow_engine):
    """parallel 1 and a queue of 3: the fifth is refused, whoever asks."""
    api = Api(create_app(slow_engine))
    check(api.chat(n=5), 400, "n")
    held = [slow_engine.stream("the end", raw=True) for _ in range(4)]
    refused = api.chat(n=2)
    for stream in held:
        stream.close()
    check(refused, 429, code="engine_busy")
    assert int(refused.headers["retry-after"]) > 0
    assert api.chat(max_tokens=1).status_code == 200


def test_the_server_s_own_count_refuses_without_a_thread(slow_engine):
    api = Api(create_app(slow_engine))
    before = threading.active_count()

    async def together():
        calls = [api.call("POST", TEXT, json={"prompt": "a", "max_tokens": 3}) for _ in range(30)]
        answers = asyncio.gather(*calls)
        await asyncio.sleep(0.01)
        most = threading.active_count()
        return [answer.status_code for answer in await answers], most

    statuses, most = asyncio.run(together())
    assert statuses.count(200) >= 4 and set(statuses) == {200, 429}
    assert most <= before + 5


def test_a_request_that_takes_too_long(slow_engine, monkeypatch):
    api = Api(create_app(slow_engine, ServerConfig(request_timeout=0.1)))
    check(api.text(max_tokens=None), 504, code="timeout")
    assert until(lambda: sum(api.service.load) == 0)
    started = Job.started

    async def expired(job):
        await started(job)
        job.expire()

    api = Api(create_app(slow_engine))
    monkeypatch.setattr(Job, "started", expired)
    *_, last = events(api.text(max_tokens=None, stream=True).text)
    assert last["error"]["code"] == "timeout"
    assert until(lambda: sum(api.service.load) == 0)
    monkeypatch.undo()
    assert api.text(max_tokens=1).status_code == 200


def test_the_time_runs_out_before_the_engine_takes_it(slow_engine, monkeypatch):
    """As while another process loads after a crash."""
    go, begin = threading.Event(), slow_engine.begin

    def reloading(*arguments, **more):
        go.wait(30)
        return begin(*arguments, **more)

    api = Api(create_app(slow_engine, ServerConfig(request_timeout=0.1)))

    async def both():
        answers = [
            await api.call("POST", TEXT, json={"prompt": "a", "max_tokens": None, "stream": stream})
            for stream in (False, True)
        ]
        waiting = sum(api.service.load)
        go.set()
        while sum(api.service.load):
            await asyncio.sleep(0.01)
        return answers, waiting

    with monkeypatch.context() as patch:
        patch.setattr(slow_engine, "begin", reloading)
        answers, waiting = asyncio.run(asyncio.wait_for(both(), 20))
    assert waiting == 2  # the places are not free before the engine lets go of them
    for answer in answers:
        check(answer, 504, code="timeout")


def test_while_closing_it_is_a_503(tiny, engine):
    api = Api(create_app(engine))
    api.service.closing = True
    check(api.chat(), 503, code="closing")
    assert api.get("/health").status_code == 503
    with sl.load(tiny(), threads=1) as short:
        api = Api(create_app(short, defaults=Defaults(method=sl.CoT())))
    check(api.chat(), 503, code="closing")
    assert api.get("/health").json() == {"status": "closing"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CHAT_FIELDS = sorted(set(ChatRequest.model_fields) - {"max_tokens", "max_completion_tokens"})
TEXT_FIELDS = sorted(set(CompletionRequest.model_fields) - {"max_tokens"})


def fields_of(names):
    return st.dictionaries(st.sampled_from(names), JSON, max_size=3)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields_of(CHAT_FIELDS), fields_of(TEXT_FIELDS))
def test_whatever_is_sent_it_is_answered_or_refused(engine, chat, text):
    api = Api(create_app(engine))
    for path, body in ((CHAT, {"messages": HELLO, **chat}), (TEXT, {"prompt": "a", **text})):
        content = json.dumps({**body, "max_tokens": 1}).encode()
        response = api.request("POST", path, content=content)
        assert response.status_code in (200, 400, 404), response.text
