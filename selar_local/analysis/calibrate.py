"""A model's own entropies, and the threshold that they suggest.

The valley is looked for in the unfiltered entropies, also where the gate looks at the filtered ones: top-p leaves many
steps a single candidate, which makes a gap above 0 that says nothing about the model. As many steps as lie above the
valley are then cut off from the filtered entropies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from selar_local._version import __version__
from selar_local.analysis.valley import certain_entropy, find_valley, same_share
from selar_local.calibration import Calibration
from selar_local.config import SamplingConfig, opt
from selar_local.engine.events import TokenEvent
from selar_local.errors import PromptTooLong
from selar_local.methods import Selar
from selar_local.methods.entropy import renormalise, truncated_entropy
from selar_local.options import Options

if TYPE_CHECKING:  # the command line declares its options without llama.cpp
    from selar_local.engine.engine import Engine
    from selar_local.engine.stream import Stream

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationConfig(Options):
    """How much a calibration asks of the model."""

    max_tokens: int = opt(256, "most tokens of an answer", "-n", "--max-tokens", low=1)
    limit: int | None = opt(None, "ask only the first prompts, this many (default: all)", "--limit", low=1)
    seed: int = opt(0, "seed of the first prompt; the next prompt has the next seed", "-s", "--seed", low=0, high=2**62)


@dataclass(frozen=True)
class Samples:
    """Normalised truncated entropies of the same (n,) steps: before and after the filters, in the order of the prompts.

    The steps that ended an answer are not among them.
    """

    full: Floats
    filtered: Floats
    prompts: int


def collect(
    engine: Engine,
    prompts: Sequence[str],
    *,
    k: int,
    sampling: SamplingConfig,
    config: CalibrationConfig,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Samples:
    """Let the model answer the prompts by sampled CoT, ``engine.config.parallel`` of them at a time.

    on_progress: the done share, 0 to 1. Raises PromptTooLong and TemplateError before an answer begins, EngineClosed,
    and DecodeError. Whatever ends it, no answer goes on.
    """
    prompts = prompts[: config.limit]
    answers: list[list[TokenEvent]] = [[] for _ in prompts]
    with ExitStack() as opened:
        streams = []
        for number, prompt in enumerate(prompts):
            try:
                stream = _ask(engine, prompt, k, sampling, config, config.seed + number)
            except PromptTooLong as error:
                raise PromptTooLong(f"prompt {number + 1}: {error}") from None
            streams.append(opened.enter_context(closing(stream)))
        waiting = deque(range(len(prompts)))
        # The engine decodes these together, so each of them has news once a step.
        running = [waiting.popleft() for _ in range(min(engine.config.parallel, len(prompts)))]
        while running:
            for number in tuple(running):
                if (event := next(streams[number], None)) is not None:
                    answers[number].append(event)
                    continue
                running.remove(number)
                if waiting:
                    running.append(waiting.popleft())
                if streams[number].result.finish_reason == "stop":
                    answers[number].pop()  # the step that ended the answer
            over = len(prompts) - len(waiting) - len(running)
            under_way = sum(len(answers[number]) for number in running) / config.max_tokens
            on_progress((over + under_way) / len(prompts))
    return _samples(answers, k)


def _ask(engine: Engine, prompt: str, k: int, sampling: SamplingConfig, config: CalibrationConfig, seed: int) -> Stream:
    """A model without a chat template continues the prompt as it is."""
    return engine.stream(
        prompt,
        raw=not engine.info.chat_template,
        # With a threshold above 1 no step explores: this is CoT, token for token, and its events carry the entropy.
        method=Selar(k=k, tau=2.0, symbol_guard=False, gate_on="full"),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        max_tokens=config.max_tokens,
        seed=seed,
    )


def _samples(answers: Sequence[Sequence[TokenEvent]], k: int) -> Samples:
    events = [event for answer in answers for event in answer]
    full = np.array([event.entropy for event in events], np.float64)
    shares = (renormalise(np.array([share for _, share in event.top]), k) for event in events)
    filtered = np.array([truncated_entropy(q, k) for q in shares], np.float64)
    return Samples(full, filtered, len(answers))


def calibration_of(samples: Samples, *, k: int, gate_on: str, sampling: SamplingConfig) -> Calibration:
    """What the samples say of tau for a gate on the "filtered" or the "full" entropies."""
    valley = find_valley(samples.full, floor=certain_entropy(k))
    seen = samples.full if gate_on == "full" else samples.filtered
    tau, reason = valley.at, valley.reason
    if valley.at is not None and gate_on != "full":
        tau = same_share(samples.full, valley.at, seen)
        reason = "" if tau is not None else "the filters leave too many steps a single candidate"
    return Calibration(
        k=k,
        gate_on=gate_on,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        tau=tau,
        steps=valley.steps,
        torn=valley.torn,
        prompts=samples.prompts,
        valley=valley.at,
        low=valley.low,
        high=valley.high,
        depth=valley.depth,
        p_value=valley.p_value,
        explored=None if tau is None else float((seen >= tau).mean()),
        reason=reason,
        version=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
