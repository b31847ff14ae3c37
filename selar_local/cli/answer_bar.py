"""A bar for an evaluation: answers done, speed, time left."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import IO, Any

from selar_local.cli.progress import ticking
from selar_local.evaluation.generation import METER, Meter

_TICK = 0.25
_FORMAT = "{desc} {n_fmt}/{total_fmt} answers |{bar:20}| {elapsed}<{remaining}{postfix}"


class AnswerBar:
    """Follows the meter of the generations on a stream; on none where `hidden`. Leave its ``with`` block to end it."""

    def __init__(self, stream: IO[str], *, hidden: bool, meter: Meter = METER) -> None:
        self._stream, self._hidden, self._meter = stream, hidden, meter
        self._bar: Any = None
        self._open = ExitStack()
        self._base = self._done = self._tokens = 0
        self._started = 0.0

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
        self._open.enter_context(closing(self._bar))
        self._open.enter_context(ticking(self._show, _TICK, first=_TICK))

    def _show(self) -> None:
        seconds = time.monotonic() - self._started
        self._bar.n = min(self._done + self._meter.answers - self._base, self._bar.total)
        self._bar.set_postfix_str(f"{(self._meter.tokens - self._tokens) / seconds:.0f} tokens/s", refresh=False)
        self._bar.refresh()

    def end(self) -> None:
        """Take the bar away."""
        self._open.close()

    def __enter__(self) -> AnswerBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
