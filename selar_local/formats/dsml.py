"""DeepSeek V3.2 and V4: DSML, ``<｜DSML｜invoke name="f"><｜DSML｜parameter name="key" string="true">value</..></..>``.

The tag around the calls is `function_calls` in V3.2, `tool_calls` in V4 and `calls` in V4.1, which also writes a
space after the second bar.
"""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.scanner import Steps
from selar_local.formats.tag_calls import TagCalls
from selar_local.formats.values import best_reading, dumps


class AttributeCalls(TagCalls):
    """Calls in tags with attributes: ``<invoke name="f"><parameter name="key">value</parameter></invoke>``."""

    def header(self) -> Steps[tuple[str, bool]]:
        name, _ = yield from self.name('"')
        end = (yield from self.take(">", "/>")) if name else ""
        return (name, end == ">") if end else ("", False)

    def parameter(self) -> Steps[tuple[str, str]]:
        key, _ = yield from self.until('"', limit=256)
        if not key:
            return "", ""
        rest, stop = yield from self.until(">", limit=64)
        return (key, rest.strip()) if stop else ("", "")

    def ends_value(self, tag: str, at: int, unused: list[str]) -> bool | None:
        if tag == self.call_close:
            return self.follows(at, (self.call_open, *self.block_ends()))
        return super().ends_value(tag, at, unused)

    def ends(self) -> tuple[str, ...]:
        return (self.key_close, self.call_close)


class _Reader(AttributeCalls):
    tags = (("<think>", "</think>"),)
    blocks = (
        ("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
        ("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
        ("<｜DSML｜ calls>", "</｜DSML｜ calls>"),
    )
    starts = tuple(opening for opening, _ in blocks)

    def block(self, start: str) -> Steps[bool]:
        bars = "｜DSML｜ " if start == "<｜DSML｜ calls>" else "｜DSML｜"
        self.call_open, self.call_close = f'<{bars}invoke name="', f"</{bars}invoke>"
        self.key_open, self.key_close = f'<{bars}parameter name="', f"</{bars}parameter>"
        return (yield from super().block(start))

    def is_text(self, name: str, key: str, hint: str) -> bool:
        return hint == 'string="true"'

    def type_value(self, name: str, key: str, text: str, hint: str) -> str:
        if hint == 'string="true"':
            return dumps(text)
        return best_reading(text) if hint else super().type_value(name, key, text, hint)


DSML = Format(
    "dsml", (("｜DSML｜",),), _Reader, Thinking("<think>", "</think>", "</think>"), ("<think>", "</think>", "｜DSML｜")
)
