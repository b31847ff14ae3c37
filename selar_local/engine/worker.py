"""The worker: the one thread that owns llama.cpp, and the opened model as all threads may use it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from selar_local.config import EngineConfig
from selar_local.engine.events import Emit, Started
from selar_local.engine.lifetime import require_own_process
from selar_local.engine.model_info import ModelInfo, describe
from selar_local.engine.prompts import Prompts
from selar_local.engine.request import Request
from selar_local.engine.scheduler import Scheduler
from selar_local.engine.sequence import Sequence
from selar_local.errors import EngineBusy, EngineClosed
from selar_local.llama.model import LlamaModel
from selar_local.llama.runtime import LlamaRuntime

logger = logging.getLogger("selar_local.engine")


class Worker:
    """Opens a model in a thread of its own and decodes there. It does not know its engine, which may be dropped."""

    runtime: LlamaRuntime  # these four from `open` on
    info: ModelInfo
    prompts: Prompts
    scheduler: Scheduler

    def __init__(self, path: Path, config: EngineConfig, *, check_again: bool = False) -> None:
        self._step_begun: float | None = None
        self.unfinished = 0  # sequences that run or wait
        self.closed = False  # stopped, or failed
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()  # None wakes the worker up
        self._config = config
        self._process = os.getpid()
        self._ended = threading.Event()  # for Python 3.11 a thread has ended once Ctrl-C interrupts `Thread.join`
        self._count_lock = threading.Lock()
        self._model_users = 0
        self._model_unused = threading.Condition()
        self._opening: SimpleQueue[float | BaseException | None] = SimpleQueue()
        # The model is opened by the thread that will decode: OpenMP keeps a pool of threads for every thread
        # that computes, and spins far less (two or three times slower steps) once there are more than cores.
        self._thread = threading.Thread(
            target=self._work, args=(path, check_again), name=f"selar-local {path}", daemon=True
        )

    def open(self, on_progress: Callable[[float], None] | None) -> None:
        """Begin, and wait until the model is open. Ctrl-C, or an error of `on_progress`, gives the load up."""
        try:
            self._thread.start()
            while (share := self._next_progress()) is not None:
                if on_progress is not None:
                    on_progress(share)
        except BaseException:
            self.close()  # the load ends at its next report; it must not outlive the interpreter
            raise

    def _next_progress(self) -> float | None:
        """The share that is loaded; None once the model is open."""
        while True:
            try:
                news = self._opening.get(timeout=0.5)
            except Empty:
                if self.alive() or not self._opening.empty():
                    continue
                raise EngineClosed("the thread that opens the model ended unexpectedly") from None
            if isinstance(news, BaseException):
                raise news
            return news

    # -- any thread ---------------------------------------------------------------------------

    @contextmanager
    def model(self) -> Iterator[LlamaModel]:
        """The open model, which stays open meanwhile; several threads may have it. Raises EngineClosed."""
        with self._model_unused:
            self._require_open()
            self._model_users += 1
        try:
            yield self.runtime.model
        finally:
            with self._model_unused:
                self._model_users -= 1
                self._model_unused.notify_all()

    def submit(self, request: Request, emit: Emit) -> Started:
        """Have the request decoded. `emit` gets `Started` before this returns, then the other messages.

        Raises EngineBusy, EngineClosed, and OptionError for options that do not fit the model.
        """
        with self.model() as model:
            sequence = Sequence(request, model, partial(self._count, -1), emit)
            fail = partial(sequence.finish, "error")
            started = Started(
                sequence.seed, request.prompt, request.method, request.notes, sequence.cancelled.set, fail
            )
            self._count(1)
            emit(started)
            self._inbox.put(sequence)
        return started

    def alive(self) -> bool:
        """Whether the thread runs."""
        started = self._thread.ident is not None
        return started and not self._ended.is_set() and os.getpid() == self._process

    def step_seconds(self) -> float:
        """How long the present step has taken so far; 0 while there is none."""
        begun = self._step_begun
        return 0.0 if begun is None else time.monotonic() - begun

    def stop(self) -> None:
        """Begin to end: running sequences get EngineClosed, the model is freed. Returns at once, see `Closable`."""
        self.closed = True
        self._inbox.put(None)

    def close(self) -> None:
        """`stop`, and wait for the end. Idempotent; callable from any thread."""
        self.stop()
        if self.alive() and threading.current_thread() is not self._thread:
            self._ended.wait()

    def _count(self, change: int) -> None:
        with self._count_lock:
            if change > 0 and self.unfinished >= self._config.parallel + self._config.queue_size:
                raise EngineBusy(f"the engine is busy: {self.unfinished} requests run or wait already")
            self.unfinished += change

    def _require_open(self) -> None:
        require_own_process(self._process)
        if self.closed:
            raise EngineClosed("the engine is closed")

    # -- the worker's own thread --------------------------------------------------------------

    def _work(self, path: Path, check_again: bool) -> None:
        try:
            if self._opened(path, check_again):
                self._decode()
        finally:
            self._ended.set()

    def _opened(self, path: Path, check_again: bool) -> bool:
        try:
            self._open_model(path, check_again)
        except BaseException as error:
            if hasattr(self, "runtime"):
                self.runtime.close()
            self._opening.put(error)
            return False
        self._opening.put(None)
        return True

    def _decode(self) -> None:
        try:
            while not self.closed:
                self._receive()
                self._step_begun = time.monotonic()
                self.scheduler.step()
                self._step_begun = None
        except Exception as error:
            logger.exception("the engine's worker failed")
            self.closed = True
            self.scheduler.abandon(error)
        finally:
            self._shut_down()

    def _open_model(self, path: Path, check_again: bool) -> None:
        def report(share: float) -> None:
            if self.closed:
                raise EngineClosed("the engine was closed while the model was loading")
            self._opening.put(float(share))

        config = self._config
        self.runtime = LlamaRuntime(path, config, report, check_again)
        self.info = describe(self.runtime, config)
        self.prompts = Prompts(self.runtime.model, self.info, config.chat_template)
        self.scheduler = Scheduler(
            self.runtime,
            config.parallel,
            lambda: self.closed,
            prompt_cache=config.prompt_cache,
            reuse_answers=config.reuse_answers,
            state_bytes=config.cache_ram << 20,
        )

    def _receive(self) -> None:
        """Take the sequences that callers sent; sleep while there is nothing to do."""
        while self.scheduler.idle or not self._inbox.empty():
            sequence = self._inbox.get()
            if sequence is None:
                return
            self.scheduler.waiting.append(sequence)

    def _shut_down(self) -> None:
        with self._model_unused:
            self.closed = True  # whatever ended the worker: the model is gone from here on
            self._model_unused.wait_for(lambda: not self._model_users)
            while not self._inbox.empty():
                sequence = self._inbox.get()
                if sequence is not None:
                    self.scheduler.waiting.append(sequence)
            self.scheduler.abandon(EngineClosed("the engine was closed"))
            self.runtime.close()
