"""Messages to prompt text, by the chat template (Jinja) that comes with the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import meta

from selar_local.errors import TemplateError
from selar_local.templates.messages import THINKING_FORMS, checked, fold_system, in_parts, variants
from selar_local.templates.sandbox import Exhausted, Refused, environment
from selar_local.templates.tool_texts import as_texts
from selar_local.templates.variables import Variables

_MOST = 1 << 20  # bytes


def template_text(given: str) -> str:
    """The template that `given` is (a Jinja text), or that the file of this name has. Raises TemplateError."""
    if "{{" in given or "{%" in given:
        return given
    path = Path(given)
    try:
        if path.is_file() and path.stat().st_size > _MOST:
            raise TemplateError(f"{given} is too long for a chat template")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TemplateError(f"the chat template {given} is not UTF-8 text") from None
    except OSError as error:
        raise TemplateError(f"cannot read the chat template {given}: {error.strerror}") from None


_MAX_SOURCE = 1 << 20  # characters of a template; published ones have up to some 20 thousand
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PROBE = "text-probe"
_SHARE = 0.05  # of the budget, for one trial
_PRINTED = re.compile(rf"""['"]\w+['"]: ?['"]{_PROBE}""")  # as a value of data
_USER = {"role": "user", "content": "x"}
_CALL = {"id": "probecall", "type": "function", "function": {"name": "probe", "arguments": {}}}
_RESULT = {"role": "tool", "tool_call_id": "probecall", "name": "probe", "content": "x"}
_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
_TOOL = {"type": "function", "function": {"name": "probe", "description": "x", "parameters": _PARAMETERS}}
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

        The messages are written as the template takes them: contents as parts where it loses texts; arguments of calls
        that are JSON text, as OpenAI's clients send them, as objects; the thinking of an earlier answer
        (``reasoning_content``) where the template looks for it. Leading system messages go into the first user message
        where the template refuses or drops them (Gemma style). Tools that it cannot show go into the system message,
        calls and their results into plain contents. Raises `TemplateError` for bad messages and for
        whatever goes wrong in the template.
        """
        written = [checked(message) for message in messages]
        if not written:
            raise TemplateError("there are no messages")
        mark = ""
        if continue_final_message:
            mark, add_generation_prompt = _mark_end(written), False
        if tools and not self.shows_tools:
            written, tools = as_texts(written, tools), None
        if written[0]["role"] == "system" and not self._has_system_role:
            written = fold_system(written)
        given = self.variables.values(
            template_args, thinking=thinking, effort=reasoning_effort, budget=thinking_budget
        ) | {"add_generation_prompt": add_generation_prompt, "tools": list(tools or ()) or None}
        if mark:
            given["continue_final_message"] = True
        text = self._run_with_thinking(written, given)
        return text if not mark else _up_to(mark, text)

    def _run_with_thinking(self, messages: list[dict[str, Any]], given: dict[str, Any]) -> str:
        form = self._thinking_form if any("reasoning_content" in message for message in messages) else None
        if form is None:
            return self._run_with_calls(messages, given)
        try:
            shown = [form(message) if message["role"] == "assistant" else message for message in messages]
            return self._run_with_calls(shown, given)
        except TemplateError as error:  # gpt-oss: no thinking beside content and calls
            _raise_if_exhausted(error)
            return self._run_with_calls(messages, given)

    def _run_with_calls(self, messages: list[dict[str, Any]], given: dict[str, Any]) -> str:
        """The prompt in the first way of writing calls that the template writes without a fault."""
        if self._wants_parts:
            messages = [in_parts(message) for message in messages]
        if not any(message.get("tool_calls") for message in messages):
            return self._run(messages, **given)
        texts: list[tuple[int, str]] = []
        errors: list[TemplateError] = []
        for variant in variants(messages):
            if variant.last_resort and texts:
                break
            try:
                text = self._run(variant.messages, **given)
            except TemplateError as error:
                _raise_if_exhausted(error)
                errors.append(error)
                continue
            texts.append((variant.faults(text), text))
            if texts[-1][0] == 0:
                break
        if not texts:
            raise errors[0]
        return min(texts, key=lambda one: one[0])[1]

    # What a template does is tried once, with a text of which one can see whether it arrives.

    @cached_property
    def shows_tools(self) -> bool:
        """Whether the template writes tools into the prompt. Else they become texts of messages."""
        named = {"name": _PROBE, "description": "x", "parameters": _PARAMETERS}
        tool = {"type": "function", "function": named, **named}  # a few templates read tools without `function`
        system = {"role": "system", "content": "x"}
        return any(
            _PROBE in self._tried(*(map(in_parts, messages) if self._wants_parts else messages), tools=[tool])
            for messages in ([_USER], [system, _USER])
        )

    @cached_property
    def _has_system_role(self) -> bool:
        return self._shows({"role": "system", "content": _PROBE}, _USER)

    @cached_property
    def _wants_parts(self) -> bool:
        message = {"role": "user", "content": _PROBE}
        return not self._shows_as_given(message) and self._shows_as_given(in_parts(message))

    @cached_property
    def _thinking_form(self) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        """How an earlier answer's thinking must be written, None where the template shows it in no way."""
        answer = {"role": "assistant", "content": "x", "reasoning_content": _PROBE}
        calling = {**answer, "content": "", "tool_calls": [_CALL]}
        for form in THINKING_FORMS:
            made, made_calling = form(answer), form(calling)
            if self._shows(_USER, made_calling, _RESULT) or self._shows(_USER, made) or self._shows(_USER, made, _USER):
                return form
        return None

    def _shows(self, *messages: dict[str, Any]) -> bool:
        return self._shows_as_given(*(map(in_parts, messages) if self._wants_parts else messages))

    def _shows_as_given(self, *messages: dict[str, Any]) -> bool:
        """Whether the prompt of these messages has the probe, and not as a part of data that is printed."""
        for tools in (None, [_TOOL]):
            switches = self.variables.values(thinking=True)
            text = self._tried(*messages, tools=tools, **switches)
            if _PROBE in text and not _PRINTED.search(text):
                return True
        return False

    def _tried(self, *messages: dict[str, Any], **variables: Any) -> str:
        """The prompt of a trial; "" where the template refuses the messages."""
        try:
            return self._run(list(messages), _SHARE, add_generation_prompt=False, **variables)
        except TemplateError:
            return ""

    def _run(self, messages: list[dict[str, Any]], share: float = 1.0, **variables: Any) -> str:
        """The prompt. share: of the budget that a prompt may use."""
        budget = environment().budget
        budget.start(share)
        pieces: list[str] = []
        try:
            for piece in self._template.generate(messages=messages, **self._tokens, **variables):
                budget.spend(len(piece))
                pieces.append(piece)
            return environment().concat(pieces)
        except Exception as error:
            what = "refuses the messages" if isinstance(error, Refused) else "fails"
            raise TemplateError(f"the model's chat template {what}: {_one_line(error)}") from error


def _raise_if_exhausted(error: TemplateError) -> None:
    """Another try would last as long."""
    if isinstance(error.__cause__, Exhausted):
        raise error


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


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    line = getattr(error, "lineno", None)
    return f"{text[:300]} (line {line})" if line else text[:300]
