"""Biases, penalties and DRY: against the oracle's, and at their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import repetition as oracle

from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods.adjustment import Adjustment, Changes

N = 12  # of a vocabulary in which random texts repeat themselves
TEXTS = st.lists(st.one_of(st.integers(0, N - 1), st.integers(0, 2)), min_size=1, max_size=120)
WINDOWS = st.one_of(st.integers(0, 20), st.just(-1))
BREAKERS: list[tuple[int, ...]] = [(3,), (0, 1, 2), (0, 1), (5, 5)]


def made(text: Sequence[int], prompt: int, changes: Changes | None = None, **options: Any) -> Adjustment:
    """The state after a text, the first `prompt` tokens of which were the prompt."""
    found = Adjustment.of(SamplingConfig(**options), changes or Changes(), text[:prompt])
    assert found is not None
    for token in text[prompt:]:
        found.accept(token)
    return found


def logits_of(seed: int) -> npt.NDArray[np.float32]:
    return (5 * np.random.default_rng(seed).standard_normal(N)).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.floats(0, 1), st.integers(0, 9), st.floats(0.5, 2), st.floats(-2, 2), st.floats(-2, 2), WINDOWS)
def test_penalties_are_the_oracle_s(
    text: list[int], share: float, seed: int, repeat: float, presence: float, frequency: float, window: int
) -> None:
    options = {"repeat_penalty": repeat, "presence_penalty": presence, "frequency_penalty": frequency}
    options |= {"repeat_last_n": window}
    bias = {1: 2.5, 7: -math.inf}
    logits = logits_of(seed)
    got = made(text, int(share * len(text)), Changes(bias=bias), **options)(logits)
    own = oracle.Penalties(bias, repeat, presence, frequency, len(text) if window == -1 else window)
    expected = oracle.changed(logits.astype(np.float64), text, own)
    assert got.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert logits.tolist() == logits_of(seed).tolist()  # the model's own stay


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.floats(0, 1), st.integers(0, 5), st.floats(1, 3), st.integers(1, 130), st.booleans())
def test_dry_is_the_oracle_s(
    text: list[int], share: float, allowed: int, base: float, window: int, breaks: bool
) -> None:
    heads: dict[int, list[tuple[int, ...]]] = {}
    for head, *tail in BREAKERS if breaks else []:
        heads.setdefault(head, []).append(tuple(tail))
    options = {"dry_multiplier": 0.8, "dry_base": base, "dry_allowed_length": allowed, "dry_penalty_last_n": window}
    got = made(text, int(share * len(text)), Changes(breakers=heads), **options)(np.zeros(N, np.float32))
    own = oracle.Penalties(
        dry_multiplier=0.8, dry_base=base, dry_allowed=allowed, dry_window=window, breakers=BREAKERS if breaks else ()
    )
    assert got.tolist() == pytest.approx(oracle.changed(np.zeros(N), text, own).tolist(), rel=1e-4)


def test_a_long_repetition_has_a_finite_penalty() -> None:
    got = made([1, 2] * 400, 700, dry_multiplier=1.0, dry_base=3.0, dry_penalty_last_n=-1)(np.zeros(N, np.float32))
    assert got[1] == pytest.approx(-(3.0**80), rel=1e-5) and np.count_nonzero(got) == 1


def test_an_end_may_not_come_before_so_many_tokens() -> None:
    adjusted = made([], 0, Changes(ends=(4, 5), not_before=2))
    for count in range(4):
        forbidden = np.isinf(adjusted(logits_of(1))).nonzero()[0].tolist()
        assert forbidden == ([4, 5] if count < 2 else [])
        adjusted.accept(7)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"repeat_last_n": 5}, {"repeat_penalty": 1.3, "repeat_last_n": 0}, {"dry_base": 3.0},
        {"dry_multiplier": 1.0, "dry_penalty_last_n": 0},
    ],
)  # fmt: skip
def test_what_is_off_costs_nothing(options: dict[str, Any]) -> None:
    assert Adjustment.of(SamplingConfig(**options), Changes(ends=(1, 2)), [1, 2, 3]) is None


def test_biases_as_people_write_them() -> None:
    assert SamplingConfig(logit_bias=("5+1", " 6 -2.5", "7-inf")).biases() == {5: 1.0, 6: -2.5, 7: -math.inf}
    assert SamplingConfig(logit_bias={"5": 1, 6: -2.5, "7": False}).biases() == {5: 1.0, 6: -2.5, 7: -math.inf}


@pytest.mark.parametrize(
    "given", [("5",), ("a+1",), ("5+b",), ("5+inf",), {"a": 1}, {-1: 1}, {True: 1}, {5: True}, {5: "x"}, {5: math.nan}]
)
def test_a_wrong_bias_is_refused(given: Any) -> None:
    with pytest.raises(OptionError, match=r"^logit_bias (must be|has) "):
        SamplingConfig(logit_bias=given)
