"""Overlaps of distributions, and their averages: against cases worked by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from selar_local.analysis.lens.measure import Explored, LensSamples, layer_overlaps
from selar_local.analysis.lens.overlap import MEASURES, PAIRS, overlaps
from selar_local.analysis.lens.summary import DERIVED, as_dict, summarise
from selar_local.errors import DecodeError
from selar_local.methods import Selar

NAMES = list(PAIRS)


def logits_of(*rows: list[float]) -> npt.NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows)).astype(np.float32) + np.arange(4, dtype=np.float32)[:, None]  # a shift is nothing


def named(found: npt.NDArray[np.float64], measure: str) -> dict[str, float]:
    return dict(zip(NAMES, found[:, MEASURES.index(measure)].tolist(), strict=True))


def test_by_hand():
    with_push = [0.1, 0.4, 0.3, 0.2]
    without = [0.4, 0.3, 0.2, 0.1]
    top1 = [0.7, 0.1, 0.1, 0.1]
    top2 = [0.0, 0.6, 0.0, 0.4]
    found = overlaps(logits_of(with_push, without, top1, top2), 2)
    assert named(found, "mass") == pytest.approx(
        {"with_top1": 0.4, "with_top2": 0.6, "without_top1": 0.7, "without_top2": 0.4, "top1_top2": 0.2}, abs=1e-6
    )
    # The two most probable: {1, 2}, {0, 1}, {0, 1} (of equals the lower id), {1, 3}.
    assert named(found, "common") == {
        "with_top1": 0.5, "with_top2": 0.5, "without_top1": 1.0, "without_top2": 0.5, "top1_top2": 0.5,
    }  # fmt: skip


def test_the_same_and_nothing_in_common():
    same, other = [0.25] * 4 + [0.0] * 4, [0.0] * 4 + [0.25] * 4
    found = overlaps(logits_of(same, same, same, other), 4)
    for measure in MEASURES:
        assert named(found, measure) == pytest.approx(
            {"with_top1": 1, "with_top2": 0, "without_top1": 1, "without_top2": 0, "top1_top2": 0}, abs=1e-6
        )
    assert found.max() <= 1.0


def test_against_float64_on_a_large_vocabulary():
    random = np.random.default_rng(0)
    logits = (6.0 * random.standard_normal((4, 50_000))).astype(np.float32)
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    leading = [set(np.argsort(-row)[:10].tolist()) for row in logits]
    found = overlaps(logits.copy(), 10)
    for i, (a, b) in enumerate(PAIRS.values()):
        assert found[i, 0] == pytest.approx(np.minimum(shares[a], shares[b]).sum(), abs=1e-6)
        assert found[i, 1] == len(leading[a] & leading[b]) / 10


def test_more_tokens_than_there_are():
    found = overlaps(logits_of(*[[0.5, 0.2, 0.2, 0.1]] * 4), 1000)
    assert (found[:, 1] == 1.0).all()


def test_logits_that_are_no_numbers_are_told():
    logits = np.zeros((4, 300), np.float32)
    logits[2, 7] = np.nan
    with pytest.raises(DecodeError):
        overlaps(logits, 3)


class Head:
    """Logits that are the states."""

    n_vocab = 6

    def __init__(self) -> None:
        self.passes: list[int] = []

    def logits(self, states: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self.passes.append(len(states))
        out[:] = states
        return out


class Found:
    def __init__(self, states: npt.NDArray[np.float32]) -> None:
        self.states = states


@pytest.mark.parametrize("units", [1, 4, 100])
def test_every_step_and_layer_in_batches_that_fit(units, monkeypatch):
    random = np.random.default_rng(2)
    states = random.standard_normal((3, 4, 5, 6)).astype(np.float32)  # steps, branches, layers
    monkeypatch.setattr("selar_local.analysis.lens.measure._LOGIT_BYTES", units * 4 * 4 * 6)
    head, told = Head(), []
    found = layer_overlaps(head, [Found(one) for one in states], 2, on_progress=told.append)  # type: ignore[arg-type,list-item]
    assert found.shape == (3, 5, len(PAIRS), len(MEASURES))
    for step in range(3):
        for layer in range(5):
            np.testing.assert_array_equal(found[step, layer], overlaps(states[step, :, layer].copy(), 2))
    assert sum(head.passes) == 3 * 5 * 4 and max(head.passes) == 4 * min(units, 15)
    assert told[-1] == 1.0 and told == sorted(told)
    with pytest.raises(InterruptedError):
        layer_overlaps(head, [Found(one) for one in states], 2, lambda: True)  # type: ignore[arg-type,list-item]


# -- averages ---------------------------------------------------------------------------------


def samples(values: npt.NDArray[np.float64], prompts: list[int]) -> LensSamples:
    """values: (steps, layers) of every pair and measure, plus a tenth for each pair."""
    spread = values[:, :, None, None] + 0.1 * np.arange(len(PAIRS))[:, None] + np.zeros(len(MEASURES))
    steps = tuple(Explored(prompt, i, 1, 2, 0.5, 0.5, 0.3, 0.1, 0.4 + i) for i, prompt in enumerate(prompts))
    return LensSamples(Selar(), steps, spread, 100, max(prompts) + 1)


def test_means_over_the_steps_and_differences():
    found = summarise(samples(np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.5], [0.5, 0.6, 0.7]]), [0, 0, 2]))
    assert found.layers.mean[:, 0, 0].tolist() == pytest.approx([0.3, 0.4, 0.5])
    assert (found.deep_from, found.steps, found.prompts, found.resampled) == (3, 3, 2, "prompts")
    assert found.deep.mean[1].tolist() == pytest.approx([0.6, 0.6])
    # top-1 less top-2 is a tenth below 0 in both, and with the push top-2 is two tenths lower.
    assert dict(zip(DERIVED, found.derived.mean[:, 0], strict=True)) == pytest.approx(
        {"lead_with": -0.1, "lead_without": -0.1, "gain_top2": -0.2, "both_with": 0.5, "both_without": 0.7}
    )
    assert found.weights_with == pytest.approx((0.1, 1.4)) and found.weights_without == pytest.approx((0.5, 0.3))
    # What all steps have alike has no spread; what prompts differ in does: one mean is 0.2, the other 0.5.
    np.testing.assert_allclose(found.derived.low[:3], found.derived.high[:3], atol=1e-12)
    assert found.layers.low[0, 0, 0] == pytest.approx(0.2) and found.layers.high[0, 0, 0] == pytest.approx(0.5)


def test_steps_that_follow_one_or_the_other_are_not_both_at_once():
    found = np.zeros((2, 1, len(PAIRS), len(MEASURES)))
    found[0, 0, 0], found[1, 0, 1] = 1.0, 1.0  # with the push one step follows top-1, one top-2
    found[:, 0, 2:4] = 0.5  # without it each follows both by half
    steps = samples(np.zeros((2, 1)), [0, 1]).steps
    derived = as_dict(summarise(LensSamples(Selar(), steps, found, 2, 2)))["derived"]["mass"]
    assert derived["lead_with"]["mean"] == derived["lead_without"]["mean"] == 0.0
    assert (derived["both_with"]["mean"], derived["both_without"]["mean"]) == (0.0, 0.5)


def test_the_intervals_are_those_of_the_prompts_not_of_the_steps():
    random = np.random.default_rng(1)
    by_prompt = random.random(20)
    values = np.repeat(by_prompt, 30)[:, None] + 0.01 * random.standard_normal((600, 1))
    found = summarise(samples(values, np.repeat(np.arange(20), 30).tolist()))
    width = float(found.layers.high[0, 0, 0] - found.layers.low[0, 0, 0])
    assert width == pytest.approx(2 * 1.96 * by_prompt.std() / np.sqrt(20), rel=0.15)
    assert found.layers.low[0, 0, 0] < by_prompt.mean() < found.layers.high[0, 0, 0]


def test_one_prompt_and_one_step():
    single = summarise(samples(np.array([[0.1], [0.3], [0.5]]), [4, 4, 4]))
    assert (single.resampled, single.prompts, single.deep_from) == ("steps", 1, 1)
    assert single.layers.low[0, 0, 0] < 0.3 < single.layers.high[0, 0, 0]
    lonely = summarise(samples(np.array([[0.1]]), [0]))
    assert np.isnan(lonely.layers.low).all() and lonely.layers.mean[0, 0, 0] == 0.1
    assert as_dict(lonely)["layers"][0]["mass"]["with_top1"] == {"mean": 0.1, "low": None, "high": None}


def test_the_same_samples_give_the_same_summary():
    values = np.random.default_rng(3).random((40, 6))
    first, second = (as_dict(summarise(samples(values, [i // 4 for i in range(40)]))) for _ in range(2))
    assert first == second
    assert [layer["layer"] for layer in first["layers"]] == [1, 2, 3, 4, 5, 6]
    assert first["deep"]["from_layer"] == 5
    assert set(first["layers"][0]["common"]) == set(PAIRS) and set(first["derived"]["mass"]) == set(DERIVED)
