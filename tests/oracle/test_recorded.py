"""What events say was fed, against the floats that went into llama.cpp: the recorded weights times the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.methods import Method

from .playing import noting_inputs, opened
from .transformer import Transformer
from .weights import FLAVOURS, Weights

METHODS: tuple[Method, ...] = (
    sl.Selar(tau=0.3),
    sl.Selar(tau=0.0, k=5, contrast=2.0, repel=2, anchor=0.4, show="heaviest", symbol_guard=False),
    sl.Selar(tau=0.2, max_share=0.2, gate_on="full"),
    sl.SoftThinking(noise="gumbel"),
    sl.SwiReasoning(),
    sl.CoT(),
)


def recorded(engine: Any, method: Method, rows: Any, steps: int, prompt: str) -> int:
    """The number of mixes in a run in which every input was what its event says."""
    with noting_inputs(engine) as noted:
        stream = engine.stream(prompt, raw=True, method=method, max_tokens=steps, seed=5)
        events = list(stream)
    inputs = [one for one in noted if one.position >= len(stream.prompt)]
    assert len(inputs) == len(events) - 1 and events[-1].fed == ()
    for event, own in zip(events, inputs, strict=False):
        assert event.explored or event.fed == ((event.token, 1.0),)
        if own.row is not None:
            ids, weights = (np.array(column) for column in zip(*event.fed, strict=True))
            np.testing.assert_allclose(weights @ rows(ids), own.row, atol=1e-5 * np.abs(own.row).max())
        else:
            assert event.fed == ((own.next_input.id, 1.0),)
    return sum(len(event.fed) > 1 for event in events)


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_recorded_weights_times_rows_are_what_was_fed(flavour: str, method: Method, tiny: Callable[..., Path]) -> None:
    path = tiny(architecture=flavour)
    transformer = Transformer(Weights.load(path))
    rows = transformer.rows * transformer.embedding_scale
    with opened(path) as engine:
        mixes = recorded(engine, method, lambda ids: rows[ids], 24, "the answer is so we")
    assert mixes > 0 or method == sl.CoT()


@pytest.mark.gguf
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_recorded_weights_times_rows_on_a_real_model(method: Method, smollm2: Path) -> None:
    from selar_local.engine.engine import Engine

    with Engine(smollm2) as engine:
        table = engine._runtime.table  # SmolLM2 scales no rows
        mixes = recorded(engine, method, table.rows, 40, "Why is the sky blue? Because")
    assert mixes > 0 or method == sl.CoT()
