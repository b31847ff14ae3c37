"""Grammars, JSON schemas and log-probabilities on an engine."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.prefill import prefill

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import method_class

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2, 30]}},
    "required": ["ok", "n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("method", ["cot", "selar", "soft-thinking", "swir", "coconut", "cot-greedy"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_schema_holds_whatever_the_method(engine, method, seed):
    events = list(engine.stream("a", raw=True, json_schema=SCHEMA, method=method, seed=seed, max_tokens=200))
    value = json.loads("".join(event.text for event in events))
    assert set(value) == {"ok", "n"} and isinstance(value["ok"], bool) and value["n"] in (1, 2, 30)
    assert not any(event.explored for event in events)  # steps under a grammar are certain ones
    assert all(event.entropy is None for event in events)
    assert {event.kept for event in events} == {"grammar" if method_class(method).feeds_vectors else None}
    assert all(event.fed == ((event.token, 1.0),) for event in events[:-1]) and events[-1].fed == ()


def test_a_grammar_decides_between_its_words(engine):
    words = {
        engine.generate("a", raw=True, grammar='root ::= "yes" | "no"', seed=seed, temperature=5.0).text
        for seed in range(20)
    }
    assert words == {"yes", "no"}
    ended = engine.generate("a", raw=True, grammar='root ::= "yes"')
    assert (ended.text, ended.finish_reason) == ("yes", "stop")
    cut = engine.generate("a", raw=True, grammar='root ::= "yes"', max_tokens=1)
    assert cut.finish_reason == "length" and "yes".startswith(cut.text)


def test_one_under_a_grammar_beside_one_that_is_free(tiny):
    # Q8_0: llama.cpp rounds F32 otherwise from two rows on.
    with sl.load(tiny(weight_type="Q8_0"), threads=1, parallel=2) as engine:
        alone = list(engine.stream("the end", raw=True, seed=1, max_tokens=20))
        tied = engine.stream("a", raw=True, grammar='root ::= ("ab" | "cd"){12}', seed=2)
        free = list(engine.stream("the end", raw=True, seed=1, max_tokens=20))
        assert free == alone
        text = "".join(event.text for event in tied)
    assert len(text) == 24 and {text[i : i + 2] for i in range(0, 24, 2)} <= {"ab", "cd"}


@pytest.mark.parametrize(
    "options",
    [
        {"grammar": ""}, {"grammar": "root ::= ("}, {"grammar": 'x ::= "a"'}, {"grammar": "a\0b"}, {"grammar": 7},
        {"grammar": 'root ::= root "a"'}, {"grammar": "x" * 300_000},
        {"json_schema": "{"}, {"json_schema": {"type": "nope"}}, {"json_schema": {"$ref": "#/nowhere"}},
        {"json_schema": 7}, {"json_schema": ""}, {"grammar": 'root ::= "a"', "json_schema": {}},
        {"logprobs": -1}, {"logprobs": 1.5}, {"logprobs": 5000},
    ],
)  # fmt: skip
def test_what_is_no_grammar_is_refused_before_anything_runs(engine, options):
    with pytest.raises(sl.errors.OptionError):
        engine.stream("a", raw=True, **options)
    assert engine.generate("a", raw=True, max_tokens=1).finish_reason == "length"


def test_a_schema_as_text_is_the_same(engine):
    texts = [engine.generate("a", raw=True, json_schema=schema, seed=4).text for schema in (SCHEMA, json.dumps(SCHEMA))]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("method", ["selar", "cot", "coconut", "soft-thinking"])
def test_a_result_has_the_logprobs_of_every_token(model, isolated, method):
    with sl.load(model, threads=1, isolated=isolated) as engine:
        for n in (0, 2):
            options = {"method": method, "seed": 3, "max_tokens": 12, "logprobs": n}
            with engine.stream("a", **options) as stream:
                expected = tuple(event.logprobs for event in stream)
            assert stream.result.logprobs == expected
            alone = engine.generate("a", **options)
            assert alone.logprobs == expected and len(expected) == len(alone.tokens) > 0
            assert all(len(logprobs.top) == n for logprobs in expected)
        assert engine.generate("a", seed=3, max_tokens=12).logprobs == ()


def test_logprobs_are_the_model_s_own(model):
    """Temperature 1 and no filters, whatever the sampling: checked against the logits themselves."""
    runtime = LlamaRuntime(model, EngineConfig(threads=1))
    logits = prefill(runtime, 0, 0, runtime.model.prompt_tokens("the end")).astype(np.float64)
    runtime.close()
    expected = logits - logits.max() - math.log(np.exp(logits - logits.max()).sum())
    with sl.load(model, threads=1) as engine:
        (event,) = engine.stream("the end", raw=True, max_tokens=1, logprobs=5, temperature=0.3, top_k=2, seed=1)
        (plain,) = engine.stream("the end", raw=True, max_tokens=1, seed=1)
        (none,) = engine.stream("the end", raw=True, max_tokens=1, seed=1, logprobs=0)
    assert event.logprobs.token == pytest.approx(expected[event.token], abs=1e-4)
    assert [token for token, _ in event.logprobs.top] == np.argsort(-logits, kind="stable")[:5].tolist()
    assert [value for _, value in event.logprobs.top] == pytest.approx(np.sort(expected)[::-1][:5].tolist(), abs=1e-4)
    assert plain.logprobs is None
    assert none.logprobs.top == ()


def test_too_many_at_once_are_told_so(long_model):
    with sl.load(long_model, threads=1, queue_size=2) as engine:
        endless = {"grammar": 'root ::= "ab" root'}  # else a random model may end before the fourth comes
        streams = [engine.stream("a", raw=True, **endless) for _ in range(3)]
        with pytest.raises(sl.errors.EngineBusy, match="busy"):
            engine.stream("a", raw=True)
        streams[0].close()
        again = engine.stream("a", raw=True, max_tokens=1)
        for stream in [*streams[1:], again]:
            stream.close()
        assert engine.generate("a", raw=True, max_tokens=1).usage.completion_tokens == 1
