"""The lens at work on tiny models: the run is the engine's own, the branches are what they say, seeds repeat it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.prefill import prefill

import selar_local as sl
from selar_local.analysis.lens import session as module
from selar_local.analysis.lens.config import LensConfig
from selar_local.analysis.lens.measure import LensSamples, measure
from selar_local.analysis.lens.overlap import MEASURES
from selar_local.analysis.lens.probe import ProbedRuntime
from selar_local.analysis.lens.session import LensSession, SelfCheck
from selar_local.analysis.lens.summary import as_dict, summarise
from selar_local.analysis.questions import QUESTIONS
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.errors import DecodeError, NotCalibrated, OptionError, PromptTooLong, UnsupportedModel
from selar_local.llama.inputs import Feed
from selar_local.llama.output_head import OutputHead
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import Selar
from selar_local.methods.base import Mixture, NextInput, Token

TinyModel = Callable[..., Path]
FLAVOURS = ("llama", "qwen2", "qwen3", "gemma3")
PROMPTS = ["Hello", "the answer is so we", "numbers of"]
OPEN = Selar(tau=0.4, symbol_guard=False)
ENGINE = EngineConfig(threads=1, ctx_size=256)


@pytest.fixture(params=FLAVOURS)
def path(request: pytest.FixtureRequest, tiny: TinyModel) -> Path:
    return tiny(architecture=request.param, n_layer=3)


@pytest.fixture
def session(tiny: TinyModel) -> Iterator[LensSession]:
    with LensSession(tiny(n_layer=3), ENGINE) as opened:
        yield opened


def looked(
    session: LensSession, method: Selar = OPEN, prompts: list[str] = PROMPTS, sampling: Any = None, **config: Any
) -> LensSamples:
    config = {"max_tokens": 40, "max_steps": 4, **config}
    return measure(session, prompts, method, sampling or SamplingConfig(), LensConfig(**config), raw=True)


def test_the_run_is_the_engine_s_own_bit_for_bit(path: Path) -> None:
    # 40 tokens: beyond the window of the tiny Gemma, whose cache is a ring.
    with sl.load(path, threads=1, ctx_size=256) as engine:
        events = list(engine.stream(PROMPTS[1], raw=True, method=OPEN, max_tokens=40, seed=3))
    with LensSession(path, ENGINE) as lens:
        found, result = lens.explore(lens.request(PROMPTS[1], OPEN, raw=True, max_tokens=40, seed=3))
    assert result.tokens == tuple(event.token for event in events)
    explored = [event for event in events if event.explored]
    if events[-1].explored:  # what the last step would have fed was not fed
        explored.pop()
    assert len(found) >= 5
    assert [one.index for one in found] == [event.index for event in explored]
    for one, event in zip(found, explored, strict=True):
        assert (one.branches.first, one.branches.second) == tuple(token for token, _ in event.top[:2])
        assert one.branches.entropy == event.entropy


def test_every_option_of_the_sampling_reaches_the_run(session: LensSession) -> None:
    plain = looked(session)
    for changed in ({"repeat_penalty": 1.9}, {"logit_bias": {plain.steps[0].second: -50.0}}, {"typical_p": 0.3}):
        other = looked(session, sampling=SamplingConfig(**changed))
        steps = [[(one.first, one.second, one.entropy) for one in found.steps] for found in (plain, other)]
        assert steps[0] != steps[1], changed


def test_the_branches_are_what_the_four_inputs_give(path: Path) -> None:
    fed: list[NextInput] = []
    with LensSession(path, ENGINE) as lens:
        step = ProbedRuntime.step

        def noting(self: ProbedRuntime, feeds: list[Feed], *more: Any) -> Any:
            fed.append(feeds[0].next_input)
            return step(self, feeds, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ProbedRuntime, "step", noting)
            request = lens.request(PROMPTS[0], OPEN, raw=True, max_tokens=20, seed=1)
            found, _ = lens.explore(request)
    assert len(found) >= 3
    runtime = LlamaRuntime(path, ENGINE, watch_layers=True)
    layers = runtime.layers
    assert layers is not None
    start = len(request.prompt)
    for one in found:
        pushed, plain, first, second, h = one.branches
        assert fed[one.index] is pushed
        np.testing.assert_array_equal(pushed.ids, plain.ids)
        weights = plain.weights.copy() * (1 + h)
        weights[0] -= h
        np.testing.assert_allclose(pushed.weights, weights, atol=1e-12)
        assert plain.weights.sum() == pytest.approx(1) and plain.ids[:2].tolist() == [first, second]
        runtime.forget(0)
        prefill(runtime, 0, 0, request.prompt)
        for position, item in enumerate(fed[: one.index], start):
            runtime.step([Feed(0, position, item)], True)
        for branch, item in enumerate((pushed, plain, Token(first), Token(second))):
            with layers.capturing():
                runtime.step([Feed(0, start + one.index, item)], True)
            assert layers.states()[:, 0].tobytes() == one.states[branch].tobytes(), branch
            assert runtime.truncate(0, start + one.index)
    runtime.close()


def test_without_the_filters_letting_a_second_one_in(session: LensSession) -> None:
    """Always exploring on a top-p that leaves one candidate: the mixes are that token's row."""
    samples = looked(session, Selar(tau=0.0, symbol_guard=False), sampling=SamplingConfig(top_p=1e-6))
    assert len(samples.steps) == 12 and all(step.first != step.second for step in samples.steps)
    np.testing.assert_allclose(samples.overlaps[:, :, [0, 2]], 1.0, atol=1e-5)


