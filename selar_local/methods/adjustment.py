"""What changes the logits before they are filtered: biases, penalties on repetition, DRY. Names are llama.cpp's."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from selar_local.config import SamplingConfig

Logits = npt.NDArray[np.float32]
#: Texts that DRY's repetitions do not reach over: the first token of each way to write one -> the tokens after it.
Breakers = Mapping[int, Collection[tuple[int, ...]]]

_LARGEST_LOG = 88.7228391  # of the largest float32


@dataclass(frozen=True)
class Changes:
    """What a request changes in the logits, besides the penalties of its sampling.

    bias: by token; -inf forbids one. ends: tokens that may not come before `not_before` others. breakers: of DRY.
    """

    bias: Mapping[int, float] = field(default_factory=dict)
    ends: tuple[int, ...] = ()
    not_before: int = 0
    breakers: Breakers = field(default_factory=dict)


class Adjustment:
    """The logits of one text, changed. `accept` gets every printed token."""

    def __init__(self, sampling: SamplingConfig, changes: Changes, prompt: Sequence[int]) -> None:
        self._count = 0
        self._changed = np.empty(0, np.float32)
        self._not_before = changes.not_before
        self._ends = np.array(changes.ends, np.int64)
        self._biased = np.fromiter(changes.bias, np.int64, len(changes.bias))
        self._bias = np.array(list(changes.bias.values()), np.float32)
        self._penalties = _Penalties(sampling, prompt) if _penalises(sampling) else None
        self._dry = _Dry(sampling, changes.breakers, prompt) if _dries(sampling) else None

    @classmethod
    def of(cls, sampling: SamplingConfig, changes: Changes, prompt: Sequence[int]) -> Adjustment | None:
        """None where nothing changes the logits: then a step costs nothing more."""
        used = _penalises(sampling) or _dries(sampling) or changes.bias or (changes.ends and changes.not_before)
        return cls(sampling, changes, prompt) if used else None

    def __call__(self, logits: Logits) -> Logits:
        """A changed copy of the logits. The next call writes over it: a new one a step would be new memory a step."""
        if self._changed.shape != logits.shape:
            self._changed = np.empty_like(logits)
        changed = self._changed
        changed[:] = logits
        changed[self._biased] += self._bias
        if self._count < self._not_before:
            changed[self._ends] = -np.inf
        if self._penalties is not None:
            self._penalties.apply(changed)
        if self._dry is not None:
            self._dry.apply(changed)
        return changed

    def accept(self, token: int) -> None:
        """`token` was printed."""
        self._count += 1
        if self._penalties is not None:
            self._penalties.accept(token)
        if self._dry is not None:
            self._dry.accept(token)


def _penalises(sampling: SamplingConfig) -> bool:
    off = sampling.repeat_penalty == 1 and sampling.presence_penalty == sampling.frequency_penalty == 0
    return sampling.repeat_last_n > 0 and not off


def _dries(sampling: SamplingConfig) -> bool:
    return sampling.dry_multiplier > 0 and sampling.dry_penalty_last_n > 0


class _Penalties:
    """Repetition, presence and frequency penalties over the last tokens."""

    def __init__(self, sampling: SamplingConfig, prompt: Sequence[int]) -> None:
        self._repeat = np.float32(sampling.repeat_penalty)
        self._presence = np.float32(sampling.presence_penalty)
        self._frequency = np.float32(sampling.frequency_penalty)
        self._last = deque(prompt[-sampling.repeat_last_n :], sampling.repeat_last_n)
        self._counts = Counter(self._last)

    def apply(self, logits: Logits) -> None:
        ids = np.fromiter(self._counts, np.int64, len(self._counts))
        counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
        values = logits[ids]
        # A penalty that divided a negative logit would make its token more probable.
        values = np.where(values <= 0, values * self._repeat, values / self._repeat)
        logits[ids] = values - (counts * self._frequency + self._presence)

    def accept(self, token: int) -> None:
        if len(self._last) == self._last.maxlen:
            oldest = self._last[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._last.append(token)
        self._counts[token] += 1


class _Dry:
    """DRY: the longer the repetition that a token would continue, the larger its penalty.

    `_repeats[i]` is how many tokens up to the i-th are the same as the last ones of the text.
    """

    def __init__(self, sampling: SamplingConfig, breakers: Breakers, prompt: Sequence[int]) -> None:
        self._multiplier, self._base = sampling.dry_multiplier, sampling.dry_base
        self._allowed, self._size = sampling.dry_allowed_length, sampling.dry_penalty_last_n
        self._breakers = breakers
        grows = sampling.dry_base > 1.000001
        self._most = int(_LARGEST_LOG / math.log(sampling.dry_base)) if grows else 0  # else the power overflows
        self._tokens = np.array(prompt[-self._size :], np.int64)
        self._repeats = self._of_prompt()

    def _of_prompt(self) -> npt.NDArray[np.int64]:
        """`_repeats` from the tokens alone, as far as their lengths make a difference."""
        tokens = self._tokens
        repeats = np.zeros(len(tokens), np.int64)
        places = np.arange(len(tokens) - 1)
        for length in range(min(len(tokens) - 1, self._allowed + self._most + 1)):
            places = places[places >= length]
            places = places[tokens[places - length] == tokens[-1 - length]]
            if not len(places):
                break
            repeats[places] = length + 1
        return repeats

    def accept(self, token: int) -> None:
        repeats = np.where(self._tokens == token, np.append(0, self._repeats)[:-1] + 1, 0)
        self._tokens = np.append(self._tokens, token)[-self._size :]
        self._repeats = np.append(repeats, 0)[-self._size :]

    def apply(self, logits: Logits) -> None:
        limit = self._unbroken()
        if len(self._tokens) <= self._allowed or limit < self._allowed:
            return
        within = np.arange(1, len(self._tokens))  # what left the window counts no more
        lengths = np.minimum(np.minimum(self._repeats[:-1], within), limit)
        longest: dict[int, int] = {}
        for place in (lengths >= self._allowed).nonzero()[0].tolist():
            follower, length = int(self._tokens[place + 1]), int(lengths[place])
            longest[follower] = max(length, longest.get(follower, 0))
        for token, length in longest.items():
            if () in self._breakers.get(token, ()):
                continue
            power = length - self._allowed
            power = min(power, self._most) if self._most else power
            logits[token] -= np.float32(self._multiplier * self._base**power)

    def _unbroken(self) -> int:
        """How many of the last tokens come after the last breaker."""
        if not self._breakers:
            return len(self._tokens)
        backwards = self._tokens[::-1].tolist()
        for place, token in enumerate(backwards):
            tails = [tail for tail in self._breakers.get(token, ()) if len(tail) <= place]
            written = [len(tail) for tail in tails if list(tail) == backwards[place - len(tail) : place][::-1]]
            if written:
                return place - max(written)
        return len(self._tokens)
