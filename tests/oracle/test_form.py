"""Steps that stay out of the form of fenced JSON, beside the oracle's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from .methods import Selar
from .parity import walk
from .playing import Run, opened, play
from .prompts import PROMPT
from .soft_thinking import SoftThinking
from .together import Together
from .weights import Weights

RUNS = [Run(PROMPT, own, seed, max_tokens=40) for own in (Selar(tau=0.3), SoftThinking()) for seed in (1, 2, 3)]


@pytest.mark.parametrize("keep", [True, False])
def test_fenced_json(keep: bool, tiny: Callable[..., Path]) -> None:
    """A random model writes no JSON: the tokens that it likes best get other texts."""
    path = tiny(architecture="llama", seed=1)
    with opened(path, parallel=4) as engine:
        tokens = Counter(event.token for own in play(engine, RUNS) for event in own.events).most_common(5)
        texts = (b"```json\n", b"a", b"\n", b"{}", b"```\n")  # more blocks open than close
        engine.runtime.model._pieces.update(zip([token for token, _ in tokens], texts, strict=True))
        played = play(engine, [replace(run, keep_form=keep) for run in RUNS])
    oracle = Together(Weights.load(path))
    for way in ("logits", "state"):
        found = walk(played, way, oracle)
        assert found.agreed >= 0.97 * found.positions, found
    kept = Counter(event.kept for own in played for event in own.events)
    assert (kept["json"] > 10) == keep and found.explored > 10
