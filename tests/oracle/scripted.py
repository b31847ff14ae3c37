"""Scripted logits in place of a model, for examples worked by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from .methods import Filters
from .transformer import Transformer
from .weights import Array

ALL = Filters(1.0, 0, 1.0, 0.0)
close = np.testing.assert_allclose
cases = pytest.mark.parametrize


def logits_of(*probabilities: float) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, np.float64))


class Scripted(Transformer):
    """A model that answers each call with the next of its logits and notes what it was fed. Row i is unit vector i."""

    rows = property(lambda self: np.eye(len(self.script[0])))

    def __init__(self, *script: Array) -> None:
        self.script, self.fed = script, []

    def new_cache(self) -> Any:
        return None

    def forward_with_hidden(self, inputs: Sequence[Any], cache: Any) -> tuple[Array, Array]:
        self.fed.append([x.tolist() if isinstance(x, np.ndarray) else x for x in inputs])
        return self.script[len(self.fed) - 1], np.full(2, float(len(self.fed)))


def trace(steps: Iterable[Any]) -> str:
    """Tokens shown, + where a mixture is fed, and the first letter of the mode."""
    return " ".join(f"{s.token}{'+' if s.explored else '-'}{s.mode[0]}" for s in steps)


#: Tokens 0 to 3 with these probabilities; 4 and 5 are for what a method does.
FALLING, HALVES = logits_of(0.4, 0.3, 0.2, 0.1, 0, 0), logits_of(0.5, 0.25, 0.25, 0, 0, 0)

#: By letter: words 0 to 2, <think> 3, </think> 4, backslash-n 5, end of text 6.
PLACES = {
    "a": logits_of(1, 0, 0, 0, 0, 0, 0),  # entropy 0
    "b": logits_of(0.5, 0.5, 0, 0, 0, 0, 0),  # 0.69
    "c": logits_of(0.6, 0.2, 0.2, 0, 0, 0, 0),  # 0.95
    "d": logits_of(0.4, 0.3, 0.3, 0, 0, 0, 0),  # 1.09
    "T": logits_of(0, 0, 0, 0, 1, 0, 0),
    "E": logits_of(0, 0, 0, 0, 0, 0, 1),
}
