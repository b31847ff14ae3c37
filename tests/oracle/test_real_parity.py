"""The engine against the oracle on a real model, its weights in F32."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from .methods import Selar
from .parity import three_ways
from .playing import STEPS, Run, opened, play
from .soft_thinking import SoftThinking
from .swireasoning import Swir
from .texts import Coconut, Plain
from .together import Together
from .weights import Weights

PROMPTS = {
    "arithmetic": "Question: A farmer has 17 sheep and buys 5 more. How many sheep has she now?\nAnswer:",
    "code": 'def is_prime(n):\n    """Return True if n is prime."""\n    if n < 2:\n        return',
    "story": "Once upon a time, in a village at the edge of a dark forest, there lived an old",
    "list": "Five things to pack for a trip to the mountains:\n1. Warm clothes\n2. A map\n3.",
    "non-English": "La capitale de la France est Paris, et la capitale de l'Allemagne est",
    "chat": "<|im_start|>user\nName three colours of the rainbow.<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.fixture(scope="module")
def oracle(smollm2_f32: Path) -> Together:
    return Together(Weights.load(smollm2_f32))


# Several at once, because a step is bound by reading the weights; one thread, because two that wait for each other
# take many times as long on a busy machine.


@pytest.mark.gguf
def test_selar_and_cot_on_smollm2(smollm2_f32: Path, oracle: Together) -> None:
    settings = [Selar(k, tau, contrast) for k, tau, contrast in itertools.product((3, 5), (0.0, 0.3, 0.5), (0.0, 1.0))]
    runs = [Run(prompt, own) for prompt in PROMPTS.values() for own in settings]
    runs += [Run(PROMPTS["arithmetic"], own, guard=True) for own in settings]
    runs += [Run(prompt, Plain()) for prompt in PROMPTS.values()]
    runs += [Run(PROMPTS["story"], own, 5) for own in settings[:6]]
    with opened(smollm2_f32, parallel=8) as engine:
        exact, _, free = three_ways(play(engine, runs), oracle)
    assert exact.explored > 300
    assert free.whole >= 0.8 * free.runs, free


@pytest.mark.gguf
def test_the_other_methods_on_smollm2(smollm2_f32: Path, oracle: Together) -> None:
    settings = [
        SoftThinking(),
        Swir(STEPS, window_size=1, alpha_0=0.6),
        Coconut(3),
        Selar(tau=0.3, k=4, repel=2),
        Selar(tau=0.3, anchor=0.5, show="heaviest"),
        Selar(tau=0.3, max_share=0.4, anchor=0.5),
    ]
    runs = [Run(PROMPTS[name], own) for name in ("arithmetic", "story", "chat") for own in settings]
    runs += [Run(PROMPTS["code"], SoftThinking(noise="gumbel"), 3), Run(PROMPTS["list"], settings[1], 4, guard=True)]
    with opened(smollm2_f32, parallel=8) as engine:
        exact, _, free = three_ways(play(engine, runs), oracle)
    assert exact.explored > 80
    assert free.whole >= 0.7 * free.runs, free
