"""Mixture of Inputs and Multiplex Thinking behind the interface of the oracles."""

from __future__ import annotations

import numpy as np

from .methods import Filters, filtered_distribution, noise_generator, normalised_entropy, scope_after
from .moi import MoI, moi_step
from .multiplex import Multiplex, multiplex_step
from .outcomes import Known, Outcome, Text, filter_edge, near
from .weights import Array


class MoIText(Text):
    """Mixture of Inputs."""

    def __init__(self, settings: MoI, filters: Filters, known: Known) -> None:
        self.settings, self.filters, self.known = settings, filters, known
        self.shown: list[int] = []

    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        self.given = logits, uniform
        allowed = scope_after(self.shown, self.settings, self.known.thinks_after)
        step = moi_step(
            logits, self.known.rows, self.filters, self.settings, uniform, end_ids=self.known.ends, allowed=allowed
        )
        self.shown.append(step.token)
        next_input = step.token if step.vector is None else step.vector
        found = filtered_distribution(logits, self.filters)
        return Outcome(step.token, step.entropy, step.explored, None, next_input, *found)

    def edge(self, margin: float) -> str | None:
        (logits, uniform), settings = self.given, self.settings
        if settings.tau is not None:
            gate = normalised_entropy(filtered_distribution(logits, self.filters)[1], settings.k)
            if near(gate, settings.tau, margin):
                return "an entropy at tau"
        last, next_one = np.sort(logits)[::-1][settings.candidates - 1 : settings.candidates + 1]
        if last - next_one <= 3.0 * margin:
            return "two logits alike at the last candidate"
        return filter_edge(logits, self.filters, uniform, margin, 1)


class MultiplexText(Text):
    """Multiplex Thinking."""

    def __init__(self, settings: Multiplex, filters: Filters, known: Known) -> None:
        self.settings, self.filters, self.known = settings, filters, known
        self.noise, self.twin = noise_generator(known.seed), noise_generator(known.seed)
        self.over = known.closed
        self.shown: list[int] = []

    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        numbers = [] if self.over else self.twin.random(self.settings.draws - 1).tolist()
        self.given = logits, uniform, numbers
        self.step = step = multiplex_step(
            self.over,
            logits,
            self.known.rows,
            self.filters,
            self.settings,
            uniform,
            self.noise,
            end_ids=self.known.ends,
            closes=lambda token: (
                self.known.thinks_after(self.shown) and not self.known.thinks_after([*self.shown, token])
            ),
        )
        self.over = step.over
        self.shown.append(step.token)
        next_input = step.token if step.vector is None else step.vector
        found = filtered_distribution(logits, self.filters)
        return Outcome(step.token, None, step.explored, None, next_input, *found)

    def edge(self, margin: float) -> str | None:
        logits, uniform, numbers = self.given
        sums = np.cumsum(filtered_distribution(logits, self.filters)[1])
        if any(near(sums, number, margin) for number in numbers):
            return "a cumulative probability at a number of a further draw"
        weights = self.step.weights if self.settings.show == "heaviest" and self.step.weights is not None else ()
        if (np.diff(np.sort(weights)[-2:]) <= 4.0 * margin).any():
            return "two weights alike"
        return filter_edge(logits, self.filters, uniform, margin, 1)
