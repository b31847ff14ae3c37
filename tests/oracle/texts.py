"""The methods' oracles behind one interface: a text that is told one position's logits after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .coconut import coconut_step
from .methods import Filters, Selar, Step, filtered_distribution, noise_generator, scope_after, selar_step
from .mixed_texts import MoIText, MultiplexText
from .moi import MoI
from .multiplex import Multiplex
from .outcomes import Known, Outcome, Text, filter_edge, near
from .soft_thinking import SoftState, SoftThinking, soft_mixture, soft_thinking_step
from .swireasoning import Swir, SwirState, swir_step
from .transformer import Raw
from .weights import Array


@dataclass(frozen=True)
class Plain:
    """CoT: the drawn token is every next input."""


@dataclass(frozen=True)
class Coconut:
    """Coconut's settings."""

    n_latent: int
    start: int | None = None
    end: int | None = None


Settings = Plain | Selar | SoftThinking | Swir | Coconut | MoI | Multiplex


class SelarText(Text):
    """SeLaR; and CoT, whose gate no entropy reaches."""

    def __init__(self, settings: Selar | Plain, filters: Filters, known: Known) -> None:
        self.plain = isinstance(settings, Plain)
        self.settings = Selar(tau=2.0) if isinstance(settings, Plain) else settings
        self.filters, self.known = filters, known
        self.past: list[Step] = []
        self.step: Step | None = None

    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        if self.step is not None:
            self.past.append(self.step)
        self.given = logits, uniform
        self.step = step = selar_step(
            logits,
            self.known.rows,
            self.filters,
            self.settings,
            uniform,
            end_ids=self.known.ends,
            allowed=scope_after([step.token for step in self.past], self.settings, self.known.thinks_after),
            past=self.past,
        )
        next_input = step.token if step.vector is None else step.vector
        entropy = None if self.plain else step.entropy
        found = filtered_distribution(logits, self.filters)
        explored = step.explored and step.token not in self.known.ends  # the heaviest may be one, and be shown
        return Outcome(step.token, entropy, explored, None, next_input, *found)

    def edge(self, margin: float) -> str | None:
        (logits, uniform), step, tau = self.given, self.step, self.settings.tau
        assert step is not None
        if tau > 0 and near(abs(step.rank), tau, margin):
            return "an entropy or a probability at tau"
        if self.settings.max_share < 1:
            rivals = np.array([other.rank for other in self.past if other.opened])
            if near(rivals, step.rank, 2.0 * margin):  # both are off by as much
                return "an entropy or a probability at that of an earlier step"
        weights = step.weights if self.settings.show == "heaviest" and step.weights is not None else np.zeros(0)
        if (np.diff(np.sort(weights)[-2:]) <= 4.0 * margin).any():
            return "two weights alike"
        return filter_edge(logits, self.filters, uniform, margin, 1 if self.plain else self.settings.k)


class SoftText(Text):
    """Soft Thinking."""

    def __init__(self, settings: SoftThinking, known: Known) -> None:
        self.settings, self.known = settings, known
        self.noise, self.twin = noise_generator(known.seed), noise_generator(known.seed)
        self.state = SoftState(over=known.closed)

    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        self.given, self.before = (logits, uniform), self.state
        step, self.state = soft_thinking_step(
            self.state, logits, self.known.rows, self.settings, uniform, self.noise, end_ids=self.known.ends
        )
        self.filters = self.settings.filters
        if self.before.over:
            self.filters = self.settings.after or replace(self.filters, min_p=0.0)
        self.weights = None if self.before.over else soft_mixture(logits, self.settings, self.twin)[1]
        self.entropy = step.entropy
        next_input = step.token if step.vector is None else step.vector
        found = filtered_distribution(logits, self.filters)
        return Outcome(step.token, step.entropy, step.explored, step.mode, next_input, *found)

    def edge(self, margin: float) -> str | None:
        settings, (logits, uniform) = self.settings, self.given
        if self.before.over or self.weights is None:
            return filter_edge(logits, self.filters, uniform, margin, 1)
        cold = settings.cold_stop_entropy
        if cold > 0 and self.entropy is not None and near(self.entropy, cold, margin):
            return "an entropy at the cold stop's"
        if settings.noise != "none" and len(self.weights) > 1 and self.weights[0] - self.weights[1] <= 4.0 * margin:
            return "two weights alike"
        return filter_edge(logits, self.filters, uniform if cold > 0 else None, margin, settings.max_topk)


class SwirText(Text):
    """SwiReasoning."""

    def __init__(self, settings: Swir, filters: Filters, known: Known) -> None:
        self.settings, self.filters, self.known = settings, filters, known
        self.state = SwirState(mode="normal", locked=True) if known.closed else SwirState()

    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        self.given, self.before = (logits, uniform), self.state
        step, self.state = swir_step(
            self.state, logits, self.known.rows, self.filters, self.settings, uniform, end_ids=self.known.ends
        )
        self.entropy = step.entropy
        return Outcome(
            step.token,
            step.entropy,
            step.explored,
            step.mode,
            step.token if step.vector is None else step.vector,
            *filtered_distribution(logits, self.filters),
            last=self.state.finished,
            injected=step.injected,
            switch_count=step.switch_count,
        )

    def edge(self, margin: float) -> str | None:
        logits, uniform = self.given
        # Both entropies are off by as much.
        if (
            self.before.number > 0
            and self.entropy is not None
            and near(self.entropy, self.before.reference, 2 * margin)
        ):
            return "an entropy at that of the last switch"
        return filter_edge(logits, self.filters, uniform, margin, 1)


class CoconutText(Text):
    """Coconut: the positions before the text, then the text."""

    def __init__(self, settings: Coconut, filters: Filters, known: Known) -> None:
        self.filters = filters
        self.silent: list[int | None] = [None] * settings.n_latent  # None: fed the hidden state
        if settings.start is not None:
            self.silent.insert(0, settings.start)
        if settings.end is not None:
            self.silent.append(settings.end)

    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        self.logits = logits
        found = filtered_distribution(logits, self.filters)
        if not self.silent:
            token = coconut_step(logits).token
            return Outcome(token, None, False, "normal", token, *found)
        planned = self.silent.pop(0)
        if planned is not None:
            return Outcome(None, None, False, "latent", planned, *found)
        assert hidden is not None, "no hidden state to feed"
        return Outcome(None, None, True, "latent", Raw(hidden), *found)

    def edge(self, margin: float) -> str | None:
        return filter_edge(self.logits, self.filters, None, margin, 1)


def text_of(settings: Settings, filters: Filters | None, known: Known) -> Text:
    """The oracle of these settings. filters None: the method's own."""
    if isinstance(settings, SoftThinking):
        return SoftText(settings if filters is None else replace(settings, filters=filters), known)
    filters = filters or Filters()
    if isinstance(settings, Swir):
        return SwirText(settings, filters, known)
    if isinstance(settings, Coconut):
        return CoconutText(settings, filters, known)
    if isinstance(settings, MoI):
        return MoIText(settings, filters, known)
    if isinstance(settings, Multiplex):
        return MultiplexText(settings, filters, known)
    return SelarText(settings, filters, known)