def test_a_seed_gives_the_same_again(tiny: TinyModel) -> None:
    def once(seed: int) -> LensSamples:
        with LensSession(tiny(n_layer=3), ENGINE) as opened:
            return looked(opened, seed=seed, max_steps=0)

    first, again, other = once(7), once(7), once(8)
    assert first.steps == again.steps and first.tokens == again.tokens
    assert first.overlaps.tobytes() == again.overlaps.tobytes()
    assert first.steps != other.steps
    assert ((first.overlaps >= 0) & (first.overlaps <= 1)).all() and first.overlaps.std() > 0.05


def test_each_prompt_has_its_own_seed_and_cache(session: LensSession) -> None:
    together = looked(session, seed=3)
    for number, prompt in enumerate(PROMPTS):
        alone = looked(session, prompts=[prompt], seed=3 + number)
        of_it = [i for i, step in enumerate(together.steps) if step.prompt == number]
        assert [replace(step, prompt=number) for step in alone.steps] == [together.steps[i] for i in of_it]
        # The matrix product of fewer states may round otherwise.
        np.testing.assert_allclose(alone.overlaps, together.overlaps[of_it], atol=1e-4)


def test_an_answer_ends_with_the_last_step_that_is_looked_at(session: LensSession) -> None:
    few, all_ = looked(session, max_steps=2), looked(session, max_steps=0)
    assert [step.prompt for step in few.steps] == [0, 0, 1, 1, 2, 2]
    assert len(all_.steps) > 12 and all_.tokens > few.tokens and few.answers == all_.answers == 3
    for step in few.steps:
        assert step in all_.steps
    assert {step.prompt for step in looked(session, limit=1).steps} == {0}


def test_no_step_explored(session: LensSession) -> None:
    samples = looked(session, Selar(tau=2.0))
    assert samples.steps == () and samples.overlaps.shape == (0, 3, 5, 2) and samples.tokens > 0


def test_the_options_of_the_method_are_in_what_is_fed(session: LensSession) -> None:
    method = Selar(tau=0.3, k=4, repel=2, anchor=0.7, contrast=2.0, symbol_guard=False, gate_on="full")
    found, _ = session.explore(session.request(PROMPTS[0], method, raw=True, max_tokens=20, seed=0))
    assert found
    for one in found:
        assert 4 <= len(one.branches.pushed.ids) <= 5 and one.branches.plain.weights.sum() == pytest.approx(1)
        assert isinstance(one.branches.pushed, Mixture)
    samples = looked(session, method)
    assert samples.method == method
    for step in samples.steps:
        # The anchor adds 0.3 to the drawn token, which may be the second candidate.
        assert 0 < step.second_share <= step.first_share + 0.3 + 1e-12 and 0 < step.first_share < 1
        assert step.first_weight < step.first_share + 1e-12


def test_a_limit_on_the_share_of_exploration_steps(session: LensSession) -> None:
    found, _ = session.explore(session.request(PROMPTS[0], Selar(tau=0.3), raw=True, max_tokens=20, seed=0))
    few, _ = session.explore(
        session.request(PROMPTS[0], Selar(tau=0.3, max_share=0.3), raw=True, max_tokens=20, seed=0)
    )
    assert 0 < len(few) <= 6 < len(found)


def test_the_weights_of_the_candidates(session: LensSession) -> None:
    for step in looked(session).steps:
        push = step.entropy
        assert step.first_weight == pytest.approx((1 + push) * step.first_share - push)
        assert step.second_weight == pytest.approx((1 + push) * step.second_share)


