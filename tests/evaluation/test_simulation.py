"""Studies with a known truth: 93 to 97 % of the intervals hold it, and the paired test errs in 4 to 6 %."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from selar_local.errors import OptionError

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "simulate_study.py"))
Setting, grid, simulate, try_out = (SCRIPT[name] for name in ("Setting", "grid", "simulate", "try_out"))

#: Problems, samples, accuracy. The smallest study of the grid, 30 problems with 1 sample, is not among them: its
#: accuracy's interval covers 97 to 98 %.
SETTINGS = [(30, 2, 0.5), (30, 4, 0.9), (100, 1, 0.5), (100, 2, 0.1), (100, 4, 0.7), (200, 1, 0.9), (200, 2, 0.3)]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_intervals_of_accuracies_hold_the_truth(setting):
    found = try_out(Setting(*setting), 1000, seed=11, resamples=499)
    assert 0.93 <= found.accuracy_covered <= 0.97


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_without_an_effect_the_test_tells_one_in_twenty(setting):
    found = try_out(Setting(*setting), 4000, seed=12, resamples=0)
    assert 0.04 <= found.found <= 0.06
    assert 0.93 <= found.difference_covered <= 0.97
    assert np.isnan(found.accuracy_covered)


@pytest.mark.parametrize(
    ("problems", "samples", "accuracy", "effect"),
    [(30, 1, 0.3, 0.2), (100, 1, 0.5, 0.1), (100, 2, 0.7, -0.1), (200, 4, 0.1, 0.05)],
)
def test_intervals_of_differences_hold_a_known_effect(problems, samples, accuracy, effect):
    found = try_out(Setting(problems, samples, accuracy, effect), 4000, seed=13, resamples=0)
    assert 0.93 <= found.difference_covered <= 0.97
    assert found.found > 0.15  # and the effect is found more often than chance would


@pytest.mark.parametrize(("rate", "factor", "least"), [(0.00005, 1.0, 0.95), (0.0002, 3.0, 0.9), (0.003, 1.5, 0.9)])
def test_intervals_of_differences_in_slips_hold_the_truth(rate, factor, least):
    assert SCRIPT["slips_covered"](200, rate, factor, 300, seed=16) >= least


def test_the_smallest_study_errs_on_the_wide_side():
    found = try_out(Setting(30, 1, 0.7), 2000, seed=14, resamples=499)
    assert 0.95 <= found.accuracy_covered <= 0.99
    assert 0.03 <= found.found <= 0.06


def test_the_bars_tell_a_wrong_interval():
    """Samples of a problem are no problems of their own: taken for such, the interval is too short."""
    setting = Setting(100, 4, 0.5)
    answers = simulate(setting, 1000, seed=15)[0].reshape(1000, -1)
    half = stats.norm.ppf(0.975) * answers.std(-1) / np.sqrt(answers.shape[-1])
    assert (np.abs(answers.mean(-1) - 0.5) <= half).mean() < 0.9


def test_simulated_answers_are_as_declared():
    baseline, method = simulate(Setting(200, 3, 0.3, 0.2), 500, seed=1)
    assert baseline.shape == method.shape == (500, 200, 3) and set(np.unique(baseline)) == {0, 1}
    assert baseline.mean() == pytest.approx(0.3, abs=0.01) and method.mean() == pytest.approx(0.5, abs=0.01)
    together = [np.corrcoef(one.mean(-1).ravel(), other.mean(-1).ravel())[0, 1]
                for one, other in (simulate(Setting(200, 3, correlation=c), 200) for c in (0.0, 0.8))]  # fmt: skip
    assert abs(together[0]) < 0.03 and together[1] > 0.3
    again = simulate(Setting(200, 3, 0.3, 0.2), 500, seed=1)
    assert (again[0] == baseline).all() and (again[1] == method).all()


@pytest.mark.parametrize(
    "wrong", [{"accuracy": 1.0}, {"accuracy": 0.9, "effect": 0.1}, {"problems": 0}, {"correlation": 1.5}], ids=str
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(OptionError):
        Setting(**wrong)


def test_the_grid_has_all_settings_of_the_script():
    assert len(set(grid())) == 45 and all(one.effect == 0 for one in grid())
