"""The Inspect provider: what it takes, what it refuses, what it gives, and that it never blocks the event loop."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ResponseSchema,
    get_model,
)
from inspect_ai.tool import ToolInfo
from inspect_ai.util import JSONSchema

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.engine.events import Result, Timings, Usage
from selar_local.errors import DecodeError, EngineBusy, OptionError, UnsupportedModel
from selar_local.evaluation import _registry  # noqa: F401 - registers the provider
from selar_local.evaluation.generation import METER, Engines, Generated, generate, shared_engines
from selar_local.evaluation.provider import ModelArguments, SelarAPI, as_messages, generation_options
from selar_local.evaluation.records import BINS

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)
USER = [ChatMessageUser(content="What is 2 + 3?")]


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def engine(model):
    """Lent to every model of its options, so that the tests load it once."""
    config = EngineConfig(threads=1, parallel=2, ctx_size=512)
    with sl.Engine(model, config) as opened, shared_engines().lend(opened, model):
        yield opened


def api(model, **arguments) -> SelarAPI:
    return SelarAPI(str(model), **{"threads": 1, "parallel": 2, "ctx_size": 512, **arguments})


def ask(model, messages=USER, *, tools=(), config=None, **arguments):
    given = GenerateConfig(max_tokens=12, seed=3) if config is None else config
    return asyncio.run(api(model, **arguments).generate(list(messages), list(tools), "auto", given))


def test_arguments_are_split():
    got = ModelArguments.of(
        {"method": "selar", "tau": 0.3, "parallel": 16, "min_p": 0.1, "greedy": True, "thinking": True}
    )
    assert got.method == sl.Selar(tau=0.3)
    assert got.engine == EngineConfig(parallel=16, model_sampling=False)
    assert got.sampling == {"min_p": 0.1, "greedy": True}
    assert (got.thinking, got.isolated) == (True, False)
    assert ModelArguments.of({}).method == sl.Selar()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"method": "cot", "tau": 0.3}, "unknown model argument 'tau' with method cot"),
        ({"tau": -1}, "tau must be"),
        ({"tua": 1}, "unknown model argument 'tua'"),
        ({"parallel": 0}, "parallel must be"),
        ({"seed": 1}, "seed is no model argument"),
        ({"thinking": "yes"}, "thinking must be true or false"),
        ({"isolated": "yes"}, "isolated must be true or false"),
    ],
)
def test_wrong_arguments_are_refused(arguments, told):
    with pytest.raises(OptionError) as refused:
        SelarAPI("nowhere.gguf", **arguments)
    assert told in str(refused.value)


def test_options_are_mapped():
    schema = ResponseSchema(name="x", json_schema=JSONSchema(type="boolean"))
    config = GenerateConfig(
        temperature=0.5, top_p=0.9, top_k=7, max_tokens=5, seed=1, stop_seqs=["A", "B"], top_logprobs=2, num_choices=1,
        max_connections=4, response_schema=schema,
    )  # fmt: skip
    assert generation_options(config) == {
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "max_tokens": 5, "seed": 1, "stop": ["A", "B"], "logprobs": 2,
        "json_schema": {"type": "boolean"},
    }  # fmt: skip
    assert generation_options(GenerateConfig()) == {}
    assert generation_options(GenerateConfig(logprobs=True)) == {"logprobs": 0}


@pytest.mark.parametrize(
    "option",
    [
        {"frequency_penalty": 0.1}, {"presence_penalty": 0.1}, {"logit_bias": {1: 2.0}}, {"num_choices": 2},
        {"best_of": 3}, {"reasoning_effort": "high"}, {"reasoning_tokens": 100}, {"prompt_logprobs": 1},
        {"extra_body": {"a": 1}},
    ],
)  # fmt: skip
def test_options_that_are_not_supported_are_refused(option, model):
    (name,) = option
    with pytest.raises(OptionError, match=f"does not support {name}"):
        generation_options(GenerateConfig(**option))
    with pytest.raises(OptionError, match=name):
        SelarAPI(str(model), config=GenerateConfig(**option))


def test_messages_are_mapped():
    told = as_messages(
        [
            ChatMessageSystem(content="Be brief."),
            ChatMessageUser(content=[ContentText(text="one"), ContentText(text="two")]),
            ChatMessageAssistant(content=[ContentReasoning(reasoning="hm"), ContentText(text="three")]),
        ]
    )
    assert told == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "three"},
    ]


def test_what_is_no_text_is_refused(model):
    with pytest.raises(OptionError, match="reads text only, not image"):
        as_messages([ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AA")])])
    with pytest.raises(OptionError, match="does not support tools"):
        as_messages([ChatMessageTool(content="5")])
    with pytest.raises(OptionError, match="does not support tools"):
        ask(model, tools=[ToolInfo(name="f", description="d")])


@pytest.mark.parametrize("name", ["cot", "selar"])
def test_an_answer_is_the_engines_own(engine, model, name):
    arguments = {"tau": 0.2, "symbol_guard": False} if name == "selar" else {}
    before = (METER.tokens, METER.answers)
    output = ask(model, method=name, **arguments)
    assert (METER.tokens, METER.answers) == (before[0] + 12, before[1] + 1)
    method = sl.Selar(**arguments) if arguments else sl.CoT()
    stream = engine.stream("What is 2 + 3?", method=method, max_tokens=12, seed=3)
    entropies = [event.entropy for event in stream if event.entropy is not None]
    result = stream.result
    assert output.completion == result.text
    assert output.usage.output_tokens == result.usage.completion_tokens == 12
    assert output.usage.input_tokens + output.usage.input_tokens_cache_read == result.usage.prompt_tokens
    assert output.usage.reasoning_tokens == 0
    told = output.metadata
    assert told["explored_steps"] == result.usage.explored_steps
    assert (told["explored_steps"] > 0) is (name == "selar")
    expected = [sum(min(int(e * BINS), BINS - 1) == i for e in entropies) for i in range(BINS)] if entropies else []
    assert told["entropies"] == expected
    assert (told["seed"], told["finish_reason"], told["context_full"], told["method"]) == (3, "length", False, name)
    assert told["thinking_closed"] and output.stop_reason == "max_tokens"
    assert output.time == told["seconds"] > 0 and abs(told["started"] + told["seconds"] - time.time()) < 60


def test_sampling_of_the_model_yields_to_that_of_the_request(engine, model):
    greedy = ask(model, method="cot", greedy=True, temperature=2.0)
    assert greedy.completion == engine.generate("What is 2 + 3?", method="cot", greedy=True, max_tokens=12).text
    config = GenerateConfig(max_tokens=12, seed=3, temperature=0.1)
    cold = ask(model, method="cot", temperature=5.0, config=config)
    plain = engine.generate("What is 2 + 3?", method="cot", temperature=0.1, max_tokens=12, seed=3)
    assert cold.completion == plain.text


def test_a_full_context_and_a_prompt_that_is_too_long(engine, model):
    full = ask(model, config=GenerateConfig(seed=1), method="cot")
    assert full.stop_reason == "model_length" and full.metadata["context_full"]
    long = ask(model, [ChatMessageUser(content="word " * 2000)])
    assert long.stop_reason == "model_length" and long.completion == "" and "the context holds 512" in long.error


def test_thinking_is_told_apart(engine, model):
    output = ask(model, thinking=True, method="cot")
    (reasoning, text) = output.message.content
    assert isinstance(reasoning, ContentReasoning) and reasoning.reasoning and text.text == ""
    assert output.completion == "" and not output.metadata["thinking_closed"]
    assert output.usage.reasoning_tokens == output.usage.output_tokens == 12


def test_a_closed_thinking(engine, model):
    result = Result("5", "2 and 3", "stop", Usage(9, 8, 2, 0, 4, 6), Timings(0.1, 0.4, 8), seed=1)
    output = api(model)._output(engine, Generated(result, sl.Selar(), (), 0.0))
    assert output.completion == "5" and output.message.content[0].reasoning == "2 and 3"
    assert output.metadata["thinking_closed"] and output.stop_reason == "stop"
    assert (output.usage.reasoning_tokens, output.usage.total_tokens, output.time) == (6, 17, 0.5)
    assert "options" not in output.metadata
    fitted = api(model, tau="auto")._output(engine, Generated(result, sl.Selar(tau=0.37), (), 0.0))
    assert fitted.metadata["options"]["tau"] == 0.37


def test_log_probabilities(engine, model):
    output = ask(model, method="cot", config=GenerateConfig(max_tokens=4, seed=3, logprobs=True, top_logprobs=2))
    rows = output.choices[0].logprobs.content
    assert len(rows) == 4 and all(len(row.top_logprobs) == 2 for row in rows)
    assert all(row.logprob <= row.top_logprobs[0].logprob <= 0 for row in rows)
    assert b"".join(bytes(row.bytes) for row in rows).decode("utf-8", "replace") == output.completion


def test_a_schema_binds_the_answer(engine, model):
    schema = ResponseSchema(name="x", json_schema=JSONSchema(type="boolean"))
    output = ask(model, method="cot", config=GenerateConfig(max_tokens=30, seed=1, response_schema=schema))
    assert isinstance(json.loads(output.completion), bool)


def test_a_cancelled_answer_ends(tiny):
    slow = tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512)
    with sl.load(slow, threads=1, ctx_size=32768) as engine:

        async def cancelled() -> None:
            task = asyncio.create_task(generate(engine, {"prompt": "x", "raw": True, "method": sl.CoT()}))
            await asyncio.sleep(0.3)
            assert engine._worker.unfinished == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        end = time.monotonic() + 5
        while engine._worker.unfinished and time.monotonic() < end:
            time.sleep(0.01)
        assert engine._worker.unfinished == 0


def test_the_loop_goes_on_meanwhile(engine, model):
    async def ticking() -> int:
        ticks = 0
        one = api(model)
        config = GenerateConfig(max_tokens=200, seed=1)
        task = asyncio.gather(*(one.generate(list(USER), [], "auto", config) for _ in range(4)))
        while not task.done():
            await asyncio.sleep(0.001)
            ticks += 1
        assert [output.usage.output_tokens for output in await task] == [200] * 4
        return ticks

    assert asyncio.run(ticking()) > 20


def test_an_error_of_the_engine_is_raised(engine, monkeypatch):
    def fail(*arguments, **more):
        raise DecodeError("llama.cpp failed")

    monkeypatch.setattr(engine._runtime, "step", fail)
    with pytest.raises(DecodeError, match=r"llama\.cpp failed"):
        asyncio.run(generate(engine, {"prompt": "x", "raw": True, "method": sl.CoT(), "max_tokens": 4}))


def test_engines_are_shared(model):
    engines = Engines()
    config = EngineConfig(threads=1, ctx_size=256)
    first = engines.get(model, config)
    assert engines.get(model, config) is first
    other = engines.get(model, replace(config, ctx_size=128))
    assert other is not first
    first.close()
    again = engines.get(model, config)
    assert again is not first and not again.closed
    with engines.lend(other, model):
        assert engines.get(model, other.config) is other
    for engine in (again, other):
        engine.close()


def test_models_of_an_engine_share_its_places(model):
    one, two = api(model, method="cot"), api(model, method="selar", tau=0.1)
    assert one.connection_key() == two.connection_key() != api(model, parallel=3).connection_key()
    assert one.max_connections() == 2
    assert one.should_retry(EngineBusy("full")) and not one.should_retry(DecodeError("broken"))


def test_inspect_finds_the_provider(engine, model):
    found = get_model(f"selar/{model}", method="cot", threads=1, parallel=2, ctx_size=512)
    assert isinstance(found.api, SelarAPI) and str(found) == f"selar/{model}"
    output = asyncio.run(found.generate("What is 2 + 3?", config=GenerateConfig(max_tokens=12, seed=3)))
    assert output.completion == ask(model, method="cot").completion


def test_isolated(engine, model):
    output = ask(model, isolated=True, tau=0.2)
    here = ask(model, tau=0.2)
    assert output.completion == here.completion
    for name in ("entropies", "explored_steps", "seed", "thinking_closed"):
        assert output.metadata[name] == here.metadata[name]
    config = EngineConfig(threads=1, parallel=2, ctx_size=512)
    shared_engines().get(model, config, isolated=True).close()


@pytest.mark.parametrize("arguments", [{}, {"method": "selar"}])
def test_a_model_that_takes_no_vectors(family_model, arguments, caplog):
    """The default method is another there, and a warning says so once. A named one is refused."""
    path = family_model("glm4", chat_template=TEMPLATE)
    with (
        sl.Engine(path, EngineConfig(threads=1, parallel=2, ctx_size=512)) as opened,
        shared_engines().lend(opened, path),
    ):
        if arguments:
            with pytest.raises(UnsupportedModel, match="cot can"):
                ask(path, **arguments)
            return
        chosen, given = api(path), GenerateConfig(max_tokens=2)
        made = [asyncio.run(chosen.generate(list(USER), [], "auto", given)) for _ in range(2)]
    assert [one.metadata["method"] for one in made] == ["cot", "cot"]
    assert len([r for r in caplog.records if "answers with cot: soft methods cannot be used" in r.getMessage()]) == 1
