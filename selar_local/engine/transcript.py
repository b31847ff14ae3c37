"""What a generation has said: token bytes to text, text to thinking and answer."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from selar_local.errors import OptionError
from selar_local.formats import GENERAL, Call, Delta, Format, JsonFence, LooseCalls, Reader


class Said(NamedTuple):
    """What a step adds to the answer, to the thinking and to the calls, which are numbered as they begin."""

    answer: str = ""
    thinking: str = ""
    calls: tuple[Delta, ...] = ()


class Transcript:
    """The text of one generation. Nothing else in the engine knows what thinking is, and what a call is."""

    def __init__(
        self,
        prompt_tail: str = "",
        stop: Sequence[str] = (),
        *,
        split: bool = True,
        form: Format = GENERAL,
        tools: Sequence[Mapping[str, Any]] | None = None,
        begun: str = "",
        turn_end: str = "",
    ) -> None:
        """prompt_tail: the end of the prompt, which may open or close the thinking.

        begun: the beginning of this text, which follows the tail in the prompt. It is read, and not given out.
        split: False: all text is answer, markers included. The thinking is followed all the same: methods ask for it.
        turn_end: as of `Request`.
        form: how the model writes thinking and calls. tools: the tools it may call; without them, calls stay text.
        """
        self._form = form
        self._tools = tools if split else None
        self._tail = prompt_tail
        self._text = TextStream(stop, turn_end)
        self._begun = begun
        self._reader = self._new_reader()
        self._loose = LooseCalls("", self._tools) if self._tools else None
        self._fence = JsonFence()
        self._split = split
        self._released = ""  # all text that the reader got, but for `begun`
        self._answer: list[str] = []
        self._thinking: list[str] = []
        self._tokens = 0
        self._before_answer: int | None = None
        self._finished = False
        self.calls: tuple[Call, ...] = ()
        self.cut_call: Call | None = None
        self._begun_calls: list[tuple[int, int]] = []  # the reader of each, and its number there
        self._markers = frozenset(text.encode() for text in form.markers) if self._tools else frozenset[bytes]()
        #: Whether the prompt has closed the thinking already.
        self.closed_by_prompt = form.closes_thinking(prompt_tail + begun)

    def _new_reader(self) -> Reader:
        reader = self._form.reader(self._tail, self._tools)
        reader = reader if self._tools else reader.leave_calls()
        if self._begun:
            reader.feed(self._begun)
        return reader

    @property
    def answer(self) -> str:
        """The answer so far, without calls."""
        return "".join(self._answer)

    @property
    def thinking(self) -> str:
        """The thinking so far, without its tags."""
        return "".join(self._thinking)

    @property
    def in_thinking(self) -> bool:
        """Whether the text that comes next is thinking, as far as is known by now."""
        return self._reader.in_thinking

    def in_thinking_after(self, piece: bytes) -> bool:
        """Whether the thinking would be open after a token with these bytes. Changes nothing.

        A reader cannot be copied. A new one reads the text again, at once: the pieces in which it comes do not matter.
        """
        reader = self._new_reader()
        reader.feed(self._released + self._text.peek(piece))
        return reader.in_thinking

    def form_of(self, pieces: Iterable[bytes]) -> str | None:
        """What binds the form of the next token where it may be one of these: "call", "json", or None.

        A call is open, or one of the tokens would begin one; or so for a fenced block of JSON.
        """
        pieces = list(pieces)
        may_fence = self._fence.near or "`" in self._text.waiting or any(b"`" in piece for piece in pieces)
        if not self._tools and not may_fence:  # most steps of most texts
            return None
        readers = [reader for reader in (self._reader, self._loose) if reader is not None and self._tools]
        if any(reader.in_call for reader in readers):
            return "call"
        if self._fence.open:
            return "json"
        for piece in pieces:
            text = self._text.peek(piece)
            if piece in self._markers or any(reader.may_begin(text) for reader in readers):
                return "call"
            if self._fence.may_begin(text):
                return "json"
        return None

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self._text.stopped

    @property
    def stop_string(self) -> str | None:
        """The stop string that has ended the text."""
        return self._text.stop_reason

    def feed(self, piece: bytes) -> Said:
        """Add one token by its bytes; ``b""`` for a token that ends the text. Returns what may be shown now."""
        self._tokens += 1
        text = self._text.feed(piece)
        return self._read(text) if text else Said()

    def finish(self) -> Said:
        """End the text. Returns what waited: half a character, the beginning of a stop string or of a marker."""
        if self._finished:
            return Said()
        self._finished = True
        text = self._text.flush()
        said = self._read(text) if text else Said()
        parsed = self._reader.finish()
        rest = self._add("", parsed.rest)
        ends, last = [parsed], ""
        calls = rest.calls
        if self._loose is not None:
            ends.append(self._loose.finish())
            last = _content(ends[1].rest)
            calls += self._numbered(1, ends[1].rest)
        if self._tools:
            self.calls = tuple(call for end in ends for call in end.calls)
            self.cut_call = next((end.cut for end in ends if end.cut and end.cut.name), None)
        # What was cut off before its name was known stays text.
        unnamed = [end.cut.arguments for end in ends if self._split and end.cut and not end.cut.name]
        last += "".join(unnamed)
        self._answer.append(last)
        return Said(said.answer + rest.answer + last, said.thinking + rest.thinking, said.calls + calls)

    def _read(self, text: str) -> Said:
        self._fence.feed(text)
        if self._reader.plain:  # most of a text's tokens: they cost next to nothing
            return self._add(text, [Delta("content", text)])
        self._released += text
        return self._add(text, self._reader.feed(text))

    def _add(self, text: str, deltas: Iterable[Delta]) -> Said:
        answer, thinking = text, ""
        calls: tuple[Delta, ...] = ()
        if self._split:
            deltas = list(deltas)
            calls = self._numbered(0, deltas)
            thinking = "".join(delta.text for delta in deltas if delta.kind == "thinking")
            # Without tools a family's own messages may still be calls: they are text then.
            shown = ("content",) if self._tools else ("content", "call", "arguments")
            answer = "".join(delta.text for delta in deltas if delta.kind in shown)
            if self._loose is not None:
                loose = self._loose.feed(answer)
                answer = _content(loose)
                calls += self._numbered(1, loose)
            if self._before_answer is None and any(delta.kind != "thinking" for delta in deltas):
                self._before_answer = self._tokens - 1
        if answer:
            if self._before_answer is None:
                self._before_answer = self._tokens - 1
            self._answer.append(answer)
        if thinking:
            self._thinking.append(thinking)
        return Said(answer, thinking, calls)

    def _numbered(self, reader: int, deltas: Iterable[Delta]) -> tuple[Delta, ...]:
        """The deltas of calls, with the numbers that the calls of both readers have together."""
        found = []
        for delta in deltas if self._tools else ():
            if delta.call >= 0:
                key = reader, delta.call
                if key not in self._begun_calls:
                    self._begun_calls.append(key)
                found.append(delta._replace(call=self._begun_calls.index(key)))
        return tuple(found)

    def thinking_tokens(self, *, ended_by_token: bool) -> int:
        """The tokens before the first one of the answer; 0 without a thinking.

        ended_by_token: the last token ended the text and is part of neither.
        """
        if not self._thinking:
            return 0
        return self._tokens - ended_by_token if self._before_answer is None else self._before_answer


def _content(deltas: Iterable[Delta]) -> str:
    return "".join(delta.text for delta in deltas if delta.kind == "content")


class TextStream:
    """Turns the bytes of tokens into text that may be shown at once; one object per generated text.

    Bytes that are no UTF-8 become U+FFFD. The halves of a character wait for each other.

    ``stop``: strings that end the text. Text that may be the beginning of one waits. The stop string that is complete
    first wins; of those complete at the same character the longest, so that as little as possible of them is
    shown. The result does not depend on how the bytes come in pieces. A plain string counts as a list of one;
    an empty one raises `OptionError`.
    """

    def __init__(self, stop: Sequence[str] = (), turn_end: str = "") -> None:
        """turn_end: one more stop string, of which a beginning is not shown at the end, either."""
        self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
        self._turn_end = turn_end
        if turn_end:
            self._stop += (turn_end,)
        if not all(isinstance(text, str) and text for text in self._stop):
            raise OptionError("a stop string is empty")
        self._firsts = frozenset(text[0] for text in self._stop)
        self._longest = max(map(len, self._stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._decode = self._decoder.decode
        self.waiting = ""  # text that may be the beginning of a stop string
        self.stopped = False
        self.stop_reason: str | None = None

    def feed(self, piece: bytes) -> str:
        """The text that is certain after these bytes (often one token's); "" once stopped."""
        if not self._stop:
            return self._decode(piece)
        return "" if self.stopped else self._release(self._decode(piece))

    def peek(self, piece: bytes) -> str:
        """The text that `feed` would return. The stream stays as it is."""
        before = self._decoder.getstate(), self.waiting, self.stopped, self.stop_reason
        try:
            return self.feed(piece)
        finally:
            state, self.waiting, self.stopped, self.stop_reason = before
            self._decoder.setstate(state)

    def flush(self) -> str:
        """The end: the text that waited, half a character as U+FFFD."""
        if self.stopped:
            return ""
        text = self._decode(b"", True)
        if self._stop:
            text = self._release(text)
        waiting, self.waiting = self.waiting, ""
        is_cut = len(waiting) > 1 and self._turn_end.startswith(waiting)
        return text if is_cut else text + waiting

    def _release(self, new: str) -> str:
        text = self.waiting + new
        self.waiting = ""
        found = [(text.find(stop), stop) for stop in self._stop if stop in text]
        if found:
            start, self.stop_reason = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            self.stopped = True
            return text[:start]
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] in self._firsts and any(stop.startswith(text[start:]) for stop in self._stop):
                self.waiting = text[start:]
                return text[:start]
        return text
