"""Summaries: figures of hand-made studies, the JSON contract, words that follow the intervals, sweeps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.studies import FACTS, drawn, full_study, told

from selar_local.evaluation.estimates import Comparison, Figure, corrected
from selar_local.evaluation.records import MethodRun, Study
from selar_local.evaluation.statistics import detectable_effect
from selar_local.evaluation.summary import as_dict, legend, sentences, slips, summarise, table
from selar_local.evaluation.sweep import chosen_of, split, sweeps_of
from selar_local.evaluation.wording import compared, duration, p_text, points, with_interval, with_signs


def by_hand() -> Study:
    """Ten problems, two samples: cot has 10 of 20 right, selar 14."""
    cot = told("cot", {f"q{n}": [1, 1] if n < 5 else [0, 0] for n in range(10)})
    selar = told("selar", {f"q{n}": [1, 1] if n < 5 else [1, 0] if n < 9 else [0, 0] for n in range(10)}, tokens=140)
    return Study("gsm8k", "m.gguf", (cot, selar), FACTS)


def comparison(low: float, high: float, p: float, several: int = 1, **more: object) -> Comparison:
    values = {"problems": 50, "answers": 100, "minimum_detectable": 0.0561}
    middle = Figure((low + high) / 2, low, high)
    return Comparison(
        "selar", "cot", difference=middle, p=p / several, p_corrected=p, several=several, tokens=middle, **values | more
    )  # fmt: skip


def test_figures_counted_by_hand():
    cot, selar = summarise(by_hand()).methods
    assert (cot.accuracy.value, selar.accuracy.value) == (0.5, 0.7)
    assert (cot.problems, cot.answers, cot.samples) == (10, 20, 2)
    assert (cot.tokens.value, selar.tokens.value) == (100, 140)
    assert (cot.tpca.value, selar.tpca.value) == (200, 200)
    assert (cot.explored.value, selar.explored.value) == (0, pytest.approx(1 / 14))
    assert (cot.truncated.value, cot.repetitive.value, cot.wall_seconds) == (0, 0, 12)
    assert cot.truncated.high > 0.1  # ten problems without one do not show that there is none


def test_the_comparison_counted_by_hand():
    (found,) = summarise(by_hand()).comparisons
    assert (found.method, found.baseline, found.problems) == ("selar", "cot", 10)
    assert found.difference.value == pytest.approx(0.2)
    assert found.difference.low == pytest.approx(0.2 - 2.262157 * 0.258199 / 10**0.5, abs=1e-5)
    assert found.tokens == Figure(40, 40, 40)
    assert found.p == found.p_corrected and found.p < 0.05 and found.verdict == "better"


def test_slips_counted_by_hand():
    """Answers of 100 words in which one is doubled, others of 300 in which one is merged; two were not counted."""
    counts = [
        {"words": 100, "doubled": 1, "merged": 0, "missing": 0},
        {"words": 300, "doubled": 0, "merged": 1, "missing": 0},
    ]
    study = by_hand()
    cot, selar = study.runs
    answers = [replace(one, **counts[one.sample - 1]) for one in cot.answers]
    answers[-2:] = cot.answers[-2:]
    summary = summarise(replace(study, runs=(replace(cot, answers=tuple(answers)), selar)))
    found = summary.methods[0]
    assert found.words.value == 200 and found.slips["slips"].value == 2 / 400
    assert [found.slips[kind].value for kind in ("doubled", "merged", "missing")] == [1 / 400, 1 / 400, 0]
    words = sum(answer.words or 0 for answer in answers)
    assert found.slips["missing"].high == pytest.approx(3.689 / words, rel=1e-3)  # none in so many words
    assert slips(summary) == ["doubled, merged and missing words per 1,000: cot 5.00 [5.00, 5.00]"]
    methods = as_dict(summary)["methods"]
    assert (
        methods["cot"]["slips_per_1000_words"]["merged"] == [2.5, 2.5, 2.5]
        and methods["cot"]["words_per_answer"] == 200
    )
    assert "words_per_answer" not in methods["selar"] and slips(summarise(study)) == []


def test_the_difference_of_slips_counted_by_hand():
    """Of 100 words cot has one slip in every answer, selar two, in half of the problems three."""
    study = by_hand()
    cot, selar = study.runs
    none = {"words": 100, "merged": 0, "missing": 0}
    ours = [replace(one, **none, doubled=2 + (int(one.problem[1:]) % 2)) for one in selar.answers]
    theirs = tuple(replace(one, **none, doubled=1) for one in cot.answers)
    summary = summarise(replace(study, runs=(replace(cot, answers=theirs), replace(selar, answers=tuple(ours)))))
    found = summary.comparisons[0].slips
    assert found.value == pytest.approx(0.015) and 0.01 <= found.low < 0.0125 and 0.0175 < found.high <= 0.02
    written = as_dict(summary)["comparisons"][0]["slips_per_1000_words_difference"]
    assert written == pytest.approx([15, 1000 * found.low, 1000 * found.high])
    ours[0] = selar.answers[0]  # not counted in one of them
    summary = summarise(replace(study, runs=(replace(cot, answers=theirs), replace(selar, answers=tuple(ours)))))
    assert summary.comparisons[0].slips is None
    assert "slips_per_1000_words_difference" not in as_dict(summary)["comparisons"][0]


def test_the_contract_of_the_json_object():
    found = as_dict(summarise(full_study()))
    assert list(found)[:4] == ["task", "model", "methods", "comparisons"]
    assert (found["task"], found["model"]) == ("gsm8k", "tiny.gguf")
    assert list(found["methods"])[:2] == ["cot", "selar"]
    names = ["n", "accuracy", "interval", "tokens_per_answer", "tpca", "explored_share", "truncated"]
    for one in found["methods"].values():
        assert list(one)[: len(names)] == names
        low, high = one["interval"]
        assert 0 <= low < one["accuracy"] < high <= 1 and one["n"] == 60
    for one in found["comparisons"]:
        assert list(one)[:5] == ["method", "baseline", "difference", "interval", "p"]
        assert one["interval"][0] < one["difference"] < one["interval"][1]
        assert one["baseline"] == "cot" and 0 < one["p"] <= one["p_corrected"] <= 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_same_answers_in_another_order_give_the_same_summary():
    study = full_study()
    turned = replace(study, runs=tuple(replace(run, answers=run.answers[::-1]) for run in study.runs))
    first, again = (as_dict(summarise(one)) for one in (study, turned))
    assert first == again


def test_p_values_are_corrected_over_the_methods():
    few = [comparison(0.01, 0.1, 0.01), comparison(0.01, 0.1, 0.02), comparison(-0.1, 0.1, 0.5)]
    assert [one.p_corrected for one in corrected(few)] == pytest.approx([0.03, 0.04, 0.5])
    assert {one.several for one in corrected(few)} == {3}
    smaller = [0.0561 * detectable_effect(50, 0.05 / 3) / detectable_effect(50)] * 3
    assert [one.minimum_detectable for one in corrected(few)] == pytest.approx(smaller) and smaller[0] > 0.06
    assert [one.minimum_detectable for one in corrected(few[:1])] == [0.0561]
    large = comparison(-0.1, 0.1, 0.5, minimum_detectable=0.95)
    assert [one.minimum_detectable for one in corrected([large] * 3)] == [None] * 3
    study = full_study()
    alone = summarise(replace(study, runs=study.runs[:2])).comparisons[0]
    among = summarise(study).comparisons[0]
    assert among.p == alone.p == alone.p_corrected and among.p_corrected > alone.p_corrected


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            comparison(-0.032, 0.052, 0.6),
            "selar: no difference from cot shown (+1.0 points, 95 % interval -3.2 to +5.2; a study of this size finds "
            "a true difference of 6 points in 4 of 5 cases)",
        ),
        (
            comparison(-0.032, 0.052, 0.6, minimum_detectable=None),
            "selar: no difference from cot shown (+1.0 points, 95 % interval -3.2 to +5.2)",
        ),
        (comparison(0.02, 0.1, 0.004), "selar: better than cot by 6.0 points (95 % interval +2.0 to +10.0, p 0.004)"),
        (
            comparison(-0.1, -0.02, 0.0004, 3),
            "selar: worse than cot by 6.0 points (95 % interval -10.0 to -2.0, p < 0.001 after Holm's correction for 3 "
            "comparisons)",
        ),
        (
            comparison(0.02, 0.1, 0.07, 2),
            "selar: no difference from cot shown (+6.0 points, 95 % interval +2.0 to +10.0, but p 0.070 after Holm's "
            "correction for 2 comparisons)",
        ),
        (
            comparison(-0.1, 0.02, 0.01),  # cannot be, but the interval rules
            "selar: no difference from cot shown (-4.0 points, 95 % interval -10.0 to +2.0; a study of this size finds "
            "a true difference of 6 points in 4 of 5 cases)",
        ),
    ],
    ids=["covers zero", "no power", "better", "worse", "uncorrected", "the interval rules"],
)  # fmt: skip
def test_words_follow_the_interval(found, said):
    assert compared(found, 50) == said
    verdict = found.verdict
    assert (verdict in said.split()) == (verdict in ("better", "worse"))
    assert ("better than" in said or "worse than" in said) == (verdict in ("better", "worse"))


def test_words_tell_what_is_compared():
    found = comparison(-0.032, 0.052, 0.6)
    assert ", on the 50 problems that both have;" in compared(found, 60, 200)
    assert ", on the 100 answers that both have;" in compared(found, 50, 200)
    assert "both have" not in compared(found, 50, 100)


def test_seeds_that_not_both_have_are_told():
    cot = told("cot", {f"q{n}": [1, 1, 0] for n in range(10)})
    first = replace(cot, answers=tuple(one for one in cot.answers if one.sample < 3))
    second = replace(cot, label="selar", answers=tuple(one for one in cot.answers if one.sample > 1))
    said = sentences(summarise(Study("t", "m", (first, second), FACTS)))
    assert "on the 10 answers that both have" in said[0]
    assert said[1:] == [
        f"note: {label} has 20 of 30 answers: a comparison uses only those that both methods have"
        for label in ("cot", "selar")
    ]


def test_zero_at_the_end_of_the_interval_is_covered():
    assert comparison(0.0, 0.1, 0.01).verdict == comparison(-0.1, 0.0, 0.01).verdict == "none shown"


def test_an_incomplete_study_compares_common_problems_and_says_so():
    study = by_hand()
    cot, selar = study.runs
    half = replace(selar, answers=tuple(one for one in selar.answers if one.problem in ("q0", "q1", "q5", "q6", "q7")))
    other = replace(selar, label="selar k=2", answers=selar.answers[:-1])
    summary = summarise(replace(study, runs=(cot, half, other)))
    found = summary.comparisons[0]
    assert found.problems == 5 and found.difference.value == pytest.approx(0.7 - 0.4)
    said = sentences(summary)
    assert "on the 5 problems that both have" in said[0] and "problems that both have" not in said[1]
    assert ", on the 19 answers that both have" in said[1]
    assert "note: selar has 5 of 10 problems: a comparison uses only those that both methods have" in said
    assert "note: selar k=2 has 19 of 20 answers: a comparison uses only those that both methods have" in said


def test_no_baseline_no_answers_nothing_in_common():
    study = by_hand()
    without = summarise(replace(study, runs=(study.runs[1], replace(study.runs[1], label="swir"))))
    assert without.comparisons == () and sentences(without) == [
        "note: there is no cot in this study: nothing is compared"
    ]
    empty = MethodRun("selar", "selar", ())
    summary = summarise(replace(study, runs=(study.runs[0], empty)))
    assert "selar and cot have no answers to the same problems and seeds: no comparison" in sentences(summary)
    assert "note: selar has no answers" in sentences(summary)
    told_of = as_dict(summary)["methods"]["selar"]
    assert (told_of["n"], told_of["accuracy"], told_of["interval"]) == (0, None, [None, None])
    json.dumps(as_dict(summary), allow_nan=False)
    assert table(summary)[2].split()[:2] == ["selar", "-"]
    nothing = summarise(Study("t", "m", ()))
    assert (table(nothing), sentences(nothing)) == (["method  accuracy %  tokens  TPCA  explored  truncated"], [])


@pytest.mark.parametrize(
    ("cot", "selar", "said"),
    [
        (0, 0, "no method gets more than 5 % right: the problems are too hard for this model to compare methods"),
        (1, 0, "no method gets more than 5 % right: the problems are too hard for this model to compare methods"),
        (2, 0, None),
        (19, 20, "every method gets 95 % right or more: the problems are too easy to compare methods"),
        (18, 20, None),
    ],
)
def test_problems_that_are_too_hard_or_too_easy(cot, selar, said):
    runs = [told(label, {f"q{n}": [int(n < right)] for n in range(20)}) for label, right in
            (("cot", cot), ("selar", selar))]  # fmt: skip
    summary = summarise(Study("t", "m", tuple(runs)))
    assert list(summary.notes) == ([] if said is None else [said])
    assert said is None or sentences(summary)[-1] == f"note: {said}"


def test_answers_that_were_cut_off_say_nothing_about_the_problems():
    runs = [told(label, {f"q{n}": [0] for n in range(20)}) for label in ("cot", "selar")]
    runs = [replace(run, answers=tuple(replace(one, truncated=True) for one in run.answers)) for run in runs]
    summary = summarise(Study("t", "m", tuple(runs)))
    assert list(summary.notes) == ["most answers were cut off before their end: raise the budget (-n)"]


def test_nothing_correct():
    runs = [told(label, {f"q{n}": [0] for n in range(12)}) for label in ("cot", "selar")]
    summary = summarise(Study("t", "m", tuple(runs)))
    found = as_dict(summary)
    assert found["methods"]["cot"]["tpca"] is None and found["methods"]["cot"]["interval"][1] > 0.2
    assert found["comparisons"][0]["p"] == 1 and found["comparisons"][0]["interval"][1] > 0.2
    assert "no difference from cot shown (+0.0 points" in sentences(summary)[0]
    json.dumps(found, allow_nan=False)


def test_another_baseline():
    study = full_study()
    summary = summarise(study, "selar")
    assert [one.method for one in summary.comparisons] == [run.label for run in study.runs if run.label != "selar"]
    assert all(one.baseline == "selar" for one in summary.comparisons)
    assert "points vs selar" in table(summary)[0]


def test_the_table_is_narrow_and_aligned():
    study = full_study()
    long = replace(study.runs[1], label="selar with a label that is far too long for any terminal")
    lines = table(summarise(replace(study, runs=(*study.runs, long))))
    assert len(lines) == 10 and max(map(len, lines)) <= 100
    ends = [line.rstrip()[-3:].strip() for line in lines]
    assert ends[0] == "ted" and all(one.replace(".", "").isdigit() for one in ends[1:])
    column = lines[0].index("accuracy %") + len("accuracy %")
    assert all(line[column - 1] == "]" for line in lines[1:])
    assert ".." in lines[-1] and lines[1].startswith("cot ") and all(line.isascii() for line in lines)


def test_the_split_is_stable_and_half_and_half():
    parts = [split(f"q{n}", 3) for n in range(2000)]
    assert parts == [split(f"q{n}", 3) for n in range(2000)] != [split(f"q{n}", 4) for n in range(2000)]
    assert set(parts) == {"choose", "report"} and 900 < parts.count("choose") < 1100
    assert [split(name) for name in ("q0", "q1", "q2", "q3", "q4", "q5")] == [
        "choose", "report", "choose", "choose", "report", "choose",
    ]  # fmt: skip


def of_parts(label: str, choosing: int, reporting: int, tokens: int = 100) -> MethodRun:
    """Right on the problems of a part, or not."""
    names = [f"q{n}" for n in range(60)]
    right = {one: [choosing if split(one) == "choose" else reporting] for one in names}
    return told(label, right, tokens=tokens)


def test_the_setting_is_chosen_on_one_part_and_reported_on_the_other():
    runs = (of_parts("cot", 0, 1), of_parts("selar tau=0.5", 1, 0), of_parts("selar tau=0.3", 0, 1))
    (choice,) = chosen_of(Study("t", "m", runs), 0)
    assert (choice.option, choice.value, choice.label) == ("tau", "0.5", "selar tau=0.5")
    assert dict(choice.chosen_by) == {"0.3": 0, "0.5": 1}
    assert choice.accuracy.value == 0 and choice.comparison is not None
    assert choice.comparison.difference.value == -1 and choice.comparison.problems == choice.reporting_problems
    parts = [split(f"q{n}") for n in range(60)]
    assert (choice.choosing_problems, choice.reporting_problems) == (parts.count("choose"), parts.count("report"))
    assert choice.sentence.startswith(
        f"selar: tau 0.5 is chosen on {parts.count('choose')} problems (0.3: 0.0 %, 0.5: 100.0 % right; p < 0.001); on "
        f"the other {parts.count('report')} it has accuracy 0.0 %"
    )
    assert "worse than cot" in choice.sentence
    assert choice.sentence in sentences(summarise(Study("t", "m", runs)))


def test_a_setting_is_chosen_by_answers_that_all_have():
    """The second seed did well with the one setting it was run with."""
    both = told("selar tau=0.3", {f"q{n}": [0, 1] for n in range(60)})
    runs = (both, told("selar tau=0.5", {f"q{n}": [n % 3 == 0] for n in range(60)}))
    (choice,) = chosen_of(Study("t", "m", runs), 0)
    assert choice.value == "0.5" and choice.chosen_by["0.3"] == 0
    (choice,) = chosen_of(Study("t", "m", (both, replace(both, label="selar tau=0.5"))), 0)
    assert dict(choice.chosen_by) == {"0.3": 0.5, "0.5": 0.5}


def test_ties_go_to_fewer_tokens():
    runs = (
        of_parts("selar tau=0.3", 1, 1, 200),
        of_parts("selar tau=0.4", 1, 1, 150),
        of_parts("selar tau=0.5", 1, 1, 180),
        of_parts("selar tau=0.6", 0, 1, 100),
    )
    (choice,) = chosen_of(Study("t", "m", runs), 0)
    assert choice.value == "0.4" and choice.comparison is None and "cot" not in choice.sentence


@pytest.mark.parametrize("right", [0, 1, None], ids=["nothing right", "all right", "by chance"])
def test_a_sweep_whose_values_nothing_separates_chooses_none(right):
    labels = ("selar tau=0.3", "selar tau=0.5")
    if right is None:
        values = [drawn(label, 0.0, seed, samples=1) for seed, label in enumerate(labels)]
    else:
        values = [told(label, {f"q{n}": [right] for n in range(60)}) for label in labels]
    study = Study("t", "m", (told("cot", {f"q{n}": [1] for n in range(60)}), *values), FACTS)
    summary = summarise(study)
    (choice,) = summary.chosen
    assert (choice.base, choice.option, choice.value, choice.label) == ("selar", "tau", None, None)
    assert choice.p >= 0.05 and (choice.p == 1) >= (right is not None)
    assert choice.accuracy is None and choice.comparison is None
    shares = ", ".join(f"{value}: {100 * share:.1f} %" for value, share in choice.chosen_by.items())
    assert choice.sentence == (
        f"selar: nothing separates the values of tau on {choice.choosing_problems} problems ({shares} right; "
        f"p {choice.p:.2f}), so none is chosen"
    )
    assert choice.sentence in sentences(summary)
    (found,) = as_dict(summary)["chosen"]
    assert (found["base"], found["option"], found["method"], found["value"]) == ("selar", "tau", None, None)
    assert found["p"] == choice.p and found["interval"] == [None, None] and found["comparison"] is None
    assert found["chosen_by"] == dict(choice.chosen_by)
    json.dumps(found, allow_nan=False)


def test_the_legend_explains_the_words_of_the_table():
    study = full_study()
    summary = summarise(study)
    said = "\n".join(legend(summary))
    assert max(map(len, legend(summary))) <= 80
    assert "p (Holm)" in table(summary)[0]
    for word in table(summary)[0].replace("p (Holm)", "Holm").split()[1:]:
        assert word in said or word in ("accuracy", "%", "vs", "cot", "tokens"), word
    assert f"two-sided, corrected for {len(summary.comparisons)} comparisons" in said
    two = summarise(replace(study, runs=study.runs[:2]))
    assert "p: two-sided" in "\n".join(legend(two)) and "Holm" not in "\n".join([*table(two), *legend(two)])
    alone = "\n".join(legend(summarise(replace(study, runs=study.runs[:1]))))
    assert "Holm" not in alone and "TPCA: generated tokens per correct answer" in alone


def test_the_seed_of_the_study_makes_the_split():
    study = full_study()
    (choice,) = summarise(study).chosen
    (again,) = summarise(replace(study, facts={**FACTS, "seed": [FACTS["seed"], 9]})).chosen
    assert again.seed == choice.seed
    parts = [split(f"q{n}", FACTS["seed"]) for n in range(60)]
    assert (choice.seed, choice.choosing_problems) == (FACTS["seed"], parts.count("choose"))
    assert parts.count("choose") != [split(f"q{n}", 0) for n in range(60)].count("choose")


def test_a_setting_is_not_compared_with_itself():
    runs = tuple(told(f"selar tau={tau}", {f"q{n}": [n % 2 and tau < 0.5] for n in range(40)}) for tau in (0.3, 0.5))
    (choice,) = chosen_of(Study("t", "m", runs), 0, "selar tau=0.3")
    assert choice.label == "selar tau=0.3" and choice.comparison is None
    assert "difference" not in choice.sentence


def test_choices_of_several_sweeps_are_corrected_for_being_several():
    right = {"cot": 0.3, "selar tau=0.3": 0.6, "selar tau=0.5": 0.1, "selar k=2": 0.6, "selar k=5": 0.1}
    runs = tuple(told(label, {f"q{n}": [n % 10 < 10 * share] for n in range(60)}) for label, share in right.items())
    alone = chosen_of(Study("t", "m", runs[:3]), 0)[0].comparison
    both = [choice.comparison for choice in chosen_of(Study("t", "m", runs), 0)]
    assert [one.several for one in both] == [2, 2]
    assert [one.p_corrected for one in both] == [pytest.approx(2 * alone.p)] * 2


def test_what_a_sweep_is():
    labels = ["cot", "selar", "selar contrast=0", "selar tau=0 symbol_guard=off", "selar tau=0.7", "selar tau=0.30",
              "selar contrast=0 tau=0.3", "selar contrast=0 tau=0.5", "swir window_size=9"]  # fmt: skip
    found = sweeps_of(Study("t", "m", tuple(told(label, {"q": [1]}) for label in labels)))
    assert [(one.base, one.option, list(one.runs)) for one in found] == [
        ("selar", "tau", ["0.30", "0.7"]), ("selar contrast=0", "tau", ["0.3", "0.5"]),
    ]  # fmt: skip
    texts = tuple(told(f"selar show={one}", {"q": [1]}) for one in ("heaviest", "drawn"))
    assert list(sweeps_of(Study("t", "m", texts))[0].runs) == ["drawn", "heaviest"]


def test_a_sweep_on_too_few_problems_chooses_nothing():
    runs = tuple(told(f"selar tau={tau}", {"q0": [1]}) for tau in (0.3, 0.4))
    assert chosen_of(Study("t", "m", runs)) == () and summarise(Study("t", "m", runs)).chosen == ()


def test_only_problems_that_all_settings_have_count():
    runs = [drawn("cot", 0, 1), drawn("selar tau=0.3", 0, 2), drawn("selar tau=0.4", 0, 3)]
    short = replace(runs[2], answers=tuple(one for one in runs[2].answers if one.problem not in ("q0", "q1", "q3")))
    every, fewer = (chosen_of(Study("t", "m", (*runs[:2], one)))[0] for one in (runs[2], short))
    assert every.choosing_problems + every.reporting_problems == 60
    assert fewer.choosing_problems + fewer.reporting_problems == 57


def test_how_figures_are_written():
    assert [p_text(p) for p in (None, 0.0009, 0.012, 0.0996, 0.3, 1.0)] == [
        "-", "<0.001", "0.012", "0.100", "0.30", "1.00",
    ]  # fmt: skip
    assert [duration(one) for one in (0, 8.26, 59.99, 245, 7800)] == [
        "0.0 s", "8.3 s", "60.0 s", "4 min 5 s", "2 h 10 min",
    ]  # fmt: skip
    assert [points(one) for one in (None, -0.0001, 0.0004, -0.0321)] == ["-", "+0.0", "+0.0", "-3.2"]
    assert with_interval(Figure(0.5, 0.25, None)) == "50.0 [25.0, ∞]"
    assert with_interval(Figure(None, None, None)) == "-" and with_interval(Figure(0.5, None, None)) == "50.0"
    assert with_signs(Figure(-1234.5, -2000, 3)) == "-1,234 [-2,000, +3]"
