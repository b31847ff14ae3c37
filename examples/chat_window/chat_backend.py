"""What takes time in the chat window, in threads of its own: the load, the answer, the end. It speaks by Qt signals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from PySide6.QtCore import QObject, Signal

import selar_local as sl

__all__ = ["Backend"]

BATCH_SECONDS = 0.03  # a fast model writes more tokens than an event loop should get signals
MAX_TOKENS = 2048


class Backend(QObject):
    """The engine and the threads that wait for it. Its methods return at once."""

    progress = Signal(float)  # 0 to 1: of the load, or of the prompt
    loaded = Signal(str)  # the model's name
    load_failed = Signal(str)
    said = Signal(list)  # the TokenEvents of some 30 ms
    ended = Signal(object, str)  # the Result, None where there is none; an error in one line, or ""

    def __init__(self) -> None:
        super().__init__()
        self.engine: sl.IsolatedEngine | None = None
        self._stream: sl.Stream | None = None
        self._stop = threading.Event()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def load(self, model: str | None, **options: Any) -> None:
        """Open the model in place of the one that is there; then `loaded` or `load_failed`."""
        self._start(self._load, model, options)

    def ask(self, messages: list[dict[str, str]], method: sl.Method) -> None:
        """Answer; `said` as often as there is something new, then `ended`."""
        self._stop.clear()
        self._start(self._answer, messages, method)

    def stop(self) -> None:
        """End the answer that is being written."""
        # In this order: a stream that begins between the two lines finds the flag.
        self._stop.set()
        if self._stream is not None:
            self._stream.cancel()

    def close(self) -> None:
        """End everything. `join` waits for it."""
        self._closing.set()
        self.stop()
        if self.engine is not None:
            self._start(self.engine.close)

    def join(self) -> None:
        """Wait until the threads and the engine's process are gone."""
        while self._threads:
            self._threads.pop().join()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _load(self, model: str | None, options: dict[str, Any]) -> None:
        try:
            if self.engine is not None:
                self.engine.close()  # two models may not fit into the memory
                self.engine = None
            self.engine = sl.load(model, isolated=True, on_progress=self._report_load, **options)
        except Exception as error:
            self.load_failed.emit(one_line(error))
            return
        if self._closing.is_set():  # `close` came too early to find the engine
            self.engine.close()
            return
        self.loaded.emit(self.engine.info.name)

    def _report_load(self, share: float) -> None:
        if self._closing.is_set():
            raise sl.errors.EngineClosed("closed while loading")  # gives the load up
        self.progress.emit(share)

    def _answer(self, messages: list[dict[str, str]], method: sl.Method) -> None:
        problem = ""
        stream: sl.Stream | None = None
        try:
            assert self.engine is not None
            # Where the engine's process has died, this waits until the next one has loaded the model.
            stream = self._stream = self.engine.stream(
                messages=messages, method=method, max_tokens=MAX_TOKENS,
                on_prefill=lambda done, total: self.progress.emit(done / total),
            )  # fmt: skip
            if self._stop.is_set():
                stream.cancel()
            for batch in batches(stream):
                self.said.emit(batch)
        except Exception as error:
            problem = one_line(error)
        result = None
        if stream is not None:
            stream.close()
            result = stream.result
        self._stream = None
        if not self._closing.is_set():
            self.ended.emit(result, problem)


def batches(stream: sl.Stream) -> Iterator[list[sl.TokenEvent]]:
    """The events in lists: each a single one where the model is slow, else those of `BATCH_SECONDS`."""
    batch: list[sl.TokenEvent] = []
    sent = 0.0
    try:
        for event in stream:
            batch.append(event)
            if time.monotonic() - sent >= BATCH_SECONDS:
                yield batch
                batch, sent = [], time.monotonic()
    except sl.SelarError:
        yield batch
        raise
    yield batch


def one_line(error: Exception) -> str:
    """An error for the window. Those of selar-local are meant for people's eyes as they are."""
    return str(error) if isinstance(error, sl.SelarError) else f"internal error: {error!r}"
