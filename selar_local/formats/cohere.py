"""Command A and R7B: ``<|START_THINKING|>``, ``<|START_ACTION|>[..]<|END_ACTION|>``, and tags around the answer."""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.json_calls import JsonCalls

_THINKING = ("<|START_THINKING|>", "<|END_THINKING|>")
_ACTION = ("<|START_ACTION|>", "<|END_ACTION|>")
_ANSWER = (("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|START_TEXT|>", "<|END_TEXT|>"))


class _Reader(JsonCalls):
    starts = _ACTION[:1]
    closes = (_ACTION,)
    tags = (_THINKING,)
    answer = _ANSWER


COHERE = Format(
    "cohere",
    ((_ACTION[0],), (_THINKING[0],)),
    _Reader,
    Thinking(*_THINKING, _THINKING[1]),
    markers=(*_THINKING, *_ACTION, *_ANSWER[0], *_ANSWER[1]),
)
