"""The entropy that every step of every method has, for display."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selar_local.engine.events import TokenEvent
from selar_local.methods import METHODS
from selar_local.server.collecting import event_facts

from .conftest import HELLO, events


def shade(*probabilities: float) -> float:
    event = TokenEvent(0, 1, "", "", None, False, tuple(enumerate(probabilities)), 1, ((1, 1.0),))
    value = event_facts(event, lambda token: (b"", False))["shade"]
    assert isinstance(value, float) and 0 <= value <= 1
    return value


def expected(probabilities: list[float]) -> float:
    """The same from its definition, in NumPy."""
    p = np.array(probabilities) / np.sum(probabilities)
    p = p[p > 0]
    return float(-(p * np.log(p)).sum() / np.log(len(probabilities)))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda values: sum(values) > 1e-6))
def test_it_is_the_normalised_entropy_of_the_candidates(probabilities):
    assert shade(*probabilities) == pytest.approx(expected(probabilities), abs=1e-9)
    assert shade(*reversed(probabilities)) == pytest.approx(shade(*probabilities), abs=1e-9)


def test_its_ends():
    assert shade() == shade(1.0) == shade(1.0, 0.0, 0.0) == shade(0.0, 0.0) == 0
    for n in range(2, 20):
        assert shade(*[1 / n] * n) == pytest.approx(1)
    assert shade(0.5, 0.5, 0) == pytest.approx(math.log(2) / math.log(3))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_it(api, engine, method):
    chunks = events(api.chat(stream=True, selar={"method": method, "events": True}).text)[:-1]
    facts = [c["selar"] for chunk in chunks for c in chunk["choices"] if "token" in c.get("selar", {})]
    steps = list(engine.stream(messages=HELLO, method=method, seed=1, max_tokens=8))
    assert [fact["token"] for fact in facts] == [step.token for step in steps]
    for fact, step in zip(facts, steps, strict=True):
        assert fact["shade"] == pytest.approx(expected([probability for _, probability in step.top]), abs=1e-9)
        if method == "selar":
            assert fact["shade"] == pytest.approx(step.entropy, abs=1e-9)
    assert any(fact["shade"] > 0.05 for fact in facts)
