"""Generated problems: seeded, distinct, and with the right answers."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from fractions import Fraction

import pytest

from selar_local.errors import MissingExtra, OptionError
from selar_local.evaluation.generated import KINDS, generated_problems
from selar_local.evaluation.problems import load_problems
from selar_local.install_hint import install_hint

PROBLEMS = generated_problems(160, 7)


def value(expression: str) -> Fraction:
    """The value of plain arithmetic, exactly."""
    exact = re.sub(r"\d+(?:\.\d+)?", lambda found: f"Fraction('{found[0]}')", expression)
    return Fraction(eval(exact, {"Fraction": Fraction}))


def test_same_seed_same_problems_whatever_the_number():
    assert generated_problems(160, 7) == PROBLEMS
    assert generated_problems(13, 7) == PROBLEMS[:13]


def test_neighbouring_seeds_share_next_to_nothing():
    other = {problem.question for problem in generated_problems(160, 8)}
    assert sum(problem.question in other for problem in PROBLEMS) <= 5


def test_a_question_that_came_before_is_left_out():
    problems = generated_problems(1600, 3)
    assert len({problem.question for problem in problems}) == 1600
    assert int(problems[-1].id.rpartition("-")[2]) > 199  # some were


def test_every_kind_takes_part_alike_and_nothing_comes_twice():
    assert len({problem.id for problem in PROBLEMS}) == len({problem.question for problem in PROBLEMS}) == 160
    assert {kind: sum(problem.subject == kind for problem in PROBLEMS) for kind in KINDS} == dict.fromkeys(KINDS, 20)
    assert all(re.fullmatch(rf"{problem.subject}-\d+-\d+", problem.id) for problem in PROBLEMS)
    assert all(problem.kind == "math" for problem in PROBLEMS)


@pytest.mark.parametrize("kind", ["chain_sum", "basic_arithmetic", "products", "decimal_chain_sum"])
def test_sums_and_products_have_the_right_answer(kind):
    for problem in PROBLEMS:
        if problem.subject == kind:
            expression = re.sub(r"[A-Za-z:=]|\.(?!\d)", "", problem.question)
            assert value(expression) == Fraction(problem.answer), problem.question


def test_divisors_multiples_and_equations_have_the_right_answer():
    for problem in PROBLEMS:
        numbers = [int(word) for word in re.findall(r"\d+", problem.question)]
        if problem.subject == "gcd":
            assert math.gcd(*numbers) == int(problem.answer)
        elif problem.subject == "lcm":
            assert math.lcm(*numbers) == int(problem.answer)
        elif problem.subject == "simple_equations":
            left, right = problem.question.split(":")[1].split("=")
            assert value(re.sub("[a-z]", f"({problem.answer})", left)) == value(right), problem.question


def test_they_are_the_default_task():
    problems = load_problems("generated", seed=7)
    assert len(problems) == 40
    assert problems == PROBLEMS[:40]
    assert load_problems("generated", limit=3, seed=7) == PROBLEMS[:3]


def test_fifty_with_all_imports_are_quick():
    code = "from selar_local.evaluation.generated import generated_problems as g; print(len(g(50)))"
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "50"
    assert time.perf_counter() - begin < 10  # 1.6 s on two cores of a Xeon; a busy machine may be some times slower


def test_importing_the_module_is_light():
    code = "import sys, selar_local.evaluation.generated; print('reasoning_gym' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_too_many_or_none_are_refused():
    for number in (0, -1, 10_001):
        with pytest.raises(OptionError, match="number of generated problems"):
            generated_problems(number)


def test_without_reasoning_gym_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingExtra, match=re.escape(install_hint("eval"))):
        generated_problems(3)
