"""The arm that stage 2 of the second study tests, by the rule of docs/results/PLAN.md.

    python scripts/choose_arm.py

It prints nothing but what is missing while stage 1 is not whole: nobody looks at its differences before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

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


def _answers(model: str, arm: str) -> dict[str, list[Any]]:
    (study,) = json.loads(path_of(model, arm).read_text())["studies"]
    (run,) = study["runs"]
    answers: dict[str, list[Any]] = run["answers"]
    return answers


def _right(answers: Mapping[str, list[Any]]) -> float:
    return float(100 * sum(map(bool, answers["correct"])) / len(answers["correct"]))


def _slips(answers: Mapping[str, list[Any]]) -> float:
    slips = sum(sum(answers[kind]) for kind in ("doubled", "merged", "missing"))
    return float(1000 * slips / sum(answers["words"]))


def main() -> None:
    """Print each arm's figures and the choice."""
    missing = [path_of(model, arm).name for model in MODELS for arm in ARMS if not path_of(model, arm).exists()]
    if missing:
        sys.exit(f"stage 1 is not whole, {len(missing)} pieces are missing: {', '.join(missing)}")
    arms = {}
    for arm in ARMS[1:]:
        found = [(_answers(model, arm), _answers(model, "cot")) for model in MODELS]
        differences = [_right(own) - _right(cot) for own, cot in found]
        arms[arm] = Arm(sum(differences) / len(MODELS), sum(_slips(own) for own, _ in found) / len(MODELS))
        each = ", ".join(f"{model} {value:+.1f}" for model, value in zip(MODELS, differences, strict=True))
        click.echo(f"{arm:30}{arms[arm].difference:+6.1f} ({each}), {arms[arm].slips:.1f} slips per 1,000 words")
    click.echo(f"chosen: {chosen(arms)}")


if __name__ == "__main__":
    main()
