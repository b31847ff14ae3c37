"""Coconut's oracle against examples worked by hand, and the hidden states that it feeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .coconut import coconut, think
from .scripted import HALVES, PLACES, Scripted, cases, close, trace
from .transformer import Raw, Transformer
from .weights import Weights


@cases(
    ("n_latent", "markers", "fed"),
    [
        (2, {"start": 5, "end": 4}, [[7, 8, 5], 1.0, 2.0, [4]]),
        (2, {}, [[7, 8], 1.0, 2.0]),
        (1, {"end": 4}, [[7, 8], 1.0, [4]]),
        (0, {"start": 5, "end": 4}, [[7, 8, 5], [4]]),
        (0, {}, [[7, 8]]),
    ],
)
def test_coconut(n_latent: int, markers: dict[str, int], fed: list[Any]) -> None:
    """Numbers in `fed` stand for the hidden state that the call of that number gave."""
    words = [PLACES[letter] for letter in "acTE"]
    model = Scripted(*[HALVES] * (len(fed) - 1), PLACES["T"], *words)
    steps = list(coconut(model, [7, 8], n_latent, 9, end_ids={6}, **markers))
    assert trace(steps) == "4-n 0-n 0-n 4-n 6-n" and all(step.entropy is None for step in steps)
    seen = [call[0].values[0] if isinstance(call[0], Raw) else call for call in model.fed]
    assert seen == [*fed, [4], [0], [0], [4]]


@cases("architecture", ["llama", "gemma3"])
def test_hidden_states_are_fed_as_they_are(architecture: str, tiny: Callable[..., Path]) -> None:
    model = Transformer(Weights.load(tiny(architecture=architecture, seed=1)))
    logits, hidden = model.forward_with_hidden([5, 6, 7], model.new_cache())
    close(model.weights.output @ hidden, logits)
    assert model.forward([5, 6, 7], model.new_cache()).tolist() == logits.tolist()
    row = model.rows[9] - 0.3 * model.rows[12]
    as_row, scaled, as_is = (
        model.forward([5, item], model.new_cache()) for item in (row, Raw(row * model.embedding_scale), Raw(row))
    )
    close(scaled, as_row)
    assert (np.abs(as_is - as_row).max() > 0.1) == (architecture == "gemma3")

    cache, again = model.new_cache(), model.new_cache()
    latents = think(model, [5, 6], 2, cache, start=7, end=8)
    _, first = model.forward_with_hidden([5, 6, 7], again)
    _, second = model.forward_with_hidden([Raw(first)], again)
    _, third = model.forward_with_hidden([Raw(second)], again)
    assert len(cache) == 3 + 2 + 1
    close([latents.fed, latents.hidden], [[first, second], [second, third]])
    close(latents.logits, model.forward([8], again))
    assert [s.token for s in coconut(model, [5, 6], 2, 1, start=7, end=8)] == [int(latents.logits.argmax())]
