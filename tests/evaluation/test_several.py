"""Several answers to a problem: votes, the figures of k answers, and the tokens that all methods get."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.studies import FACTS

from selar_local.evaluation.records import Answer, MethodRun, Study
from selar_local.evaluation.report import report_of
from selar_local.evaluation.several import RIGHT, _agreement, _between, _majority, _passes, several_of, vote_of
from selar_local.evaluation.summary import as_dict, summarise

R = RIGHT


def run(label: str, votes: dict[str, str], tokens: int = 100) -> MethodRun:
    """votes: of each problem a letter an answer, `R` for a right one, a space for none."""
    answers = tuple(
        Answer(problem, sample, letter == "R", tokens, vote=R if letter == "R" else letter.strip())
        for problem, letters in votes.items()
        for sample, letter in enumerate(letters, 1)
    )
    return MethodRun(label, label, answers)


def test_a_vote_is_the_answer_as_text_and_gives_no_right_one_away():
    assert vote_of(True, "42") == vote_of(True, r"\frac{84}{2}") == RIGHT
    assert vote_of(False, "1,000") == vote_of(False, "1000 ") != vote_of(False, "1001")
    assert "1000" not in vote_of(False, "1000") and vote_of(False, None) == ""


@pytest.mark.parametrize(
    ("votes", "k", "passes", "elected"),
    [
        ([R, R, "a", "b"], 1, 1 / 2, 1 / 2),
        ([R, R, "a", "b"], 2, 5 / 6, 1 / 2),  # of 6 pairs: R R; 4 of R and another, half each; a b
        ([R, R, "a", "b"], 4, 1, 1),
        ([R, "a", "a"], 3, 1, 0),
        ([R, "", ""], 3, 1, 1),  # no answer is no vote
        (["", "", ""], 2, 0, 0),
        (["a", "a", "b"], 2, 0, 0),
    ],
)
def test_figures_of_k_answers(votes, k, passes, elected):
    assert _passes(votes, k) == pytest.approx(passes)
    assert _majority(votes, k) == pytest.approx(elected)


def test_between_two_numbers_of_answers_figures_are_interpolated():
    votes = [R, "a", "b", "c"]
    assert _between(_passes, votes, 1.5) == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert _between(_passes, votes, 4.0) == 1


def test_a_large_number_of_subsets_is_drawn():
    assert _majority([R] * 12 + ["a"] * 12, 11) == pytest.approx(0.5, abs=0.07)


def test_answers_that_agree():
    assert _agreement([R, R, "a"]) == pytest.approx(1 / 3)
    assert _agreement(["a", "a"]) == 1 and _agreement(["", ""]) == 0


def test_all_methods_get_the_tokens_of_the_cheapest():
    """cot spends 2 x 100 tokens on a problem: of selar's answers of 160 that buys one and a quarter."""
    cot, selar = run("cot", {"p": "Ra", "q": "aa"}), run("selar", {"p": "RaR", "q": "RaR"}, tokens=160)
    first, second = several_of([cot, selar], "cot")
    assert (first.k, second.k) == (2, 1.25) and not first.differences
    assert first.shares["pass"].value == 1 / 2 and first.shares["majority"].value == 1 / 4
    passes = 3 / 4 * 2 / 3 + 1 / 4 * 1
    assert second.shares["pass"].value == pytest.approx(passes)
    assert second.differences["pass"].value == pytest.approx(passes - 1 / 2)
    assert (first.shares["agree"].value, second.shares["agree"].value) == (1 / 2, 1 / 3)


def test_only_where_every_problem_has_several_answers_with_their_votes():
    cot, selar = run("cot", {"p": "Ra", "q": "aa"}), run("selar", {"p": "RR", "q": "R"})
    older = replace(cot, label="older", answers=tuple(replace(one, vote=None) for one in cot.answers))
    assert [one.label for one in several_of([cot, selar, older], "cot")] == ["cot"]
    assert several_of([selar, older], "cot") == () == several_of([run("cot", {"p": "RR"}, tokens=0)], "cot")


def test_the_report_and_the_json_object_have_them():
    votes = {f"p{n}": "Ra" if n % 3 else "ab" for n in range(30)}
    study = Study("gsm8k", "m.gguf", (run("cot", votes), run("moi", dict.fromkeys(votes, "RR"))), FACTS)
    figures = as_dict(summarise(study))["several"]
    assert figures["cot"]["k"] == figures["moi"]["k"] == 2 and figures["moi"]["agree"] == 1
    assert figures["moi"]["pass_difference"][0] == pytest.approx(1 / 3) and "pass_difference" not in figures["cot"]
    report = report_of([study], plots=False)
    (table,) = (one for part in report.sections for one in part.tables if one.title.startswith("Several"))
    assert table.head == ("method", "k", "pass %", "points", "majority %", "points", "agree %")
    assert table.rows[1][:2] == ("moi", "2.00") and table.rows[1][3].startswith("+33.3 [")
    older = replace(study, runs=(replace(study.runs[0], answers=study.runs[0].answers[::2]),))
    assert "several" not in as_dict(summarise(older))
