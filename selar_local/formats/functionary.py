"""Functionary 3.1: ``<function=name>{..}</function>``. Functionary 3.2: ``>>>name`` and a line, ``all`` for content."""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.named_json import NamedJson
from selar_local.formats.scanner import Steps

_ARROWS = ">>>"


class _Reader(NamedJson):
    starts = ("<function=",)

    def block(self, start: str) -> Steps[bool]:
        name, _ = yield from self.name(">")
        return (yield from self.arguments(name, None, "</function>")) if name else False


class _ArrowReader(NamedJson):
    starts = (_ARROWS,)

    def read_answer(self) -> Steps[None]:
        """Read the recipient that the prompt has asked for, and what follows."""
        if self.prompt_tail.endswith(_ARROWS):
            back = self.pos
            if not (yield from self.block(_ARROWS)) and not self.is_cut(back):
                self.pos = back
        yield from super().read_answer()

    def block(self, start: str) -> Steps[bool]:
        if (yield from self.take("all\n", space=False)):
            return True
        name, _ = yield from self.name("\n")
        return (yield from self.arguments(name, None)) if name else False


FUNCTIONARY = Format("functionary", (("<function=", "</function>", "<|start_header_id|>"),), _Reader)
FUNCTIONARY_3_2 = Format("functionary-3.2", ((">>>all",),), _ArrowReader)
