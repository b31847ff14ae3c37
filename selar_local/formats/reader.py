"""The base of all readers: thinking, content and calls, out of text that streams in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from selar_local.formats.deltas import Call, Delta, Kind, Parsed
from selar_local.formats.scanner import END, Scanner, Steps, begun, is_object
from selar_local.formats.values import ToolSchemas

#: Thinking tags that any model may write, whatever its template says: of DeepSeek-R1, Qwen 3 and most others;
#: Magistral; Seed-OSS; EXAONE Deep; Reka Flash.
TAGS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
)
_NEWLINES = "\r\n"
_LONGEST = 64  # characters of the longest start


class Reader(Scanner):
    """Reads one output. A family sets `starts` and reads its calls in `block`.

    - ``prompt_tail`` is the end of the rendered prompt: where it ends with an opening tag, the text starts as
      thinking. A model that then repeats the tag is forgiven. The model's own opening tag counts at the start.
    - Thinking ends at its closing tag. A closing tag that nothing opened is dropped at the very start.
    - A call within the thinking counts where the text ends with it, and at the very start: the model forgot to close.
    - What is no complete opening of a call stays text. Line breaks right before and between calls are dropped,
      unless more content comes.
    """

    #: Texts at which a call may begin. None of them is the beginning of another.
    starts: tuple[str, ...] = ()
    tags: ClassVar[tuple[tuple[str, str], ...]] = TAGS
    #: Tags that some models put around the answer: ``(opening, closing)``.
    answer: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, prompt_tail: str = "", tools: Sequence[Mapping[str, Any]] | None = None) -> None:
        super().__init__()
        self.tools = ToolSchemas(tools)
        self.prompt_tail = prompt_tail
        tail = prompt_tail.rstrip()
        self._pair = next((pair for pair in self.tags if tail.endswith(pair[0])), None)
        self.in_thinking = self._pair is not None
        self._answer: tuple[str, str] | None = None
        self._out: list[Delta] = []
        self._all: list[Delta] = []
        self._trial: int | None = None
        self._breaks = ""
        self._answered = False
        self._open: Call | None = None
        self._n_calls = 0
        self._calls: list[Call] = []
        #: Whether all text from here on is content, as it is: it need not be fed any more.
        self.plain = False
        #: Whether what is being read is a call, or may be one.
        self.in_block = False
        self._steps = self.read()
        self._dropped = ""

    # What the user of a reader calls.

    def leave_calls(self) -> Reader:
        """Read no calls: what would begin one stays content. Call it before the first `feed`."""
        self.starts = ()
        return self

    def feed(self, piece: str) -> list[Delta]:
        """Take the next text; returns what is certain by now."""
        self.text += piece
        next(self._steps, None)
        given = self._out[: self._trial]
        self._out = self._out[len(given) :]
        if self._trial is not None:
            self._trial = 0
        self._all += given
        return given

    @property
    def in_call(self) -> bool:
        """Whether the text that comes next belongs to a call, as far as is known."""
        return self.in_block or self._open is not None

    def may_begin(self, text: str) -> bool:
        """Whether a call begins, or may, with a text that comes next."""
        seen = self.text[self.pos :][-_LONGEST:] + text
        return any(start in seen or begun(seen, 0, start) for start in self.starts)

    def finish(self) -> Parsed:
        """The end of the text."""
        self.ended = True
        rest = self.feed("")
        texts = {kind: "".join(d.text for d in self._all if d.kind == kind) for kind in ("thinking", "content")}
        return Parsed(texts["content"], texts["thinking"], self._calls, self._open, rest)

    # What a family overrides.

    def read(self) -> Steps[None]:
        """Read everything. A family with messages of its own reads them here."""
        yield from self.read_thinking()
        yield from self.read_answer()

    def block(self, start: str) -> Steps[bool]:
        """Read what follows `start`, which was taken: calls, or False where it is none and was not begun."""
        yield from ()
        return False

    # Output.

    def give(self, kind: Kind, text: str) -> None:
        """Give out thinking or content."""
        if text:
            self._out.append(Delta(kind, text))

    def content(self, text: str) -> None:
        """Give out content, and keep back line breaks at its end, and space at its start, while a call may follow."""
        text = self._breaks + text
        kept = _NEWLINES if self._answered or text.strip() else None
        end = len(text.rstrip(kept)) if self.starts else len(text)
        self._answered |= end > 0
        self._breaks = text[end:]
        self.give("content", text[:end])

    def begin(self, name: str, id: str | None = None) -> None:
        """Begin a call. One that was begun and not ended is then cut off for good."""
        self._open = Call(name, "", id)
        self._out.append(Delta("call", name, self._n_calls, id))
        self._n_calls += 1

    def argue(self, text: str) -> None:
        """Give out more of the argument text."""
        if self._open is not None and text:
            self._open = self._open._replace(arguments=self._open.arguments + text)
            self._out.append(Delta("arguments", text, self._n_calls - 1))

    def end(self, id: str | None = None) -> None:
        """End a call, of which the id may come last: it is complete if its arguments are an object."""
        if self._open is not None and is_object(self._open.arguments):
            done = self._open._replace(id=self._open.id or id)
            self._calls.append(done)
            self._out.append(Delta("end", "", self._n_calls - 1, done.id))
            self._open = None

    def name(self, *stops: str, prefix: str = "") -> Steps[tuple[str, str]]:
        """Take the name of a call up to the first stop; ``("", "")`` where no tool has it. A prefix is left out."""

        def fits(text: str) -> bool:
            text = text.strip()
            return prefix.startswith(text) or self.tools.begins(text.removeprefix(prefix))

        text, stop = yield from self.until(*stops, limit=256, fits=fits)
        name = text.strip().removeprefix(prefix)
        return (name, stop) if self.tools.known(name) else ("", "")

    def skip(self, *stops: str) -> Steps[bool]:
        """The call is broken: its text goes on up to the first stop, which is taken."""
        stop = yield from self.flow(self.argue, *stops, breaks=True)
        self.pos += len(stop)
        return True

    def call(self, name: str, arguments: str, id: str | None = None) -> None:
        """Give out a whole call."""
        self.begin(name, id)
        self.argue(arguments)
        self.end()

    # Reading.

    def flow(self, give: Callable[[str], None], *stops: str, breaks: bool = False) -> Steps[str]:
        """Give out the text up to the first stop, which is returned and not taken; "" at the end of the text.

        breaks: whether the line breaks before a stop are given out; else they are in `_dropped`.
        """
        while True:
            found = [(at, -len(stop), stop) for stop in stops if (at := self.text.find(stop, self.pos)) >= 0]
            at, _, stop = min(found, default=(len(self.text), 0, ""))
            if not stop and not self.ended:
                at -= max((begun(self.text, self.pos, stop) for stop in stops), default=0)
            text = self.text[self.pos : at]
            kept = text if breaks or (self.ended and not stop) else text.rstrip(_NEWLINES)
            give(kept)
            self._dropped = text[len(kept) :]
            self.pos = at if stop else self.pos + len(kept)
            if stop or self.ended:
                return stop
            if self._trial is None:
                self.text, self.pos = self.text[self.pos :], 0
            yield

    def read_thinking(self) -> Steps[None]:
        """Read the thinking at the start, if there is one."""
        if not (yield from self._opening()) or self._pair is None:
            return
        closing = self._pair[1]

        def think(text: str) -> None:
            self.give("thinking", text)

        yield from self.skip_breaks()
        while stop := (yield from self.flow(think, closing, *self.starts)):
            if stop == closing:
                self.pos += len(closing)
                self.in_thinking = False
                yield from self.skip_breaks()
                return
            dropped = self._dropped
            if (yield from self._last_call(stop)):
                return
            think(dropped + stop)
            self.pos += len(stop)

    def _opening(self) -> Steps[bool]:
        """Take the tag at the start; returns whether thinking comes."""
        pairs = (self._pair,) if self._pair else self.tags
        openings = [pair[0] for pair in pairs]
        closings = [] if self._pair else [pair[1] for pair in pairs]
        while True:
            at = self.after_space(self.pos)
            tag = self.matches(at, openings + closings)
            if tag is not None:
                break
            yield
        if not isinstance(tag, str):
            return self._pair is not None
        self.pos = at + len(tag)
        if tag in closings:
            yield from self.skip_breaks()
            return False
        self._pair = next(pair for pair in pairs if pair[0] == tag)
        self.in_thinking = True
        return True

    def skip_breaks(self) -> Steps[None]:
        """Take the line breaks that come next."""
        while True:
            self.pos = len(self.text) - len(self.text[self.pos :].lstrip(_NEWLINES))
            if self.pos < len(self.text) or self.ended:
                return
            yield

    def _last_call(self, start: str) -> Steps[bool]:
        """Read a call that stands in the thinking.

        It counts if nothing but calls follows it to the end, or if the model began with it and thought nothing.
        """
        thought = any(delta.kind == "thinking" for delta in (*self._all, *self._out))
        back, breaks, n_calls, calls = self.pos, self._breaks, self._n_calls, list(self._calls)
        self._trial = len(self._out)
        stop = start
        while stop and (yield from self._block(stop)) and self._open is None:
            stop = yield from self.take(*self.starts)
            if not stop:
                break
            self.pos -= len(stop)
        counts = len(self._calls) > len(calls) and self._open is None and not stop
        while counts and thought and not self.ended and self.after_space(self.pos) >= len(self.text):
            yield
        counts = counts and (not thought or self.after_space(self.pos) >= len(self.text))
        if not counts:
            del self._out[self._trial :]
            self.pos, self._breaks, self._n_calls, self._calls, self._open = back, breaks, n_calls, calls, None
        else:
            self.in_thinking = False
        self._trial = None
        return counts

    def _block(self, start: str) -> Steps[bool]:
        self.pos += len(start)
        self.cut, self.in_block = False, True
        found = yield from self.block(start)
        self.in_block = False
        return found

    def read_answer(self) -> Steps[None]:
        """Read content and calls to the end."""
        if self.answer:
            opened = yield from self.take(*(opening for opening, _ in self.answer))
            self._answer = next((pair for pair in self.answer if pair[0] == opened), None)
            if self._answer:
                yield from self.skip_breaks()
        closing = self._answer[1] if self._answer else ""
        stops = (*self.starts, closing) if closing else self.starts
        self.plain = not stops
        while stop := (yield from self.flow(self.content, *stops, breaks=True)):
            back = self.pos
            if stop == closing:
                if (yield from self._is_last(back + len(stop))):
                    self.pos += len(stop)
                    yield from self.skip_breaks()
                    continue
            elif (yield from self._block(stop)) or self.is_cut(back):
                continue
            self.pos = back + len(stop)
            self.content(stop)
        if not self._n_calls:
            self.give("content", self._breaks)

    def is_cut(self, start: int) -> bool:
        """Whether what began as a call at `start` was cut off before that was clear; it is taken then."""
        if not self.cut:
            return False
        self._open = Call("", self.text[start:])
        self._n_calls += 1
        self.pos = len(self.text)
        return True

    def _is_last(self, at: int) -> Steps[bool]:
        """Whether nothing or a call follows."""
        while (found := self.follows(at, (END, *self.starts))) is None:
            yield
        return found
