"""Prompts of token ids, and `echo` with log-probabilities: what evaluation harnesses ask for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.server.app import create_app

from .conftest import Api, events
from .test_errors import check

PROMPT = "the answer is so the number of the user"
SCORE: dict[str, Any] = {"max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}


@pytest.fixture(scope="module")
def ids(engine: sl.Engine) -> list[int]:
    return list(engine.tokenize(PROMPT))


def test_ids_are_the_text_they_spell(api: Api, ids: list[int]) -> None:
    expected = api.text(PROMPT).json()
    for prompt in (ids, [ids], [float(token) for token in ids]):
        got = api.text(prompt).json()
        assert (got["choices"], got["usage"]["prompt_tokens"]) == (expected["choices"], len(ids))
    several = api.text([ids, ids[:3]]).json()["choices"]
    assert [choice["text"] for choice in several] == [
        expected["choices"][0]["text"],
        api.text(ids[:3]).json()["choices"][0]["text"],
    ]


@pytest.mark.parametrize("prompt", [[10**6], [[1], []], [1, "a"], [-1], [1.5], [True], [], [[]], [[1, "a"]]])
def test_what_are_no_ids(api: Api, prompt: Any) -> None:
    assert check(api.text(prompt), 400)["param"].startswith("prompt")


def test_each_prompt_token_has_the_probability_of_the_text_before_it(
    api: Api, engine: sl.Engine, ids: list[int]
) -> None:
    got = api.text(ids, **SCORE).json()["choices"][0]
    found = got["logprobs"]
    assert got["text"].startswith(PROMPT) and [len(column) for column in found.values()] == [len(ids) + 1] * 4
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    for place in range(1, len(ids)):
        before = engine.generate(ids[:place], raw=True, method="cot", max_tokens=1, logprobs=400)
        expected = dict(before.logprobs[0].top)
        assert found["token_logprobs"][place] == pytest.approx(expected[ids[place]], abs=1e-4)
        assert max(found["top_logprobs"][place].values()) == pytest.approx(max(expected.values()), abs=1e-4)
    texts = [engine.token_bytes(token).decode() for token in ids]
    assert found["tokens"][: len(ids)] == texts
    assert found["text_offset"] == [*np.cumsum([0, *map(len, texts)]).tolist()]


def test_the_token_that_ends_the_text_counts_too(api: Api, engine: sl.Engine, ids: list[int]) -> None:
    """Harnesses leave out the last entry: there must be one for the generated token, whichever it is."""
    ends = {str(token): 100 for token in range(engine.info.n_vocab) if engine.is_end(token)}
    found = api.text(ids, **SCORE, logit_bias=ends).json()["choices"][0]
    assert found["finish_reason"] == "stop" and found["text"] == PROMPT
    assert len(found["logprobs"]["token_logprobs"]) == len(ids) + 1


def test_scores_are_the_same_whatever_was_asked_before(api: Api, ids: list[int]) -> None:
    long = ids * 20
    first = api.text(long, **SCORE).json()["choices"]
    assert api.text(long, max_tokens=2).status_code == 200  # leaves the prompt in the cache
    assert api.text(long, **SCORE).json()["choices"] == first
    together = api.text([long, ids, long], **SCORE).json()["choices"]
    assert [choice["logprobs"] for choice in together] == [
        first[0]["logprobs"],
        api.text(ids, **SCORE).json()["choices"][0]["logprobs"],
        first[0]["logprobs"],
    ]
    assert all(math.isfinite(value) for value in first[0]["logprobs"]["token_logprobs"][1:])


def test_echo_of_a_text_and_of_a_stream(api: Api) -> None:
    plain = api.text(PROMPT).json()["choices"][0]["text"]
    first, second = api.text(PROMPT, echo=True, n=2).json()["choices"]
    assert first["text"] == PROMPT + plain and second["text"].startswith(PROMPT)
    chunks = events(api.text(PROMPT, echo=True, stream=True).text)[:-1]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == PROMPT + plain
    none = api.text(PROMPT, echo=True, max_tokens=0, logprobs=2).json()["choices"][0]
    assert none["text"] == PROMPT and len(none["logprobs"]["tokens"]) == len(none["logprobs"]["text_offset"]) > 3
    check(api.text(PROMPT, echo=True, stream=True, logprobs=1), 400, "stream")
    check(api.text(PROMPT, echo=True, selar={"raw": False}), 400, "echo")


def test_an_isolated_engine_scores_the_same(model: Any, api: Api, ids: list[int]) -> None:
    with sl.load(model, threads=1, ctx_size=1024, isolated=True) as isolated:
        other = Api(create_app(isolated))
        assert other.text(ids, **SCORE).json()["choices"] == api.text(ids, **SCORE).json()["choices"]
