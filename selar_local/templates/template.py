"""Messages to prompt text, by the chat template (Jinja) that comes with the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import meta

from selar_local.errors import TemplateError
from selar_local.templates.sandbox import Refused, environment
from selar_local.templates.variables import Variables

__all__ = ["ChatTemplate"]

_MAX_SOURCE = 1 << 20  # characters of a template; published ones have up to some 20 thousand
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PROBE = "system-text-probe"
#: Characters that no text has. `plain_content` in the engine has its own.
_MARKS = ("\ufdef", "\ufdee", "\ufded")


class ChatTemplate:
    """A model's chat template, compiled once; `render` may be called from several threads.

    ``source`` is the Jinja text; ``bos_token`` and ``eos_token`` are what a template gets under these names.
    Raises `TemplateError` for a template that is empty or does not parse.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        if not source.strip():
            raise TemplateError("the model has no chat template")
        if len(source) > _MAX_SOURCE:
            raise TemplateError("the model's chat template is too long")
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._system_role: bool | None = None
        sandbox = environment()
        sandbox.budget.start()
        try:
            unset = meta.find_undeclared_variables(sandbox.parse(source))
            self._template = sandbox.from_string(source)
        except Exception as error:  # whatever there is, up to nesting too deep for Python's compiler
            raise TemplateError(f"the model's chat template does not parse: {_one_line(error)}") from error
        self.variables = Variables(unset - set(sandbox.globals), source)

    @classmethod
    def chatml(cls) -> ChatTemplate:
        """ChatML, for a model without a template, as llama.cpp does it.

        Such models are mostly base models that do not know ``<|im_end|>``: make it a stop string.
        """
        return cls(_CHATML)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        reasoning_effort: str | None = None,
        thinking_budget: int | None = None,
        template_args: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for these messages: ``role``, and ``content`` as text or ``{"type": "text"}`` parts.

        ``thinking``, ``reasoning_effort`` and ``thinking_budget`` reach the template in the variables that it reads for
        them; None leaves its default. ``template_args``: other variables, by their names; one that the template never
        reads is an `OptionError`. ``continue_final_message``: the prompt ends where the last message does, which is
        the beginning of the model's answer.

        Arguments of tool calls that are JSON text, as OpenAI's clients send them, become objects where the template
        writes JSON itself.
        Leading system messages go into the first user message where the template refuses or drops them
        (Gemma style). Raises `TemplateError` for bad messages and for whatever goes wrong in the template.
        """
        checked = [_checked(message) for message in messages]
        if not checked:
            raise TemplateError("there are no messages")
        mark = ""
        if continue_final_message:
            mark, add_generation_prompt = _mark_end(checked), False
        if checked[0]["role"] == "system" and not self._has_system_role():
            checked = _fold_system(checked)
        given = self.variables.values(
            template_args, thinking=thinking, effort=reasoning_effort, budget=thinking_budget
        ) | {"add_generation_prompt": add_generation_prompt, "tools": list(tools or ()) or None}
        if mark:
            given["continue_final_message"] = True
        text = self._run_with_calls(checked, given) if _calls(checked) else self._run(checked, **given)
        return text if not mark else _up_to(mark, text)

    def _run_with_calls(self, messages: list[dict[str, Any]], given: dict[str, Any]) -> str:
        """Templates differ in what they want as a call's arguments: most an object, which they write as JSON.

        Others join the text they get to theirs. Those fail with an object, or print it as Python does.
        """
        parsed = [_with_objects(message) for message in messages]
        objects = [arguments for message in parsed for arguments in _calls([message]) if isinstance(arguments, dict)]
        try:
            text = self._run(parsed, **given)
        except TemplateError:
            return self._run(messages, **given)
        printed = any(str(arguments) in text for arguments in objects if str(arguments) != json.dumps(arguments))
        return self._run(messages, **given) if printed else text

    def _has_system_role(self) -> bool:
        """Whether a system text arrives in the prompt: tried once."""
        if self._system_role is None:
            try:
                probe = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "x"}]
                self._system_role = _PROBE in self._run(probe, add_generation_prompt=True, tools=None)
            except TemplateError:
                self._system_role = False
        return self._system_role

    def _run(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        budget = environment().budget
        budget.start()
        pieces: list[str] = []
        try:
            for piece in self._template.generate(messages=messages, **self._tokens, **variables):
                budget.spend(len(piece))
                pieces.append(piece)
            return environment().concat(pieces)
        except Exception as error:
            what = "refuses the messages" if isinstance(error, Refused) else "fails"
            raise TemplateError(f"the model's chat template {what}: {_one_line(error)}") from error


def _mark_end(messages: list[dict[str, Any]]) -> str:
    """Put a mark behind the text of the last message, which is to be continued; returns the mark."""
    last = messages[-1]
    if last["role"] != "assistant" or last.get("tool_calls") or not last["content"]:
        raise TemplateError("continue_final_message needs a last message of the assistant that has content")
    mark = next(mark for mark in _MARKS if mark not in last["content"])
    messages[-1] = {**last, "content": last["content"] + mark}
    return mark


def _up_to(mark: str, text: str) -> str:
    """The prompt up to the mark."""
    if mark not in text:
        raise TemplateError("the model's chat template drops the message that is to be continued")
    return text[: text.rindex(mark)]


def _checked(message: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with its content as one string; other keys (tool calls, names) stay for the template."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise TemplateError('a message is not of the form {"role": ..., "content": ...}')
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        content = ""
    parts = content if isinstance(content, (list, tuple)) else [{"type": "text", "text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    sound = [text for text in texts if isinstance(text, str)]
    if len(sound) < len(parts):
        raise TemplateError("a message has no content, or content that is not text")
    return {**message, "content": "".join(sound)}


def _functions(message: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The well-formed tool calls of a message, each with its function."""
    calls = message.get("tool_calls")
    pairs = [(c, c.get("function")) for c in calls if isinstance(c, Mapping)] if isinstance(calls, list) else []
    return [(call, function) for call, function in pairs if isinstance(function, Mapping)]


def _calls(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The arguments of all tool calls."""
    return [function.get("arguments") for message in messages for _, function in _functions(message)]


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    """The message with the arguments of its calls as objects, where they are JSON objects in a text."""
    functions = _functions(message)
    if not functions or len(functions) < len(message["tool_calls"]):
        return message
    calls = [
        {**call, "function": {**function, "arguments": _object(function.get("arguments"))}}
        for call, function in functions
    ]
    return {**message, "tool_calls": calls}


def _object(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _fold_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The leading system messages put before the first user message's text, with an empty line between."""
    count = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    text = "\n\n".join(message["content"] for message in messages[:count])
    rest = messages[count:]
    for i, message in enumerate(rest):
        if message["role"] == "user":
            folded = {**message, "content": f"{text}\n\n{message['content']}".strip()}
            return [*rest[:i], folded, *rest[i + 1 :]]
    return [{"role": "user", "content": text}, *rest]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    line = getattr(error, "lineno", None)
    return f"{text[:300]} (line {line})" if line else text[:300]
