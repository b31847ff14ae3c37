"""A bar for an evaluation: answers done, speed, time left."""

from __future__ import annotations

import threading
import time
from typing import IO, Any

from selar_local.evaluation.generation import METER, Meter

__all__ = ["AnswerBar"]

_TICK = 0.25
_FORMAT = "{desc} {n_fmt}/{total_fmt} answers |{bar:20}| {elapsed}<{remaining}{postfix}"


class AnswerBar:
    """Follows the meter of the generations on a stream; on none where `hidden`. Leave its ``with`` block to end it."""

    def __init__(self, stream: IO[str], *, hidden: bool, meter: Meter = METER) -> None:
        self._stream, self._hidden, self._meter = stream, hidden, meter
        self._bar: Any = None
        self._ticker: threading.Thread | None = None
        self._over = threading.Event()
        self._base = 0
        self._done = 0
        self._started = 0.0
        self._tokens = 0

    def begin(self, label: str, done: int, total: int) -> None:
        """A method begins: so many of its answers are there already."""
        self.end()
        if self._hidden:
            return
        from tqdm import tqdm

        self._base, self._done = self._meter.answers, done
        self._started, self._tokens = time.monotonic(), self._meter.tokens
        self._bar = tqdm(
            total=total, initial=done, desc=label, leave=False, file=self._stream, bar_format=_FORMAT, mininterval=0
        )
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, args=(self._over,), name="selar-local bar", daemon=True)
        self._ticker.start()

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(_TICK):
            self._show()

    def _show(self) -> None:
        seconds = time.monotonic() - self._started
        self._bar.n = min(self._done + self._meter.answers - self._base, self._bar.total)
        self._bar.set_postfix_str(f"{(self._meter.tokens - self._tokens) / seconds:.0f} tokens/s", refresh=False)
        self._bar.refresh()

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is None:
            return
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        self._bar.close()
        self._bar = None

    def __enter__(self) -> AnswerBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
