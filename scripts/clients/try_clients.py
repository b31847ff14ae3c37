"""Unmodified clients in Python against a running server. argv: its base URL, then names of clients (default: all).

`scripts/try_clients.sh` installs the clients and starts the server. What a check raises is what broke.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

BASE = sys.argv[1].rstrip("/") + "/v1"
ASK = "Name a fruit."
HELLO = [{"role": "user", "content": ASK}]
LONG = [{"role": "user", "content": "a b c " * 20_000}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": SCHEMA}}
PENALTIES = {"presence_penalty": 0.5, "frequency_penalty": 0.2}


def openai_chat() -> None:
    import openai

    client = openai.OpenAI(base_url=BASE, api_key="any", max_retries=0)
    made = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, max_completion_tokens=12, logit_bias={"5": -100}, seed=1, user="me", **PENALTIES
    )
    assert made.choices[0].message.content is not None and made.usage.completion_tokens <= 12
    stream = client.chat.completions.create(
        model="x", messages=HELLO, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    assert list(stream)[-1].usage.completion_tokens <= 8
    text = client.completions.create(model="x", prompt=[1, 2, 3], max_tokens=3, echo=True, logprobs=2)
    assert text.choices[0].logprobs.token_logprobs[0] is None
    try:
        client.chat.completions.create(model="x", messages=LONG)
    except openai.BadRequestError as error:
        assert error.code == "context_length_exceeded"
    else:
        raise AssertionError("no error for a prompt that is too long")


def openai_parse_and_tools() -> None:
    import openai
    import pydantic

    form = pydantic.create_model("Person", name=(str, ...), age=(int, ...))
    client = openai.OpenAI(base_url=BASE, api_key="any", max_retries=0)
    parsed = client.chat.completions.parse(model="x", messages=HELLO, response_format=form, max_tokens=80, seed=1)
    assert isinstance(parsed.choices[0].message.parsed.age, int)
    called = client.chat.completions.create(model="x", messages=HELLO, tools=[TOOL], tool_choice="required", seed=1)
    call = called.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
    turns = [*HELLO, called.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert client.chat.completions.create(model="x", messages=turns, tools=[TOOL], max_tokens=8).choices


def openai_responses() -> None:
    import openai
    import pydantic

    client = openai.OpenAI(base_url=BASE, api_key="any", max_retries=0)
    made = client.responses.create(model="x", input=ASK, instructions="Be brief.", max_output_tokens=12, store=False)
    assert made.output_text and made.usage.output_tokens <= 12
    kinds = [event.type for event in client.responses.create(model="x", input=HELLO, max_output_tokens=8, stream=True)]
    assert kinds[0] == "response.created" and "response.output_text.delta" in kinds
    form = pydantic.create_model("Person", name=(str, ...), age=(int, ...))
    parsed = client.responses.parse(model="x", input=ASK, text_format=form, max_output_tokens=80)
    assert isinstance(parsed.output_parsed.age, int)
    tool: Any = {"type": "function", **TOOL["function"]}
    called = client.responses.create(model="x", input=ASK, tools=[tool], tool_choice="required", max_output_tokens=100)
    call = next(item for item in called.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    turns: Any = [*HELLO, *called.output, result]
    assert client.responses.create(model="x", input=turns, tools=[tool], max_output_tokens=8).output


def litellm() -> None:
    import litellm

    litellm.suppress_debug_info = True
    common: dict[str, Any] = {"model": "openai/any", "api_base": BASE, "api_key": "any", "max_tokens": 8}
    made = litellm.completion(messages=HELLO, temperature=0.5, stop=[], n=1, **PENALTIES, **common)
    assert made.choices[0].message.content is not None
    made = litellm.completion(messages=HELLO, drop_params=True, logit_bias={"5": 1}, parallel_tool_calls=None, **common)
    assert made.usage.prompt_tokens > 0
    pieces = list(litellm.completion(messages=HELLO, stream=True, stream_options={"include_usage": True}, **common))
    assert any(piece.choices and piece.choices[0].delta.content for piece in pieces)
    called = litellm.completion(messages=HELLO, tools=[TOOL], tool_choice="required", **{**common, "max_tokens": 100})
    assert called.choices[0].message.tool_calls[0].function.name == "weather"
    try:
        litellm.completion(messages=LONG, **common)
    except litellm.ContextWindowExceededError:
        pass
    else:
        raise AssertionError("no ContextWindowExceededError")


def langchain() -> None:
    import pydantic
    from langchain_core.exceptions import ContextOverflowError
    from langchain_openai import ChatOpenAI, OpenAI

    chat = ChatOpenAI(
        base_url=BASE, api_key="any", model="any", max_tokens=60, temperature=0.5, seed=1, max_retries=0, **PENALTIES
    )
    assert chat.invoke(ASK).usage_metadata["output_tokens"] > 0
    assert "".join(str(piece.content) for piece in chat.stream(ASK))
    form = pydantic.create_model("Place", city=(str, ...))
    for method in ("json_schema", "function_calling"):
        assert chat.with_structured_output(form, method=method).invoke(ASK).city is not None
    assert chat.with_structured_output(SCHEMA, method="json_mode").invoke(ASK + " Answer in JSON.") is not None
    assert chat.bind_tools([TOOL], tool_choice="weather").invoke(ASK).tool_calls[0]["name"] == "weather"
    text = OpenAI(base_url=BASE, api_key="any", model="any", max_tokens=8, max_retries=0)
    assert isinstance(text.invoke("The end is"), str) and len(text.generate(["a", "b"]).generations) == 2
    try:
        chat.invoke(LONG)
    except ContextOverflowError:
        pass
    else:
        raise AssertionError("no ContextOverflowError")


def pydantic_ai() -> None:
    from pydantic import create_model
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("any", provider=OpenAIProvider(base_url=BASE, api_key="any"))
    settings: Any = {"max_tokens": 200, "seed": 1, "temperature": 0.5, **PENALTIES}
    assert Agent(model, model_settings=settings).run_sync(ASK).output
    form = create_model("Place", city=(str, ...))
    for output in (form, NativeOutput(form)):
        assert (
            Agent(model, output_type=output, model_settings=settings, retries=3).run_sync(ASK).output.city is not None
        )


def instructor() -> None:
    import instructor
    import openai
    import pydantic

    form = pydantic.create_model("Place", city=(str, ...))
    client = openai.OpenAI(base_url=BASE, api_key="any", max_retries=0)
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        asked = instructor.from_openai(client, mode=mode).chat.completions
        made = asked.create(model="any", messages=HELLO, response_model=form, max_tokens=200, max_retries=3)
        assert made.city is not None


def llm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        entry = {"model_id": "local", "model_name": "any", "api_base": BASE, "api_key_name": "none"}
        (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps([entry]))
        environment = {**os.environ, "LLM_USER_PATH": folder}
        words = [
            "-m",
            "local",
            "-o",
            "max_tokens",
            "8",
            "-o",
            "presence_penalty",
            "0.5",
            "-o",
            "logit_bias",
            '{"5":-5}',
        ]
        done = subprocess.run(
            [sys.executable, "-m", "llm", "prompt", ASK, *words, "--key", "any"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.strip(), done.stderr[-500:]


def lm_eval() -> None:
    """Two small tasks on local data: one that scores answers, one that writes them."""
    import lm_eval

    tokenizer = os.environ["TOKENIZER"]
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"q": f"{i} + 1 =", "choices": [" 3", f" {i + 1}", " x"], "gold": 1} for i in range(4, 8)]
        data = Path(folder) / "rows.jsonl"
        data.write_text("\n".join(map(json.dumps, rows)))
        common = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
        choose = {
            "task": "choose", **common, "output_type": "multiple_choice", "doc_to_text": "{{q}}",
            "doc_to_choice": "{{choices}}", "doc_to_target": "gold", "target_delimiter": "",
        }  # fmt: skip
        write = {
            "task": "write", **common, "output_type": "generate_until", "doc_to_text": "{{q}}",
            "doc_to_target": "{{choices[gold]}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
            "metric_list": [{"metric": "exact_match"}],
        }  # fmt: skip
        found = lm_eval.simple_evaluate(
            model="local-completions",
            model_args=f"model=any,base_url={BASE}/completions,tokenizer={tokenizer},max_length=1024",
            tasks=[choose, write],
            bootstrap_iters=0,
        )
    results = found["results"]
    assert set(results) == {"choose", "write"}, results


def canitoolcall() -> None:
    """Its probe of a running server. It is shown: what a small model does wrong is no fault of the server."""
    command = [str(Path(sys.executable).with_name("canitoolcall")), "probe", "--base-url", BASE, "--model", "any"]
    done = subprocess.run(
        [*command, "--timeout", "300", "--concurrency", "1", "--json", "-"],
        capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    print(done.stderr.rstrip())
    assert json.loads(done.stdout), done.stderr[-500:]


CHECKS: dict[str, list[Callable[[], None]]] = {
    "openai": [openai_chat, openai_parse_and_tools, openai_responses],
    "litellm": [litellm],
    "langchain-openai": [langchain],
    "pydantic-ai": [pydantic_ai],
    "instructor": [instructor],
    "llm": [llm],
    "lm-eval": [lm_eval],
    "canitoolcall": [canitoolcall],
}


def main() -> int:
    """Run them; the number of failures."""
    failed = 0
    for package in sys.argv[2:] or CHECKS:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            print(f"{package}: not installed")
            continue
        for check in CHECKS[package]:
            began = time.perf_counter()
            try:
                check()
                print(
                    f"{package} {version}: {check.__name__} passed in {time.perf_counter() - began:.1f} s", flush=True
                )
            except Exception:
                failed += 1
                print(f"{package} {version}: {check.__name__} FAILED", flush=True)
                traceback.print_exc(limit=-4)
    return failed


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())
    sys.exit(main())
