"""The app's side of the process that runs llama.cpp: commands to it, and a thread that reads its frames.

`selar_local.engine.child` describes the frames.
"""

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
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from selar_local.config import EngineConfig
from selar_local.engine.events import Emit, Result, Started
from selar_local.engine.lifetime import require_own_process
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.remote_generation import RemoteGeneration
from selar_local.engine.wire import Wire
from selar_local.errors import EngineClosed, EngineCrashed, OptionError, SelarError

_PATIENCE = 10.0  # seconds that a process has to end when asked: the decode of one chunk takes less
#: A frozen app is started with this argument to be the child: see `selar_local.run_child_if_asked`.
CHILD_ARGUMENT = "--selar-local-child"
#: Modules in the current folder are not ours: with -c and -m Python would find them first.
_CHILD = "import sys; sys.path = [p for p in sys.path if p]; from selar_local.engine.child import main; main()"

logging.getLogger("selar_local").addHandler(logging.NullHandler())  # nothing is printed unless the app wants it


class ChildProcess:
    """One process, and the thread here that reads its frames. closed: whether it was asked to end."""

    def __init__(self, path: Path, config: EngineConfig, check_again: bool) -> None:
        self.closed = False
        self._arguments = (os.fspath(path), config, check_again)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, Future[Any]] = {}
        self._running: dict[int, RemoteGeneration] = {}
        self._progress: SimpleQueue[float | None] = SimpleQueue()  # None ends it
        self._ready = self._hung = False
        self._gone = threading.Event()
        self._owner = os.getpid()
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
        threading.Thread(target=self._read, name="selar-local reader", daemon=True).start()

    def open(self, on_progress: Callable[[float], None] | None) -> ModelInfo:
        """Have it load the model. Raises the error of the load; the process has ended then."""
        opened: Future[Any] | None = None
        path, config, check_again = self._arguments
        try:
            opened = self._command("open", 0, {"path": path, "config": config, "check_again": check_again})
            opened.add_done_callback(lambda _: self._progress.put(None))
            while (share := self._progress.get()) is not None:
                if on_progress is not None:
                    on_progress(share)
            info: ModelInfo = opened.result()
            self._ready = True
            threading.Thread(target=self._watch, args=(config.hang_timeout,), daemon=True).start()
            return info
        except BaseException:
            self.close()
            raise
        finally:
            opened = None  # else this frame and its error would keep each other, and the caller's engine with them

    def alive(self) -> bool:
        """Whether it runs and its frames are read: not in a fork of the app."""
        return not self._gone.is_set() and os.getpid() == self._owner

    def require_own_process(self) -> None:
        """Raises EngineClosed in a fork of the app."""
        require_own_process(self._owner)

    def ask(self, query: str, **arguments: Any) -> Any:
        """The answer of the engine's method `query` there. Raises its errors, and EngineCrashed."""
        return self._command(query, next(self._numbers), arguments).result()

    def begin(self, emit: Emit, **arguments: Any) -> Started:
        """A generation that the engine there has taken. Raises its errors, and EngineCrashed."""
        number = next(self._numbers)
        cancel = partial(self._send, ("cancel", number, None), may_fail=True)
        self._running[number] = RemoteGeneration(emit, cancel)
        try:
            started: Started = self._command("begin", number, arguments).result()
            return started
        except BaseException:  # Ctrl-C too: the engine may have taken it all the same
            self._running.pop(number, None)
            cancel()
            raise

    def _command(self, kind: str, number: int, arguments: dict[str, Any]) -> Future[Any]:
        """Send a command. A caller that keeps the future in a variable deletes it: see `open`."""
        content, answer = _packed(arguments), Future[Any]()
        with self._lock:
            if self._gone.is_set():
                raise self._crash()
            self._answers[number] = answer
        self._send((kind, number, content))
        return answer

    def _send(self, frame: Any, may_fail: bool = False) -> None:
        if os.getpid() != self._owner:  # a fork of the app has the pipe too, but it is not the fork's
            return
        try:
            self._wire.send(frame)
        except (OSError, ValueError) as error:
            if not may_fail:
                self._gone.wait(_PATIENCE)  # the next request finds it gone
                raise self._crash() from error

    def _crash(self) -> SelarError:
        if self.closed:
            return EngineClosed("the engine was closed")
        code = self.process.poll()
        if self._hung:
            return EngineCrashed("llama.cpp did not come back and was ended; the next request starts it anew")
        how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
        workers = self._arguments[1].workers
        why = f", as it does when a worker ({', '.join(workers)}) is lost" if workers else ""
        return EngineCrashed(f"the process that runs llama.cpp has died{how}{why}; the next request starts another")

    def _watch(self, timeout: float) -> None:
        """End the process where it does not come back from a command, or from a step, for so many seconds."""
        while not self._gone.wait(min(5.0, timeout / 4)):
            if not self._running and not self._answers:
                continue
            try:
                seconds: float = self._command("pulse", next(self._numbers), {}).result(timeout)
            except FutureTimeout:  # another class than the builtin in Python 3.10
                seconds = timeout
            except SelarError:
                return
            if seconds >= timeout:
                logging.getLogger(__name__).warning("llama.cpp has not come back for %.0f seconds", seconds)
                self._hung = True
                self.process.kill()
                return

    def _read(self) -> None:
        try:
            while True:
                self._take_all(self._wire.receive())
        except (EOFError, OSError, ValueError):
            pass
        except Exception:
            logging.getLogger(__name__).exception("a frame of the engine's process cannot be read")
            self.process.kill()
        finally:
            self._end()

    def _take_all(self, frames: list[tuple[str, int, Any]]) -> None:
        # A function of its own: while the thread waits for the next frames it must keep no error that somebody caught.
        for kind, number, content in frames:
            self._take(kind, number, content)

    def _take(self, kind: str, number: int, content: Any) -> None:
        # Nobody waits for an answer or a generation that is not found: Ctrl-C came first.
        answer, generation = self._answers.get(number), self._running.get(number)
        if kind in ("answer", "error", "started"):
            self._answers.pop(number, None)
        if kind == "answer" and answer is not None:
            answer.set_result(content)
        elif kind == "error" and answer is not None:
            answer.set_exception(content)
        elif kind == "started" and answer is not None and generation is not None:
            answer.set_result(generation.start(*content))
        elif kind == "message" and generation is not None:
            if isinstance(content, Result):
                self._running.pop(number, None)
            generation.take(content)
        elif kind == "progress":
            self._progress.put(content)
        elif kind == "log":
            name, level, text = content
            logging.getLogger(name).log(level, "%s", text)

    def _end(self) -> None:
        """The process is gone: all that wait for it get an error."""
        self.process.wait()
        error = self._crash()
        with self._lock:
            self._gone.set()
            running, answers = list(self._running.values()), list(self._answers.values())
            self._running.clear()
            self._answers.clear()
        for generation in running:
            generation.fail(error)
        for answer in answers:
            answer.set_exception(error)

    def stop(self) -> None:
        """Begin to end, and return at once, see `Closable`."""
        if not self._gone.is_set() and os.getpid() == self._owner:
            self.closed = True
            _thread.start_new_thread(self.close, ())  # one of `threading` would wait for its start, and for a lock

    def close(self) -> None:
        """End the process: it is asked to end, and killed where it does not react or still loads."""
        self.closed = self.closed or not self._gone.is_set()  # one that has died was not asked to
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


def _packed(arguments: dict[str, Any]) -> bytes:
    """The arguments apart from their frame: where they cannot be read there, this request alone fails."""
    try:
        return pickle.dumps(arguments, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever an object does when it is pickled
        raise OptionError(f"the request cannot be sent to the engine's process: {error}") from error


def _command() -> list[str]:
    """The words that start the child. In a frozen app they start the app itself, with an argument that it must know."""
    if getattr(sys, "frozen", False):
        return [sys.executable, CHILD_ARGUMENT]
    return [sys.executable, "-c", _CHILD]


def _environment() -> dict[str, str]:
    """This process's, with its own module path: the child must find the modules that the app found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
