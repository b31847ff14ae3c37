"""The engine's texts beside the oracle's, position after position, in three ways.

*From the same logits*: the oracle decides on the engine's own logits: all that a method does, without a model's
arithmetic. *From the same state*: the oracle computes its logits from what the engine fed. *Free*: each side goes its
own way from the prompt on. A soft step carries the difference of the arithmetic on and makes it grow, thirtyfold a step
where it is worst, in trained models as in the tiny random ones here: a free run may part, but only after soft steps.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selar_local.methods.base import Mixture, Token, Vector

from .form import in_form
from .outcomes import Outcome, Text
from .playing import STEPS, Played
from .together import Together
from .transformer import Cache, ModelInput, Raw
from .weights import Array

Way = Literal["logits", "state", "free"]


@dataclass(frozen=True)
class Margins:
    """How far the two may be apart in probabilities and entropies."""

    logits: float = 2e-6  # the engine takes entropies of the whole vocabulary in float32
    # From the same state only the arithmetic of one step differs (float32 against float64): 1e-5 was seen.
    state: float = 1e-4
    free: float = 1e-3
    inputs: float = 3.0  # times one of these: in floats that are fed, as a share of the largest ...
    sums: float = 2e-5  # ... where that is more than what sums in float32 may be off by
    # Soft steps after which a difference may have grown beyond `free`, and the most that one may make of it.
    soft_before_parting: int = 2
    growth: float = 50.0
    free_share: float = 0.6  # of the positions of free runs: so many must be agreed on before they part


MARGINS = Margins()
# ggml's GELU is a table of half-precision numbers: whatever lies on the edge of a rounding moves logits by up to 4e-3.
# That is where a free run starts. Which numbers do depends on the processor, so
# the difference may come with any soft step.
GEMMA_MARGINS = Margins(state=2e-3, free=2e-3, soft_before_parting=1, growth=1000.0, free_share=0.4)


@dataclass
class Tally:
    """What was compared, the largest differences, and where something lay on the edge of a decision."""

    way: Way
    runs: int = 0
    whole: int = 0  # runs that agree to the end (free: for the first STEPS positions)
    positions: int = 0
    agreed: int = 0
    explored: int = 0
    probability: float = 0.0
    entropy: float = 0.0
    inputs: float = 0.0
    edges: list[str] = field(default_factory=list)
    parted: list[int] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.way:6}: {self.agreed} of {self.positions} positions agree ({self.explored} explored), apart by at "
            f"most {self.probability:.2g} in probability, {self.entropy:.2g} in entropy, {self.inputs:.2g} in inputs; "
            f"{self.whole} of {self.runs} runs to the end; edges: {self.edges}; parted at {sorted(self.parted)}; "
            f"seen: {dict(self.seen)}"
        )


@dataclass(eq=False)
class Walker:
    """One run on its way. The logits and the hidden state are those of the position to come."""

    played: Played
    text: Text
    logits: Array
    hidden: Array | None
    cache: Cache
    position: int = 0
    shown: int = 0
    soft: int = 0
    apart: float = 0.0  # at most, so far
    going: bool = True

    def spelled(self) -> tuple[str, list[str]]:
        """The text so far, and what the tokens that the engine's method would feed next add to it.

        Half a character adds nothing yet. A token with less than 0.05 of a mix does not count.
        """
        own, piece = self.played, self.played.known.piece
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = decoder.decode(b"".join(piece(event.token) for event in own.events[: self.shown]))
        state = decoder.getstate()

        def added(token: int) -> str:
            decoder.setstate(state)
            return decoder.decode(piece(token))

        item = own.looks[self.position].decision.next_input
        tokens = [event.token for event in own.events[self.shown : self.shown + 1]]
        if isinstance(item, Mixture):
            tokens += item.ids[np.abs(item.weights) >= 0.05].tolist()
        return text, [added(token) for token in tokens]


class Walk:
    """Compares runs, which advance together. Raises AssertionError where the two differ without a reason."""

    def __init__(self, played: Sequence[Played], way: Way, oracle: Together, margins: Margins) -> None:
        self.oracle, self.way, self.margins = oracle, way, margins
        self.margin: float = getattr(margins, way)
        self.input_margin = max(margins.inputs * self.margin, margins.sums)
        self.largest = oracle.embedding_scale * float(max(oracle.rows.max(), -oracle.rows.min()))
        self.tally = Tally(way, runs=len(played))
        self.walkers = self._begin(played)
        while any(walker.going for walker in self.walkers):
            self._turn()

    def _begin(self, played: Sequence[Played]) -> list[Walker]:
        started: dict[tuple[int, ...], tuple[Array, Array | None, Cache]] = {}
        walkers = []
        for own in played:
            first = own.looks[0]
            if self.way == "logits":
                started[own.prompt] = first.logits.astype(np.float64), first.hidden, self.oracle.new_cache()
            elif own.prompt not in started:
                cache = self.oracle.new_cache()
                started[own.prompt] = (*self.oracle.forward_with_hidden(list(own.prompt), cache), cache)
            logits, hidden, cache = started[own.prompt]
            walkers.append(Walker(own, own.text(self.oracle.rows), logits, hidden, cache.copy()))
        return walkers

    def _turn(self) -> None:
        on: list[Walker] = []
        inputs: list[ModelInput] = []
        for walker in [w for w in self.walkers if w.going]:
            outcome = walker.text.look(walker.logits, walker.hidden, walker.played.uniforms[walker.position])
            if walker.played.run.keep_form:
                outcome = in_form(outcome, *walker.spelled())
            self._check(walker, outcome)
            if walker.going:
                on.append(walker)
                inputs.append(outcome.next_input if self.way == "free" else fed(walker))
        self._advance(on, inputs)

    def _advance(self, on: Sequence[Walker], inputs: Sequence[ModelInput]) -> None:
        if self.way == "logits":
            for walker in on:
                look = walker.played.looks[walker.position]
                walker.logits, walker.hidden = look.logits.astype(np.float64), look.hidden
        elif on:
            each = zip(*self.oracle.forward_each(inputs, [walker.cache for walker in on]), strict=True)
            for walker, (logits, hidden) in zip(on, each, strict=True):
                walker.logits, walker.hidden = logits, hidden

    def _check(self, walker: Walker, outcome: Outcome) -> None:
        """Note how far the two are apart and step on. A run in which they differ for a good reason ends here."""
        own, at, tally = walker.played, walker.position, self.tally
        tally.positions += 1
        said = self._discrete_difference(walker, outcome)
        apart = None if said else self._differences(walker, outcome)
        if apart is not None and max(apart[:2]) <= self.margin and apart[2] <= self.input_margin:
            tally.agreed += 1
            tally.explored += outcome.explored
            tally.probability, tally.entropy, tally.inputs = map(
                max, (tally.probability, tally.entropy, tally.inputs), apart
            )
            tally.seen[outcome.mode or "no mode"] += 1
            tally.seen["injected"] += outcome.injected
            tally.seen["ended"] += outcome.token in own.known.ends
            walker.position += 1
            walker.shown += outcome.token is not None
            walker.soft += outcome.explored
            walker.apart = max(walker.apart, *apart)
            walker.going = walker.position < min(len(own.looks), STEPS if self.way == "free" else len(own.looks))
            tally.whole += not walker.going
            return
        # Where a number lies within the margin of the edge of a decision (an entropy at tau, ...) both ways are right,
        # and the two go on from different states. So they do where soft steps have made the difference grow.
        edge = walker.text.edge(self.margin)
        grown = (
            self.way == "free"
            and walker.soft >= self.margins.soft_before_parting
            and walker.apart * self.margins.growth >= self.margin
        )
        walker.going = False
        assert edge or grown, f"{self.way}, position {at}: {said or apart}\n{own.run}\n{own.looks[at]}\nbut {outcome}"
        if edge:
            tally.edges.append(f"{at}: {edge}")
        else:
            tally.parted.append(at)

    def _discrete_difference(self, walker: Walker, outcome: Outcome) -> str | None:
        """What the two decide differently."""
        own, at = walker.played, walker.position
        look, last, finish = own.looks[at], at == len(own.looks) - 1, own.result.finish_reason
        decision = look.decision
        kinds = {int: Token, np.ndarray: Mixture, Raw: Vector}
        pairs = {
            "silent": (decision.silent, outcome.token is None),
            "mode": (decision.mode, outcome.mode),
            "switch_count": (look.switch_count, outcome.switch_count),
            "has an entropy": (decision.entropy is None, outcome.entropy is None),
        }
        if outcome.switch_count is not None:
            pairs["injected"] = decision.token is not None, outcome.injected
        if outcome.token is not None:
            event = own.events[walker.shown]
            pairs["token"] = event.token, outcome.token
            pairs["explored"] = event.explored, outcome.explored
            pairs["reported"] = (event.mode, event.entropy, event.index), (outcome.mode, decision.entropy, walker.shown)
            pairs["candidates"] = len(event.top), own.run.method.n_candidates
            stops = outcome.token in own.known.ends
            full = outcome.last or walker.shown + 1 == own.limit
            pairs["ends"] = finish if last else None, "stop" if stops else "length" if full else None
        if not last:
            item, ours = own.fed[at].next_input, outcome.next_input
            pairs["kind of input"] = type(item), kinds[type(ours)]
            if isinstance(item, Token) and isinstance(ours, int):
                pairs["token fed"] = item.id, ours
        differing = {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}
        return str(differing) if differing else None

    def _differences(self, walker: Walker, outcome: Outcome) -> tuple[float, float, float]:
        """The largest in the candidates' probabilities, that in entropy, and the largest in what is fed."""
        own, at = walker.played, walker.position
        probability = 0.0
        if outcome.token is not None:
            # The candidates may stand in another order where two are as likely: by their ids, and by their places.
            top = own.events[walker.shown].top
            falling = [*outcome.probabilities[: len(top)].tolist(), *[0.0] * len(top)]
            likely = dict(zip(outcome.ids.tolist(), outcome.probabilities.tolist(), strict=True))
            by_place = [abs(p - expected) for (_, p), expected in zip(top, falling, strict=False)]
            probability = max(*[abs(p - likely.get(token, 0.0)) for token, p in top], *by_place)
        reported, entropy = own.looks[at].decision.entropy, 0.0
        if reported is not None and outcome.entropy is not None:
            entropy = abs(reported - outcome.entropy)
        row = None if at == len(own.looks) - 1 else own.fed[at].row
        if row is None:
            return probability, entropy, 0.0
        oracle, item = self.oracle, outcome.next_input
        largest = self.largest
        if isinstance(item, Raw):
            expected, largest = item.values, np.abs(item.values).max()
        else:
            expected = oracle.embedding_scale * (oracle.rows[item] if isinstance(item, int) else item)
        return probability, entropy, float(np.abs(row - expected).max() / largest)


