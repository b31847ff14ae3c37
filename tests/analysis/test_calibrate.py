"""Collecting a model's entropies, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import selar_local as sl
from selar_local.analysis.calibrate import CalibrationConfig, Samples, calibration_of, collect
from selar_local.analysis.questions import QUESTIONS
from selar_local.config import SamplingConfig
from selar_local.errors import EngineClosed, OptionError, PromptTooLong
from selar_local.methods import CoT, Selar

PROMPTS = ["Hello", "the answer is", "so we", "of and to", "numbers", "x"]
PLAIN = SamplingConfig()


@pytest.fixture(scope="module")
def engine(tiny: Callable[..., Path]) -> Iterator[sl.Engine]:
    with sl.load(tiny(), threads=1, ctx_size=256, parallel=4) as opened:
        yield opened


@pytest.fixture(scope="module")
def single(tiny: Callable[..., Path]) -> Iterator[sl.Engine]:
    with sl.load(tiny(), threads=1, ctx_size=256) as opened:
        yield opened


def collected(
    engine: sl.Engine, prompts: list[str] = PROMPTS, k: int = 3, sampling: SamplingConfig = PLAIN, **config: int
) -> Samples:
    return collect(engine, prompts, k=k, sampling=sampling, config=CalibrationConfig(**{"max_tokens": 20, **config}))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_entropies_are_those_of_cot_before_and_after_the_filters(single, k):
    samples = collected(single, k=k, seed=7)
    full, filtered = [], []
    for number, prompt in enumerate(PROMPTS):
        steps = {}
        for gate in ("full", "filtered"):
            method = Selar(k=k, tau=2.0, gate_on=gate)
            events = list(single.stream(prompt, raw=True, method=method, max_tokens=20, seed=7 + number))
            steps[gate] = [event.entropy for event in events]
        said = single.generate(prompt, raw=True, method=CoT(), max_tokens=20, seed=7 + number)
        assert tuple(event.token for event in events) == said.tokens
        kept = len(events) - (said.finish_reason == "stop")  # the ending step is none of them
        full += steps["full"][:kept]
        filtered += steps["filtered"][:kept]
    assert samples.full.tolist() == full and samples.filtered.tolist() == pytest.approx(filtered, abs=1e-12)
    assert samples.prompts == len(PROMPTS)


def test_several_at_a_time_say_what_each_says_alone(engine, single):
    # Of a batch the numbers differ in their last digits, and texts may part by them: a few steps are compared.
    together, alone = collected(engine, max_tokens=4), collected(single, max_tokens=4)
    assert together.full == pytest.approx(alone.full, abs=0.02)
    assert together.filtered == pytest.approx(alone.filtered, abs=0.02)


def test_one_at_a_time_a_seed_gives_the_same_again(single):
    first = collected(single)
    assert np.array_equal(collected(single).full, first.full)
    assert not np.array_equal(collected(single, seed=1).full, first.full)


def test_the_sampling_is_that_of_the_gate(single):
    plain, sharp = collected(single), collected(single, sampling=SamplingConfig(temperature=0.2, top_p=0.5))
    assert (sharp.filtered == 0).mean() > (plain.filtered == 0).mean()
    assert sharp.full.mean() < plain.full.mean()
    one = collected(single, sampling=SamplingConfig(top_k=1))
    assert not one.filtered.any() and one.full.any()


def test_an_answer_that_ends_at_once_has_no_steps(single, monkeypatch):
    monkeypatch.setattr(single._runtime.model, "is_end", lambda token: True)
    samples = collected(single)
    assert samples.full.shape == samples.filtered.shape == (0,)
    assert calibration_of(samples, k=3, gate_on="full", sampling=PLAIN).tau is None


def test_the_limit_and_the_progress(engine):
    shares: list[float] = []
    config = CalibrationConfig(max_tokens=20, limit=5)
    samples = collect(engine, PROMPTS, k=3, sampling=PLAIN, config=config, on_progress=shares.append)
    assert samples.prompts == 5
    assert len(shares) > 20 and shares == sorted(shares) and 0 < shares[0] < 0.2 and shares[-1] == 1.0


def test_it_can_be_interrupted_and_then_nothing_goes_on(engine):
    def press(share: float) -> None:
        if share > 0.01:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(
            engine, PROMPTS, k=3, sampling=PLAIN, config=CalibrationConfig(max_tokens=200), on_progress=press
        )  # fmt: skip
    # The engine is free: a later answer does not wait for 6 times 200 tokens, and is decoded alone.
    assert engine.generate("Hello", raw=True, max_tokens=4, seed=1).usage.completion_tokens <= 4


def test_a_prompt_that_does_not_fit_is_named_before_anything_is_decoded(engine):
    shares: list[float] = []
    with pytest.raises(PromptTooLong, match="prompt 2: the prompt is too long"):
        collect(
            engine, ["x", "long " * 400], k=3, sampling=PLAIN, config=CalibrationConfig(), on_progress=shares.append
        )
    assert shares == []


def test_errors_of_the_engine_come_through(tiny):
    with sl.load(tiny(), threads=1, ctx_size=256) as opened:
        pass
    with pytest.raises(EngineClosed):
        collected(opened)


@pytest.mark.parametrize("bad", [{"max_tokens": 0}, {"limit": 0}, {"seed": -1}, {"limit": True}], ids=str)
def test_sizes_that_make_no_sense_are_refused(bad):
    with pytest.raises(OptionError):
        CalibrationConfig(**bad)


def entropies(torn: float = 0.65) -> Samples:
    """A sample with a valley; the filters leave the certain steps one candidate and take 0.05 from the others."""
    random = np.random.default_rng(0)
    full = np.clip(np.concatenate((random.beta(0.3, 6, 3000), random.normal(torn, 0.08, 600))), 0, 1)
    return Samples(full, np.where(full < 0.25, 0.0, full - 0.05), 12)


def test_the_filtered_gate_gets_the_threshold_of_the_same_share():
    samples = entropies()
    full, filtered = (
        calibration_of(samples, k=3, gate_on=gate, sampling=SamplingConfig(top_p=0.9)) for gate in ("full", "filtered")
    )
    assert full.tau == full.valley == filtered.valley and full.tau is not None and filtered.tau is not None
    assert filtered.tau == pytest.approx(full.tau - 0.05, abs=0.01)
    assert full.explored == filtered.explored == pytest.approx(600 / 3600, abs=0.01)
    assert (full.gate_on, filtered.gate_on, full.top_p, full.k) == ("full", "filtered", 0.9, 3)
    assert (full.steps, full.prompts, full.version) == (3600, 12, sl.__version__)
    assert full.date.endswith("+00:00") and full.reason == ""


def test_filters_that_leave_nothing_to_cut():
    samples = Samples(entropies().full, np.zeros(3600), 12)
    found = calibration_of(samples, k=3, gate_on="filtered", sampling=PLAIN)
    assert found.tau is found.explored is None and found.valley is not None
    assert "single candidate" in found.reason


def test_no_valley_no_threshold():
    samples = Samples(np.random.default_rng(0).beta(0.3, 3, 2000), np.zeros(2000), 12)
    found = calibration_of(samples, k=3, gate_on="full", sampling=PLAIN)
    assert found.tau is found.valley is found.explored is None and found.reason and found.p_value is not None


def test_the_questions_are_many_and_all_different():
    assert len(QUESTIONS) == len(set(QUESTIONS)) >= 16
    assert all(40 < len(question) < 400 and question.strip() == question for question in QUESTIONS)


@pytest.mark.gguf
def test_a_real_model(smollm2):
    with sl.load(smollm2, threads=1, ctx_size=512, parallel=4) as opened:
        samples = collected(opened, list(QUESTIONS[:4]), max_tokens=40)
    assert 100 < samples.full.shape[0] <= 4 * 40
    assert 0.2 < (samples.filtered == 0).mean() < 0.8 and not (samples.full == 0).any()
    # What the filters leave alone was nearly certain before.
    assert samples.full[samples.filtered == 0].max() < 0.3
    found = calibration_of(samples, k=3, gate_on="filtered", sampling=PLAIN)
    assert (found.tau is None) == bool(found.reason) and 0.3 < found.torn / found.steps < 0.8
