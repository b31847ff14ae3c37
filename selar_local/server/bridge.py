"""The generations of one HTTP request, seen from the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from selar_local.engine.awaiting import Launch, Refused
from selar_local.engine.base_engine import BaseEngine
from selar_local.engine.events import Message, Prefilled, Result, Started, TokenEvent
from selar_local.errors import PromptTooLong, SelarError
from selar_local.server.errors import Expired

_LATE = "the request took longer than the server allows"


class Generation:
    """One generation. Its attributes belong to the event loop's thread.

    first_token: the time of the first one. prompt: its token ids, none where the request was refused. running: the
    engine has begun with the prompt. error: raised at its end.
    """

    def __init__(self) -> None:
        self.submitted = time.perf_counter()
        self.first_token: float | None = None
        self.running = False
        self.prompt: tuple[int, ...] = ()
        self.ended = False
        self.error: SelarError | None = None


class Job:
    """The generations of one HTTP request. Iterate for ``(index, TokenEvent | Result)``; the first error is raised."""

    def __init__(
        self,
        engine: BaseEngine,
        requests: Sequence[Mapping[str, Any]],
        max_prompt_tokens: int | None,
        on_end: Callable[[Generation, Result | None], None],
        prepare: Callable[[TokenEvent], None],
        events: bool = True,
    ) -> None:
        """on_end: called in the loop for each generation that has ended, with None where it failed.

        prepare: called with each event that has log-probabilities, in a thread, before the event is given out. events:
        False: the results alone are wanted.
        """
        self._engine = engine
        self._requests = requests
        self._events = events
        self._max_prompt_tokens = max_prompt_tokens
        self._on_end = on_end
        self._prepare = prepare
        self._awake = asyncio.Event()
        self._ready: deque[tuple[int, TokenEvent | Result]] = deque()
        self._error: SelarError | None = None
        self._unstarted = len(requests)
        self._expired = False
        self._launches: list[Launch] = []
        self.generations = [Generation() for _ in requests]

    def start(self) -> None:
        """Begin with all of them."""
        for index, request in enumerate(self._requests):
            begin = partial(self._engine.begin, events=self._events, **request)
            self._launches.append(Launch(begin, partial(self._take, index)))

    def cancel(self) -> None:
        """Ask all of them to stop."""
        for launch in self._launches:
            launch.cancel()

    def expire(self) -> None:
        """The time is up. Called in the loop."""
        self._expired = True
        self.cancel()
        self._awake.set()

    def fail(self, error: SelarError) -> None:
        """End it with an error, whatever the engine does. Called in the loop."""
        self._error = self._error or error
        self._awake.set()

    async def started(self) -> None:
        """Wait until the engine has taken all of them. Raises its error where it refuses one, Expired after `expire`.

        (It may take none for long: after a crash the model is loaded again first.)
        """
        while self._unstarted and self._error is None and not self._all_ended:
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
                if isinstance(news, TokenEvent) and news.logprobs is not None:
                    await asyncio.to_thread(self._prepare, news)
                yield index, news
            if self._error is not None:
                raise self._error
            if self._all_ended:
                return
            self._awake.clear()
            await self._awake.wait()

    @property
    def _all_ended(self) -> bool:
        return all(generation.ended for generation in self.generations)

    def _take(self, index: int, message: Message | Refused) -> None:
        generation = self.generations[index]
        if isinstance(message, Started):
            self._check_prompt(index, message.prompt)
        elif isinstance(message, Prefilled):
            generation.running = True
        elif isinstance(message, TokenEvent):
            if generation.first_token is None:
                generation.first_token = time.perf_counter()
            self._ready.append((index, message))
        elif isinstance(message, Result):
            if generation.first_token is None and message.tokens:
                generation.first_token = time.perf_counter() - message.timings.decode_seconds
            self._end(index, message)
        elif isinstance(message, Refused):
            error = message.error
            known = error if isinstance(error, SelarError) else SelarError(f"internal error: {type(error).__name__}")
            generation.error = known
            self._end(index, None)
        else:  # the result follows
            generation.error = message
        self._awake.set()

    def _check_prompt(self, index: int, prompt: tuple[int, ...]) -> None:
        limit, length = self._max_prompt_tokens, len(prompt)
        if limit is None or length <= limit:
            self.generations[index].prompt = prompt
            self._unstarted -= 1
            return
        error = PromptTooLong(
            f"the prompt is too long: it has {length} tokens, {limit} are allowed here", length, limit
        )
        self.generations[index].error = error
        self._launches[index].cancel()

    def _end(self, index: int, result: Result | None) -> None:
        generation = self.generations[index]
        generation.running, generation.ended = False, True
        if generation.error is not None:
            self._error = self._error or generation.error
            self.cancel()
            result = None
        elif result is not None:
            self._ready.append((index, result))
        self._on_end(generation, result)
