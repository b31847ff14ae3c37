"""The engine: one opened model, one worker thread that owns llama.cpp, any number of callers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.config import EngineConfig, require
from selar_local.engine.base_engine import BaseEngine
from selar_local.engine.lifetime import close_stopped, end_with
from selar_local.engine.messages import Emit, Started
from selar_local.engine.model_info import ModelInfo, describe
from selar_local.engine.request import Request
from selar_local.engine.request_maker import RequestMaker
from selar_local.engine.request_options import Messages, RequestOptions, Tools
from selar_local.engine.sequence import Sequence
from selar_local.engine.worker import Worker

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Engine", "ModelInfo"]


class Engine(BaseEngine):
    """A model that a thread of this process computes. See `BaseEngine`."""

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
        close_stopped()
        self.config = config or EngineConfig()
        self._worker = worker = Worker(Path(path), self.config, check_again=check_again)
        end_with(self, worker)
        self._runtime = worker.open(on_progress)
        self.info = describe(self._runtime)
        model = self._runtime.model
        specials = {"bos_token": model.special_text("bos"), "eos_token": model.special_text("eos")}
        # Nothing here may know this object: it is freed as soon as nobody has it.
        self._requests = RequestMaker(self.info, worker, model.chat_template(), specials, worker.constraint)

    def begin(
        self, emit: Emit, prompt: str | None = None, *, events: bool = True, **request: Unpack[RequestOptions]
    ) -> Sequence:
        sequence = self.sequence(replace(self.request(prompt, **request), events=events), emit)
        emit(Started(sequence))
        self.enqueue(sequence)
        return sequence

    def request(self, prompt: str | None = None, **request: Any) -> Request:
        """What `stream` would decode for these arguments, which are its own, as are the errors."""
        return self._requests.make(prompt, **request)

    def sequence(self, request: Request, emit: Emit | None = None) -> Sequence:
        """A sequence for the request, to be given to `enqueue`; `emit` takes its messages instead of its queue.

        Raises EngineBusy, EngineClosed, and OptionError for options that do not fit the model.
        """
        return self._worker.sequence(request, emit)

    def enqueue(self, sequence: Sequence) -> None:
        """Have the worker decode it."""
        self._worker.enqueue(sequence)

    def render(
        self,
        messages: Messages,
        *,
        thinking: bool | None = None,
        tools: Tools | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        return self._requests.render(
            messages, thinking=thinking, tools=tools, add_generation_prompt=add_generation_prompt
        )

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self._worker.prompt_tokens(text))

    def token_bytes(self, token: int) -> bytes:
        self._require_token(token)
        with self._worker.model() as model:
            return model.piece(token)

    def is_end(self, token: int) -> bool:
        self._require_token(token)
        with self._worker.model() as model:
            return model.is_end(token)

    def _require_token(self, token: int) -> None:
        require(0 <= token < self.info.n_vocab, f"token {token} lies outside the vocabulary")

    def alive(self) -> bool:
        return self._worker.alive()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its worker has failed."""
        return self._worker.closed

    def close(self) -> None:
        self._worker.close()
