"""The unmodified openai client."""

from __future__ import annotations

import asyncio
import json

import pytest

from selar_local.engine.transcript import TextStream

from .conftest import HELLO

openai = pytest.importorskip("openai")

SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=live + "/v1", api_key="any", max_retries=0, timeout=30) as opened:
        yield opened


def chat(client, **more):
    return client.chat.completions.create(model="default", messages=HELLO, seed=1, max_tokens=8, **more)


def test_chat(client, engine):
    answer = chat(client)
    result = engine.generate(messages=HELLO, seed=1, max_tokens=8)
    assert answer.choices[0].message.content == result.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.system_fingerprint.startswith("fp_")
    assert {chunk.system_fingerprint for chunk in chat(client, stream=True)} == {answer.system_fingerprint}


def test_streaming(client):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)
    assert text == chat(client).choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 8


def test_leaving_a_stream(client):
    with chat(client, stream=True) as stream:
        next(iter(stream))


def test_several_with_logprobs(client):
    answer = chat(client, n=3, logprobs=True, top_logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert len(choice.logprobs.content) == 8
        assert len(choice.logprobs.content[0].top_logprobs) == 2
        assert choice.logprobs.content[0].logprob <= 0


def test_thinking_and_methods(client):
    answer = chat(client, extra_body={"selar": {"method": "cot", "thinking": True}})
    assert answer.choices[0].message.reasoning_content and not answer.choices[0].message.content


def test_tools(client):
    call = chat(client, tools=[TOOL], tool_choice="required").choices[0].message.tool_calls
    if call is None:  # cut off by max_tokens
        answer = client.chat.completions.create(model="default", messages=HELLO, tools=[TOOL], tool_choice="required")
        call = answer.choices[0].message.tool_calls
    assert json.loads(call[0].function.arguments)["n"] in (1, 2)
    history = [
        *HELLO, {"role": "assistant", "content": None, "tool_calls": [call[0].model_dump()]},
        {"role": "tool", "tool_call_id": call[0].id, "content": "fine"},
    ]  # fmt: skip
    assert client.chat.completions.create(model="default", messages=history, max_tokens=2).choices
    stream = client.chat.completions.create(
        model="default", messages=HELLO, tools=[TOOL], tool_choice="required", stream=True
    )
    calls = [call for chunk in stream for c in chunk.choices for call in c.delta.tool_calls or []]
    assert calls[0].index == 0 and calls[0].function.name == "f"
    assert all(call.function.name is None and call.id is None for call in calls[1:])
    assert json.loads("".join(call.function.arguments for call in calls))["n"] in (1, 2)


def test_written_calls_grow(client, monkeypatch):
    """A random model calls nothing: what it writes is replaced on its way, seven characters a token."""
    call = '<tool_call>{"name": "f", "arguments": {"n": 1, "why": "because it is long"}}</tool_call>'
    written = iter([f"so {call}{call}"[at : at + 7] for at in range(0, 200, 7)])

    def feed(self, piece):
        text = next(written)
        self.stopped = not text
        return text

    monkeypatch.setattr(TextStream, "feed", feed)
    with client.chat.completions.stream(
        model="default",
        messages=HELLO,
        tools=[TOOL],
        max_tokens=60,
        extra_body={"ignore_eos": True, "stop": ["never"], "selar": {"method": "cot"}},
    ) as stream:
        grown = [e.arguments_delta for e in stream if e.type == "tool_calls.function.arguments.delta"]
        message = stream.get_final_completion().choices[0].message
    arguments = [json.loads(one.function.arguments) for one in message.tool_calls]
    assert arguments == [{"n": 1, "why": "because it is long"}] * 2 and message.content.strip() == "so"
    assert len(grown) > 8 and len({one.id for one in message.tool_calls}) == 2


def test_a_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    answer = client.chat.completions.create(model="default", messages=HELLO, response_format=form)
    assert json.loads(answer.choices[0].message.content)["n"] in (1, 2)


def test_completions(client, engine):
    answer = client.completions.create(model="default", prompt="the end", seed=1, max_tokens=8, logprobs=1)
    assert answer.choices[0].text == engine.generate("the end", raw=True, seed=1, max_tokens=8).text
    assert len(answer.choices[0].logprobs.tokens) == 8
    stream = client.completions.create(model="default", prompt="the end", seed=1, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == answer.choices[0].text


def test_models(client):
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id
    assert client.chat.completions.create(model=model.id, messages=HELLO, max_tokens=1).model == model.id


def test_errors(client, engine, server_of):
    with pytest.raises(openai.BadRequestError) as bad:
        chat(client, top_p=1.5)
    assert bad.value.param == "top_p" and bad.value.code == "invalid_value"
    url = server_of(engine, strict_model_name=True) + "/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as other, pytest.raises(openai.NotFoundError):
        other.chat.completions.create(model="gpt-4", messages=HELLO)
    url = server_of(engine, api_keys=("right",)) + "/v1"
    with (
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        chat(other)
    with openai.OpenAI(base_url=url, api_key="right", max_retries=0) as other:
        assert chat(other).choices


def test_async(live):
    async def ask():
        async with openai.AsyncOpenAI(base_url=live + "/v1", api_key="any", max_retries=0, timeout=30) as client:
            whole = await chat(client)
            stream = await chat(client, stream=True)
            text = "".join([c.delta.content or "" async for chunk in stream for c in chunk.choices])
            together = await asyncio.gather(*(chat(client) for _ in range(3)))
            return whole, text, together

    whole, text, together = asyncio.run(ask())
    assert text == whole.choices[0].message.content
    assert {answer.choices[0].message.content for answer in together} == {text}
