"""Other unmodified clients against a server on a port: openai's async client, curl, inspect-ai."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest

from .conftest import CHAT, HELLO, events

SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}


def test_openai_async_with_tools_and_a_schema(live):
    openai = pytest.importorskip("openai")

    async def ask():
        async with openai.AsyncOpenAI(base_url=live + "/v1", api_key="any", max_retries=0, timeout=30) as client:

            def chat(**more):
                return client.chat.completions.create(model="default", messages=HELLO, seed=1, **more)

            async def streamed_call():
                stream = await chat(tools=[TOOL], tool_choice="required", stream=True)
                return [call async for chunk in stream for c in chunk.choices for call in c.delta.tool_calls or []]

            return await asyncio.gather(
                chat(tools=[TOOL], tool_choice="required"), streamed_call(), chat(response_format=FORM)
            )

    whole, streamed, formed = asyncio.run(ask())
    (choice,) = whole.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.function.name == "f" and json.loads(call.function.arguments)["n"] in (1, 2)
    assert streamed[0].function.name == "f"
    assert "".join(piece.function.arguments for piece in streamed) == call.function.arguments
    assert json.loads(formed.choices[0].message.content)["n"] in (1, 2)


def test_openai_helpers_that_parse(live):
    """The client's own classes for a schema and for the events of a stream."""
    openai = pytest.importorskip("openai")
    pydantic = pytest.importorskip("pydantic")
    form = pydantic.create_model("Form", yes=(bool, ...))
    with openai.OpenAI(base_url=live + "/v1", api_key="any", max_retries=0, timeout=30) as client:
        ask = {"model": "default", "messages": HELLO, "seed": 1}
        parsed = client.chat.completions.parse(**ask, response_format=form)
        assert isinstance(parsed.choices[0].message.parsed.yes, bool)
        usage = {"include_usage": True}
        with client.chat.completions.stream(**ask, response_format=form, stream_options=usage) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert final.choices[0].message.parsed == parsed.choices[0].message.parsed
        assert final.usage.completion_tokens == parsed.usage.completion_tokens


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_with_tools_a_schema_and_a_body_that_waits_for_a_go(live, tmp_path):
    def curl(*words):
        command = ["curl", "-sS", "--max-time", "20", live + CHAT, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    body = {"messages": HELLO, "seed": 1, "max_tokens": 200}
    called = json.loads(curl("-d", json.dumps({**body, "tools": [TOOL], "tool_choice": "required"})))
    (call,) = called["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["n"] in (1, 2)
    *chunks, last = events(curl("-N", "-d", json.dumps({**body, "response_format": FORM, "stream": True})))
    assert last == "[DONE]"
    text = "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"])
    assert json.loads(text)["n"] in (1, 2)
    # curl sends long bodies in pieces, and after "100 Continue" where it is told to ask.
    long = tmp_path / "body.json"
    long.write_text(json.dumps({**body, "max_tokens": 2, "metadata": {"x": "x" * 200_000}}))
    for header in ("Expect: 100-continue", "Transfer-Encoding: chunked"):
        answer = json.loads(curl("-H", header, "-H", "Content-Type: application/json", "--data-binary", f"@{long}"))
        assert answer["usage"]["completion_tokens"] == 2


_TASK = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
samples = [Sample(input="the end", target="a"), Sample(input="we are so", target="b")]
(log,) = eval(
    Task(dataset=samples, scorer=includes()), model="openai-api/selar/default", display="none", log_dir=sys.argv[1],
    max_tokens=8, seed=1, temperature=0.6,
)
assert log.status == "success", log.error
for sample in log.samples:
    print(len(sample.output.completion), sample.output.usage.output_tokens, sample.output.stop_reason)
"""


@pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="no inspect-ai")
def test_inspect_ai(live, tmp_path):
    """An evaluation of two samples, by the provider for OpenAI-compatible servers."""
    environment = {**os.environ, "SELAR_BASE_URL": live + "/v1", "SELAR_API_KEY": "any", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _TASK, str(tmp_path / "logs")],
        capture_output=True, text=True, timeout=110, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 2
    assert all(int(length) > 0 and row == ["8", "max_tokens"] for length, *row in rows)
