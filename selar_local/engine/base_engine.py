"""What every engine does for its callers, wherever llama.cpp runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

from selar_local.config import EngineConfig
from selar_local.engine.events import Emit, Message, Result, Started
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.request_options import Messages, Prompt, RenderOptions, RequestOptions
from selar_local.engine.stream import Stream

if TYPE_CHECKING:
    from typing import TypeVar

    from typing_extensions import Unpack

    from selar_local.engine.async_stream import AsyncStream

    E = TypeVar("E", bound="BaseEngine")


class BaseEngine(ABC):
    """A model ready to generate: `Engine`, or `IsolatedEngine` in a process of its own. Thread-safe.

    Open with `selar_local.load`, close with `close` or ``with``. An engine that nobody has any more is closed, too.
    """

    config: EngineConfig
    info: ModelInfo

    def stream(
        self,
        prompt: Prompt | None = None,
        *,
        on_prefill: Callable[[int, int], None] | None = None,
        events: bool = True,
        **request: Unpack[RequestOptions],
    ) -> Stream:
        """Generate; returns an iterator of `TokenEvent`s at once, while the engine computes.

        Give `prompt` (one user turn) or `messages` (``[{"role": .., "content": ..}]``); `system` is put before them.
        They go through the model's chat template, unless `raw`: then `prompt` is continued as it is, special tokens in
        it parsed, or its token ids. A last message of the assistant is the beginning of the answer, unless
        `continue_final_message` is False. thinking, tools: passed to templates that know them. method: an instance
        such as ``Selar(tau=0.4)`` or a name. The other options are the fields of `SamplingConfig` and
        `GenerationConfig`: temperature, top_k, top_p, min_p, greedy, seed, max_tokens, stop, grammar, json_schema,
        keep_form, logprobs and more.

        on_prefill: called with (done, total) prompt tokens, in the thread that iterates.
        events: False gives none, for those who want the result alone and may cancel meanwhile.

        Raises OptionError, NotCalibrated, PromptTooLong, TemplateError, EngineBusy, EngineClosed here; DecodeError
        from the iteration; an `IsolatedEngine` EngineCrashed from both.
        """
        messages: SimpleQueue[Message] = SimpleQueue()
        return Stream(self.begin(messages.put, prompt, events=events, **request), messages, self, on_prefill)

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        on_prefill: Callable[[int, int], None] | None = None,
        **request: Unpack[RequestOptions],
    ) -> Result:
        """Generate to the end and return the `Result`. Same arguments and errors as `stream`, without its events."""
        with self.stream(prompt, on_prefill=on_prefill, events=False, **request) as stream:
            for _ in stream:
                pass
        return stream.result

    def astream(
        self,
        prompt: Prompt | None = None,
        *,
        on_prefill: Callable[[int, int], None] | None = None,
        events: bool = True,
        **request: Unpack[RequestOptions],
    ) -> AsyncStream:
        """As `stream`, for ``async for``: the event loop goes on meanwhile. All errors come from the iteration.

        on_prefill: called in the event loop.
        """
        from selar_local.engine.async_stream import AsyncStream

        return AsyncStream(partial(self.begin, prompt=prompt, events=events, **request), self, on_prefill)

    async def agenerate(
        self,
        prompt: Prompt | None = None,
        *,
        on_prefill: Callable[[int, int], None] | None = None,
        **request: Unpack[RequestOptions],
    ) -> Result:
        """As `generate`, for ``await``. Where the task is cancelled, the generation is too."""
        async with self.astream(prompt, on_prefill=on_prefill, events=False, **request) as stream:
            async for _ in stream:
                pass
        return stream.result

    @abstractmethod
    def begin(
        self, emit: Emit, prompt: Prompt | None = None, *, events: bool = True, **request: Unpack[RequestOptions]
    ) -> Started:
        """Give a generation to the engine, which the caller must keep meanwhile. `emit` gets its messages.

        `Started` is the first message, and is returned. For callers that want no `Stream`. It takes the arguments of
        `stream` and raises its errors.
        """

    @abstractmethod
    def render(self, messages: Messages, **options: Unpack[RenderOptions]) -> str:
        """The prompt text that the model's chat template makes of `messages`. Raises TemplateError.

        options: thinking and tools, for templates that know them; add_generation_prompt, True by default.
        """

    @abstractmethod
    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt: special tokens parsed, BOS added where the file asks for it."""

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text; control tokens add none. May be half a UTF-8 character."""

    @abstractmethod
    def is_end(self, token: int) -> bool:
        """Whether a token ends a generation."""

    @abstractmethod
    def alive(self) -> bool:
        """Whether the thread or process that computes is there."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the engine was closed, or has failed for good."""

    @abstractmethod
    def close(self) -> None:
        """Stop what runs, free the model. Idempotent; callable from any thread."""

    def __enter__(self: E) -> E:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{type(self).__name__}: {self.info.name}, context {self.info.ctx_size}, {state}>"
