"""The process that runs llama.cpp for an app: one engine that takes commands from its standard input.

`ChildProcess` starts it. It ends when its input does, so it never outlives the app.

Both sides send frames ``(kind, number, content)``; an answer has the number of its command. To the child: "open" first,
then "begin", "cancel", the names of `_QUERIES`, "pulse" and "close". To the app, in lists: "answer" or "error"; for
"begin" "started" or "error", then a "message" for each message of the generation; "progress" of the load; "log".
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from selar_local.config import LLAMA_LOG
from selar_local.engine.engine import Engine
from selar_local.engine.events import Message, Result, Started
from selar_local.engine.wire import Wire
from selar_local.errors import OptionError, SelarError

_QUERIES = ("render", "tokenize", "token_bytes", "is_end")
_END = object()

Put = Callable[[Any], None]


class _LogSender(logging.Handler):
    """Sends log records to the app's own logging."""

    def __init__(self, put: Put) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        self._put(("log", 0, (record.name, record.levelno, record.getMessage())))


def main() -> None:
    """Serve the app at the other end of the standard streams until it goes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they may reach all processes of the app, which decides
        signal.signal(number, signal.SIG_IGN)
    wire = Wire(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    _print_elsewhere()
    outbox: SimpleQueue[Any] = SimpleQueue()
    logging.getLogger("selar_local").addHandler(_LogSender(outbox.put))
    writer = Thread(target=_write, args=(wire, outbox), name="selar-local writer", daemon=True)
    writer.start()

    def send_rest() -> None:
        outbox.put(_END)
        writer.join(5)

    def leave() -> None:
        send_rest()
        os._exit(1)

    try:
        _serve(wire, outbox.put, leave)
    except EOFError:
        pass
    finally:
        send_rest()


def _print_elsewhere() -> None:
    """Native code must not print between the frames: its output goes to standard error, if there is one."""
    try:
        os.dup2(2, 1)
    except OSError:  # an app without a console
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)


def _write(wire: Wire, outbox: SimpleQueue[Any]) -> None:
    """Send all that waits in one frame, so that many streams cost no more writes than one."""
    ended = False
    while not ended:
        batch = [outbox.get()]
        try:
            while True:
                batch.append(outbox.get_nowait())
        except Empty:
            pass
        ended = _END in batch
        try:
            wire.send([item for item in batch if item is not _END])
        except (OSError, ValueError):
            os._exit(0)  # nobody listens any more


def _serve(wire: Wire, put: Put, leave: Callable[[], None]) -> None:
    """leave: ends the process. Another must take over where the engine's worker has failed."""
    _, _, content = wire.receive()
    try:
        arguments = _unpacked(content)
        if arguments["config"].verbose:
            logging.getLogger(LLAMA_LOG).setLevel(logging.DEBUG)
        engine = Engine(**arguments, on_progress=lambda share: put(("progress", 0, share)))
    except Exception as error:
        put(("error", 0, _portable(error)))
        return
    with engine:
        put(("answer", 0, engine.info))
        _Commands(engine, put, leave).take_all(wire)


class _Commands:
    """Carries out what the app asks of the engine. Each generation begins in a thread of its own."""

    def __init__(self, engine: Engine, put: Put, leave: Callable[[], None]) -> None:
        self._engine = engine
        self._put = put
        self._leave = leave
        self._running: dict[int, Started] = {}
        self._beginning: dict[int, float] = {}  # since when

    def take_all(self, wire: Wire) -> None:
        """Returns at the command to close. Raises EOFError where the app has gone."""
        while True:
            kind, number, content = wire.receive()
            if kind == "close":
                return
            if kind == "cancel":
                if (started := self._running.get(number)) is not None:
                    started.cancel()
            elif kind == "pulse":
                self._put(("answer", number, self._longest_wait()))
            elif kind == "begin":  # it may take long: a prompt is tokenised, a schema compiled
                self._beginning[number] = time.monotonic()
                Thread(target=self._begin, args=(number, content), name="selar-local request", daemon=True).start()
            elif kind in _QUERIES:
                with self._answering(number):
                    self._put(("answer", number, getattr(self._engine, kind)(**_unpacked(content))))

    def _longest_wait(self) -> float:
        """Seconds that the step, or the oldest generation that has not begun, has taken so far."""
        now = time.monotonic()
        return max(self._engine.step_seconds(), now - min(self._beginning.copy().values(), default=now))

    def _begin(self, number: int, content: bytes) -> None:
        with self._answering(number):
            self._engine.begin(partial(self._send, number), **_unpacked(content))
        del self._beginning[number]

    @contextmanager
    def _answering(self, number: int) -> Iterator[None]:
        """An error is the answer to the command."""
        try:
            yield
        except Exception as error:
            if self._engine.closed:
                self._leave()
            self._put(("error", number, _portable(error)))

    def _send(self, number: int, message: Message) -> None:
        """Send a message of a generation, which is running from its first message to its result."""
        if isinstance(message, Started):
            self._running[number] = message
            self._put(("started", number, (message.seed, message.prompt, message.method, message.notes)))
            return
        if isinstance(message, Result):
            self._running.pop(number, None)
        self._put(("message", number, message))


def _unpacked(content: bytes) -> Any:
    try:
        return pickle.loads(content)
    except Exception as error:
        raise OptionError(
            f"the request cannot be read in the engine's process: {error} (a method must be importable there)"
        ) from error


def _portable(error: Exception) -> SelarError:
    """The error as one that the app's side knows."""
    return error if isinstance(error, SelarError) else SelarError(f"internal error: {error!r}")
