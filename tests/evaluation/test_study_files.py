"""Studies kept without their texts, and parts of studies put together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.studies import FACTS, drawn, full_study, selar, told

from selar_local.errors import SelarError
from selar_local.evaluation.logs import read_studies
from selar_local.evaluation.pooling import pooled
from selar_local.evaluation.records import BINS, Study
from selar_local.evaluation.study_files import read_study_file, write_study_file
from selar_local.evaluation.summary import as_dict, sentences, summarise

COT, SELAR = told("cot", {"a": [1, 0], "b": [0, 0]}), told("selar", {"a": [1, 1], "b": [0, 1]})


def study(*runs, **facts):
    return Study("gsm8k", "tiny.gguf", tuple(runs), {**FACTS, **facts})


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "s.json"
    written = [full_study(), full_study("math500")]
    write_study_file(path, written)
    write_study_file(tmp_path / "T.JSON", written)
    assert read_studies([tmp_path / "T.JSON"]) == written
    assert read_study_file(path) == written == read_studies([path])
    assert as_dict(summarise(read_studies([path])[0], "cot")) == as_dict(summarise(written[0], "cot"))


def test_a_file_without_counts_is_read_and_written_as_it_is(tmp_path):
    """Answers of an earlier version have no counts of words and slips."""
    older, path = Path(__file__).parents[2] / "docs" / "results", tmp_path / "s.json"
    for file in older.glob("*.json"):
        found = read_study_file(file)
        write_study_file(path, found)
        if "words" not in file.read_text():
            assert all(answer.words is None for study in found for run in study.runs for answer in run.answers)
            assert json.loads(path.read_text()) == json.loads(file.read_text())


def test_counts_are_kept_also_where_a_part_has_none(tmp_path):
    path = tmp_path / "s.json"
    written = pooled([study(drawn("cot", 0.2, 1, counted=True), seed=1), study(drawn("cot", 0.2, 2), seed=2)])
    write_study_file(path, written)
    assert read_study_file(path) == written
    assert {answer.words is None for answer in written[0].runs[0].answers} == {True, False}


def test_what_the_model_said_is_left_out(tmp_path):
    path = tmp_path / "s.json"
    run = replace(COT, answers=tuple(replace(answer, given="forty-two") for answer in COT.answers))
    write_study_file(path, [study(run)])
    assert "forty-two" not in path.read_text()
    assert read_study_file(path) == [study(COT)]


def _spoilt(change):
    def spoil(content):
        change(content["studies"][0]["runs"][0])
        return json.dumps(content)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: json.dumps(content)[:-20],
        lambda content: json.dumps({**content, "format": "another"}),
        lambda content: json.dumps({**content, "version": 2}),
        lambda content: json.dumps([content]),
        lambda content: "",
        _spoilt(lambda run: run["answers"]["tokens"].pop()),
        _spoilt(lambda run: run["answers"].pop("correct")),
        _spoilt(lambda run: run["answers"]["correct"].__setitem__(0, "yes")),
        _spoilt(lambda run: run["answers"]["tokens"].__setitem__(0, True)),
        _spoilt(lambda run: run["answers"].update(words=["many"] * len(run["answers"]["tokens"]))),
        _spoilt(lambda run: run["answers"].update(words=[1])),
        _spoilt(lambda run: run.pop("label")),
        _spoilt(lambda run: run.update(entropies=[1] * (BINS - 1))),
        _spoilt(lambda run: run.update(entropies=[float("inf")] * BINS)),
        _spoilt(lambda run: run.update(wall_seconds=float("nan"))),
        _spoilt(lambda run: run["answers"]["sample"].__setitem__(0, 0)),
        _spoilt(lambda run: run["answers"]["sample"].__setitem__(0, 2)),
    ],
)
def test_a_file_that_is_none(tmp_path, spoil):
    path = tmp_path / "s.json"
    write_study_file(path, [study(COT, SELAR)])
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(SelarError, match=r"s\.json is no file of studies"):
        read_studies([path])


def test_another_seed_brings_more_samples():
    other_cot = told("cot", {"a": [0, 0], "b": [1, 0]})
    (both,) = pooled([study(COT, SELAR, seed=1), study(SELAR, other_cot, seed=2)])
    assert [run.label for run in both.runs] == ["cot", "selar"]
    assert (both.facts["seed"], both.facts["samples"]) == ([1, 2], 4)
    cot = {(answer.problem, answer.sample): answer.correct for answer in both.runs[0].answers}
    assert cot == {
        ("a", 1): True, ("a", 2): False, ("a", 3): False, ("a", 4): False,
        ("b", 1): False, ("b", 2): False, ("b", 3): True, ("b", 4): False,
    }  # fmt: skip
    assert both.runs[0].wall_seconds == COT.wall_seconds + other_cot.wall_seconds


def test_a_third_seed_joins_two_that_were_put_together_before(tmp_path):
    write_study_file(tmp_path / "two.json", pooled([study(COT, seed=1), study(COT, seed=2)]))
    write_study_file(tmp_path / "three.json", [study(COT, seed=3)])
    (all_three,) = read_studies([tmp_path / "two.json", tmp_path / "three.json"])
    assert (all_three.facts["seed"], all_three.facts["samples"]) == ([1, 2, 3], 6)
    assert len(all_three.runs[0].answers) == 12


def test_seeds_are_in_their_order():
    first, second = study(COT, seed=1, machine="A"), study(told("cot", {"a": [0, 0], "b": [0, 0]}), seed=2, machine="B")
    assert pooled([second, first]) == pooled([first, second])
    third = study(COT, seed=0, machine="C")
    (all_three,) = pooled([*pooled([second, first]), third])
    assert all_three.facts["seed"] == [0, 1, 2] and all_three.runs == pooled([first, second, third])[0].runs


def test_entropies_are_added():
    runs = drawn("selar", 0.2, 1), drawn("selar", 0.2, 2)
    (both,) = pooled([study(run, seed=seed) for seed, run in enumerate(runs)])
    assert both.runs[0].entropies == tuple(2 * count for count in runs[0].entropies)
    (one,) = pooled([study(replace(runs[0], entropies=()), seed=1), study(runs[1], seed=2)])
    assert one.runs[0].entropies == runs[1].entropies


def test_methods_of_one_seed_are_put_together():
    (both,) = pooled([study(COT, seed=1), study(SELAR, COT, seed=1)])
    assert [run.label for run in both.runs] == ["cot", "selar"]
    assert both.facts["samples"] == FACTS["samples"]


def test_one_label_with_other_options_is_named_by_them(tmp_path):
    """As after `--tau 0.3` and `--tau 0.7`, which were given for all methods."""
    low, high = (replace(SELAR, options={"tau": tau, "k": 3}) for tau in (0.3, 0.7))
    (both,) = pooled([study(COT, low, seed=1), study(COT, high, seed=1)])
    assert [run.label for run in both.runs] == ["cot", "selar tau=0.3", "selar tau=0.7"]
    assert pooled([both, both]) == [both]
    assert pooled([study(COT, low, high, seed=1)]) == [both]  # logs of equal settings are one study already


def test_a_method_is_the_same_whatever_it_is_called():
    low, high = (replace(SELAR, options={"tau": tau, "k": 3}) for tau in (0.3, 0.7))
    named = pooled([study(COT, low, high, seed=1)])
    (both,) = pooled([*named, study(COT, low, seed=2), study(high, seed=2)])
    assert [run.label for run in both.runs] == ["cot", "selar tau=0.3", "selar tau=0.7"]
    assert [len(run.answers) for run in both.runs] == [8, 8, 8]
    default, swept = replace(low, label="selar"), replace(low, label="selar tau=0.3")
    (both,) = pooled([study(default, swept, seed=1), study(swept, default, seed=2)])
    assert [(run.label, len(run.answers)) for run in both.runs] == [("selar", 8), ("selar tau=0.3", 8)]


def test_an_option_that_came_later_is_at_its_default():
    later = selar()
    earlier = {name: value for name, value in later.items() if name != "repel"}
    first, second = (replace(SELAR, options=options) for options in (earlier, later))
    (both,) = pooled([study(COT, first, seed=1), study(COT, second, seed=2)])
    assert [(run.label, len(run.answers)) for run in both.runs] == [("cot", 8), ("selar", 8)]
    (both,) = pooled([study(first, seed=1), study(replace(SELAR, options={**later, "repel": 2}), seed=1)])
    assert [run.label for run in both.runs] == ["selar repel=1", "selar repel=2"]


def test_facts_that_differ_are_told_of_each_part():
    (both,) = pooled([study(COT, seed=1, machine="A", threads=2), study(SELAR, seed=1, machine="B", threads=2)])
    assert both.facts["machine"] == {"cot": "A", "selar": "B"} and both.facts["threads"] == 2
    (both,) = pooled([study(COT, seed=1, machine="A"), study(COT, seed=2, machine="B")])
    assert both.facts["machine"] == {"seed 1": "A", "seed 2": "B"}
    (both,) = pooled([study(COT, machine="A", seed=1), study(COT, machine="B", seed=2), study(SELAR, seed=2)])
    assert both.facts["machine"] == {"seed 1: cot": "A", "seed 2: cot": "B", "seed 2: selar": None}
    low, high = (replace(SELAR, options={"tau": tau}) for tau in (0.3, 0.7))
    (both,) = pooled([study(low, seed=1, machine="A"), study(high, seed=1, machine="B")])
    assert both.facts["machine"] == {"selar (1)": "A", "selar (2)": "B"}
    (both,) = pooled([study(COT, SELAR, seed=1), study(COT, seed=2, level="1-3")])
    assert both.facts["level"] == {"seed 1": None, "seed 2": "1-3"}
    (both,) = pooled([study(COT, SELAR, seed=1, machine="A"), study(COT, seed=1, machine="B")])
    assert both.facts["machine"] == "A"  # of B nothing is there


@pytest.mark.parametrize("other", [study(SELAR, seed=1, last_number=True), study(COT, seed=2, last_number=True)])
def test_parts_that_were_graded_by_different_rules_are_refused(other):
    with pytest.raises(SelarError, match="some answers are graded with --last-number"):
        pooled([study(COT, seed=1), other])
    assert len(pooled([study(COT, seed=1, last_number=False), study(SELAR, seed=1)])) == 1


def test_a_seed_that_is_there_twice():
    two = pooled([study(COT, seed=1), study(COT, seed=2)])
    assert pooled([*two, study(COT, seed=2)]) == two == pooled([study(COT, seed=2), *two])
    with pytest.raises(SelarError, match="some of cot's answers are given twice"):
        pooled([*two, *pooled([study(COT, seed=2), study(COT, seed=3)])])


def test_a_method_with_fewer_seeds_is_compared_on_those():
    second, swir = told("cot", {"a": [1, 1], "b": [1, 1]}), told("swir", {"a": [0, 0], "b": [0, 0]})
    parts = [study(COT, SELAR, seed=1), study(second, seed=2), study(swir, seed=2)]
    (both,) = pooled(parts)
    assert [(run.label, len(run.answers)) for run in both.runs] == [("cot", 8), ("selar", 4), ("swir", 4)]
    assert [{answer.sample for answer in run.answers} for run in both.runs] == [{1, 2, 3, 4}, {1, 2}, {3, 4}]
    assert (both.facts["seed"], both.facts["samples"]) == ([1, 2], 4)
    summary = summarise(both)
    assert [one.difference.value for one in summary.comparisons] == [0.75 - 0.25, 0.0 - 1.0]
    assert summary.methods[0].accuracy.value == 0.625
    assert "swir has 4 of 8 answers: a comparison uses only those that both methods have" in summary.notes


def test_methods_are_added_to_what_was_put_together_before(tmp_path):
    write_study_file(tmp_path / "two.json", pooled([study(COT, seed=1), study(COT, seed=2)]))
    later = [study(SELAR, seed=2, machine="B"), study(SELAR, seed=1, machine="A")]
    (both,) = pooled([*later, *read_studies([tmp_path / "two.json"])])
    (at_once,) = pooled([study(COT, SELAR, seed=1), study(COT, SELAR, seed=2)])
    assert both.runs == at_once.runs and (both.facts["seed"], both.facts["samples"]) == ([1, 2], 4)


def test_no_seed_in_common():
    (both,) = pooled([study(COT, seed=1), study(SELAR, seed=2)])
    assert "selar and cot have no answers to the same problems and seeds: no comparison" in sentences(summarise(both))


@pytest.mark.parametrize(
    "other",
    [
        study(COT, seed=2, max_tokens=99),
        study(COT, seed=2, model_sha256="cd" * 32),
        study(COT, seed=2, problems_sha256="other problems"),
        study(COT, seed=2, samples=4),
        study(told("cot", {"a": [1, 0, 1]}), seed=2),
        replace(study(COT, seed=2), task="math500"),
        Study("gsm8k", "tiny.gguf", (COT,), {"seed": 2}),
    ],
)
def test_what_differs_in_more_than_methods_and_seed_stays_apart(other):
    assert pooled([study(COT, seed=1), other]) == [study(COT, seed=1), other]
