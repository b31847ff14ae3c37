"""Tools and calls as texts of messages, for chat templates that cannot show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from selar_local.templates.messages import as_object, functions_of

Message = dict[str, Any]

_ABOUT = """You can call these tools, given with the JSON schemas of their arguments:
{tools}

To call one, answer with its name and its arguments as one JSON object, in these tags:
<tool_call>
{{"name": "name of the tool", "arguments": {{"name of the argument": "its value"}}}}
</tool_call>
Call a tool only where it helps. Its result comes in the next message."""


def as_texts(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages with the tools in the system message, and with calls and results in plain contents."""
    about = _ABOUT.format(tools="\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools))
    written: list[Message] = []
    for message, after in zip(messages, (None, *messages), strict=False):
        plain = _plain(message)
        if after is not None and _is_result(message) and _is_result(after):  # many templates want turns to alternate
            plain = {**plain, "content": f"{written.pop()['content']}\n{plain['content']}"}
        written.append(plain)
    if written[0]["role"] == "system":
        return [{**written[0], "content": f"{written[0]['content']}\n\n{about}"}, *written[1:]]
    return [{"role": "system", "content": about}, *written]


def _is_result(message: Message) -> bool:
    return message["role"] in ("tool", "function")


def _plain(message: Message) -> Message:
    if _is_result(message):
        return {"role": "user", "content": f"<tool_response>\n{message['content'] or ''}\n</tool_response>"}
    calls = [
        json.dumps(
            {"name": function.get("name"), "arguments": as_object(function.get("arguments"))}, ensure_ascii=False
        )
        for _, function in functions_of(message)
    ]
    if not calls:
        return message
    texts = [message["content"] or "", *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)]
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**rest, "content": "\n".join(text for text in texts if text)}
