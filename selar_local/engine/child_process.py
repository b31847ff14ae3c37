"""The app's side of the process that runs llama.cpp: what it is asked, and what it says."""

from __future__ import annotations

import _thread
import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from selar_local.config import EngineConfig
from selar_local.engine.events import Result
from selar_local.engine.lifetime import require_own_process
from selar_local.engine.messages import Emit, Source
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.remote_sequence import AskedRequest, RemoteSequence
from selar_local.engine.wire import Wire
from selar_local.errors import EngineClosed, EngineCrashed, OptionError, SelarError

__all__ = ["CHILD_ARGUMENT", "ChildProcess"]

_PATIENCE = 10.0  # seconds in which a process that is asked to end does: one decode of a chunk at most
#: What a frozen app is started with to be the child: see `selar_local.run_child_if_asked`.
CHILD_ARGUMENT = "--selar-local-child"

logging.getLogger("selar_local").addHandler(logging.NullHandler())  # nothing is printed unless the app wants it


class ChildProcess:
    """One process, and the thread here that reads what it says. closed: whether it was asked to end."""

    def __init__(self, path: Path, config: EngineConfig, check_again: bool) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, SimpleQueue[Any]] = {}
        self._running: dict[int, RemoteSequence] = {}
        self._gone = threading.Event()
        self._owner = os.getpid()
        self.closed = False
        (child_in, to_child), (from_child, child_out) = os.pipe(), os.pipe()
        try:
            # A session of its own: Ctrl-C on the terminal is for the app, also while this process still starts.
            self.process = subprocess.Popen(
                _command(),
                stdin=child_in,
                stdout=child_out,
                env=_environment(),
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
            )
        finally:
            os.close(child_in)
            os.close(child_out)
        self._wire = Wire(os.fdopen(from_child, "rb"), os.fdopen(to_child, "wb"))
        self._opening: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._read, name="selar-local reader", daemon=True).start()
        self._ready = False
        self._first = (os.fspath(path), config, check_again)

    def open(self, on_progress: Callable[[float], None] | None) -> ModelInfo:
        """Have it load the model. Raises what went wrong there; it has ended then."""
        try:
            self._send(self._first)
            info = self._await_opening(on_progress)
            self._ready = True
            return info
        except BaseException:
            self.close()
            raise

    def _await_opening(self, on_progress: Callable[[float], None] | None) -> ModelInfo:
        while True:
            kind, _, content = self._opening.get()
            if kind == "failed":
                raise content
            if kind == "ready":
                info: ModelInfo = content
                return info
            if on_progress is not None:
                on_progress(content)

    def alive(self) -> bool:
        """Whether it runs and is heard: not in a fork of the app."""
        return not self._gone.is_set() and os.getpid() == self._owner

    def ask(self, kind: str, content: Any) -> Any:
        """An answer. Raises what the other side raised, or EngineCrashed."""
        number = next(self._numbers)
        return self._ask(number, kind, content)

    def require_own_process(self) -> None:
        """Raises EngineClosed in a fork of the app."""
        require_own_process(self._owner)

    def start(self, arguments: dict[str, Any], events: bool, emit: Emit) -> Source:
        """A generation that has been accepted there."""
        number = next(self._numbers)
        remote = RemoteSequence(emit, lambda: self._send(("cancel", number, None), may_fail=True))
        with self._lock:
            self._running[number] = remote
        try:
            self._ask(number, "stream", (arguments, events))
        except BaseException:  # Ctrl-C too: it may have been accepted there all the same
            with self._lock:
                self._running.pop(number, None)
            self._send(("cancel", number, None), may_fail=True)
            raise
        return remote

    def _ask(self, number: int, kind: str, content: Any) -> Any:
        answers: SimpleQueue[Any] = SimpleQueue()
        with self._lock:
            if self._gone.is_set():
                raise self._crash()
            self._answers[number] = answers
        try:
            self._send((kind, number, _packed(content)))
            verdict, answer = answers.get()
        finally:
            with self._lock:
                self._answers.pop(number, None)
        if verdict == "refused":
            try:
                raise answer
            finally:
                del answer  # else this frame and the error would keep each other, and the caller's engine with them
        return answer

    def _send(self, frame: Any, may_fail: bool = False) -> None:
        if os.getpid() != self._owner:  # a fork of the app has the pipe, too; but it is not the fork's
            return
        try:
            self._wire.send(frame)
        except (OSError, ValueError) as error:
            if not may_fail:
                raise self._crash() from error

    def _crash(self) -> SelarError:
        if self.closed:
            return EngineClosed("the engine was closed")
        code = self.process.poll()
        how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
        return EngineCrashed(f"the process that runs llama.cpp has died{how}; the next request starts another")

    def _read(self) -> None:
        try:
            while True:
                self._hear_all(self._wire.receive())
        except (EOFError, OSError, ValueError):
            pass
        except Exception:
            logging.getLogger(__name__).exception("what the engine's process says cannot be read")
            self.process.kill()
        finally:
            self._end()

    def _hear_all(self, messages: list[tuple[str, int, Any]]) -> None:
        # A function of its own: the thread that waits for the next ones must not hold an error that somebody caught.
        for kind, number, content in messages:
            self._hear(kind, number, content)

    def _hear(self, kind: str, number: int, content: Any) -> None:
        if kind == "message":
            with self._lock:
                remote = self._running.get(number)
                if isinstance(content, Result):
                    self._running.pop(number, None)
            if remote is not None:
                remote.take(content)
        elif kind == "started":
            with self._lock:
                remote = self._running.get(number)
            if remote is not None:  # else nobody waits for it any more
                seed, *asked = content
                remote.begin(seed, AskedRequest(*asked))
        elif kind in ("answer", "refused"):
            with self._lock:
                answers = self._answers.get(number)
            if answers is not None:
                answers.put((kind, content))
        elif kind == "log":
            name, level, text = content
            logging.getLogger(name).log(level, "%s", text)
        else:
            self._opening.put((kind, number, content))

    def _end(self) -> None:
        """The process is gone: everybody who waits for it is told."""
        self.process.wait()
        error = self._crash()
        with self._lock:
            self._gone.set()
            remotes, self._running = list(self._running.values()), {}
            waiting = list(self._answers.values())
        for remote in remotes:
            remote.finish("error", error)
        for answers in waiting:
            answers.put(("refused", error))
        self._opening.put(("failed", 0, error))

    def stop(self) -> None:
        """Begin to end, and return at once, see `Closable`."""
        if not self._gone.is_set() and os.getpid() == self._owner:
            self.closed = True
            _thread.start_new_thread(self.close, ())  # one of `threading` would wait for its start, and for a lock

    def close(self) -> None:
        """End the process: it is asked to, and killed where it does not listen, or still loads."""
        self.closed = True
        if os.getpid() != self._owner:
            return
        if self._ready:
            self._send(("close", 0, None), may_fail=True)
        else:
            self.process.kill()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._gone.wait(_PATIENCE)
        self._wire.close()


def _packed(content: Any) -> bytes:
    """The content apart from its frame: where it cannot be read there, this request alone fails."""
    try:
        return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever an object does when it is pickled
        raise OptionError(f"the request cannot be sent to the engine's process: {error}") from error


def _command() -> list[str]:
    """How this program starts the child. In a frozen app the app itself is started, with a word it must know."""
    if getattr(sys, "frozen", False):
        return [sys.executable, CHILD_ARGUMENT]
    return [sys.executable, "-m", "selar_local.engine.child"]


def _environment() -> dict[str, str]:
    """This process's, with its own module path: the child must find what the app found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
