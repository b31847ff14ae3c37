"""An engine in a process of its own: native code that aborts ends that process, and not the app."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from selar_local.config import EngineConfig
from selar_local.engine.base_engine import BaseEngine
from selar_local.engine.child_process import ChildProcess
from selar_local.engine.lifetime import close_stopped, end_with
from selar_local.engine.messages import Emit, Source
from selar_local.engine.request_options import Messages, RequestOptions, Tools
from selar_local.errors import EngineClosed

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["IsolatedEngine"]


class IsolatedEngine(BaseEngine):
    """The same as `Engine`, at the price of a process: `EngineCrashed` where llama.cpp dies, then a new one.

    Running generations end with `EngineCrashed` when the process does; the next request starts another and waits while
    it loads. Methods must be importable in the new process: those of this package are.
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
        self, emit: Emit, prompt: str | None = None, *, events: bool = True, **request: Unpack[RequestOptions]
    ) -> Source:
        return self._living().start({"prompt": prompt, **request}, events, emit)

    def render(
        self,
        messages: Messages,
        *,
        thinking: bool | None = None,
        tools: Tools | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        more = {"thinking": thinking, "tools": tools, "add_generation_prompt": add_generation_prompt}
        text: str = self._living().ask("render", {"messages": messages, **more})
        return text

    def tokenize(self, text: str) -> tuple[int, ...]:
        tokens: tuple[int, ...] = self._living().ask("tokenize", text)
        return tokens

    def token_bytes(self, token: int) -> bytes:
        data: bytes = self._living().ask("token_bytes", token)
        return data

    def is_end(self, token: int) -> bool:
        return bool(self._living().ask("is_end", token))

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
