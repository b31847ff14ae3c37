"""Published chat templates render as transformers renders them; where that fails or loses something, not worse.

The templates are not part of this repository: LLAMA_CPP_TEMPLATES names the folder models/templates of llama.cpp.
"""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.plain_renderer import plain_renderer

from selar_local.errors import TemplateError
from selar_local.templates import ChatTemplate

FILES = sorted(Path(os.environ.get("LLAMA_CPP_TEMPLATES", os.devnull)).glob("*.jinja"))
pytestmark = pytest.mark.skipif(not FILES, reason="LLAMA_CPP_TEMPLATES names no folder with templates")

PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer", "description": "x"}}, "required": ["a"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d <b> é", "parameters": PARAMETERS}}
    for name in ("first_tool", "other_tool")
]


def call(name: str, id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": {"a": 1}}}


ASK, MORE = {"role": "user", "content": "Ask <b> é?"}, {"role": "user", "content": "And more?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "The answer."}
CALLING = {"role": "assistant", "content": "", "tool_calls": [call("first_tool", "abcdefghi")]}
BOTH = {**CALLING, "content": "Let me look.", "tool_calls": [*CALLING["tool_calls"], call("other_tool", "ihgfedcba")]}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "name": "first_tool", "content": '{"x": "result"}'}
OTHER = {**RESULT, "tool_call_id": "ihgfedcba", "name": "other_tool", "content": "plain"}

SHAPES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "a question": ([ASK], {}),
    "system": ([SYSTEM, ASK], {}),
    "turns": ([SYSTEM, ASK, ANSWER, MORE, ANSWER, ASK], {}),
    "no prompt for an answer": ([ASK, ANSWER], {"add_generation_prompt": False}),
    "tools": ([ASK], {"tools": TOOLS}),
    "system and tools": ([SYSTEM, ASK], {"tools": TOOLS}),
    "a call": ([ASK, CALLING, RESULT], {"tools": TOOLS}),
    "a call without content": ([ASK, {**CALLING, "content": None}, RESULT], {"tools": TOOLS}),
    "two calls": ([SYSTEM, ASK, BOTH, RESULT, OTHER, ANSWER, MORE], {"tools": TOOLS}),
    "thinking": ([ASK, {**ANSWER, "reasoning_content": "Hm."}, MORE], {"thinking": True}),
    "content in parts": ([{**ASK, "content": [{"type": "text", "text": ASK["content"]}]}], {}),
    "roles in a wrong order": ([ANSWER, ASK, ASK], {}),
}


def faults(text: str, messages: list[Any], tools: list[Any]) -> int:
    """What a prompt lacks of its messages and tools, and what it has in Python's words."""
    found = sum(tool["function"]["description"] not in text for tool in tools)
    for message in messages:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [part["text"] for part in content or ()]
        texts += [one["function"]["name"] for one in message.get("tool_calls", ())]
        texts += [message["reasoning_content"]] if "reasoning_content" in message else []
        found += sum(one.strip() not in text and one.replace('"', '\\"') not in text for one in texts)
        found += len(re.findall(r"None|['\"]type['\"]: ?['\"]text", text))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_published_template(file):
    source = file.read_bytes().decode()
    template, render = ChatTemplate(source, bos_token="<s>", eos_token="</s>"), plain_renderer(source)
    for shape, (messages, options) in SHAPES.items():
        switches = template.variables.values(thinking=options.get("thinking"))
        shared = {"add_generation_prompt": True, "tools": None, **options}
        shared.pop("thinking", None)
        try:
            plain = render(messages=copy.deepcopy(messages), bos_token="<s>", eos_token="</s>", **switches, **shared)
        except Exception:
            plain = None
        try:
            ours = template.render(messages, thinking=options.get("thinking"), **shared)
        except TemplateError as error:
            assert plain is None and "\n" not in str(error), shape
            continue
        tools = options.get("tools", [])
        better = plain is None or faults(ours, messages, tools) < faults(plain, messages, tools)
        assert ours == plain or better, shape
