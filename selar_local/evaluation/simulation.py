"""Studies with a known truth: what the intervals of `statistics` cover, and how often its test errs.

A problem's difficulty is normal on the logit scale. Both methods find the same problems hard, as far as `correlation`
says; each of their samples is right or wrong by chance. The truth is the accuracy over all problems there could be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from selar_local.config import opt, require
from selar_local.evaluation import statistics
from selar_local.options import Options

__all__ = ["ACCURACIES", "PROBLEMS", "SAMPLES", "Outcome", "Setting", "grid", "simulate", "try_out"]

PROBLEMS = (30, 100, 200)
SAMPLES = (1, 2, 4)
ACCURACIES = (0.1, 0.3, 0.5, 0.7, 0.9)

_NODES = 101  # of the quadrature over difficulties


@dataclass(frozen=True)
class Setting(Options):
    """One kind of study.

    accuracy: of the baseline; effect: what the method adds to it. spread: deviation of the difficulties in logits.
    correlation: of the two methods' difficulties; below 1 they differ on single problems even without an effect.
    """

    problems: int = opt(100, "problems of a study", low=1)
    samples: int = opt(1, "samples of each problem", low=1)
    accuracy: float = opt(0.5, "true accuracy of the baseline", above=0, below=1)
    effect: float = opt(0.0, "what the method adds to it", low=-1, high=1)
    spread: float = opt(2.0, "deviation of the problems' difficulties, in logits", low=0, high=10)
    correlation: float = opt(0.8, "how alike the methods find the problems hard", low=-1, high=1)

    def check_together(self) -> None:
        sum_ = self.accuracy + self.effect
        require(0 < sum_ < 1, f"accuracy plus effect must be between 0 and 1, not {sum_!r}")


@dataclass(frozen=True)
class Outcome:
    """Shares of the repetitions: intervals that hold the truth, and tests that tell a difference (p < 0.05).

    With an effect of 0 `found` is the false-positive rate, else the power.
    """

    accuracy_covered: float
    difference_covered: float
    found: float


def grid() -> Iterator[Setting]:
    """The settings that the procedures were chosen by, without an effect."""
    for problems, samples, accuracy in product(PROBLEMS, SAMPLES, ACCURACIES):
        yield Setting(problems, samples, accuracy)


def simulate(
    setting: Setting, repetitions: int, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Right (1) and wrong (0) answers of the baseline and of the method: (repetitions, problems, samples) each."""
    from scipy.special import expit

    rng = np.random.default_rng(seed)
    shape = (repetitions, setting.problems)
    shared, own = rng.standard_normal(shape), rng.standard_normal(shape)
    correlation = setting.correlation
    easiness = (shared, correlation * shared + np.sqrt(1 - correlation**2) * own)
    drawn = []
    for truth, normal in zip((setting.accuracy, setting.accuracy + setting.effect), easiness, strict=True):
        chances = expit(_centre(truth, setting.spread) + setting.spread * normal)
        drawn.append((rng.random((*shape, setting.samples)) < chances[..., None]).astype(np.float64))
    return drawn[0], drawn[1]


def try_out(
    setting: Setting, repetitions: int = 1000, seed: int = 0, *, resamples: int = statistics.RESAMPLES
) -> Outcome:
    """Simulate the study and put the statistics to the test. resamples: of the bootstrap; 0 leaves accuracies out."""
    baseline, method = (statistics.averaged(one) for one in simulate(setting, repetitions, seed))
    covered = float("nan")
    if resamples:
        accuracy = statistics.share(baseline, samples=setting.samples, seed=seed, resamples=resamples)
        covered = _covered(accuracy.low, accuracy.high, setting.accuracy)
    found = statistics.difference(method, baseline)
    return Outcome(covered, _covered(found.low, found.high, setting.effect), float((found.p < statistics.ALPHA).mean()))


def _covered(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], truth: float) -> float:
    return float(((low - 1e-12 <= truth) & (truth <= high + 1e-12)).mean())


def _centre(accuracy: float, spread: float) -> float:
    """The mean logit that gives `accuracy` over all problems."""
    from scipy.optimize import brentq
    from scipy.special import expit

    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    return float(brentq(lambda centre: float(weights @ expit(centre + spread * nodes)) - accuracy, -40, 40))
