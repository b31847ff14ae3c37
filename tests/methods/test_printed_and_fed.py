"""What is printed and what is fed, on a real model: MoI at beta 1, and Multiplex with one draw."""

from __future__ import annotations

from pathlib import Path

import pytest

import selar_local as sl
from selar_local.engine.events import is_mismatched

ASKED = [
    f"{word} {thing}"
    for word in (
        "Explain in one sentence:",
        "Why is it good to have",
        "Write a short poem about",
        "Count up to",
        "Translate:",
    )
    for thing in ("a garden", "seven", "the sea", "two wheels")
]


@pytest.mark.gguf
def test_moi_at_beta_1_prints_the_heaviest_of_what_it_feeds(smollm2: Path) -> None:
    explored = 0
    with sl.load(smollm2, threads=1, ctx_size=256) as engine:
        for seed, text in enumerate(ASKED):
            events = list(engine.stream(text, method=sl.MoI(beta=1.0), max_tokens=24, seed=seed))
            explored += sum(event.explored for event in events)
            assert not any(is_mismatched(event.token, event.fed) for event in events), text
    assert len(ASKED) == 20 and explored > 100


@pytest.mark.gguf
def test_multiplex_of_one_draw_is_cot_bit_for_bit(smollm2: Path) -> None:
    with sl.load(smollm2, threads=1, ctx_size=256) as engine:
        for seed, text in enumerate(ASKED[::5]):
            asked = {"max_tokens": 32, "seed": seed, "logprobs": 5}
            one, cot = (engine.generate(text, method=own, **asked) for own in (sl.Multiplex(draws=1), sl.CoT()))
            assert (one.tokens, one.logprobs) == (cot.tokens, cot.logprobs), text
            assert len(cot.tokens) > 4 and one.usage.explored_steps == 0
