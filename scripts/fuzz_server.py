"""Thousands of odd bodies to every endpoint of a server: it may answer with 2xx and 4xx only, in JSON.

    python scripts/fuzz_server.py MODEL [--bodies 2000] [--seed N]

Starts ``selar-local serve MODEL``. Hypothesis makes the bodies: requests that are nearly right, with fields of every
kind in the place of others, and bytes that are no JSON. It reports the smallest body that fails.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click
import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from server_process import Command

POSTED = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens",
    "/v1/embeddings", "/chat/completions", "/completions", "/tokenize", "/detokenize", "/apply-template",
)  # fmt: skip
READ = ("/", "/v1/models", "/v1/models/x", "/v1/selar", "/health", "/metrics", "/nowhere", "/v1/..%2f..", "/%00")
PLAIN = ("/", "/metrics")  # their text is no JSON
_USER = [{"role": "user", "content": "hi"}]
_TOOL = {"type": "function", "name": "f", "function": {"name": "f", "parameters": {"type": "object"}}}
#: Fields with a value that some endpoint takes.
FIELDS: dict[str, Any] = {
    "messages": _USER, "prompt": "hi", "input": "hi", "content": "hi", "tokens": [1, 2], "max_tokens": 2,
    "max_completion_tokens": 2, "max_output_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1,
    "seed": 1, "stop": ["x"], "n": 2, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True,
    "top_logprobs": 2, "response_format": {"type": "json_object"}, "tools": [_TOOL], "tool_choice": "auto",
    "parallel_tool_calls": False, "selar": {"method": "cot", "events": True}, "model": "default", "echo": True,
    "suffix": "x", "best_of": 1, "logit_bias": {"5": 1}, "presence_penalty": 0.5, "repeat_penalty": 1.1,
    "reasoning_effort": "low", "chat_template_kwargs": {"x": 1}, "grammar": 'root ::= "a"', "json_schema": {},
    "system": "x", "instructions": "x", "text": {"format": {"type": "text"}}, "thinking": {"type": "disabled"},
    "user": "u", "metadata": {}, "add_special": True, "with_pieces": True, "stop_sequences": ["x"],
    "continue_final_message": True, "add_generation_prompt": False, "raw": True, "dry_multiplier": 0.8,
    "previous_response_id": "x", "store": False, "reasoning": {"effort": "low"}, "include": [], "min_tokens": 1,
}  # fmt: skip

_odd = st.sampled_from(
    [-1, 0, 1, 2**31, 2**63, -(2**70), 1e308, 1e-308, 24.0, "", "\0", "\ud800", "a" * 5000, "<|im_end|>", [], {}, [[]]]
)
_name = st.text(max_size=8) | st.sampled_from([*FIELDS])
_value = st.recursive(
    _odd | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from([*FIELDS]), inner)
    ),
    max_leaves=8,
)


@st.composite
def _nearly_right(draw: Any) -> bytes:
    names = {*draw(st.lists(st.sampled_from([*FIELDS]), max_size=6)), draw(st.sampled_from(["messages", "prompt"]))}
    body = {"max_tokens": 2, **{name: FIELDS[name] for name in names}}
    for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=2)):
        body[name] = draw(_value | st.sampled_from([*FIELDS.values()]))
    if draw(st.booleans()) and isinstance(body.get("messages"), list):
        odd = {"role": draw(st.sampled_from(["user", "assistant", "tool", "system", "x"])), "content": draw(_value)}
        body["messages"] = [*body["messages"], odd]
    return json.dumps(body).encode()


_no_json = st.binary(max_size=50) | st.sampled_from(
    [b"[" * 9999, b'{"a":' * 999, b"NaN", b"\xff\xfe{}", b'{"n": 1e999}']
)
_body = _nearly_right() | _value.map(lambda value: json.dumps(value).encode()) | _no_json
_request = st.tuples(st.just("POST"), st.sampled_from(POSTED), _body) | st.tuples(
    st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "POST"]), st.sampled_from(POSTED + READ), _body
)


def check(client: httpx.Client, method: str, path: str, body: bytes, seen: Counter[int]) -> None:
    """One request. Raises AssertionError for an answer that must not be."""
    answer = client.request(method, path, content=body)
    seen[answer.status_code] += 1
    assert 200 <= answer.status_code < 300 or 400 <= answer.status_code < 500, answer.text[:500]
    kind = answer.headers["content-type"]
    if kind.startswith("text/event-stream"):
        assert answer.text.endswith("\n\n")
    elif answer.status_code >= 400 or path not in PLAIN:
        assert kind == "application/json", kind
        assert method == "HEAD" or answer.json()


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bodies", default=2000, show_default=True)
@click.option("--seed", "number", default=0, show_default=True)
def main(model: Path, bodies: int, number: int) -> None:
    """Send odd bodies to a server of MODEL."""
    seen: Counter[int] = Counter()
    server = Command(str(model), "-c", 128, "--parallel", 2, "-t", 2)
    try:
        with httpx.Client(base_url=server.url, timeout=120) as client:

            @seed(number)
            @settings(
                max_examples=bodies, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(_request)
            def fuzz(request: tuple[str, str, bytes]) -> None:
                check(client, *request, seen)

            fuzz()
            children = len(server.resident()[1])
    finally:
        code = server.stop()
        click.echo(f"{sum(seen.values())} requests: " + ", ".join(f"{seen[s]} x {s}" for s in sorted(seen)))
    if code != 0 or children != 1:
        raise click.ClickException(f"the server ended with {code}, {children} processes of its own at the end")


if __name__ == "__main__":
    main()
