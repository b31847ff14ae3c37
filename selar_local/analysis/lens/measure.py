"""The lens over the exploration steps of many prompts: for every step and layer the overlaps of its branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.analysis.lens.config import LensConfig
from selar_local.analysis.lens.overlap import MEASURES, PAIRS, overlaps
from selar_local.analysis.lens.probe import Branching
from selar_local.analysis.lens.session import LensSession
from selar_local.config import SamplingConfig, require
from selar_local.engine.request import Request
from selar_local.errors import PromptTooLong
from selar_local.llama.output_head import OutputHead
from selar_local.methods import Selar
from selar_local.methods.base import Mixture

_LOGIT_BYTES = 256 << 20  # of lens logits at a time: as many states as fit share a pass over the output matrix


@dataclass(frozen=True, slots=True)
class Explored:
    """An exploration step: prompt and step (index) are counted from 0, first and second are its most probable tokens.

    entropy: the normalised one. first_share, second_share: their shares of the plain mix; first_weight, second_weight:
    their weights in what SeLaR feeds, which may be negative.
    """

    prompt: int
    index: int
    first: int
    second: int
    entropy: float
    first_share: float
    second_share: float
    first_weight: float
    second_weight: float


@dataclass(frozen=True)
class LensSamples:
    """What was measured. overlaps: (steps, layers, pairs, measures), in the order of `PAIRS` and `MEASURES`.

    method: the one that ran, a calibrated tau filled in. tokens: generated in all. answers: prompts that were run,
    those without an exploration step included. notes: see `Request.notes`.
    """

    method: Selar
    steps: tuple[Explored, ...]
    overlaps: npt.NDArray[np.float64]
    tokens: int
    answers: int
    notes: tuple[str, ...] = ()


def measure(
    session: LensSession,
    prompts: Sequence[str],
    method: Selar,
    sampling: SamplingConfig,
    config: LensConfig,
    *,
    on_progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = bool,
    **how: Any,
) -> LensSamples:
    """Run the prompts with `method`, one after the other, and look at their exploration steps through the lens.

    sampling: its seed is not looked at, `config` has one. on_progress: the done share, 0 to 1. how: ``raw``, ``system``
    and ``thinking`` as for `Engine.stream`. Raises PromptTooLong, TemplateError and NotCalibrated before the first
    step, DecodeError, and InterruptedError once `cancelled()`.
    """
    require(len(prompts) > 0, "there is no prompt")
    requests = _requests(session, prompts[: config.limit], method, sampling, config, how)
    steps: list[Explored] = []
    measured = [np.empty((0, session.n_layer, len(PAIRS), len(MEASURES)))]
    tokens = 0
    for number, request in enumerate(requests):
        report = _Report(on_progress, number, len(requests), config)
        found, result = session.explore(
            request, max_steps=config.max_steps, cancelled=cancelled, on_step=report.stepped
        )
        tokens += result.usage.completion_tokens
        steps += [_explored(number, one) for one in found]
        if found:
            measured.append(layer_overlaps(session.head, found, config.overlap_k, cancelled, report.looked))
        report.looked(1.0)
    used = requests[0].method
    assert isinstance(used, Selar)
    return LensSamples(used, tuple(steps), np.concatenate(measured), tokens, len(requests), requests[0].notes)


def _explored(number: int, step: Branching) -> Explored:
    pushed, plain, first, second, entropy = step.branches
    weights = [_weight(mixture, token) for mixture in (plain, pushed) for token in (first, second)]
    return Explored(number, step.index, first, second, entropy, *weights)


def _weight(mixture: Mixture, token: int) -> float:
    return float(mixture.weights[mixture.ids == token].sum())


def _requests(
    session: LensSession,
    prompts: Sequence[str],
    method: Selar,
    sampling: SamplingConfig,
    config: LensConfig,
    how: dict[str, Any],
) -> list[Request]:
    options = {name: value for name, value in sampling.as_dict().items() if name != "seed"}
    requests = []
    for number, prompt in enumerate(prompts):
        try:
            seed = config.seed + number
            requests.append(session.request(prompt, method, max_tokens=config.max_tokens, seed=seed, **options, **how))
        except PromptTooLong as error:
            raise PromptTooLong(f"prompt {number + 1}: {error}") from None
    return requests


class _Report:
    """The done share: of each prompt the run is one half, the lens the other."""

    def __init__(self, tell: Callable[[float], None], number: int, of: int, config: LensConfig) -> None:
        self._tell, self._number, self._of, self._config = tell, number, of, config

    def stepped(self, tokens: int, steps: int) -> None:
        """So many tokens are there, and so many exploration steps."""
        most = self._config.max_steps
        self._report(min(max(tokens / self._config.max_tokens, steps / most if most else 0.0), 1.0) / 2)

    def looked(self, share: float) -> None:
        """So much of what was found has been looked at."""
        self._report((1.0 + share) / 2)

    def _report(self, share: float) -> None:
        self._tell((self._number + share) / self._of)


def layer_overlaps(
    head: OutputHead,
    found: Sequence[Branching],
    k: int,
    cancelled: Callable[[], bool] = bool,
    on_progress: Callable[[float], None] = lambda share: None,
) -> npt.NDArray[np.float64]:
    """The overlaps of every step and layer: (steps, layers, pairs, measures). found: one at least.

    Raises InterruptedError once `cancelled()`.
    """
    states = np.stack([one.states for one in found])  # (steps, branches, layers, n_embd)
    n_steps, n_branches, n_layer, n_embd = states.shape
    units = states.transpose(0, 2, 1, 3).reshape(n_steps * n_layer, n_branches, n_embd)
    at_once = max(_LOGIT_BYTES // (4 * n_branches * head.n_vocab), 1)
    room = np.empty((n_branches * min(at_once, len(units)), head.n_vocab), np.float32)
    measured = []
    for start in range(0, len(units), at_once):
        if cancelled():
            raise InterruptedError("the lens was cancelled")
        chosen = units[start : start + at_once]
        logits = head.logits(chosen.reshape(-1, n_embd), room[: n_branches * len(chosen)])
        measured += [overlaps(four, k) for four in logits.reshape(len(chosen), n_branches, -1)]
        on_progress((start + len(chosen)) / len(units))
    return np.array(measured).reshape(n_steps, n_layer, len(PAIRS), len(MEASURES))
