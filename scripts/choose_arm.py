"""The arm that stage 2 of the second study tests, by the rule of docs/results/PLAN.md.

    python scripts/choose_arm.py

It prints nothing but what is missing while stage 1 is not whole: nobody looks at its differences before.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import click

from selar_local.evaluation.estimates import MethodSummary, describe
from selar_local.evaluation.study_files import read_study_file

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "second-study"
MODELS = ("1.5b", "0.5b")
ARMS = (
    "cot", "selar", "selar:contrast=0;anchor=0.5", "selar:show=heaviest", "moi", "moi:tau=0.5", "multiplex",
    "selar:max_share=0.03",
)  # fmt: skip
_CLOSE = 1.0  # points


class Arm(NamedTuple):
    """An arm's figures, averaged over the models: points more than `cot`, slips per 1,000 words."""

    difference: float
    slips: float


def path_of(model: str, arm: str) -> Path:
    """The file of one piece of stage 1, as `scripts/study.sh` names it."""
    name = arm.translate(str.maketrans(":;=", "___"))
    return RESULTS / f"gsm8k-gsm8k_a-qwen2.5-coder-{model}-seed11-{name}.json"


def chosen(arms: Mapping[str, Arm]) -> str:
    """The arm with the largest difference; of those within a point of it the one with the fewest slips."""
    largest = max(arm.difference for arm in arms.values())
    close = [name for name, arm in arms.items() if largest - arm.difference <= _CLOSE]
    return min(close, key=lambda name: (arms[name].slips, -arms[name].difference))


def _summary(model: str, arm: str) -> MethodSummary:
    (study,) = read_study_file(path_of(model, arm))
    (run,) = study.runs
    return describe(run)


def _figures(arm: str) -> tuple[Arm, list[float]]:
    """The arm's figures, and its difference on each model."""
    found = [(_summary(model, arm), _summary(model, "cot")) for model in MODELS]
    differences = [100 * ((own.accuracy.value or 0) - (cot.accuracy.value or 0)) for own, cot in found]
    slips = [1000 * (own.slips["slips"].value or 0) for own, _ in found]
    return Arm(mean(differences), mean(slips)), differences


def main() -> None:
    """Print each arm's figures and the choice."""
    missing = [path_of(model, arm).name for model in MODELS for arm in ARMS if not path_of(model, arm).exists()]
    if missing:
        sys.exit(f"stage 1 is not whole, {len(missing)} pieces are missing: {', '.join(missing)}")
    arms = {}
    for arm in ARMS[1:]:
        arms[arm], differences = _figures(arm)
        each = ", ".join(f"{model} {value:+.1f}" for model, value in zip(MODELS, differences, strict=True))
        click.echo(f"{arm:30}{arms[arm].difference:+6.1f} ({each}), {arms[arm].slips:.1f} slips per 1,000 words")
    click.echo(f"chosen: {chosen(arms)}")


if __name__ == "__main__":
    main()
