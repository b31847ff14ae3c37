"""From the engine's blocking streams to the event loop.

Each generation has a thread that mostly sleeps in the engine's queue; what it receives is handed to the loop, which
is woken once for all that has come meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import PromptTooLong, SelarError
from selar_local.server.errors import Expired

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine
    from selar_local.engine.stream import Stream

__all__ = ["Generation", "Job"]


_LATE = "the request took longer than the server allows"


class Started(NamedTuple):
    """The engine has taken the request."""


class Running(NamedTuple):
    """The engine has begun with the prompt."""


Message = Started | Running | TokenEvent | Result | SelarError


class Generation:
    """One generation, seen from the event loop. Its attributes belong to the loop's thread."""

    def __init__(
        self,
        engine: Engine | IsolatedEngine,
        arguments: Mapping[str, Any],
        max_prompt_tokens: int | None,
        deliver: Callable[[Message], None],
        prepare: Callable[[TokenEvent], None],
        events: bool = True,
    ) -> None:
        """deliver, prepare (before an event is delivered): called in the generation's own thread."""
        self._engine = engine
        self._arguments = arguments
        self._max_prompt_tokens = max_prompt_tokens
        self._deliver = deliver
        self._prepare = prepare
        self._events = events
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._cancelled = False
        self._announced = False
        self.submitted = time.perf_counter()
        self.first_token: float | None = None
        self.running = False
        self.ended = False

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, name="selar-local request", daemon=True).start()

    def cancel(self) -> None:
        """Ask it to stop. Returns at once; any number of times."""
        with self._lock:
            self._cancelled = True
            if self._stream is not None:
                self._stream.cancel()

    def _run(self) -> None:
        try:
            self._pass_on()
        except SelarError as error:
            self._deliver(error)
        except Exception as error:  # nothing may leave the handler waiting
            self._deliver(SelarError(f"internal error: {type(error).__name__}"))

    def _pass_on(self) -> None:
        stream = self._engine.stream(
            **self._arguments, on_prefill=lambda done, total: self._announce(), events=self._events
        )
        with stream:
            limit = self._max_prompt_tokens
            if limit is not None and len(stream.prompt) > limit:
                raise PromptTooLong(f"the prompt has {len(stream.prompt)} tokens, {limit} are allowed here")
            with self._lock:
                self._stream = stream
                if self._cancelled:
                    stream.cancel()
            self._deliver(Started())
            for event in stream:
                if self.first_token is None:
                    self.first_token = time.perf_counter()
                self._announce()
                self._prepare(event)
                self._deliver(event)
        if self.first_token is None and stream.result.tokens:
            self.first_token = time.perf_counter() - stream.result.timings.decode_seconds
        self._deliver(stream.result)

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._deliver(Running())


class Job:
    """The generations of one HTTP request. Iterate for ``(index, TokenEvent | Result)``; the first error is raised."""

    def __init__(
        self,
        engine: Engine | IsolatedEngine,
        requests: Sequence[Mapping[str, Any]],
        max_prompt_tokens: int | None,
        on_end: Callable[[Generation, Result | None], None],
        prepare: Callable[[TokenEvent], None],
        events: bool = True,
    ) -> None:
        """on_end: called in the loop for each generation that has ended, with None where it failed.

        prepare: called in a generation's thread with each event, before the loop gets it. events: False: the results
        alone are wanted.
        """
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._inbox: list[tuple[int, Message]] = []
        self._awake = asyncio.Event()
        self._ready: deque[tuple[int, TokenEvent | Result]] = deque()
        self._error: SelarError | None = None
        self._on_end = on_end
        self._open = len(requests)
        self._unstarted = len(requests)
        self._expired = False
        self.generations = [
            Generation(engine, arguments, max_prompt_tokens, self._mailbox(i), prepare, events)
            for i, arguments in enumerate(requests)
        ]

    def start(self) -> None:
        """Begin with all of them."""
        for generation in self.generations:
            generation.start()

    def cancel(self) -> None:
        """Ask all of them to stop."""
        for generation in self.generations:
            generation.cancel()

    def expire(self) -> None:
        """The time is up. Called in the loop."""
        self._expired = True
        self.cancel()
        self._awake.set()

    async def started(self) -> None:
        """Wait until the engine has taken all of them. Raises its error where it refuses one, Expired after `expire`.

        (It may take none for long: after a crash the model is loaded again first.)
        """
        while self._unstarted and self._error is None and self._open:
            if self._expired:
                raise Expired(_LATE)
            self._awake.clear()
            await self._awake.wait()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[tuple[int, TokenEvent | Result]]:
        while True:
            while self._ready:
                index, news = self._ready.popleft()
                if self._expired and isinstance(news, Result) and news.finish_reason == "cancelled":
                    raise Expired(_LATE)
                yield index, news
            if self._error is not None:
                raise self._error
            if not self._open:
                return
            self._awake.clear()
            await self._awake.wait()

    def _mailbox(self, index: int) -> Callable[[Message], None]:
        def deliver(message: Message) -> None:
            with self._lock:
                self._inbox.append((index, message))
                on_its_way = len(self._inbox) > 1
            if not on_its_way:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._receive)

        return deliver

    def _receive(self) -> None:
        with self._lock:
            arrived, self._inbox = self._inbox, []
        for index, message in arrived:
            self._take(index, message)
        self._awake.set()

    def _take(self, index: int, message: Message) -> None:
        generation = self.generations[index]
        if isinstance(message, Started):
            self._unstarted -= 1
        elif isinstance(message, Running):
            generation.running = True
        elif isinstance(message, TokenEvent):
            self._ready.append((index, message))
        else:
            self._open -= 1
            generation.running, generation.ended = False, True
            if isinstance(message, Result):
                self._ready.append((index, message))
                self._on_end(generation, message)
            else:
                self._error = self._error or message
                self.cancel()
                self._on_end(generation, None)
