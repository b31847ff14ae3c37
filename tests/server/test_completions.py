"""/v1/completions, whole and streamed."""

from __future__ import annotations

import math

import pytest

import selar_local as sl
from selar_local.server.app import create_app

from .conftest import Api, events


def test_the_prompt_is_continued_as_it_is(api, engine):
    answer = api.text("the end", selar={"events": True}).json()
    result = engine.generate("the end", raw=True, seed=1, max_tokens=8)
    (choice,) = answer["choices"]
    assert choice["text"] == result.text and choice["finish_reason"] == "length" and choice["logprobs"] is None
    assert choice["selar"]["explored_steps"] == result.usage.explored_steps
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == result.usage.prompt_tokens


def test_raw_false_goes_through_the_template(api, engine):
    choice = api.text("the end", selar={"raw": False}).json()["choices"][0]
    assert choice["text"] == engine.generate("the end", seed=1, max_tokens=8).text
    thinking = api.text("the end", selar={"raw": False, "thinking": True}).json()["choices"][0]
    assert thinking["text"] == "" and thinking["reasoning_content"]


@pytest.mark.parametrize("body", [{}, {"prompt": ["a", "the end"], "n": 2}, {"stop": "e"}, {"logprobs": 2}])
def test_a_stream_says_the_same(api, body):
    whole = api.text(**{"max_tokens": 20, **body}).json()
    streamed = api.text(**{"max_tokens": 20, **body}, stream=True, stream_options={"include_usage": True})
    *chunks, last = events(streamed.text)
    assert last == "[DONE]" and {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert len(whole["choices"]) == len(body.get("prompt", "a")) * body.get("n", 1)
    for choice in whole["choices"]:
        told = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in told) == choice["text"]
        assert [c["finish_reason"] for c in told if c["finish_reason"]] == [choice["finish_reason"]]
        if choice["logprobs"]:
            for name, values in choice["logprobs"].items():
                assert [v for c in told if c["logprobs"] for v in c["logprobs"][name]] == values
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_several_prompts_are_in_order(api):
    together = api.text(["a", "the end"], n=2, seed=3).json()
    alone = [api.text(prompt, seed=3 + i).json() for prompt in ("a", "the end") for i in range(2)]
    assert [c["text"] for c in together["choices"]] == [one["choices"][0]["text"] for one in alone]
    assert [c["index"] for c in together["choices"]] == [0, 1, 2, 3]
    assert together["usage"]["prompt_tokens"] == sum(one["usage"]["prompt_tokens"] for one in alone[::2])
    assert together["usage"]["completion_tokens"] == sum(one["usage"]["completion_tokens"] for one in alone)


def test_logprobs_in_the_old_form(api, engine):
    choice = api.text(logprobs=2).json()["choices"][0]
    steps = list(engine.stream("the end", raw=True, seed=1, max_tokens=8, logprobs=2))
    told = choice["logprobs"]
    assert {len(values) for values in told.values()} == {8}
    assert told["token_logprobs"] == pytest.approx([step.logprobs.token for step in steps])
    assert told["text_offset"][0] == 0 and told["text_offset"] == sorted(told["text_offset"])
    for top, step in zip(told["top_logprobs"], steps, strict=True):
        assert max(top.values()) == pytest.approx(max(value for _, value in step.logprobs.top))
    assert all(math.isfinite(value) for value in told["token_logprobs"])
    one = api.text(logprobs=1, max_tokens=20, temperature=2.0).json()["choices"][0]["logprobs"]
    assert all(token in top for token, top in zip(one["tokens"], one["top_logprobs"], strict=True))
    assert {len(top) for top in one["top_logprobs"]} == {
        1,
        2,
    }  # the most probable, and the drawn one where it is another
    assert api.text(logprobs=0).json()["choices"][0]["logprobs"]["top_logprobs"][0] == {}


def test_a_cached_prompt_is_told(tiny):
    with sl.load(tiny(), threads=1, batch_size=16) as engine:
        api = Api(create_app(engine))
        prompt = "the end of the answer " * 12
        cached = [api.text(prompt).json()["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in range(2)]
        assert cached[0] == 0 < cached[1] == api.metric("cached_tokens_total")