def fed(walker: Walker) -> ModelInput:
    """What the engine fed at the position before."""
    own = walker.played.fed[walker.position - 1]
    if own.row is not None:
        return Raw(own.row)
    assert isinstance(own.next_input, Token)
    return own.next_input.id


def margins_of(oracle: Together) -> Margins:
    """Those that suit the model."""
    return GEMMA_MARGINS if oracle.is_gemma else MARGINS


def walk(played: Sequence[Played], way: Way, oracle: Together, margins: Margins | None = None) -> Tally:
    """Compare the runs in this way; prints what was found."""
    margins = margins or margins_of(oracle)
    tally = Walk(played, way, oracle, margins).tally
    print(f"\n{tally}", end="")
    return tally


def three_ways(played: Sequence[Played], oracle: Together) -> tuple[Tally, Tally, Tally]:
    """Compare the runs from the same logits, from the same state, and free."""
    margins = margins_of(oracle)
    exact, state, free = (walk(played, way, oracle, margins) for way in ("logits", "state", "free"))
    assert exact.agreed == exact.positions and exact.whole == exact.runs, exact
    assert state.agreed >= 0.97 * exact.positions, state
    assert free.agreed >= margins.free_share * sum(min(len(own.looks), STEPS) for own in played), free
    return exact, state, free
