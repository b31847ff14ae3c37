"""What an evaluation is asked for: methods and their labels, sweeps, seeds, levels, defaults."""

from __future__ import annotations

import pytest

import selar_local as sl
from selar_local.errors import OptionError
from selar_local.evaluation.config import EvaluationConfig, levels_of, methods_of, seed_of, with_defaults
from selar_local.evaluation.problems import TASKS


def test_methods_and_their_labels():
    specs = methods_of("cot, selar,selar:contrast=0,selar:tau=0;symbol-guard=off", {"k": 4})
    assert [spec.label for spec in specs] == ["cot", "selar", "selar contrast=0", "selar tau=0 symbol_guard=off"]
    assert [spec.method for spec in specs] == [
        sl.CoT(), sl.Selar(k=4), sl.Selar(k=4, contrast=0), sl.Selar(k=4, tau=0, symbol_guard=False),
    ]  # fmt: skip
    assert specs[3].given == {"k": 4, "tau": 0, "symbol_guard": False}
    own, shared = methods_of("selar:tau=auto,selar", {"tau": 0.2})
    assert own.method == sl.Selar(tau="auto") and shared.method == sl.Selar(tau=0.2)


def test_a_sweep_is_a_method_for_each_value():
    specs = methods_of("cot,selar,selar:tau=0.9,selar:contrast=0", None, "tau=0.3, 0.4")
    assert [spec.label for spec in specs] == [
        "cot", "selar tau=0.3", "selar tau=0.4", "selar tau=0.9", "selar contrast=0 tau=0.3",
        "selar contrast=0 tau=0.4",
    ]  # fmt: skip
    assert specs[5].method == sl.Selar(contrast=0, tau=0.4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("",), "methods is empty"),
        (("magic",), "unknown method 'magic'"),
        (("cot,cot",), "names cot more than once"),
        (("selar:tau",), "should be an option and its value"),
        (("cot:tau=1",), "tau is no option of cot (known: none)"),
        (("selar:tau=high",), "tau must be a number"),
        (("selar:k=2.5",), "k must be a whole number"),
        (("cot", {"tau": 0.3}), "tau is no option of cot"),
        (("cot,selar:tau=0.1,selar:tau=0.2", {"tau": 0.3}), "tau has no effect: every method with it sets its own"),
        (("cot", None, "tau=0.3"), "sweep: no method takes a value of tau from it: cot"),
        (("selar:tau=0.1", None, "tau=0.3"), "sweep: no method takes a value of tau from it: selar"),
        (("selar", {"tau": 0.3}, "tau=0.3,0.4"), "tau is given and swept"),
        (("selar", None, "tau"), "sweep must be such as"),
        (("selar", None, "tau=0.3,0.3"), "sweep names a value of tau more than once"),
    ],
)
def test_wrong_methods_are_refused(arguments, told):
    with pytest.raises(OptionError) as refused:
        methods_of(*arguments)
    assert told in str(refused.value)


def test_seeds_are_those_of_the_problem_and_the_sample():
    assert seed_of(0, "p", 1) == 5310743877909360  # stable: logs of other days are continued
    seeds = {seed_of(base, problem, sample) for base in range(3) for problem in ("p", "q") for sample in (1, 2, 3)}
    assert len(seeds) == 18 and all(0 <= seed < 2**53 for seed in seeds)


def test_levels():
    assert levels_of(None) is None
    assert levels_of("3") == (3,) and levels_of("1-3") == (1, 2, 3) and levels_of("5,1-2") == (1, 2, 5)
    for wrong in ("x", "3-1", "1-", "-1"):
        with pytest.raises(OptionError, match="level must be a number or a range"):
            levels_of(wrong)


def test_defaults_of_the_tasks():
    assert with_defaults(EvaluationConfig()).limit == 40 and with_defaults(EvaluationConfig()).max_tokens == 256
    assert with_defaults(EvaluationConfig(), thinks=True).max_tokens == 2048
    given = with_defaults(EvaluationConfig(limit=3, max_tokens=7), thinks=True)
    assert (given.limit, given.max_tokens) == (3, 7)
    whole = with_defaults(EvaluationConfig(task="gsm8k"), thinks=True)
    assert (whole.limit, whole.max_tokens) == (None, 4096)
    assert with_defaults(EvaluationConfig(data="x.jsonl")).limit is None


@pytest.mark.parametrize(
    ("given", "by_last_number"),
    [
        ({}, True),
        ({"data": "mine.jsonl"}, True),
        ({"last_number": False}, False),
        *(({"task": task}, task == "generated") for task in TASKS),
        ({"task": "math500", "data": "math.jsonl"}, False),
        ({"task": "gsm8k", "last_number": True}, True),
    ],
    ids=str,
)
def test_the_grading_rule_of_a_task(given, by_last_number):
    assert EvaluationConfig(**given).by_last_number is by_last_number


def test_levels_that_no_problem_has():
    with pytest.raises(OptionError, match="level has no effect: generated problems have no levels"):
        EvaluationConfig(level="3")
    assert EvaluationConfig(level="3", data="mine.jsonl").level == "3"
    with pytest.raises(OptionError, match="last_number must be True or False"):
        EvaluationConfig(last_number="yes")
