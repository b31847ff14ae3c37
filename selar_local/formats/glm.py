"""GLM 4.5 to 5: ``<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>``.

So do Ling 3, Laguna and Spark; Hunyuan 3 adds a suffix to every tag, a tag after the name, and one around the calls.
"""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.scanner import END, Steps
from selar_local.formats.tag_calls import TagCalls


class _Reader(TagCalls):
    starts: tuple[str, ...] = ("<tool_call>",)
    call_open = "<tool_call>"
    call_close = "</tool_call>"
    key_open = "<arg_key>"
    key_close = "</arg_value>"
    middle = ("</arg_key>", "<arg_value>")

    def header(self) -> Steps[tuple[str, bool]]:
        name, stop = yield from self.name("\n", "<")
        self.pos -= stop == "<"
        return name, bool(stop)

    def parameter(self) -> Steps[tuple[str, str]]:
        key, _ = yield from self.until(self.middle[0], limit=256)
        return (key, "") if key and (yield from self.take(self.middle[1])) else ("", "")

    def ends(self) -> tuple[str, ...]:
        return (self.key_close, self.call_close)

    def ends_value(self, tag: str, at: int, unused: list[str]) -> bool | None:
        if tag == self.key_close:
            return self.follows(at, (END, self.key_open, self.call_close))
        return self.follows(at, (END, *self.starts, *self.block_ends()))


class _HunyuanReader(_Reader):
    tags = (("<think:opensource>", "</think:opensource>"),)
    starts = ("<tool_calls:opensource>", "<tool_call:opensource>")
    blocks = (("<tool_calls:opensource>", "</tool_calls:opensource>"),)
    call_open = "<tool_call:opensource>"
    call_close = "</tool_call:opensource>"
    key_open = "<arg_key:opensource>"
    key_close = "</arg_value:opensource>"
    middle = ("</arg_key:opensource>", "<arg_value:opensource>")

    def header(self) -> Steps[tuple[str, bool]]:
        name, stop = yield from self.name("<tool_sep:opensource>")
        return name, bool(stop)


_HUNYUAN_TAGS = ("think", "tool_calls", "tool_call", "arg_key", "arg_value")
_TAGS = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
GLM = Format("glm", (("<arg_key>",),), _Reader, markers=_TAGS)
HUNYUAN_3 = Format(
    "hunyuan-3",
    (("<think{}>", "<arg_key{}>"), ("<arg_key:opensource>",)),
    _HunyuanReader,
    Thinking("<think:opensource>", "</think:opensource>", "</think:opensource>"),
    markers=(
        *(f"<{end}{tag}:opensource>" for tag in _HUNYUAN_TAGS for end in ("", "/")),
        "<tool_sep:opensource>",
    ),
)
