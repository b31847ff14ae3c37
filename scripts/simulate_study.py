"""What the evaluation's intervals cover and how often its paired test errs, in simulated studies with a known truth.

    python scripts/simulate_study.py [--repetitions 1000] [--effect 0.05] [--json out.json]

A problem's difficulty is normal on the logit scale. Both methods find the same problems hard, as far as `correlation`
says; each of their samples is right or wrong by chance. The truth is the accuracy over all problems there could be.
Every row is one kind of study. Bars: 93 to 97 % of the 95 % intervals hold the truth; without an effect 4 to 6 % of
the tests tell a difference. A star marks a figure outside. With 1,000 repetitions a figure that is exactly right still
moves by some 1.4 points (two standard errors), so single stars are chance; --repetitions 10000 tells. Outside then:
- the accuracy's interval with 30 problems and 1 sample covers 97 to 98 %: 30 yes-or-no answers allow few intervals;
- the difference's interval with --effect 0.08 and 30 problems at 90 %, of which the method gets 98 % right, covers 92
  to 93 % with 2 or 4 samples, and 98 % with 1.
Without an effect all tests are inside (4.0 to 5.3 % in 40,000 repetitions).

    python scripts/simulate_study.py --slips [--repetitions 300]

The same for the interval of a difference in slips. A problem has 80 to 300 words; its slips are Poisson's, and hard
problems have more of them with both methods. With 300 repetitions, 91 to 100 % of the intervals contain the true
difference. The intervals are too wide where slips are rare, and a little too short elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from selar_local.config import require
from selar_local.evaluation import statistics

PROBLEMS = (30, 100, 200)
SAMPLES = (1, 2, 4)
ACCURACIES = (0.1, 0.3, 0.5, 0.7, 0.9)
SLIPS = (0.00005, 0.0005, 0.005)
FACTORS = (1.0, 2.0)

_NODES = 101  # of the quadrature over difficulties


@dataclass(frozen=True)
class Setting:
    """One kind of study.

    accuracy: of the baseline; effect: what the method adds to it. spread: deviation of the difficulties in logits.
    correlation: of the two methods' difficulties; below 1 they differ on single problems even without an effect.
    """

    problems: int = 100
    samples: int = 1
    accuracy: float = 0.5
    effect: float = 0.0
    spread: float = 2.0
    correlation: float = 0.8

    def __post_init__(self) -> None:
        require(min(self.problems, self.samples) >= 1, "problems and samples must be at least 1")
        require(0 <= self.spread <= 10, f"spread must be between 0 and 10, not {self.spread!r}")
        require(-1 <= self.correlation <= 1, f"correlation must be between -1 and 1, not {self.correlation!r}")
        for value in (self.accuracy, self.accuracy + self.effect):
            require(0 < value < 1, f"an accuracy must be between 0 and 1, not {value!r}")


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
    baseline, method = (one.mean(-1) for one in simulate(setting, repetitions, seed))
    covered = float("nan")
    if resamples:
        accuracy = statistics.share(baseline, samples=setting.samples, seed=seed, resamples=resamples)
        covered = _covered(accuracy.low, accuracy.high, setting.accuracy)
    found = statistics.difference(method, baseline)
    return Outcome(covered, _covered(found.low, found.high, setting.effect), float((found.p < statistics.ALPHA).mean()))


def slips_covered(problems: int, rate: float, factor: float, repetitions: int, seed: int = 0) -> float:
    """The share of intervals of a difference in slips that hold the truth.

    rate: slips of the baseline in all words; factor: how many times as many the method has.
    """
    draw = np.random.default_rng(seed)
    held = 0
    for _ in range(repetitions):
        words = draw.integers(80, 300, (2, problems)).astype(np.float64)
        chances = rate * draw.gamma(0.5, 2.0, problems) * np.array([[1.0], [factor]])
        slips = draw.poisson(words * chances).astype(np.float64)
        found = statistics.rate_difference((slips[1], words[1]), (slips[0], words[0]))
        held += bool(found.low <= rate * (factor - 1) <= found.high)
    return held / repetitions


def _covered(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], truth: float) -> float:
    return float(((low - 1e-12 <= truth) & (truth <= high + 1e-12)).mean())


def _centre(accuracy: float, spread: float) -> float:
    """The mean logit that gives `accuracy` over all problems."""
    from scipy.optimize import brentq
    from scipy.special import expit

    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    return float(brentq(lambda centre: float(weights @ expit(centre + spread * nodes)) - accuracy, -40, 40))


COVERED = (0.93, 0.97)
FALSE_POSITIVE = (0.04, 0.06)


def marked(value: float, bounds: tuple[float, float] | None) -> str:
    """The share in percent, with a star where it is outside the bounds."""
    outside = bounds is not None and not bounds[0] <= value <= bounds[1]
    return f"{100 * value:6.1f}{'*' if outside else ' '}"


def row(setting: Setting, outcome: Outcome) -> str:
    found = marked(outcome.found, None if setting.effect else FALSE_POSITIVE)
    covered = marked(outcome.accuracy_covered, COVERED), marked(outcome.difference_covered, COVERED)
    return (
        f"{setting.problems:8d} {setting.samples:7d} {100 * setting.accuracy:8.0f} "
        f"{covered[0]:>17} {covered[1]:>19} {found:>17}"
    )


def inside(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def chosen(effect: float, correlation: float) -> list[Setting]:
    """The settings with the effect, turned downwards where it would lead above 1."""
    return [
        replace(one, effect=effect if one.accuracy + effect < 1 else -effect, correlation=correlation)
        for one in grid()
    ]  # fmt: skip


@click.command()
@click.option("--repetitions", default=1000, show_default=True, type=click.IntRange(10), help="simulated studies a row")
@click.option("--effect", default=0.0, show_default=True, type=click.FloatRange(0, 0.5), help="true difference")
@click.option("--correlation", default=0.8, show_default=True, type=click.FloatRange(-1, 1), help="of difficulties")
@click.option("--resamples", default=1999, show_default=True, type=click.IntRange(99), help="of the bootstrap")
@click.option("--slips", is_flag=True, help="the intervals of differences in slips instead")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="seed of the simulation")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="write the figures there too")
def main(
    repetitions: int, effect: float, correlation: float, resamples: int, slips: bool, seed: int, target: Path | None
) -> None:
    """Simulate studies and print coverage and false-positive rate (with --effect: power) in percent."""
    if slips:
        click.echo("problems  slips per 1,000  times as many  difference covered")
        for problems, rate, factor in product(PROBLEMS, SLIPS, FACTORS):
            covered = 100 * slips_covered(problems, rate, factor, repetitions, seed)
            click.echo(f"{problems:8d} {1000 * rate:16.2f} {factor:14.1f} {covered:19.1f}")
        return
    last = "difference found" if effect else "false positives"
    click.echo(f"problems samples accuracy  accuracy covered  difference covered  {last}")
    rows: list[dict[str, Any]] = []
    tally = {"accuracy": 0, "difference": 0, "test": 0}
    for place, setting in enumerate(chosen(effect, correlation)):
        outcome = try_out(setting, repetitions, seed + place, resamples=resamples)
        click.echo(row(setting, outcome))
        rows.append({**asdict(setting), **asdict(outcome), "repetitions": repetitions})
        tally["accuracy"] += inside(outcome.accuracy_covered, COVERED)
        tally["difference"] += inside(outcome.difference_covered, COVERED)
        tally["test"] += bool(effect) or inside(outcome.found, FALSE_POSITIVE)
    counts = ", ".join(f"{name} {count}" for name, count in tally.items())
    click.echo(f"inside the bars, of {len(rows)} rows: {counts}")
    if target is not None:
        target.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
