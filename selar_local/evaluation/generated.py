"""Problems from reasoning-gym, so that an evaluation needs no download.

Arithmetic and school word problems, small enough that little models get some of them right. Every answer is one
number, and no question holds its own answer (as "simplify 6/14" would for a grader that compares values).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from typing import Any

from selar_local.config import require
from selar_local.errors import MissingExtra
from selar_local.evaluation.problems import Problem
from selar_local.install_hint import install_hint

#: Kinds of reasoning-gym, in turn, with their options.
KINDS: Mapping[str, Mapping[str, Any]] = {
    "chain_sum": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
    "gsm_symbolic": {},
    "basic_arithmetic": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
    "simple_equations": {"min_terms": 2, "max_terms": 3, "max_value": 20},
    "products": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "gcd": {"min_numbers": 2, "max_numbers": 2, "max_value": 100},
    "decimal_chain_sum": {
        "min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2,
        "min_decimal_places": 1, "max_decimal_places": 2,
    },
    "lcm": {"min_numbers": 2, "max_numbers": 2, "max_value": 60},
}  # fmt: skip
#: Most problems: with more, questions of the smallest kind (pairs of numbers to 60) would run out.
MOST = 10_000
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SIZE = 1 << 20  # nothing is made before it is asked for


def generated_problems(number: int, seed: int = 0) -> list[Problem]:
    """The first `number` problems of a seed: the same with the same version of reasoning-gym, and for any number.

    Ids are such as `gsm_symbolic-0-17` (the seed, the index); the kind is the subject. Raises OptionError beyond
    10,000 problems, MissingExtra without reasoning-gym.
    """
    require(1 <= number <= MOST, f"the number of generated problems must be between 1 and {MOST}, not {number!r}")
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise MissingExtra(f"generated problems need reasoning-gym; {install_hint('eval')}") from error
    streams = [_stream(create_dataset, kind, options, seed) for kind, options in KINDS.items()]
    return list(islice((problem for row in zip(*streams, strict=True) for problem in row), number))


def _stream(create: Callable[..., Any], kind: str, options: Mapping[str, Any], seed: int) -> Iterator[Problem]:
    """Endless problems of one kind; a question that came before, or an answer that is no number, is left out."""
    # reasoning-gym adds the index to the seed: plain neighbouring seeds would share nearly all problems
    data = create(kind, seed=random.Random(f"{seed} {kind}").getrandbits(30), size=_SIZE, **options)
    asked = set()
    for index in count():
        row = data[index]
        question, answer = row["question"].strip(), str(row["answer"]).strip()
        if question not in asked and _NUMBER.fullmatch(answer):
            asked.add(question)
            yield Problem(f"{kind}-{seed}-{index}", question, answer, subject=kind)
