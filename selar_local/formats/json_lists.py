"""Families that write JSON objects, or a list of them, after a marker of their own.

Granite 3: ``<|tool_call|>[..]``. Phi-4 mini and FireFunction: ``functools[..]``. Nemotron Nano: ``<TOOLCALL>[..]``.
Apriel, Hunyuan, MiniMax M1, Jamba: ``<tool_calls>[..]</tool_calls>``. GigaChat: one object after its token.
Command R: a fenced list after ``Action:``.
"""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.reader import TAGS
from selar_local.formats.scanner import Steps

#: Granite 3.2 opens and closes its thinking in words.
GRANITE_THINKING = ("Here is my thought process:", "Here is my response:")
_LIST = ("<tool_calls>", "</tool_calls>")
_STEPS = ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")


class _Granite(JsonCalls):
    starts = ("<|tool_call|>",)
    tags = (*TAGS, GRANITE_THINKING)
    answer = (("<response>", "</response>"),)


class _Phi(JsonCalls):
    starts = ("functools[", "<|tool_call|>")
    closes = (("<|tool_call|>", "<|/tool_call|>"),)

    def block(self, start: str) -> Steps[bool]:
        self.pos -= start.endswith("[")
        return (yield from super().block(start))


class _Nemotron(JsonCalls):
    starts = ("<TOOLCALL>",)
    closes = (("<TOOLCALL>", "</TOOLCALL>"),)


class _ToolCalls(JsonCalls):
    starts = _LIST[:1]
    closes = (_LIST,)


class _Hunyuan(_ToolCalls):
    answer = (("<answer>", "</answer>"),)


class _Apriel(_ToolCalls):
    tags = (_STEPS, ("<thinking>", "</thinking>"), ("<think>", "</think>"))
    answer = (("", "[END FINAL RESPONSE]"),)


class _GigaChat(JsonCalls):
    starts = ("<|function_call|>", "<|message_sep|>")

    def block(self, start: str) -> Steps[bool]:
        if start == "<|message_sep|>" and not (yield from self.take("function call<|role_sep|>")):
            return False
        return (yield from self.json_block(""))


class _CommandR(JsonCalls):
    starts = ("Action:",)

    def block(self, start: str) -> Steps[bool]:
        return bool((yield from self.take("```json"))) and (yield from self.json_block("```"))


GRANITE = Format(
    "granite",
    (("<|tool_call|>", "granite"), ("<|tool_call|>", "JSON list")),
    _Granite,
    markers=("<|tool_call|>",),
)
PHI = Format(
    "phi", (("functools",), ("<|tool_call|>",), ("<|/tool|>",)), _Phi, markers=("<|tool_call|>", "<|/tool_call|>")
)
NEMOTRON_NANO = Format("nemotron-nano", (("<TOOLCALL>",),), _Nemotron, markers=("<TOOLCALL>", "</TOOLCALL>"))
TOOL_CALLS = Format("tool-calls", (("<tool_calls>",),), _ToolCalls, markers=_LIST)
HUNYUAN = Format(
    "hunyuan",
    (("<answer>", "</think>"), ("<answer>", "<tool_calls>")),
    _Hunyuan,
    Thinking("<think>", "</think>", "\n</think>\n<answer>\n"),
    markers=_LIST,
)
APRIEL = Format(
    "apriel",
    (("[BEGIN FINAL RESPONSE]",), ("<tool_calls>", "<thinking>")),
    _Apriel,
    markers=(*_LIST, _STEPS[1], "[END FINAL RESPONSE]"),
)
GIGACHAT = Format(
    "gigachat",
    (("<|function_call|>",), ("function call", "<|role_sep|>")),
    _GigaChat,
    markers=("<|function_call|>", "<|message_sep|>", "<|role_sep|>"),
)
COMMAND_R = Format("command-r", (("Action:", "tool_name", "```json"),), _CommandR)
