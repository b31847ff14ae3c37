"""The logit lens against the float64 transformer: the same branches, and the same overlaps of their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selar_local.analysis.lens.measure import layer_overlaps
from selar_local.analysis.lens.overlap import MEASURES, PAIRS
from selar_local.analysis.lens.session import LensSession
from selar_local.config import EngineConfig
from selar_local.methods import Selar
from selar_local.methods.base import Mixture

from .methods import Filters, by_falling_value, selar_step, uniform_numbers
from .methods import Selar as Settings
from .playing import EXACT
from .prompts import OTHER, PROMPT
from .transformer import Cache, ModelInput, Transformer, softmax
from .weights import FLAVOURS, Array, Weights

K = 10
TOLERANCE = 1e-3
GEMMA_TOLERANCE = 5e-3  # ggml rounds its GELU to half precision: see test_transformer
SETTINGS = Settings(tau=0.4)
METHOD = Selar(tau=0.4, symbol_guard=False)


def walked(
    session: LensSession, transformer: Transformer, prompt: str, seed: int, n: int
) -> Iterator[tuple[Array, Array]]:
    """Each exploration step's overlaps as the lens has them, (layers, pairs, measures), and the distributions of the
    oracle's branches, (branches, layers, n_vocab).

    The oracle decides by itself what the branches are, and goes on with what the engine fed: from step to step the
    difference of float32 and float64 would grow.
    """
    request = session.request(prompt, METHOD, raw=True, max_tokens=n, seed=seed)
    found, result = session.explore(request)
    overlaps = layer_overlaps(session.head, found, K)
    by_index = {one.index: (one.branches, own) for one, own in zip(found, overlaps, strict=True)}
    cache = transformer.new_cache()
    logits = transformer.forward(request.prompt, cache)
    for index, (token, uniform) in enumerate(zip(result.tokens[:-1], uniform_numbers(seed, n), strict=False)):
        step, plain = (
            selar_step(logits, transformer.rows, Filters(), replace(SETTINGS, contrast=contrast), uniform)
            for contrast in (1.0, 0.0)
        )
        assert step.token == token and step.explored == (index in by_index)
        fed: ModelInput = token
        if step.vector is not None and plain.vector is not None:
            branches, own = by_index[index]
            assert [branches.first, branches.second] == by_falling_value(logits)[:2].tolist()
            fed = mixed(branches.pushed, transformer)
            np.testing.assert_allclose(fed, step.vector, atol=tolerance(transformer))
            np.testing.assert_allclose(mixed(branches.plain, transformer), plain.vector, atol=tolerance(transformer))
            inputs = (fed, mixed(branches.plain, transformer), branches.first, branches.second)
            yield own, np.stack([distributions(transformer, item, cache.copy()) for item in inputs])
        logits = transformer.forward([fed], cache)


def mixed(mixture: Mixture, transformer: Transformer) -> Array:
    vector: Array = mixture.weights @ transformer.rows[mixture.ids]
    return vector


def distributions(transformer: Transformer, item: ModelInput, cache: Cache) -> Array:
    return softmax(transformer.lens(transformer.forward_with_layers([item], cache)))


def tolerance(transformer: Transformer) -> float:
    return GEMMA_TOLERANCE if transformer.is_gemma else TOLERANCE


def compare(own: Array, shares: Array, margin: float) -> None:
    """One step's overlaps."""
    assert own.shape == (shares.shape[1], len(PAIRS), len(MEASURES))
    for pair, (a, b) in enumerate(PAIRS.values()):
        for p, q, (mass, common) in zip(shares[a], shares[b], own[:, pair], strict=True):
            assert mass == pytest.approx(np.minimum(p, q).sum(), abs=margin)
            of_p, of_q = by_falling_value(p), by_falling_value(q)
            # Where the k-th and the next are alike, float32 may take the other.
            loose = sum(np.log(r[ids[K - 1]] / r[ids[K]]) < 4 * margin for r, ids in ((p, of_p), (q, of_q)))
            expected = len(set(of_p[:K].tolist()) & set(of_q[:K].tolist())) / K
            assert abs(common - expected) <= 1e-9 + loose / K


@pytest.mark.parametrize("flavour", [*FLAVOURS, "llama-untied", "gemma3-untied"])
def test_the_overlaps_are_those_of_the_oracle(flavour: str, tiny: Callable[..., Path]) -> None:
    architecture, _, untied = flavour.partition("-")
    path = tiny(architecture=architecture, n_layer=3, seed=5, tie_embeddings=not untied)
    transformer, steps = Transformer(Weights.load(path)), 0
    with LensSession(path, EngineConfig(threads=1, ctx_size=256, **EXACT)) as session:
        assert session.check.relative < 1e-5 and session.check.mass > 0.9999
        for seed, prompt in enumerate((PROMPT, OTHER, "so we add")):
            for own, shares in walked(session, transformer, prompt, seed, 20):
                compare(own, shares, tolerance(transformer))
                steps += 1
    assert steps >= 12


@pytest.mark.gguf
def test_on_smollm2_in_f32(smollm2_f32: Path) -> None:
    prompt = "Once upon a time, in a village at the edge of a dark forest, there lived an old"
    transformer = Transformer(Weights.load(smollm2_f32))
    with LensSession(smollm2_f32, EngineConfig(threads=1, ctx_size=256, **EXACT)) as session:
        assert session.check.relative < 1e-3
        steps = list(walked(session, transformer, prompt, 0, 16))
        for own, shares in steps:
            compare(own, shares, tolerance(transformer))
    assert len(steps) >= 3
