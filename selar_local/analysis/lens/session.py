"""A model opened for the lens: its runs with their exploration steps, its output head, and the check of the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.analysis.lens.probe import Branching, ProbedRuntime
from selar_local.config import EngineConfig
from selar_local.engine.events import Message, Result, TokenEvent
from selar_local.engine.model_info import describe
from selar_local.engine.prompts import Prompts
from selar_local.engine.request import Request
from selar_local.engine.scheduler import Scheduler
from selar_local.engine.sequence import Sequence
from selar_local.errors import OptionError, SelarError, UnsupportedModel
from selar_local.llama.inputs import Feed
from selar_local.llama.output_head import KNOWN_ARCHITECTURES, OutputHead
from selar_local.methods import Selar
from selar_local.methods.base import Token

#: Of the self-check, as a share of the largest logit. llama.cpp rounds what it multiplies quantised matrices with,
#: the lens does not: some 1 % apart. A wrong norm, scale or matrix is far beyond.
TOLERANCE = 5e-2
_CHECKED = 4  # tokens
_TEXT = "Hello world, the answer is 12."


@dataclass(frozen=True)
class SelfCheck:
    """The lens of the last layer against the model's own logits, over a few tokens.

    max_abs_diff, largest_logit: in logits. mass: the smallest overlap of the two distributions, 0 to 1.
    """

    max_abs_diff: float
    largest_logit: float
    mass: float

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest logit."""
        return self.max_abs_diff / self.largest_logit if self.largest_logit else float("inf")

    @property
    def passed(self) -> bool:
        """Whether the lens shows what the model does."""
        return self.relative <= TOLERANCE  # never true of NaN


class LensSession:
    """A model opened for the lens. Use it from one thread that is not the main one where Ctrl-C is to work.

    (Python's signal handlers could run within a callback of llama.cpp, which loses what they raise.)
    """

    def __init__(self, path: Path, config: EngineConfig, on_progress: Callable[[float], None] | None = None) -> None:
        """Raises ModelNotFound, ModelFileError, and UnsupportedModel where there is no lens for the model."""
        self._runtime = ProbedRuntime(path, config, on_progress)
        try:
            self.info = describe(self._runtime, config)
            self.n_layer = self._runtime.watcher.n_layer
            self.head = OutputHead(self._runtime.gguf, self._runtime.model.n_vocab)
            self._prompts = Prompts(self._runtime.model, self.info)
            self.check = self._checked()
        except BaseException:
            self.close()
            raise

    def request(self, prompt: str, method: Selar, **options: Any) -> Request:
        """What `Engine.stream` would decode for these arguments. Its errors, and OptionError for contrast 0."""
        if method.contrast == 0:
            raise OptionError("contrast must be above 0: without the push there is nothing to compare")
        rendered = self._prompts.rendered(prompt, method=method, **options)
        return self._prompts.request(self._runtime.model, rendered)

    @property
    def known(self) -> bool:
        """Whether the output head of this architecture was compared with llama.cpp's source."""
        return self.info.architecture in KNOWN_ARCHITECTURES

    def explore(
        self,
        request: Request,
        *,
        max_steps: int = 0,
        cancelled: Callable[[], bool] = bool,
        on_step: Callable[[int, int], None] = lambda tokens, steps: None,
    ) -> tuple[list[Branching], Result]:
        """Run a request made by `request`, and take each exploration step all ways.

        max_steps: end after this many of them (0: never). on_step: called after every step with the numbers of tokens
        and of exploration steps so far. Raises DecodeError and UnsupportedModel, InterruptedError once `cancelled()`.
        """
        runtime, method = self._runtime, request.method
        assert isinstance(method, Selar)
        ended: list[SelarError | Result] = []

        def take(message: Message) -> None:
            if isinstance(message, TokenEvent) and message.explored and message.fed:
                runtime.expect(message, method)
            elif isinstance(message, (SelarError, Result)):
                ended.append(message)

        runtime.begin()
        sequence = Sequence(request, runtime.model, emit=take)
        scheduler = Scheduler(runtime, 1, cancelled)
        scheduler.waiting.append(sequence)
        while not scheduler.idle:
            if cancelled():
                scheduler.abandon(SelarError("cancelled"))
                raise InterruptedError("the lens was cancelled")
            scheduler.step()
            found = len(runtime.found)
            on_step(max(sequence.position - len(request.prompt), 0), found)
            if max_steps and found >= max_steps:
                sequence.cancelled.set()
        if isinstance(ended[0], SelarError):
            raise ended[0]
        return runtime.found, ended[0]

    def piece(self, token: int) -> str:
        """A token as text, control tokens by name; what is no character by itself is replaced."""
        return self._runtime.model.render(token, special=True).decode("utf-8", "replace")

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._runtime.close()

    def __enter__(self) -> LensSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self) -> SelfCheck:
        """The self-check; UnsupportedModel where it fails."""
        check = self._compare()
        if not check.passed:
            known = "" if self.known else ", which the lens does not know"
            raise UnsupportedModel(
                f"{Path(self.info.path).name}: the lens of the last layer is not what the model says (logits differ by "
                f"{check.max_abs_diff:.3g}, {100 * check.relative:.3g} % of the largest): no lens for architecture "
                f"{self.info.architecture}{known}"
            )
        return check

    def _compare(self) -> SelfCheck:
        model, runtime = self._runtime.model, self._runtime
        tokens = (model.prompt_tokens(_TEXT) or [0])[:_CHECKED]
        own, states = [], []
        for position, token in enumerate(tokens):
            logits, layers = runtime.look(Feed(0, position, Token(token)))
            own.append(logits.astype(np.float64))
            states.append(layers[-1])
        runtime.forget(0)
        lens = self.head.logits(np.array(states)).astype(np.float64)
        common = [float(np.minimum(_softmax(a), _softmax(b)).sum()) for a, b in zip(own, lens, strict=True)]
        difference = float(np.abs(lens - own).max())
        return SelfCheck(difference, float(np.abs(own).max()), min(common))


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    shares: npt.NDArray[np.float64] = powers / powers.sum()
    return shares
