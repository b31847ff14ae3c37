"""The engine: one opened model, one worker thread that owns llama.cpp, any number of callers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.config import EngineConfig, require
from selar_local.engine.base_engine import BaseEngine
from selar_local.engine.constraints import Constraints
from selar_local.engine.events import Emit, Started
from selar_local.engine.lifetime import close_stopped, end_with
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.request import Request
from selar_local.engine.request_options import Messages, Prompt, RenderOptions, RequestOptions
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
        # The worker does not know this object: an engine without references is freed.
        self._worker = Worker(Path(path), self.config, check_again=check_again)
        end_with(self, self._worker)
        self._worker.open(on_progress)
        self._runtime = self._worker.runtime
        self._prompts = self._worker.prompts
        self._constraints = Constraints(self._worker.model)
        self.info = self._worker.info

    def begin(
        self, emit: Emit, prompt: Prompt | None = None, *, events: bool = True, **request: Unpack[RequestOptions]
    ) -> Started:
        return self._worker.submit(replace(self.request(prompt, **request), events=events), emit)

    def request(self, prompt: Prompt | None = None, **request: Any) -> Request:
        """The request that `stream` would decode for these arguments. Raises its errors."""
        rendered = self._prompts.rendered(prompt, **request)
        constraint = self._constraints.of(rendered.generation)  # before the model is taken: others must not wait
        with self._worker.model() as model:
            return self._prompts.request(model, rendered, constraint)

    def render(self, messages: Messages, **options: Unpack[RenderOptions]) -> str:
        return self._prompts.render(messages, **options)

    def tokenize(self, text: str) -> tuple[int, ...]:
        with self._worker.model() as model:
            return tuple(model.prompt_tokens(text))

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

    def step_seconds(self) -> float:
        """How long the present step of the worker has taken so far; 0 while there is none."""
        return self._worker.step_seconds()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its worker has failed."""
        return self._worker.closed

    def close(self) -> None:
        self._worker.close()
