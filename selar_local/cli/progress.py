"""A bar for what takes a while, whose clock ticks also while nothing is reported."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import IO

_DELAY = 0.5  # seconds after which a bar is worth it
_TICK = 0.2
_WITHOUT_SHARE = "{desc} {elapsed}"
_WITH_SHARE = "{desc} {percentage:3.0f} %|{bar:20}| {elapsed}"


@contextmanager
def bars_cleared(stream: IO[str]) -> Iterator[None]:
    """Take the bars off the stream while something else is written there; they are drawn again below it."""
    tqdm = sys.modules.get("tqdm")  # without it there is no bar
    if tqdm is None:
        yield
        return
    with tqdm.tqdm.external_write_mode(file=stream):
        yield


@contextmanager
def progress(stream: IO[str], label: str, *, hidden: bool) -> Iterator[Callable[[float], None]]:
    """Yields what takes the done share, 0 to 1. The bar appears after half a second and goes in the end."""
    if hidden:
        yield lambda share: None
        return
    from tqdm import tqdm

    bar = tqdm(total=1.0, desc=label, delay=_DELAY, leave=False, file=stream, bar_format=_WITHOUT_SHARE)

    def report(share: float) -> None:
        # Something follows a share of 1, such as a first check of the model: the clock alone says that it goes on.
        bar.bar_format, bar.n = _WITH_SHARE if share < 1 else _WITHOUT_SHARE, share

    def show() -> None:
        bar.delay = 0  # from now on it is there, and `close` takes it away
        bar.refresh()

    # One long step (a big model's first chunk) reports nothing meanwhile: it must not look like a hang.
    with closing(bar), ticking(show, _TICK, first=_DELAY):
        yield report


@contextmanager
def ticking(show: Callable[[], object], every: float, *, first: float) -> Iterator[None]:
    """Calls `show` in a thread, meanwhile. every, first: the seconds between two calls, and before the first."""
    over = threading.Event()

    def tick() -> None:
        wait = first
        while not over.wait(wait):
            show()
            wait = every

    ticker = threading.Thread(target=tick, name="selar-local progress", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
