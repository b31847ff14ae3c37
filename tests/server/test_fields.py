"""Every field of a request is honoured, without an effect by its nature, or refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from selar_local.server.fields import NO_EFFECT, OTHER_NAMES, REFUSED, declared
from selar_local.server.schemas import ChatRequest, Common, CompletionRequest

from .conftest import CHAT, HELLO, TEXT, Api
from .test_errors import check

WIDE: dict[str, Any] = {"temperature": 1, "top_k": 0, "top_p": 1, "max_tokens": 24, "selar": {"method": "cot"}}


def both(api: Api, **body: Any) -> list[Any]:
    return [api.chat(**body), api.text(**body)]


def texts(api: Api, **body: Any) -> list[str]:
    chat, text = (response.json()["choices"][0] for response in both(api, **{**WIDE, **body}))
    return [(chat["message"].get("reasoning_content") or "") + (chat["message"]["content"] or ""), text["text"]]


@pytest.mark.parametrize(
    "change",
    [
        {"presence_penalty": 1.5}, {"frequency_penalty": 1}, {"repeat_penalty": 1.8}, {"repetition_penalty": 1.8},
        {"dry_multiplier": 5, "dry_allowed_length": 0}, {"xtc_probability": 1, "xtc_threshold": 0.01},
        {"typical_p": 0.1}, {"typical": 0.1}, {"logit_bias": {"70": 100}},
        {"logit_bias": ["70+100"]}, {"grammar": 'root ::= "yes"'}, {"top_p": 0},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_is_honoured_changes_the_answer(api: Api, change: dict[str, Any]) -> None:
    for plain, changed in zip(texts(api), texts(api, **change), strict=True):
        assert plain != changed


def test_a_grammar_binds_both(api: Api) -> None:
    assert texts(api, grammar='root ::= "yes" | "no"', max_tokens=9)[1] in ("yes", "no")
    assert api.chat(grammar='root ::= "yes"').json()["choices"][0]["message"]["content"] == "yes"
    for response in both(api, grammar="root ::= ("):
        check(response, 400, "grammar")
    check(api.chat(grammar='root ::= "a"', response_format={"type": "json_object"}), 400, "grammar")
    tool = {"type": "function", "function": {"name": "f"}}
    check(api.chat(grammar='root ::= "a"', tools=[tool]), 400, "grammar")


def test_rules_for_the_end(api: Api, engine: Any) -> None:
    ends = [token for token in range(engine.info.n_vocab) if engine.is_end(token)]
    lively = {**WIDE, "max_tokens": 40, "logit_bias": {str(token): 30 for token in ends}}
    assert api.text(**lively).json()["usage"]["completion_tokens"] < 5
    assert 9 < api.text(**lively, min_tokens=9).json()["usage"]["completion_tokens"] < 15
    assert api.text(**lively, ignore_eos=True).json()["choices"][0]["finish_reason"] == "length"
    first = engine.generate(
        "the end", raw=True, method="cot", seed=1, max_tokens=24, temperature=1.0, top_k=0, top_p=1.0
    )
    stopped = api.text(**WIDE, stop_token_ids=[first.tokens[3]]).json()["choices"][0]
    assert stopped["finish_reason"] == "stop" and first.text.startswith(stopped["text"])


@pytest.mark.parametrize("name", sorted(NO_EFFECT))
def test_what_changes_nothing_is_taken(api: Api, name: str) -> None:
    for value in ({"a": [1]}, "x", 7, True):
        assert texts(api, **{name: value}) == texts(api)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_we_do_not_have_is_refused_by_its_name(api: Api, name: str) -> None:
    for response in both(api, **{name: [1]}):
        check(response, 400, name, "unsupported_parameter")
    for neutral in (None, *REFUSED[name]):
        assert texts(api, **{name: neutral}) == texts(api)


@pytest.mark.parametrize(
    ("name", "close"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("repeat_penality", "repeat_penalty"), ("xyzzy", "")],
)
def test_a_misspelt_field_is_refused(api: Api, name: str, close: str) -> None:
    for response in both(api, **{name: 1}):
        error = check(response, 400, name, "unknown_parameter")
        assert ("did you mean" in error["message"]) == bool(close) and close in error["message"]
    check(api.chat(stream=True, stream_options={"include_usages": True}), 400, "stream_options.include_usages")
    long = check(api.chat(**{"x" * 5000: 1}), 400)
    assert len(long["message"]) < 300


def test_a_field_belongs_to_its_endpoint(api: Api) -> None:
    check(api.text(messages=HELLO), 400, "messages")
    check(api.chat(prompt="a"), 400, "prompt")


def test_two_names_for_one_thing(api: Api) -> None:
    assert api.post(TEXT, prompt="a", n_predict=3, ignore_eos=True).json()["usage"]["completion_tokens"] == 3
    assert api.text(max_tokens=3, n_predict=3).status_code == 200
    check(api.text(max_tokens=3, n_predict=4), 400, "n_predict")


def test_the_tables_do_not_contradict_each_other() -> None:
    known = {*ChatRequest.model_fields, *CompletionRequest.model_fields}
    assert not known & {*NO_EFFECT, *REFUSED, *OTHER_NAMES} and not NO_EFFECT & {*REFUSED, *OTHER_NAMES}
    assert set(OTHER_NAMES.values()) <= set(Common.model_fields)
    assert declared(["a"], {"a": 0, "user": "x", "b": None}) == {"a": 0}


@pytest.mark.parametrize(
    ("sent", "same"),
    [
        ({"max_tokens": 24.0}, {}), ({"top_k": 40.0}, {"top_k": 40}), ({"seed": 1.0}, {}), ({"n": 1.0}, {}),
        ({"stop": ""}, {}), ({"stop": [""]}, {}), ({"stop": None}, {}), ({"top_k": -1}, {"top_k": 0}),
        ({"logit_bias": {"70": False}}, {"logit_bias": {"70": -1e6}}),
    ],
)  # fmt: skip
def test_values_as_clients_send_them(api: Api, sent: dict[str, Any], same: dict[str, Any]) -> None:
    assert texts(api, **sent) == texts(api, **same)


def test_minus_one_is_no_limit_and_a_random_seed(api: Api) -> None:
    # Without an end the text would go on: a grammar ends it.
    for response in both(api, max_tokens=-1, seed=-1, grammar='root ::= "yes"'):
        assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert api.chat(seed=-5).json()["choices"] == api.chat(seed=-5).json()["choices"]


@pytest.mark.parametrize("more", [{}, {"tool_calls": []}, {"refusal": "no"}])
def test_an_assistant_that_said_nothing(api: Api, more: dict[str, Any]) -> None:
    turns = [HELLO[0], {"role": "assistant", "content": None, **more}, HELLO[0]]
    empty = [HELLO[0], {"role": "assistant", "content": "", **more}, HELLO[0]]
    assert api.chat(turns).json()["choices"] == api.chat(empty).json()["choices"]
    check(api.chat([{"role": "user", "content": None}]), 400, "messages[0].content")


def test_paths_without_v1(api: Api) -> None:
    body = {"messages": HELLO, "prompt": "a", "max_tokens": 1}
    for path, used in ((CHAT, "messages"), (TEXT, "prompt")):
        assert api.post(path.removeprefix("/v1"), **{used: body[used]}, max_tokens=1).status_code == 200
    assert api.get("/models").json() == api.get("/v1/models").json()
    name = api.service.model
    assert api.get(f"/models/{name}").json() == api.get(f"/v1/models/{name}").json()


def test_what_clients_look_for_where_a_prompt_is_too_long(api: Api) -> None:
    """LangChain, LiteLLM and agents of editors know the words, OpenAI's clients the code."""
    for response in (api.chat([{"role": "user", "content": "a b " * 2000}]), api.text("a b " * 2000)):
        error = check(response, 400, code="context_length_exceeded")
        for words in (
            "prompt is too long",
            "exceeds the available context size",
            "maximum context length is 1024 tokens",
        ):
            assert words in error["message"]
    assert json.dumps(error)
