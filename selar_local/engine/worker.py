"""The worker: the one thread that owns llama.cpp, and the opened model as all threads may use it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from selar_local.config import EngineConfig, GenerationConfig
from selar_local.engine.lifetime import require_own_process
from selar_local.engine.loop import DecodeLoop
from selar_local.engine.messages import Emit
from selar_local.engine.request import Constraint, Request
from selar_local.engine.sequence import Sequence
from selar_local.errors import EngineBusy, EngineClosed
from selar_local.llama.grammar import Grammar, schema_grammar
from selar_local.llama.model import LlamaModel
from selar_local.llama.runtime import LlamaRuntime
from selar_local.thinking import TAGS, TOOL_CALL_TAGS

__all__ = ["Worker"]

logger = logging.getLogger("selar_local.engine")


class Worker:
    """Opens a model in a thread of its own and decodes there. It does not know its engine, which may be dropped.

    inbox: sequences to decode, and callables to run between two steps. None wakes the worker up. unfinished:
    sequences that run or wait. closed: whether it was stopped, or has failed.
    """

    def __init__(self, path: Path, config: EngineConfig, *, check_again: bool = False) -> None:
        self.inbox: SimpleQueue[Sequence | Callable[[], None] | None] = SimpleQueue()
        self.unfinished = 0
        self.closed = False
        self._config = config
        self._process = os.getpid()
        self._model_lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._opening: SimpleQueue[float | LlamaRuntime | BaseException] = SimpleQueue()
        # The model is opened by the thread that will decode: OpenMP keeps a pool of threads for every thread
        # that computes, and spins far less (two or three times slower steps) once there are more than cores.
        self._thread = threading.Thread(
            target=self._work, args=(path, check_again), name=f"selar-local {path}", daemon=True
        )

    def open(self, on_progress: Callable[[float], None] | None) -> LlamaRuntime:
        """Begin, and wait until the model is open. Ctrl-C, or an error of `on_progress`, gives the load up."""
        self._thread.start()
        try:
            self.runtime = self._await_opening(on_progress)
            return self.runtime
        except BaseException:
            self.close()  # the load ends at its next report; it must not outlive the interpreter
            raise

    def _await_opening(self, on_progress: Callable[[float], None] | None) -> LlamaRuntime:
        while True:
            try:
                news = self._opening.get(timeout=0.5)
            except Empty:
                if self.alive() or not self._opening.empty():
                    continue
                raise EngineClosed("the thread that opens the model ended unforeseen") from None
            if isinstance(news, BaseException):
                raise news
            if not isinstance(news, float):
                return news
            if on_progress is not None:
                on_progress(news)

    # -- any thread ---------------------------------------------------------------------------

    @contextmanager
    def model(self) -> Iterator[LlamaModel]:
        """The open model, which stays open meanwhile. Raises EngineClosed."""
        self._require_open()
        with self._model_lock:
            self._require_open()
            yield self.runtime.model

    def prompt_tokens(self, text: str) -> list[int]:
        """Token ids of a whole prompt, see `LlamaModel.prompt_tokens`."""
        with self.model() as model:
            return model.prompt_tokens(text)

    def token_of(self, text: str) -> int | None:
        """The single token that spells `text`, see `LlamaModel.token_of`."""
        with self.model() as model:
            return model.token_of(text)

    def constraint(self, generation: GenerationConfig) -> Constraint | None:
        """The grammar of a request. Raises OptionError for one that cannot be read."""
        text = generation.grammar if generation.json_schema is None else schema_grammar(generation.json_schema)
        if text is None:
            return None
        with self.model() as model:
            return Grammar(model, text)

    def sequence(self, request: Request, emit: Emit | None = None) -> Sequence:
        """A sequence for the request, to be given to `enqueue`; `emit` takes its messages instead of its queue.

        Raises EngineBusy, EngineClosed, and OptionError for options that do not fit the model.
        """
        with self.model() as model:
            if self.unfinished >= self._config.parallel + self._config.queue_size:
                raise EngineBusy(f"the engine is busy: {self.unfinished} requests run or wait already")
            return Sequence(request, model, self._one_less, emit)

    def enqueue(self, sequence: Sequence) -> None:
        """Decode the sequence."""
        with self.model():
            with self._count_lock:
                self.unfinished += 1
            self.inbox.put(sequence)

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Begin to end: what runs gets EngineClosed, the model is freed. Returns at once, see `Closable`."""
        self.closed = True
        self.inbox.put(None)

    def close(self) -> None:
        """`stop`, and wait for the end. Idempotent; callable from any thread."""
        self.stop()
        if self.alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _one_less(self) -> None:
        """A sequence has finished; any thread may say so."""
        with self._count_lock:
            self.unfinished -= 1

    def _require_open(self) -> None:
        require_own_process(self._process)
        if self.closed:
            raise EngineClosed("the engine is closed")

    # -- the worker's own thread --------------------------------------------------------------

    def _work(self, path: Path, check_again: bool) -> None:
        def report(share: float) -> None:
            if self.closed:
                raise EngineClosed("the engine was closed while the model was loading")
            self._opening.put(float(share))

        try:
            runtime = LlamaRuntime(path, self._config, report, check_again)
        except BaseException as error:
            self._opening.put(error)
            return
        runtime.model.show_as_text([tag for pair in (*TAGS, TOOL_CALL_TAGS) for tag in pair])
        config = self._config
        loop = DecodeLoop(
            runtime,
            config.parallel,
            lambda: self.closed,
            prompt_cache=config.prompt_cache,
            reuse_answers=config.reuse_answers,
        )
        self._opening.put(runtime)
        try:
            while not self.closed:
                self._receive(loop)
                loop.step()
        except Exception as error:
            logger.exception("the engine's worker failed")
            self.closed = True
            loop.abandon(error)
        finally:
            self._shut_down(loop, runtime)

    def _receive(self, loop: DecodeLoop) -> None:
        """Take what callers sent; sleep while there is nothing to do. A callable is run here, between steps."""
        while loop.idle or not self.inbox.empty():
            item = self.inbox.get()
            if item is None:
                return
            if isinstance(item, Sequence):
                loop.waiting.append(item)
            else:
                item()

    def _shut_down(self, loop: DecodeLoop, runtime: LlamaRuntime) -> None:
        with self._model_lock:
            self.closed = True  # whatever ended the worker: the model is gone from here on
            closed = EngineClosed("the engine was closed")
            while not self.inbox.empty():
                item = self.inbox.get()
                if isinstance(item, Sequence):
                    item.finish("error", closed)
            loop.abandon(closed)
            runtime.close()
