"""The engine: one opened model, one worker thread that owns llama.cpp, any number of callers."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from selar_local.chat import ChatTemplate
from selar_local.config import EngineConfig, GenerationConfig, require
from selar_local.engine.events import Result
from selar_local.engine.loop import DecodeLoop
from selar_local.engine.model_info import ModelInfo, describe
from selar_local.engine.request import Constraint, Request
from selar_local.engine.request_maker import Messages, RequestMaker, Tools
from selar_local.engine.sequence import Message, Sequence
from selar_local.engine.stream import Stream
from selar_local.errors import EngineBusy, EngineClosed
from selar_local.llama.grammar import Grammar, schema_grammar
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import Method
from selar_local.thinking import TAGS, TOOL_CALL_TAGS

__all__ = ["Engine", "ModelInfo"]

logger = logging.getLogger("selar_local.engine")

_open_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A model ready to generate. Thread-safe. Open with `selar_local.load`, close with `close` or ``with``."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: EngineConfig | None = None,
        *,
        on_progress: Callable[[float], None] | None = None,
        check_again: bool = False,
    ) -> None:
        """Open the GGUF file at `path`; `on_progress` gets the loaded share, 0 to 1, in this thread.

        check_again: measure the injection check even where its result is cached.

        Raises ModelNotFound, ModelFileError, UnsupportedModel.
        """
        self.config = config or EngineConfig()
        self._vocabulary_lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._unfinished = 0
        self._closed = threading.Event()
        self._inbox: SimpleQueue[Sequence | Callable[[], None] | None] = SimpleQueue()
        opening: SimpleQueue[float | LlamaRuntime | BaseException] = SimpleQueue()
        # The model is opened by the thread that will decode: OpenMP keeps a pool of threads for every thread
        # that computes, and spins far less (two or three times slower steps) once there are more than cores.
        self._worker = threading.Thread(
            target=self._work, args=(Path(path), check_again, opening), name=f"selar-local {path}", daemon=True
        )
        self._worker.start()
        self._runtime = self._await_opening(opening, on_progress)
        self.info = describe(self._runtime)
        model = self._runtime.model
        self._chat_template = model.chat_template()
        self._special_texts = {"bos_token": model.special_text("bos"), "eos_token": model.special_text("eos")}
        self._requests = RequestMaker(
            self.info, self._chat_template is not None, self.render, self.tokenize, self._constraint
        )
        _open_engines.add(self)

    def _await_opening(
        self, opening: SimpleQueue[float | LlamaRuntime | BaseException], on_progress: Callable[[float], None] | None
    ) -> LlamaRuntime:
        """Wait for the worker to open the model. Ctrl-C, or an error of `on_progress`, gives the load up."""
        try:
            while True:
                try:
                    news = opening.get(timeout=0.5)
                except Empty:
                    if self._worker.is_alive() or not opening.empty():
                        continue
                    raise EngineClosed("the thread that opens the model ended unforeseen") from None
                if isinstance(news, BaseException):
                    raise news
                if not isinstance(news, float):
                    return news
                if on_progress is not None:
                    on_progress(news)
        except BaseException:
            self._closed.set()
            self._inbox.put(None)
            self._worker.join()  # the load ends at its next report; it must not outlive the interpreter
            raise

    @cached_property
    def _template(self) -> ChatTemplate:
        """The model's chat template, ChatML where it has none. Parsed when first used: raw prompts need none."""
        source = self._chat_template
        return ChatTemplate.chatml() if source is None else ChatTemplate(source, **self._special_texts)

    # -- the caller's side --------------------------------------------------------------------

    def stream(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        system: str | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Tools | None = None,
        method: Method | str | None = None,
        on_prefill: Callable[[int, int], None] | None = None,
        events: bool = True,
        **options: Any,
    ) -> Stream:
        """Generate; returns an iterator of `TokenEvent`s at once, while the worker computes.

        Give `prompt` (one user turn) or `messages` (``[{"role": .., "content": ..}]``). They go through the
        model's chat template, unless `raw`: then `prompt` is continued as it is, special tokens in it parsed.
        thinking, tools: passed to templates that know them. method: an instance such as ``Selar(tau=0.4)`` or a name.
        on_prefill: called with (done, total) prompt tokens, in the thread that iterates.
        events: False gives none, for those who want the result alone and may cancel meanwhile.
        options: the fields of `SamplingConfig` and `GenerationConfig` (temperature, top_k, top_p, min_p,
        greedy, seed, max_tokens, stop, grammar, json_schema, logprobs).

        Raises OptionError, NotCalibrated, PromptTooLong, TemplateError, EngineBusy, EngineClosed here; DecodeError
        from the iteration.
        """
        request = self._requests.make(
            prompt, messages=messages, system=system, raw=raw, thinking=thinking, tools=tools, method=method, **options
        )
        return self._submit(replace(request, events=events), on_prefill)

    def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        system: str | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Tools | None = None,
        method: Method | str | None = None,
        on_prefill: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Result:
        """Generate to the end and return the `Result`. Same arguments and errors as `stream`, without its events."""
        with self.stream(
            prompt, messages=messages, system=system, raw=raw, thinking=thinking, tools=tools, method=method,
            on_prefill=on_prefill, events=False, **options,
        ) as stream:  # fmt: skip
            for _ in stream:
                pass
        return stream.result

    def render(
        self,
        messages: Messages,
        *,
        thinking: bool | None = None,
        tools: Tools | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt text the model's chat template makes of `messages`. Raises TemplateError."""
        return self._template.render(
            messages, thinking=thinking, tools=tools, add_generation_prompt=add_generation_prompt
        )

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt: special tokens parsed, BOS added where the file asks for it."""
        with self._vocabulary_lock:
            self._check_open()
            return tuple(self._runtime.model.prompt_tokens(text))

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text; control tokens add none. May be half a UTF-8 character."""
        with self._vocabulary_lock:
            self._check_open()
            require(0 <= token < self.info.n_vocab, f"token {token} lies outside the vocabulary")
            return self._runtime.model.piece(token)

    def is_end(self, token: int) -> bool:
        """Whether a token ends a generation."""
        with self._vocabulary_lock:
            self._check_open()
            require(0 <= token < self.info.n_vocab, f"token {token} lies outside the vocabulary")
            return self._runtime.model.is_end(token)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its worker has failed."""
        return self._closed.is_set()

    def close(self) -> None:
        """Stop what runs, free the model. Idempotent; callable from any thread."""
        self._closed.set()
        self._inbox.put(None)
        if threading.current_thread() is not self._worker:
            self._worker.join()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, prompt: str | None = None, **arguments: Any) -> Request:
        """What `stream` would decode for these arguments, which are its own, as are the errors."""
        return self._requests.make(prompt, **arguments)

    def sequence(self, request: Request, emit: Callable[[Message], None] | None = None) -> Sequence:
        """A sequence for the request, to be given to `enqueue`; `emit` takes its messages instead of its queue.

        Raises EngineBusy, EngineClosed, and OptionError for options that do not fit the model.
        """
        with self._vocabulary_lock:
            self._check_open()
            self._require_room()
            return Sequence(request, self._runtime.model, self._one_less, emit)

    def enqueue(self, sequence: Sequence) -> None:
        """Have the worker decode it."""
        with self._vocabulary_lock:
            self._check_open()
            with self._count_lock:
                self._unfinished += 1
            self._inbox.put(sequence)

    def _submit(self, request: Request, on_prefill: Callable[[int, int], None] | None) -> Stream:
        sequence = self.sequence(request)
        self.enqueue(sequence)
        return Stream(sequence, self._worker.is_alive, on_prefill)

    def _constraint(self, generation: GenerationConfig) -> Constraint | None:
        """The grammar of a request. Raises OptionError for one that cannot be read."""
        text = generation.grammar if generation.json_schema is None else schema_grammar(generation.json_schema)
        if text is None:
            return None
        with self._vocabulary_lock:
            self._check_open()
            return Grammar(self._runtime.model, text)

    def _require_room(self) -> None:
        """Raises EngineBusy while as many requests run and wait as may."""
        if self._unfinished >= self.config.parallel + self.config.queue_size:
            raise EngineBusy(f"the engine is busy: {self._unfinished} requests run or wait already")

    def _one_less(self) -> None:
        """A sequence has finished; any thread may say so."""
        with self._count_lock:
            self._unfinished -= 1

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise EngineClosed("the engine is closed")

    # -- the worker's side --------------------------------------------------------------------

    def _work(self, path: Path, check_again: bool, opening: SimpleQueue[float | LlamaRuntime | BaseException]) -> None:
        def report(share: float) -> None:
            if self._closed.is_set():
                raise EngineClosed("the engine was closed while the model was loading")
            opening.put(float(share))

        try:
            runtime = LlamaRuntime(path, self.config, report, check_again)
        except BaseException as error:
            opening.put(error)
            return
        runtime.model.show_as_text([tag for pair in (*TAGS, TOOL_CALL_TAGS) for tag in pair])
        config = self.config
        loop = DecodeLoop(
            runtime,
            config.parallel,
            self._closed.is_set,
            prompt_cache=config.prompt_cache,
            reuse_answers=config.reuse_answers,
        )
        opening.put(runtime)
        try:
            while not self._closed.is_set():
                self._receive(loop)
                loop.step()
        except Exception as error:
            logger.exception("the engine's worker failed")
            self._closed.set()
            loop.abandon(error)
        finally:
            self._shut_down(loop, runtime)

    def _receive(self, loop: DecodeLoop) -> None:
        """Take what callers sent; sleep while there is nothing to do. A callable is run here, between steps."""
        while loop.idle or not self._inbox.empty():
            item = self._inbox.get()
            if item is None:
                return
            if isinstance(item, Sequence):
                loop.waiting.append(item)
            else:
                item()

    def _shut_down(self, loop: DecodeLoop, runtime: LlamaRuntime) -> None:
        with self._vocabulary_lock:
            self._closed.set()  # whatever ended the worker: the vocabulary is gone from here on
            closed = EngineClosed("the engine was closed")
            while not self._inbox.empty():
                item = self._inbox.get()
                if isinstance(item, Sequence):
                    item.finish("error", closed)
            loop.abandon(closed)
            runtime.close()


@atexit.register
def _close_all() -> None:
    """Free every model before the interpreter goes: llama.cpp's threads must not outlive it."""
    for engine in list(_open_engines):
        engine.close()
