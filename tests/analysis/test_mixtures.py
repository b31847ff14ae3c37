"""What exploration steps fed, told from their traces."""

from __future__ import annotations

import pytest
from methods.fakes import Words, generate, linear
from support import traces as made

from selar_local.analysis.mixtures import candidate_entropy, method_of, mixer
from selar_local.analysis.traces import Step
from selar_local.methods import Coconut, Method, Selar, SoftThinking, SwiReasoning
from selar_local.methods.base import Mixture

VOCABULARY = Words(" yes", " no", " maybe", ends=("<end>",))
KNOWN = [
    Selar(tau=0.2),
    Selar(tau=0.2, k=5, contrast=0.0),
    Selar(tau=0.0, k=4, contrast=2.5, repel=2, symbol_guard=False),
    Selar(tau=0.1, anchor=0.4),
    Selar(tau=0.1, show="heaviest"),
    Selar(tau=0.1, gate_on="full", strict_gate=True),
    Selar(tau=0.7, invert_gate=True, symbol_guard=False),
    SoftThinking(),
    SoftThinking(max_topk=4),
]


@pytest.mark.parametrize("method", KNOWN, ids=str)
@pytest.mark.parametrize("sampling", [{}, {"top_k": 2}, {"top_p": 0.6}])
def test_the_mixtures_are_those_that_were_fed(method: Method, sampling, tmp_path):
    done = generate(method, linear(VOCABULARY.n_vocab), VOCABULARY, prompt_tail="<think>", **sampling)
    found = made.written(tmp_path / "t.jsonl", method, done, VOCABULARY)
    mix = mixer(method_of(found.method, found.options))
    compared = 0
    for step, fed in zip(found.steps, done.inputs, strict=False):
        assert step.explored == isinstance(fed, Mixture)
        if isinstance(fed, Mixture):
            mixture = mix(step)
            assert isinstance(mixture, Mixture)
            assert dict(zip(mixture.ids.tolist(), mixture.weights.tolist(), strict=True)) == dict(
                zip(fed.ids.tolist(), fed.weights.tolist(), strict=True)
            )
            compared += 1
    assert compared > 3


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (SwiReasoning(), "whole vocabulary at temperature 1"),
        (SoftThinking(noise="gumbel"), "gumbel noise"),
        (Selar(anchor=0.5, show="heaviest"), "the drawn token is mixed in"),
        (Coconut(), "does not hold what this method mixes"),
        (None, "does not hold what this method mixes"),
    ],
    ids=str,
)
def test_mixtures_that_a_trace_does_not_hold_are_not_made_up(method, words):
    told = mixer(method)(Step(5, "", 0.5, True, ((5, 0.6), (6, 0.4)), None))
    assert isinstance(told, str) and words in told


def test_steps_without_candidates():
    for method in (Selar(), SoftThinking()):
        assert "lists no candidates" in mixer(method)(Step(5, "", 0.5, True, (), None))
        assert "lists no candidates" in mixer(method)(Step(5, "", 0.5, True, ((5, 0.0),), None))
    assert "lists no candidates" in mixer(Selar())(Step(5, "", None, True, ((5, 1.0),), None))


def test_methods_and_options_that_nobody_knows():
    assert method_of("selar", {"tau": 0.3, "of the future": 1}) == Selar(tau=0.3)
    assert method_of("selar", {"tau": "no number"}) is None
    assert method_of("selar", {"k": [1]}) is None
    assert method_of("magic", {}) is None


def test_the_entropy_of_candidates_is_selars():
    done = generate(Selar(), linear(VOCABULARY.n_vocab), VOCABULARY)
    for event in done.events:
        step = Step(event.token, "", None, False, event.top, None)
        assert candidate_entropy(step) == event.entropy
    assert candidate_entropy(Step(5, "", None, False, ((5, 1.0),), None)) is None
    assert candidate_entropy(Step(5, "", None, False, ((5, 0.0), (6, 0.0)), None)) is None
