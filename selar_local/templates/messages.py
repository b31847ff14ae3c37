"""Messages as a chat template wants them: templates differ in what they take, and some lose what they do not know."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from selar_local.errors import TemplateError

Message = dict[str, Any]
_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")
_THINKING = ("reasoning_content", "reasoning", "thinking")  # what clients call it


def checked(message: Mapping[str, Any]) -> Message:
    """A copy with its content as one text and its thinking as `reasoning_content`; other keys stay for the template.

    The content is None where the message has calls and no content. Raises TemplateError.
    """
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise TemplateError('a message is not of the form {"role": ..., "content": ...}')
    content = message.get("content")
    copy = dict(message)
    if message["role"] == "assistant":
        thinking = next((value for name in _THINKING if isinstance(value := copy.get(name), str) and value), None)
        if thinking is not None:
            copy = {name: value for name, value in copy.items() if name not in _THINKING}
            copy["reasoning_content"] = thinking
        if content is None and message.get("tool_calls"):
            return {**copy, "content": None}
    parts = content if isinstance(content, (list, tuple)) else [{"type": "text", "text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    sound = [text for text in texts if isinstance(text, str)]
    if len(sound) < len(parts):
        raise TemplateError("a message has no content, or content that is not text")
    return {**copy, "content": "".join(sound)}


def in_parts(message: Message) -> Message:
    """The message with its content as a list of parts."""
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def fold_system(messages: list[Message]) -> list[Message]:
    """The leading system messages put before the first user message's text, with an empty line between."""
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    text = "\n\n".join(message["content"] for message in messages[:count])
    rest = messages[count:]
    for i, message in enumerate(rest):
        if message["role"] == "user":
            folded = {**message, "content": f"{text}\n\n{message['content']}".strip()}
            return [*rest[:i], folded, *rest[i + 1 :]]
    return [{"role": "user", "content": text}, *rest]


# -- thinking ---------------------------------------------------------------------------------


def _as_field(name: str) -> Callable[[Message], Message]:
    def form(message: Message) -> Message:
        rest = {key: value for key, value in message.items() if key != "reasoning_content"}
        return {**rest, name: message["reasoning_content"]} if "reasoning_content" in message else message

    return form


def _as_part(message: Message) -> Message:
    """Mistral: a part of type `thinking` before the text."""
    if "reasoning_content" not in message:
        return message
    parts = [{"type": "thinking", "thinking": message["reasoning_content"]}]
    parts += [{"type": "text", "text": message["content"]}] if message["content"] else []
    return {**message, "content": parts}


def _as_blocks(message: Message) -> Message:
    """Apertus: blocks, in every message of the assistant or in none."""
    thinking, content = message.get("reasoning_content"), message["content"]
    blocks = [{"type": "thoughts", "text": thinking}] if thinking else []
    blocks += [{"type": "response", "text": content}] if content else []
    return {**message, "content": {"blocks": blocks}}


#: Where templates look for the thinking of earlier answers. A template gets the first that arrives in its prompts.
THINKING_FORMS = (*map(_as_field, _THINKING), _as_part, _as_blocks)


# -- calls --------------------------------------------------------------------------------------


def functions_of(message: Message) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The well-formed tool calls of a message, each with its function."""
    calls = message.get("tool_calls")
    pairs = [(c, c.get("function")) for c in calls if isinstance(c, Mapping)] if isinstance(calls, list) else []
    return [(call, function) for call, function in pairs if isinstance(function, Mapping)]


def _calls_of(messages: Sequence[Message]) -> list[Mapping[str, Any]]:
    """The functions of all well-formed tool calls."""
    return [function for message in messages for _, function in functions_of(message)]


def _with_objects(message: Message) -> Message:
    """The message with the arguments of its calls as objects, where they are JSON objects in a text."""
    functions = functions_of(message)
    if not functions or len(functions) < len(message["tool_calls"]):
        return message
    calls = [
        {**call, "function": {**function, "arguments": as_object(function.get("arguments"))}}
        for call, function in functions
    ]
    return {**message, "tool_calls": calls}


def as_object(arguments: Any) -> Any:
    """The arguments of a call as an object, where they are one in a JSON text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _empty_as(nothing: str | None, message: Message) -> Message:
    """The message with an empty content beside calls written as "" or as None."""
    return {**message, "content": nothing} if message.get("tool_calls") and not message["content"] else message


def _with_short_ids(message: Message) -> Message:
    """The message with the ids of calls as nine letters and digits, which is all that Mistral's templates take."""
    made = dict(message)
    if isinstance(message.get("tool_call_id"), str):
        made["tool_call_id"] = _short(message["tool_call_id"])
    if functions := functions_of(message):
        made["tool_calls"] = [{**call, "id": _short(str(call.get("id")))} for call, _ in functions]
    return made


def _short(id: str) -> str:
    return id if _SHORT_ID.fullmatch(id) else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:9]


class Variant(NamedTuple):
    """The messages in one way of writing them. last_resort: where the template fails with all ways before it."""

    messages: list[Message]
    last_resort: bool = False

    def faults(self, text: str) -> int:
        """How much is wrong with the prompt: calls that are missing, and values printed in Python's words."""
        functions = _calls_of(self.messages)
        arguments = [function.get("arguments") for function in functions]
        printed = [str(one) for one in arguments if isinstance(one, dict) and str(one) != json.dumps(one)]
        nothing = any(message["content"] is None for message in self.messages)
        missing = sum(str(function.get("name")) not in text for function in functions)
        return missing + sum(one in text for one in printed) + (nothing and "None" in text)


def variants(messages: list[Message]) -> Iterator[Variant]:
    """Ways of writing messages with calls, the usual ones first.

    Most templates want a call's arguments as an object, which they write as JSON. Others join a text to theirs: they
    fail with an object, or print it as Python does. Some show calls only where the content is None, others print it,
    or fail. Mistral's want ids of nine letters and digits.
    """
    given = [message["content"] for message in messages if message.get("tool_calls") and not message["content"]]
    nothings = sorted({None, ""}, key=lambda nothing: nothing in given, reverse=True) if given else [""]
    seen: list[list[Message]] = []
    for short, objects, nothing in product((False, True), (True, False), nothings):
        written = [_empty_as(nothing, _with_objects(message) if objects else message) for message in messages]
        written = [_with_short_ids(message) for message in written] if short else written
        if written not in seen:
            seen.append(written)
            yield Variant(written, last_resort=short)
