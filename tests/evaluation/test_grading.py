"""The grader against hand-made labels, and against answers that would hang or break it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grading_cases as cases
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selar_local.errors import MissingExtra, SelarError
from selar_local.evaluation import equality, grading
from selar_local.evaluation.answers import boxed, last_letter, last_number, tidy
from selar_local.evaluation.grading import Grade, grade
from selar_local.evaluation.problems import Problem
from selar_local.install_hint import install_hint


def problem(answer: str, choices: tuple[str, ...] = ()) -> Problem:
    return Problem("x", "?", answer, "letter" if choices else "math", choices)


def label(case: cases.Case) -> str:
    return " <- ".join(case[:2])[:80]


def test_there_are_enough_cases():
    assert len(cases.MATH) + len(cases.LETTERS) >= 130
    assert sum(not correct for *_, correct in cases.MATH + cases.LETTERS) >= 45
    assert len(set(cases.MATH)) == len(cases.MATH)


@pytest.mark.parametrize("case", cases.MATH, ids=label)
def test_math(case):
    gold, text, correct = case
    assert grade(text, problem(gold)).correct is correct


@pytest.mark.parametrize("case", cases.LETTERS, ids=label)
def test_letters(case):
    gold, text, correct = case
    assert grade(text, problem(gold, cases.LETTER_CHOICES)).correct is correct


def test_a_letter_with_the_text_of_another_choice_is_neither():
    assert not grade(r"\boxed{B. 18 m}", problem("B", cases.LETTER_CHOICES)).correct


def test_thinking_that_does_not_end_is_a_failure():
    assert grade(r"\boxed{9}", problem("9"), thinking_closed=False) == Grade(False, None, "the thinking did not end")
    assert grade(r"\boxed{C}", problem("C", ("a", "b", "c")), thinking_closed=False).correct is False
    assert grade(r"\boxed{9}", problem("9")) == Grade(True, "9", "equal")


def test_the_grade_says_what_was_given_and_why():
    assert grade("so it is 9", problem("9")) == Grade(False, None, "no answer in a box")
    assert grade(r"\boxed{8}", problem("9")) == Grade(False, "8", "not equal")
    assert grade(r"\boxed{B}", problem("C", ("a", "b", "c"))) == Grade(False, "B", "another letter")
    long = grade(rf"\boxed{{{'9' * 2001}}}", problem("9"))
    assert (long.correct, long.reason, len(long.given or "")) == (False, "the answer is too long", 2000)


@pytest.mark.parametrize(
    ("gold", "text", "correct"),
    [
        ("1250", "Adding up, she has 1,250 sheets.", True),
        ("-3", "That makes -3.", True),
        ("2", "From 5-3=2", True),
        ("3/4", "3/4 of it", True),
        ("7.5", "costs $7.5.", True),
        ("9", "9 is right, not 8", False),
        ("9", "nothing at all", False),
        ("9", r"\boxed{8}, or 9", False),
    ],
)
def test_fallback_takes_the_last_number(gold, text, correct):
    assert grade(text, problem(gold), fallback=True).correct is correct
    assert grade(text, problem(gold)).correct is False


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is C.", "C"), ("So (B) is wrong and (C) is right", "C"), ("**C**", "C"), ("Answer: C", "C"),
        ("The answer is a body", None), ("CERN", None), ("answer is **D**", "D"), ("the answer is: (A)", "A"),
    ],
)  # fmt: skip
def test_fallback_takes_the_last_named_letter(text, letter):
    assert last_letter(text) == letter
    assert grade(text, problem("C", ("a", "b", "c", "d")), fallback=True).correct is (letter == "C")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{\{1\}}", r"\{1\}"),
        (r"\boxed{\frac{1}{2}} then \boxed{\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed{1 \boxed{2}", "2"),
        (r"\boxed{\boxed{2}}", "2"),
        (r"{ unbalanced \boxed{2}", "2"),
        (r"} unbalanced \boxed{2}", "2"),
        (r"\boxed 12.5.", "12.5"),
        (r"\boxed\pi", r"\pi"),
        (r"\boxed C and \boxed{}", "C"),
        (r"\boxed{4} in a \boxed like that", "4"),
        (r"\\boxed{4}", "4"),
        (r"\boxedfoo{4}", None),
        (r"boxed{4}", None),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed", None),
        (r"\boxed{4", None),
    ],
)
def test_the_last_complete_box(text, content):
    assert boxed(text) == content


def test_finding_a_box_is_linear():
    begin = time.process_time()  # of this process alone: a busy machine must not fail the test
    assert boxed(r"\boxed{" * 100_000) is None
    assert boxed(r"\boxed{1" + "}" * 200_000) == "1"
    assert time.process_time() - begin < 5


def test_tidy_spellings():
    assert tidy(r"$\left( \dfrac12 ,\, 1{,}000 \right)$.") == r"( \frac{1}{2} , 1,000 )"
    assert tidy(r"1,234,567") == "1234567"
    assert tidy(r"1,234,567", thousands=False) == "1,234,567"
    assert tidy("(1,234)") == "(1,234)"
    assert tidy("2½") == "2 1/2"
    assert tidy(r"\begin{matrix} 1 \\ 2 \end{matrix}") == r"\begin{matrix} 1 \\ 2 \end{matrix}"


def test_last_number():
    assert last_number("x1 and 1.5e, no: -1,234.50!") == "-1,234.50"
    assert last_number("no digits") is None
    assert last_number("3 laps of 4 km, so he ran 12km.") == "12"
    assert last_number("20cm each, on the 2nd, at 3x") == "20" and last_number("12 cm, 8CM² in all") == "8"


@pytest.mark.parametrize(("gold", "given"), [
    ("100,200,300", "100, 200, 300"), ("100, 200", "200,100"), (r"\frac{1}{3}", "0.333333"), (r"\pi", "3.141593"),
    ("((1,2),(3,4))", "((1,2),(3,4))"), ("((1,2),(3,4))", "((1,2), (3,\\frac{8}{2}))"), ("x,y", "y,x"),
    ("12", "24/2"), ("12", "3(4)"), ("12", "(3)(4)"), ("12", r"\approx 12"), ("12", r"12 \frac{\text{m}}{\text{s}}"),
    (r"\frac{1}{6}", r"0.1\overline{6}"), (r"\frac{5\pi}{3}", r"1\frac{2}{3}\pi"), (r"\emptyset", r"\{\}"),
    (r"\{(1,2)\}", "(1,2)"), (r"3\sqrt{2}", r"3\sqrt{2} \approx 4.24"), ("3", r"\textcolor{red}{3}"),
    (r"2x+2", "2(x+1)"), (r"\log_2 5", r"\log_2(5)"), ("[0,2)", r"0 \le t < 2"), ("x < 2", "2 > x"),
    (r"\sqrt{2} \cdot 10^6", "1414213.6"), ("(4,5)", "(x,y) = (4,5)"),
    ("yes", r"\text{Yes}"), ("1.5", r"1\frac12 \text{ cups}"),
])  # fmt: skip
def test_more_that_is_equal(gold, given):
    assert grade(rf"\boxed{{{given}}}", problem(gold)).correct


@pytest.mark.parametrize(("gold", "given"), [
    ("0", "0.0000001"), (r"\sqrt{2} \cdot 10^{-9}", "0"), ("0.0000672", "0.000067"), ("1234567.5", "1234567"),
    ("0", r"\frac{1}{0}"), ("0", "1/0"), (r"\frac{1}{3}", "0.33333"), ("0.125", "0.1250001"), (r"\pi", "3.1416"),
    ("((1,2),(3,4))", "((1,2),(4,3))"), ("5", "5e999"), ("5", r"\text{not } 5"), ("5", "5 ?? 6 % & \\\\ }{"),
    ("7", "3(4)"), ("7", "(3)(4)"), ("11", "5 6"), ("12", "1 2"), ("4", "24/2"), ("no", "on"), (r"\emptyset", "0"),
    ("(2,1)", r"\{(1,2)\}"), ("4", "x=4, y=5"), ("4", r"4 \pm 1"), ("12", "12:00"), ("x=2", "y=2"), ("x<2", "y<2"),
    ("1, 1, 2", "1, 2, 2"), (r"\sqrt{2} \cdot 10^{-9}", "0.0"),
    ("12", "12!"), ("12", "12i"), (r"(0,1)\cup(1,2)", "(0,2)"), (r"0.\overline{3}", "0.3"), ("24", r"24\pi"),
])  # fmt: skip
def test_more_that_is_not(gold, given):
    assert not grade(rf"\boxed{{{given}}}", problem(gold)).correct


@pytest.mark.parametrize(
    "monster",
    ["9^{9^{9^9}}", "(((10!)!)!)!", "10^{1000000000}", "(" * 900 + "1" + ")" * 900, r"\sqrt{" * 280 + "}" * 280],
)
def test_monsters_cost_no_more_than_the_timeout(monster):
    begin = time.perf_counter()
    result = grade(rf"\boxed{{{monster}}}", problem("5"), timeout=0.5)
    assert not result.correct
    assert result.reason in ("the comparison took more than 0.5 s", "cannot be compared", "not equal")
    if monster == "9^{9^{9^9}}":
        assert result == Grade(False, monster, "the comparison took more than 0.5 s")
    assert time.perf_counter() - begin < 20  # the timeout itself, and a new worker on a busy machine
    assert grade(r"\boxed{\sqrt{25}}", problem("5")) == Grade(True, r"\sqrt{25}", "equal")


@pytest.mark.parametrize("size", [2_500, 10_000])
def test_deep_nests_are_no_answer(size):
    for left, right in ("()", "{}", ("\\frac{1}{", "}")):
        assert not grade(rf"\boxed{{{left * size}1{right * size}}}", problem("5")).correct


def test_it_works_in_threads():
    grades: list[tuple[int, bool]] = []

    def run(i: int) -> None:
        grades.append((i, grade(rf"\boxed{{\sqrt{{{i * i}}}}}", problem(str(i - i % 2))).correct))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2, 34)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(grades) == [(i, i % 2 == 0) for i in range(2, 34)]


def test_a_worker_that_dies_is_replaced():
    assert equality.equal(r"\sqrt{9}", "3") is True
    os.kill(equality._worker[1], signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    assert equality.equal(r"\sqrt{9}", "3") == "crash"
    assert equality.equal(r"\sqrt{9}", "3") is True
    assert equality.equal(r"\sqrt{9}", "4") is False
    assert equality.equal("", "(") is False


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_the_worker_ends_with_the_evaluation():
    code = (
        "import time; from selar_local.evaluation import equality\n"
        "print(equality.equal('2', '\\\\sqrt{4}'), equality._worker[1], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        verdict, worker = parent.stdout.readline().split()
        parent.kill()
    assert verdict == "True"
    end = time.monotonic() + 20
    while time.monotonic() < end and _runs(int(worker)):
        time.sleep(0.02)
    assert not _runs(int(worker))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().split() if sys.platform == "linux" else True


def test_without_math_verify_it_is_said_and_numbers_are_graded(monkeypatch):
    monkeypatch.setattr(equality.importlib.util, "find_spec", lambda name: None)
    assert grade(r"\boxed{0.5}", problem(r"\frac12")).correct
    with pytest.raises(MissingExtra, match=re.escape(install_hint("eval"))):
        grade(r"\boxed{\sqrt{4}}", problem("2"))


def test_a_worker_that_does_not_start_is_an_error_and_no_wrong_answer(monkeypatch):
    equality._stop()
    monkeypatch.setattr(equality, "_prepare", os.abort)
    with pytest.raises(SelarError, match="does not start"):
        grade(r"\boxed{\sqrt{4}}", problem("2"))
    monkeypatch.undo()
    assert grade(r"\boxed{\sqrt{4}}", problem("2")).correct


_PIECES = st.sampled_from([
    *"0123456789xyi()[]{}.,;:=<>+-*/^_!%$&~|' \n", "\\", r"\frac", r"\sqrt", r"\text{", r"\pm", r"\cup", r"\left",
    r"\{", r"\}", r"\boxed{", r"\le", "and", " or ", "cm", r"\begin{pmatrix}", r"\end{pmatrix}", r"\\", "½", "²",
    "∞", "−",
])  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(_PIECES, max_size=25).map("".join), st.lists(_PIECES, max_size=12).map("".join))
def test_no_text_breaks_it(text, gold):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "equal", lambda gold, given, timeout: False)  # the worker has tests of its own
        for written in (text, rf"\boxed{{{text}}}", rf"\boxed {text}"):
            for fallback in (False, True):
                assert isinstance(grade(written, problem(gold or "1"), fallback=fallback).correct, bool)
                assert isinstance(grade(written, problem("A", ("1", "x")), fallback=fallback).correct, bool)


def test_importing_the_grader_is_light():
    code = "import sys, selar_local.evaluation.grading; print({'sympy', 'math_verify'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
