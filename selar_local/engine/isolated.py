"""An engine in a process of its own: native code that aborts ends that process, and not the app."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from selar_local.config import EngineConfig
from selar_local.engine.base_engine import BaseEngine
from selar_local.engine.child_process import ChildProcess
from selar_local.engine.events import Emit, Started
from selar_local.engine.lifetime import close_stopped, end_with
from selar_local.engine.request_options import Messages, Prompt, RenderOptions, RequestOptions
from selar_local.errors import EngineClosed

if TYPE_CHECKING:
    from typing_extensions import Unpack


class IsolatedEngine(BaseEngine):
    """The same as `Engine`, at the price of a process: `EngineCrashed` where llama.cpp dies, then a new one.

    Running generations end with `EngineCrashed` when the process does; the next request starts another and waits while
    it loads. Methods must be importable in the new process, as the methods of this package are.
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

        on_progress: called also when a new process loads, by the thread that starts it with its request.
        """
        close_stopped()
        self.config = config or EngineConfig()
        self._path = Path(path)
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._closed = False
        self._end_of_last: weakref.finalize[..., IsolatedEngine] | None = None
        self._child = self._new_child(check_again)
        self.info = self._child.open(on_progress)

    def _new_child(self, check_again: bool) -> ChildProcess:
        child = ChildProcess(self._path, self.config, check_again)
        if self._end_of_last is not None:
            self._end_of_last.detach()
        self._end_of_last = end_with(self, child)
        return child

    @property
    def process_id(self) -> int:
        """The id of the process that runs llama.cpp."""
        return self._child.process.pid

    def begin(
        self, emit: Emit, prompt: Prompt | None = None, *, events: bool = True, **request: Unpack[RequestOptions]
    ) -> Started:
        return self._living().begin(emit, prompt=prompt, events=events, **request)

    def render(self, messages: Messages, **options: Unpack[RenderOptions]) -> str:
        return cast(str, self._living().ask("render", messages=messages, **options))

    def tokenize(self, text: str) -> tuple[int, ...]:
        return cast("tuple[int, ...]", self._living().ask("tokenize", text=text))

    def token_bytes(self, token: int) -> bytes:
        return cast(bytes, self._living().ask("token_bytes", token=token))

    def is_end(self, token: int) -> bool:
        return cast(bool, self._living().ask("is_end", token=token))

    def alive(self) -> bool:
        return self._child.alive()

    @property
    def closed(self) -> bool:
        """Whether it was closed. A process that has died is replaced by the next request."""
        return self._closed

    def close(self) -> None:
        """Stop what runs, end the process, also one that loads. Idempotent; callable from any thread."""
        self._closed = True  # before the child is looked at: one that is started from now on is closed by who does it
        self._child.close()

    def _living(self) -> ChildProcess:
        """The process; a new one where the last has died. The others wait while one loads."""
        self._child.require_own_process()
        with self._lock:
            if self._closed:
                raise EngineClosed("the engine is closed")
            if not self._child.alive():
                self._child.close()
                self._child = self._new_child(check_again=False)
                if self._closed:  # while it was started
                    self._child.close()
                self._child.open(self._on_progress)
            return self._child