def test_progress_and_cancelling(session: LensSession) -> None:
    told: list[float] = []
    config = LensConfig(max_tokens=30, max_steps=2)
    measure(session, PROMPTS, OPEN, SamplingConfig(), config, raw=True, on_progress=told.append)
    assert told == sorted(told) and told[-1] == 1.0 and len(set(told)) > 6
    calls = 0

    def later() -> bool:
        nonlocal calls
        calls += 1
        return calls > 9

    with pytest.raises(InterruptedError):
        measure(session, PROMPTS, OPEN, SamplingConfig(), config, raw=True, cancelled=later)
    assert looked(session, prompts=PROMPTS[:1]).steps  # and it can go on


def test_what_is_wrong_is_told_before_the_first_step(session: LensSession) -> None:
    with pytest.raises(OptionError, match="contrast must be above 0"):
        looked(session, Selar(contrast=0.0))
    with pytest.raises(PromptTooLong, match="prompt 2: the prompt is too long"):
        looked(session, prompts=["short", "long " * 300])
    with pytest.raises(OptionError, match="there is no prompt"):
        looked(session, prompts=[])
    with pytest.raises(NotCalibrated):
        looked(session, Selar(tau="auto"))
    with pytest.raises(OptionError, match="overlap_k"):
        LensConfig(overlap_k=0)


def test_an_error_of_a_step_is_raised(session: LensSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session._runtime, "truncate", lambda slot, length: False)
    with pytest.raises(UnsupportedModel, match="cannot go back by a step"):
        looked(session)


def test_models_that_cannot_step_back_are_refused(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    close = LlamaRuntime.close
    monkeypatch.setattr(LlamaRuntime, "truncate", lambda self, slot, length: False)
    monkeypatch.setattr(LlamaRuntime, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(UnsupportedModel, match="recurrent or hybrid model"):
        LensSession(tiny(), ENGINE)
    assert closed


@pytest.mark.parametrize("factor", [1.2, np.nan])
def test_a_lens_that_is_not_what_the_model_says_is_refused(
    factor: float, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = OutputHead.logits
    monkeypatch.setattr(OutputHead, "logits", lambda self, *states: np.float32(factor) * logits(self, *states))
    with pytest.raises(UnsupportedModel, match=r"not what the model says \(logits differ by .*no lens for .*llama$"):
        LensSession(tiny(), ENGINE)
    monkeypatch.setattr(module, "KNOWN_ARCHITECTURES", frozenset())
    with pytest.raises(UnsupportedModel, match="llama, which the lens does not know"):
        LensSession(tiny(), ENGINE)


def test_an_architecture_that_is_not_known_passes_by_its_check(tiny: TinyModel) -> None:
    with LensSession(tiny(architecture="qwen2vl"), ENGINE) as opened:
        assert not opened.known and opened.check.passed
        assert looked(opened).steps


def test_the_self_check_is_of_the_largest_logit() -> None:
    assert SelfCheck(0.5, 20.0, 0.9).relative == 0.025 and SelfCheck(0.5, 20.0, 0.9).passed
    assert not SelfCheck(0.5, 0.0, 0.9).passed and not SelfCheck(float("nan"), 20.0, 0.9).passed


def test_quantised_models_pass(tiny: TinyModel) -> None:
    with LensSession(tiny(weight_type="Q4_0", n_layer=3), ENGINE) as opened:
        assert 1e-6 < opened.check.relative < 0.05
        assert looked(opened).steps


@pytest.mark.gguf
def test_the_paper_s_picture_on_a_real_model(smollm2: Path) -> None:
    """Without the push top-1 leads in the last layers; with it top-2 has more, and more than the two have anyway."""
    prompts = list(QUESTIONS[:6])
    with LensSession(smollm2, EngineConfig(threads=1)) as opened:
        assert opened.known and 0 < opened.check.relative < 0.03
        samples = measure(opened, prompts, Selar(), SamplingConfig(), LensConfig(max_tokens=64, max_steps=4))
    found = as_dict(summarise(samples))
    assert len(samples.steps) > 12
    for name in MEASURES:
        told = found["derived"][name]
        assert told["lead_without"]["low"] > 0.1 and told["gain_top2"]["low"] > 0.05
        assert told["lead_with"]["high"] < told["lead_without"]["low"]
        assert found["deep"][name]["with_top2"]["low"] > found["deep"][name]["top1_top2"]["high"]


def test_damaged_weights_are_told(tiny: TinyModel) -> None:
    with pytest.raises((DecodeError, UnsupportedModel, sl.errors.ModelFileError)):
        LensSession(tiny(nan_tensor="blk.0.ffn_down.weight"), ENGINE)
