"""The engine: one opened model, one worker thread that owns llama.cpp, any number of callers."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from selar_local.chat import ChatTemplate
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig, from_mapping, require
from selar_local.engine.events import Result
from selar_local.engine.loop import DecodeLoop
from selar_local.engine.model_info import ModelInfo, describe
from selar_local.engine.sequence import Request, Sequence
from selar_local.engine.stream import Stream
from selar_local.errors import EngineClosed, OptionError, PromptTooLong
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import DEFAULT_METHOD, Method, method_class
from selar_local.thinking import TAGS

__all__ = ["Engine", "ModelInfo"]

logger = logging.getLogger("selar_local.engine")

Messages = Many[Mapping[str, Any]]
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
        method: Method | str | None = None,
        on_prefill: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Stream:
        """Generate; returns an iterator of `TokenEvent`s at once, while the worker computes.

        Give `prompt` (one user turn) or `messages` (``[{"role": .., "content": ..}]``). They go through the
        model's chat template, unless `raw`: then `prompt` is continued as it is, special tokens in it parsed.
        thinking: passed to templates that know it. method: an instance such as ``Selar(tau=0.4)`` or a name.
        on_prefill: called with (done, total) prompt tokens, in the thread that iterates.
        options: the fields of `SamplingConfig` and `GenerationConfig` (temperature, top_k, top_p, min_p,
        greedy, seed, max_tokens, stop).

        Raises OptionError, PromptTooLong, TemplateError, EngineClosed here; DecodeError from the iteration.
        """
        request = self._request(prompt, messages, system, raw, thinking, method, options)
        return self._submit(request, on_prefill)

    def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        system: str | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        method: Method | str | None = None,
        on_prefill: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Result:
        """Generate to the end and return the `Result`. Same arguments and errors as `stream`, without its events."""
        request = self._request(prompt, messages, system, raw, thinking, method, options)
        with self._submit(replace(request, events=False), on_prefill) as stream:
            for _ in stream:
                pass
        return stream.result

    def render(self, messages: Messages, *, thinking: bool | None = None, add_generation_prompt: bool = True) -> str:
        """The prompt text the model's chat template makes of `messages`. Raises TemplateError."""
        return self._template.render(messages, thinking=thinking, add_generation_prompt=add_generation_prompt)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt: special tokens parsed, BOS added where the file asks for it."""
        with self._vocabulary_lock:
            self._check_open()
            return tuple(self._runtime.model.prompt_tokens(text))

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

    def _request(
        self,
        prompt: str | None,
        messages: Messages | None,
        system: str | None,
        raw: bool,
        thinking: bool | None,
        method: Method | str | None,
        options: Mapping[str, Any],
    ) -> Request:
        chosen = self._method(method)
        sampling, generation = self._options(chosen, options)
        chosen = chosen.fitted(lambda k, gate_on: self._calibrated_tau(k, gate_on, sampling))
        text = chosen.prompt_text(self._prompt_text(prompt, messages, system, raw, thinking))
        if not raw and self._chat_template is None:
            # ChatML was assumed: a base model mostly has no such token, it spells the text out.
            generation = replace(generation, stop=(*generation.stop, "<|im_end|>"))
        tokens = self._tokens(text)
        return Request(
            prompt=tokens,
            method=chosen,
            sampling=sampling,
            generation=generation,
            prompt_tail=text[-64:],
            split_thinking=not raw,
            room=self._runtime.capacity - len(tokens) + 1,  # the last token needs no place in the cache
        )

    def _submit(self, request: Request, on_prefill: Callable[[int, int], None] | None) -> Stream:
        with self._vocabulary_lock:
            self._check_open()
            sequence = Sequence(request, self._runtime.model)
            self._inbox.put(sequence)
        return Stream(sequence, self._worker.is_alive, on_prefill)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise EngineClosed("the engine is closed")

    @staticmethod
    def _method(method: Method | str | None) -> Method:
        if isinstance(method, Method):
            return method
        return method_class(method or DEFAULT_METHOD)()

    @staticmethod
    def _options(method: Method, options: Mapping[str, Any]) -> tuple[SamplingConfig, GenerationConfig]:
        names = {f.name for f in fields(GenerationConfig)}
        known = names | {f.name for f in fields(SamplingConfig)}
        for name in options:
            if name not in known:
                raise OptionError(f"unknown option {name!r} (known: {', '.join(sorted(known))})")
        generation = from_mapping(GenerationConfig, {k: v for k, v in options.items() if k in names})
        return method.sampling({k: v for k, v in options.items() if k not in names}), generation

    def _calibrated_tau(self, k: int, gate_on: str, sampling: SamplingConfig) -> float:
        """What ``selar-local calibrate`` found for this file. Raises OptionError where there is nothing."""
        from selar_local import calibration

        found = calibration.find(Path(self.info.path), k=k, gate_on=gate_on, sampling=sampling)
        require(found is not None, "tau auto: this model is not calibrated for this k, gate and sampling; run "
                "selar-local calibrate with them first")  # fmt: skip
        if found is None or found.tau is None:
            raise OptionError("tau auto: the entropies of this model show no valley; choose a number for tau")
        tau: float = found.tau
        return tau

    def _prompt_text(
        self,
        prompt: str | None,
        messages: Messages | None,
        system: str | None,
        raw: bool,
        thinking: bool | None,
    ) -> str:
        require((prompt is None) != (messages is None), "give either a prompt or messages")
        if raw:
            require(prompt is not None and system is None, "raw takes a prompt, without messages or system")
            return prompt or ""
        turns: list[Mapping[str, Any]] = list(messages or [])
        if system is not None:
            turns.insert(0, {"role": "system", "content": system})
        if prompt is not None:
            turns.append({"role": "user", "content": prompt})
        return self.render(turns, thinking=thinking)

    def _tokens(self, text: str) -> tuple[int, ...]:
        tokens = self.tokenize(text)
        require(len(tokens) > 0, "the prompt is empty")
        if len(tokens) > self._runtime.capacity:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens, the context holds {self._runtime.capacity}: "
                f"shorten it or raise the context size (trained for {self.info.n_ctx_train})"
            )
        return tokens

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
        runtime.model.show_as_text([tag for pair in TAGS for tag in pair])
        loop = DecodeLoop(runtime, self.config.parallel, self._closed.is_set)
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
