"""Harmony of gpt-oss: messages ``<|start|>assistant<|channel|>name<|message|>text<|end|>``.

The channel `analysis` is thinking, `final` and `commentary` are content, and a message to ``functions.name`` is a
call, whose recipient stands in the role's or in the channel's part of the header.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from selar_local.formats.format import Format, Thinking
from selar_local.formats.reader import Reader
from selar_local.formats.scanner import END, Steps

_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_TO = re.compile(r"\bto=([^\s<]+)")
_WORD = re.compile(r"\s*(\w+)")
_TOKEN = re.compile(r"<\|\w+\|>")
_FUNCTIONS = "functions."


class _Reader(Reader):
    tags = ((f"{_CHANNEL}analysis{_MESSAGE}", "<|end|>"),)

    def read(self) -> Steps[None]:
        """Read the messages; the first header begins in the prompt."""
        header = self.prompt_tail.rpartition(_START)[2] if _START in self.prompt_tail else ""
        if _MESSAGE in header:
            yield from self._body(header.partition(_MESSAGE)[0])
            header = ""
        while not self.at_end():
            if not (yield from self._is_header()):
                yield from self.flow(self.content, _START, _CHANNEL, breaks=True)
            yield from self._message(header)
            header = ""
        self.in_thinking = False

    def _is_header(self) -> Steps[bool]:
        """Whether a header comes, and not text of a model that forgot the header."""
        options = (_START, _CHANNEL, "to=", "assistant", *_ENDS)
        while (found := self.matches(self.after_space(self.pos), options)) is None:
            yield
        return found is not False

    def _message(self, header: str) -> Steps[None]:
        """Read a header to its end, and the message."""
        self.in_block = True
        text, stop = yield from self.until(_MESSAGE, *_ENDS)
        self.in_block = False
        if stop == _MESSAGE:
            yield from self._body(header + text)
        elif stop:
            self._spoiled(text)
        else:
            if not self.cut or _TO.search(header + self.text[self.pos :]) is None:
                self._spoiled(self.text[self.pos :])
            self.pos = len(self.text)

    def _spoiled(self, header: str) -> None:
        """Give out what a header says that is none: text in the wrong place, with its markers taken off."""
        channel, _, text = header.rpartition(_CHANNEL)[2].partition(" ")
        if text and not _TO.search(header):
            self.give("content" if channel == "final" else "thinking", _TOKEN.sub("", text))

    def _body(self, header: str) -> Steps[None]:
        word = _WORD.match(header.rpartition(_CHANNEL)[2])
        channel = word[1] if word and _CHANNEL in header else ""
        to = _TO.findall(header)
        recipient = to[-1] if to else ""
        name = recipient.removeprefix(_FUNCTIONS)
        if name and recipient not in ("assistant", "all", "user") and (name != recipient or channel != "final"):
            yield from self._call(name, recipient)
            return
        self.in_thinking = channel == "analysis"

        def think(text: str) -> None:
            self.give("thinking", text)

        yield from self._text(think if self.in_thinking else self.content)
        self.in_thinking = False

    def _text(self, give: Callable[[str], None]) -> Steps[None]:
        """Read a message up to its end, which counts only where another message or nothing follows."""
        while stop := (yield from self.flow(give, *_ENDS, _START, breaks=True)):
            at = self.pos + len(stop)
            options = ("assistant",) if stop == _START else (END, _START, _CHANNEL)
            while (found := self.follows(at, options)) is None:
                yield
            if found:
                self.pos += 0 if stop == _START else len(stop)
                return
            give(stop)
            self.pos = at

    def _call(self, name: str, recipient: str) -> Steps[None]:
        """Read the arguments. A call of what is no function of the request stays incomplete."""
        mine = self.tools.known(name) and (recipient.startswith(_FUNCTIONS) or self.tools.any)
        self.begin(name)
        if (yield from self.take("{")):
            self.pos -= 1
            if (yield from self.json(self.argue)) is not None and mine:
                self.end()
        yield from self._text(self.argue)


HARMONY = Format(
    "harmony",
    ((_CHANNEL, _MESSAGE),),
    _Reader,
    Thinking(f"{_CHANNEL}analysis{_MESSAGE}", "<|end|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    markers=(_START, _CHANNEL, _MESSAGE, "<|constrain|>", *_ENDS),
)
