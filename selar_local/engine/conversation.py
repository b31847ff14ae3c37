"""A conversation with a model: its turns, its settings, and the share of the context that it takes."""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from selar_local.config import ChatConfig, Overflow
from selar_local.engine.conversation_file import SavedConversation, read, write
from selar_local.engine.events import Result
from selar_local.engine.history import (
    ChatMessage,
    ContextUse,
    checked_messages,
    last_question,
    turn_starts,
    turns_to_drop,
)
from selar_local.engine.settings import TurnSettings, as_method, default_method
from selar_local.engine.stream import Stream
from selar_local.errors import ConversationBusy, ConversationFileError, OptionError, SelarError, TemplateError
from selar_local.methods import Method

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from selar_local.engine.base_engine import BaseEngine
    from selar_local.engine.request_options import TurnOptions

_MAX_SEED = 2**63


class Conversation(TurnSettings):
    """Turns of a user and a model, on an open engine. One turn at a time; callable from any thread.

        conversation = sl.Conversation(engine, system="Be brief.", method=sl.Selar(tau=0.4), max_tokens=512)
        for event in conversation.stream("Why is the sky blue?"):
            print(event.text, end="")
        print(conversation.say("And at sunset?").text)

    `system`, `method`, `thinking` and `overflow` may be set between turns, options by `set`. The history has the
    answers without their thinking.

    overflow "drop": a prompt leaves room for the answer, that is max_tokens, and at most a quarter of the context.
    Where it does not, the oldest turns are no longer sent, until half of the context is free. `dropped` counts them.
    The system message always stays. "error": all turns are sent; the engine raises PromptTooLong where they do not fit.
    """

    def __init__(
        self,
        engine: BaseEngine,
        *,
        system: str | None = None,
        method: Method | str | None = None,
        thinking: bool | None = None,
        messages: Iterable[Mapping[str, Any]] = (),
        overflow: Overflow = ChatConfig.overflow,
        **options: Unpack[TurnOptions],
    ) -> None:
        """messages: turns to go on from, as ``{"role": .., "content": ..}``; a leading system message becomes `system`.

        options: the fields of `SamplingConfig` and `GenerationConfig`, for every turn. Raises OptionError.
        """
        super().__init__(default_method(engine.info) if method is None else method, options, engine.info.sampling)
        self.engine = engine
        self.thinking = thinking
        self.overflow = overflow
        #: Replaced as a whole, never changed: other threads may read it.
        self._messages = checked_messages(messages)
        self.system = system
        if self._messages and self._messages[0]["role"] == "system":
            if system is not None:
                raise OptionError("the system message is given twice: as system, and in messages")
            self.system, self._messages = self._messages[0]["content"], self._messages[1:]
        self._lock = threading.Lock()
        self._running: weakref.ref[Stream] | None = None
        self._dropped = 0
        self._unanswered: str | None = None
        self._seed: int | None = None  # of the last answer

    def stream(
        self,
        text: str,
        *,
        method: Method | str | None = None,
        thinking: bool | None = None,
        on_prefill: Callable[[int, int], None] | None = None,
        events: bool = True,
        **options: Unpack[TurnOptions],
    ) -> Stream:
        """Ask `text`; returns the stream of the answer. Both join the history when the stream has its result.

        A turn that is stopped keeps the answer so far. One that is stopped before the answer, or fails, is not kept.
        method, thinking, options: for this turn alone. on_prefill, events: as in `Engine.stream`.

        Raises what `Engine.stream` raises, and ConversationBusy while another turn is being answered.
        """
        return self._ask(text, method=method, thinking=thinking, on_prefill=on_prefill, events=events, **options)

    def say(self, text: str, **overrides: Any) -> Result:
        """Ask `text` and wait for the `Result`. Same arguments and errors as `stream`."""
        with self.stream(text, **{"events": False, **overrides}) as stream:
            for _ in stream:
                pass
        return stream.result

    def retry(self, **overrides: Any) -> Stream:
        """Ask the last question again, with the next seed where none is given; the new answer replaces the old one.

        An `unanswered` question (stopped early, or failed) is the last one. Takes the arguments of `stream` and raises
        its errors; SelarError where there is no question.
        """
        return self._ask(None, **overrides)

    def undo(self) -> str | None:
        """Forget the last question and its answer. Returns the question, None where there is none."""
        with self._idle():
            last = last_question(self._messages)
            if last is None:
                return None
            question = self._messages[last]["content"]
            self._replace(self._messages[:last])
            return question

    def clear(self) -> None:
        """Forget all turns; the settings and the system message stay."""
        with self._idle():
            self._replace(())

    @property
    def messages(self) -> list[ChatMessage]:
        """The turns as ``{"role": .., "content": ..}``, those included that are no longer sent. A copy."""
        return [dict(message) for message in self._messages]

    @property
    def turns(self) -> int:
        """Number of turns."""
        return len(turn_starts(self._messages))

    @property
    def unanswered(self) -> str | None:
        """A question that is not in the history, for it got no answer; `retry` asks it again."""
        return self._unanswered

    @property
    def dropped(self) -> int:
        """Number of turns, the oldest ones, that are no longer sent: the context was full."""
        return self._dropped

    @property
    def busy(self) -> bool:
        """Whether a turn is being answered."""
        return self._running is not None and self._running() is not None

    @property
    def overflow(self) -> Overflow:
        """What happens when the context is full: "drop" or "error"."""
        return self._overflow

    @overflow.setter
    def overflow(self, overflow: Overflow) -> None:
        ChatConfig(overflow=overflow)  # checks it
        self._overflow = overflow

    @property
    def context(self) -> ContextUse:
        """The tokens that the next prompt begins with, and the size of the context. Takes some ms."""
        sent = self._sent(self._messages, self._dropped)
        try:
            used = self._count(sent, self.method, self.thinking, self._options, ask=False) if sent else 0
        except TemplateError:  # some templates refuse a system message without a question
            used = len(self.engine.tokenize("\n".join(message["content"] for message in sent)))
        return ContextUse(used, self.engine.info.ctx_size)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write turns and settings to a JSON file, for this user's eyes alone. Raises ConversationFileError."""
        model = self.engine.info.name
        write(path, SavedConversation(self._messages, self.system, self.method, self.thinking, self.options, model))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a saved conversation: its turns and settings replace these. Raises ConversationFileError."""
        saved = read(path)
        with self._idle():
            try:
                self.configure(
                    self.method if saved.method is None else saved.method,
                    self.options if saved.options is None else saved.options,
                )
            except OptionError as error:
                raise ConversationFileError(f"{path}: {error}") from None
            self.system, self.thinking = saved.system, saved.thinking
            self._dropped, self._seed = 0, None
            self._replace(saved.messages)

    def __repr__(self) -> str:
        dropped = f", {self._dropped} of them dropped" if self._dropped else ""
        busy = ", answering" if self.busy else ""
        return f"<Conversation: {self.turns} turns{dropped}, method {self.method.name}{busy}>"

    @contextmanager
    def _idle(self) -> Iterator[None]:
        """While no turn runs, and none begins. Raises ConversationBusy."""
        with self._lock:
            if self.busy:
                raise ConversationBusy("a turn of this conversation is being answered: finish or close its stream")
            yield

    def _ask(
        self,
        question: str | None,
        *,
        method: Method | str | None = None,
        thinking: bool | None = None,
        **options: Any,
    ) -> Stream:
        """Start a turn. question None: the last one again."""
        chosen = self.method if method is None else as_method(method)
        thinks = self.thinking if thinking is None else thinking
        with self._idle():
            if question is None:
                before, question = self._last_asked()
                if options.get("seed") is None:
                    options["seed"] = secrets.randbits(32) if self._seed is None else (self._seed + 1) % _MAX_SEED
            else:
                before, self._unanswered = self._messages, question
            given = {**self._options, **options}
            messages = (*before, {"role": "user", "content": question})
            dropped = self._fitted(messages, chosen, thinks, given)
            sent = self._sent(messages, dropped)
            stream = self.engine.stream(messages=sent, method=chosen, thinking=thinks, **given)
            self._dropped = dropped
            stream.on_result(partial(self._finish, messages))
            self._running = weakref.ref(stream)  # a stream that nobody keeps has been cancelled
        return stream

    def _last_asked(self) -> tuple[tuple[ChatMessage, ...], str]:
        """The last question, and the messages before it."""
        if self._unanswered is not None:
            return self._messages, self._unanswered
        last = last_question(self._messages)
        if last is None:
            raise SelarError("there is no question to ask again")
        return self._messages[:last], self._messages[last]["content"]

    def _finish(self, messages: tuple[ChatMessage, ...], result: Result) -> None:
        """The turn has its result."""
        self._seed = result.seed
        if result.finish_reason in ("stop", "length") or (result.finish_reason == "cancelled" and result.text):
            self._replace((*messages, {"role": "assistant", "content": result.text}))
        self._running = None

    def _replace(self, messages: tuple[ChatMessage, ...]) -> None:
        self._messages, self._unanswered = messages, None
        self._dropped = min(self._dropped, max(self.turns - 1, 0))

    def _sent(self, messages: Sequence[ChatMessage], dropped: int) -> list[ChatMessage]:
        """What the model gets: the system message, and the turns without the oldest ones."""
        starts = turn_starts(messages)
        kept = list(messages[starts[dropped] :]) if starts else []
        return kept if self.system is None else [{"role": "system", "content": self.system}, *kept]

    def _count(
        self, sent: list[ChatMessage], method: Method, thinking: bool | None, given: Mapping[str, Any], ask: bool = True
    ) -> int:
        names = ("reasoning_effort", "thinking_budget", "template_args")
        rendering: dict[str, Any] = {name: given[name] for name in names if given.get(name) is not None}
        text = self.engine.render(sent, thinking=thinking, add_generation_prompt=ask, **rendering)
        return len(self.engine.tokenize(method.prompt_text(text)))

    def _fitted(
        self, messages: tuple[ChatMessage, ...], method: Method, thinking: bool | None, given: Mapping[str, Any]
    ) -> int:
        """How many of the oldest turns to leave out."""
        max_tokens = given.get("max_tokens")
        size, last = self.engine.info.ctx_size, len(turn_starts(messages)) - 1
        dropped = min(self._dropped, last)
        if self.overflow == "error":
            return dropped
        room = size // 4 if max_tokens is None else min(max_tokens, size // 4)
        return turns_to_drop(
            lambda n: size - self._count(self._sent(messages, n), method, thinking, given), dropped, last, size, room
        )
