"""Muse: messages ``<|start|>assistant to=whom<|message|>..<|eom|>``: to self is thinking, to the user content.

A message to a tool has ``<atem:invoke name="f"><atem:parameter name="key">value</atem:parameter></atem:invoke>``.
"""

from __future__ import annotations

from selar_local.formats.dsml import AttributeCalls
from selar_local.formats.format import Format, Thinking
from selar_local.formats.scanner import END, Steps

_START, _MESSAGE, _ENDS = "<|start|>", "<|message|>", ("<|eom|>", "<|eot|>")
_BLOCK = ("<atem:function_calls>", "</atem:function_calls>")


class _Reader(AttributeCalls):
    tags = ((f"to=self{_MESSAGE}", _ENDS[0]),)
    blocks = (_BLOCK,)
    call_open = '<atem:invoke name="'
    call_close = "</atem:invoke>"
    key_open = '<atem:parameter name="'
    key_close = "</atem:parameter>"

    def read(self) -> Steps[None]:
        """Read the messages; the first header begins in the prompt."""
        header = self.prompt_tail.rpartition(_START)[2]
        while not self.at_end():
            if _MESSAGE not in header:
                text, stop = yield from self.until(_MESSAGE, limit=256)
                header = header + text if stop else "" if self.cut else "to=user"
                self.pos = len(self.text) if self.cut else self.pos
            yield from self._body(header.partition("to=")[2].partition(_MESSAGE)[0].strip() or "user")
            header = ""

    def _body(self, recipient: str) -> Steps[None]:
        if recipient not in ("self", "user") and (yield from self.take(*_BLOCK[:1])):
            yield from self.block(_BLOCK[0])
        self.in_thinking = recipient == "self"

        def think(text: str) -> None:
            self.give("thinking", text)

        give = think if self.in_thinking else self.content
        while stop := (yield from self.flow(give, *_ENDS, breaks=True)):
            self.pos += len(stop)
            while (found := self.follows(self.pos, (END, _START))) is None:
                yield
            if found:
                yield from self.take(_START)
                break
            give(stop)
        self.in_thinking = False


MUSE = Format(
    "muse",
    ((_BLOCK[0],),),
    _Reader,
    Thinking(f" to=self{_MESSAGE}", _ENDS[0], f"{_ENDS[0]}{_START}assistant to=user{_MESSAGE}"),
    markers=(_START, _MESSAGE, *_ENDS),
)
