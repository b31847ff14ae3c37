"""An engine in a process of its own: native code that aborts ends that process, and not the app."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from selar_local.config import EngineConfig
from selar_local.engine.child_process import ChildProcess
from selar_local.engine.events import Result
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.stream import Stream
from selar_local.errors import EngineClosed

__all__ = ["IsolatedEngine"]


_open_engines: weakref.WeakSet[IsolatedEngine] = weakref.WeakSet()


class IsolatedEngine:
    """The same as `Engine`, at the price of a process: `EngineCrashed` where llama.cpp dies, then a new one.

    Thread-safe. Running generations end with `EngineCrashed` when the process does; the next request starts another
    and waits while it loads. Methods must be importable in the new process: those of this package are.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: EngineConfig | None = None,
        *,
        on_progress: Callable[[float], None] | None = None,
        check_again: bool = False,
    ) -> None:
        """As `Engine`: raises ModelNotFound, ModelFileError, UnsupportedModel; EngineCrashed where loading kills it.

        on_progress: also told when a new process loads, by the thread whose request starts it.
        """
        self.config = config or EngineConfig()
        self._path = Path(path)
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._closed = False
        self._child = ChildProcess(self._path, self.config, check_again)
        self.info: ModelInfo = self._child.open(on_progress)
        _open_engines.add(self)

    @property
    def process_id(self) -> int:
        """That of the process that runs llama.cpp."""
        return self._child.process.pid

    def stream(
        self,
        prompt: str | None = None,
        *,
        on_prefill: Callable[[int, int], None] | None = None,
        events: bool = True,
        **arguments: Any,
    ) -> Stream:
        """As `Engine.stream`; also raises EngineCrashed, here or from the iteration."""
        child = self._living()
        return Stream(child.start({"prompt": prompt, **arguments}, events), child.alive, on_prefill)

    def generate(
        self, prompt: str | None = None, *, on_prefill: Callable[[int, int], None] | None = None, **arguments: Any
    ) -> Result:
        """As `Engine.generate`; also raises EngineCrashed."""
        with self.stream(prompt, on_prefill=on_prefill, events=False, **arguments) as stream:
            for _ in stream:
                pass
        return stream.result

    def render(self, messages: Any, **arguments: Any) -> str:
        """As `Engine.render`."""
        text: str = self._living().ask("render", {"messages": messages, **arguments})
        return text

    def tokenize(self, text: str) -> tuple[int, ...]:
        """As `Engine.tokenize`."""
        tokens: tuple[int, ...] = self._living().ask("tokenize", text)
        return tokens

    def token_bytes(self, token: int) -> bytes:
        """As `Engine.token_bytes`."""
        data: bytes = self._living().ask("token_bytes", token)
        return data

    def is_end(self, token: int) -> bool:
        """As `Engine.is_end`."""
        return bool(self._living().ask("is_end", token))

    @property
    def closed(self) -> bool:
        """Whether it was closed. A process that has died is replaced by the next request."""
        return self._closed

    def close(self) -> None:
        """Stop what runs, end the process, also one that loads. Idempotent; callable from any thread."""
        self._closed = True  # before the child is looked at: one that is started from now on is closed by who does it
        self._child.close()

    def __enter__(self) -> IsolatedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _living(self) -> ChildProcess:
        """The process; a new one where the last has died. The others wait while one loads."""
        with self._lock:
            if self._closed:
                raise EngineClosed("the engine is closed")
            if not self._child.alive():
                self._child.close()
                self._child = ChildProcess(self._path, self.config, False)
                if self._closed:  # while it was started
                    self._child.close()
                self._child.open(self._on_progress)
            return self._child


@atexit.register
def _close_all() -> None:
    for engine in list(_open_engines):
        engine.close()
