"""The process that runs llama.cpp for an app: one engine, told what to do over its standard input.

Started by `IsolatedEngine` as ``python -m selar_local.engine.child``. It ends when its input does, so it never
outlives the app.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from selar_local.config import EngineConfig
from selar_local.engine.engine import Engine
from selar_local.engine.sequence import Sequence
from selar_local.engine.wire import Wire
from selar_local.errors import OptionError, SelarError

__all__ = ["main"]

_END = object()


class _LogSender(logging.Handler):
    """Log records go to the app's own logging."""

    def __init__(self, put: Callable[[Any], None]) -> None:
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        self._put(("log", 0, (record.name, record.levelno, record.getMessage())))


def main() -> None:
    """Serve the app at the other end of the standard streams until it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: the app decides
    wire = Wire(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    _print_elsewhere()
    outbox: SimpleQueue[Any] = SimpleQueue()
    logging.getLogger("selar_local").addHandler(_LogSender(outbox.put))
    writer = Thread(target=_write, args=(wire, outbox), name="selar-local writer", daemon=True)
    writer.start()
    try:
        path, config, check_again = wire.receive()
        _serve(wire, outbox.put, path, config, check_again)
    except EOFError:
        pass
    finally:
        outbox.put(_END)
        writer.join(5)


def _print_elsewhere() -> None:
    """What native code prints must not get between the frames: it goes to standard error, if there is one."""
    try:
        os.dup2(2, 1)
    except OSError:  # an app without a console
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)


def _write(wire: Wire, outbox: SimpleQueue[Any]) -> None:
    """Send what there is in one frame, so that many streams cost no more writes than one."""
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


def _serve(wire: Wire, put: Callable[[Any], None], path: str, config: EngineConfig, check_again: bool) -> None:
    try:
        engine = Engine(path, config, on_progress=lambda share: put(("progress", 0, share)), check_again=check_again)
    except Exception as error:
        put(("failed", 0, _portable(error)))
        return
    running: dict[int, Sequence] = {}
    with engine:
        put(("ready", 0, engine.info))
        while True:
            try:
                kind, number, content = wire.receive()
            except EOFError:
                return
            if kind == "close":
                return
            if kind == "cancel":
                if number in running:
                    running[number].cancelled.set()
                continue
            try:
                put(("answer", number, _answer(engine, running, put, kind, number, _unpacked(content))))
            except Exception as error:
                if engine.closed:  # its worker has failed: another process must take over
                    sys.exit(1)
                put(("refused", number, _portable(error)))


def _answer(
    engine: Engine, running: dict[int, Sequence], put: Callable[[Any], None], kind: str, number: int, content: Any
) -> Any:
    """Do what is asked; a stream's first answer has its seed, prompt, method and notes."""
    if kind == "stream":
        arguments, events = content
        request = replace(engine.request(**arguments), events=events)
        for ended in [key for key, sequence in running.items() if sequence.finished]:
            del running[ended]
        # Held back until the answer is on its way: messages before it would find nobody.
        sequence = running[number] = engine.sequence(request, lambda message: put(("message", number, message)))
        put(("started", number, (sequence.seed, request.prompt, request.method, request.notes)))
        engine.enqueue(sequence)
        return None
    if kind == "render":
        return engine.render(**content)
    if kind in ("tokenize", "token_bytes", "is_end"):
        return getattr(engine, kind)(content)
    raise ValueError(f"unknown command {kind!r}")


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


if __name__ == "__main__":
    main()
