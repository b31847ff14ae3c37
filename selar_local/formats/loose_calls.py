"""Calls without the markers of any family: in a fenced block, or as the whole answer."""

from __future__ import annotations

from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.scanner import END, Steps

_FENCE = "```"


class LooseCalls(JsonCalls):
    """Reads content that a family's reader has left, for models that forget their markers.

    A call is the JSON of a known tool and its arguments, in a block that begins with ``` or ```json; or such JSON that
    is all of the content, and complete.
    """

    starts: tuple[str, ...] = (_FENCE,)
    needs_arguments = True

    def read(self) -> Steps[None]:
        while self.after_space(self.pos) >= len(self.text) and not self.ended:
            yield
        if not (yield from self._bare()):
            yield from self.read_answer()

    def block(self, start: str) -> Steps[bool]:
        yield from self.take("json")
        found = bool((yield from self.take("{", "[")))
        if found:
            self.pos -= 1
            found = yield from self.json_block(_FENCE)
        self.cut = False  # a fence that was cut off is text like any other
        return found

    def may_begin(self, text: str) -> bool:
        at_start = not self._answered and not self.text.strip()
        return super().may_begin(text) or (at_start and text.lstrip()[:1] in ("{", "["))

    def _bare(self) -> Steps[bool]:
        """Read content that is a call as a whole; else take nothing."""
        back = self.pos
        self._trial, self.in_block = len(self._out), True
        found = bool((yield from self.take("{", "[")))
        if found:
            self.pos -= 1
            found = (yield from self.json_block("")) and self._open is None and (yield from self._ends())
        if not found:
            del self._out[self._trial :]
            self.pos, self._n_calls, self._calls, self._open, self.cut = back, 0, [], None, False
        self._trial, self.in_block = None, False
        return found

    def _ends(self) -> Steps[bool]:
        while (found := self.follows(self.pos, (END,))) is None:
            yield
        return found
