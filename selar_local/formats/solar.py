"""Solar Open: messages ``<|begin|>assistant<|think|>..<|end|>``, ``<|content|>``, and ``<|tool_calls|>`` with calls."""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.named_json import NamedJson
from selar_local.formats.scanner import END, Steps

_BEGIN, _END, _THINK, _CONTENT = "<|begin|>", "<|end|>", "<|think|>", "<|content|>"
_CALLS = ("<|tool_calls|>", "<|calls|>")
_CALL = ("<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>")


class _Reader(NamedJson):
    tags = ((_THINK, _END),)
    starts = (_CALLS[0], _CALL[0])

    def read_answer(self) -> Steps[None]:
        """Read the messages after the thinking."""
        yield from self.take(f"{_BEGIN}assistant")
        yield from self.take(_CONTENT)
        while stop := (yield from self.flow(self.content, *self.starts, _END, breaks=True)):
            back = self.pos + len(stop)
            self.pos, self.cut = back, False
            found: bool | None
            if stop != _END:
                found = (yield from self.block(stop)) or self.is_cut(back - len(stop))
            else:
                while (found := self.follows(back, (END, _BEGIN))) is None:
                    yield
                yield from self.take(f"{_BEGIN}assistant")
                yield from self.take(_CONTENT)
            if not found:
                self.content(stop)
                self.pos = back
        if not self._n_calls:
            self.give("content", self._breaks)

    def block(self, start: str) -> Steps[bool]:
        if start == _CALL[0]:
            return (yield from self.item())
        return (yield from self.section(_CALL[0], _CALLS[1], self.item))

    def item(self) -> Steps[bool]:
        id, stop = yield from self.until(_CALL[1], fits=lambda text: not text or text.isalnum())
        name, _ = (yield from self.name(_CALL[2])) if stop else ("", "")
        return (yield from self.arguments(name, id or None, _CALL[3])) if name else False


SOLAR = Format(
    "solar",
    ((_CALL[0],),),
    _Reader,
    Thinking(_THINK, _END, f"{_END}{_BEGIN}assistant{_CONTENT}"),
    markers=(_BEGIN, _END, _THINK, _CONTENT, *_CALLS, *_CALL),
)
