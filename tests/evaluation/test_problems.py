"""Problems from the hub (a stand-in for `datasets`, with its rows' real columns) and from files."""

from __future__ import annotations

import json
import sys
import types
from collections import Counter

import pytest

from selar_local.errors import MissingExtra, OptionError
from selar_local.evaluation.problems import TASKS, DataError, Problem, load_problems, prompt_of, read_problems

MATH = "Please reason step by step, and put your final answer within \\boxed{}."

#: Made-up rows with the columns of the data sets, by (data set, config, split).
HUB = {
    ("openai/gsm8k", "main", "test"): [
        {"question": "Ann has 1,200 nails and buys 34. How many?", "answer": "1200+34=1234\n#### 1,234"},
        {"question": "Ben owes 3 coins. What is his balance?", "answer": "He owes.\n#### -3"},
    ],
    ("HuggingFaceH4/MATH-500", None, "test"): [
        {
            "problem": "Halve $1$.", "solution": "...", "answer": "\\frac{1}{2}", "subject": "Prealgebra",
            "level": 1, "unique_id": "test/prealgebra/1.json",
        },
        {
            "problem": "Find $\\sqrt{3}^3$.", "solution": "...", "answer": "3\\sqrt{3}", "subject": "Algebra",
            "level": 4, "unique_id": "test/algebra/2.json",
        },
    ],
    ("Idavidrein/gpqa", "gpqa_diamond", "train"): [
        {
            "Question": f"Which is number {i}?\n", "Correct Answer": f"{i}\n", "Incorrect Answer 1": f"{i + 1}",
            "Incorrect Answer 2": f"{i + 2}", "Incorrect Answer 3": f"{i + 3}", "Record ID": f"rec{i}",
            "High-level domain": "Physics", "Subdomain": "Counting",
        }
        for i in range(0, 400, 4)
    ],
    ("HuggingFaceH4/aime_2024", None, "train"): [
        {
            "id": 60, "problem": "What is $100 - 67$?", "solution": "...", "answer": "033",
            "url": "https://example.org", "year": "2024",
        },
    ],
    ("math-ai/aime25", None, "test"): [{"problem": "What is $7 \\cdot 10$?", "answer": "70", "id": "0"}],
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch):
    """`datasets` with our rows; `hub.error` is raised instead where it is set."""
    module = types.ModuleType("datasets")
    module.error = None

    def load_dataset(path, name=None, *, split):
        if module.error is not None:
            raise module.error
        return iter(HUB[path, name, split])

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def write(tmp_path, *rows):
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_gsm8k_answers_come_after_the_marks_without_commas(hub):
    problems = load_problems("gsm8k")
    assert [problem.answer for problem in problems] == ["1234", "-3"]
    assert prompt_of(problems[1]) == f"Ben owes 3 coins. What is his balance?\n{MATH}"


def test_math500_has_levels_and_subjects(hub):
    problems = load_problems("math500")
    assert [(p.answer, p.level, p.subject) for p in problems] == [
        ("\\frac{1}{2}", 1, "Prealgebra"), ("3\\sqrt{3}", 4, "Algebra"),
    ]  # fmt: skip
    assert load_problems("math500", levels=(2, 3, 4)) == problems[1:]
    assert load_problems("math500", levels=(1, 4), limit=1) == problems[:1]
    with pytest.raises(DataError, match="math500: no problems of this level"):
        load_problems("math500", levels=(5,))


@pytest.mark.parametrize(("task", "question", "answer"), [
    ("aime24", "What is $100 - 67$?", "033"), ("aime25", "What is $7 \\cdot 10$?", "70"),
])  # fmt: skip
def test_aime(hub, task, question, answer):
    (problem,) = load_problems(task)
    assert (problem.question, problem.answer, problem.kind) == (question, answer, "math")


def test_gpqa_letters_follow_a_seeded_shuffle(hub):
    problems = load_problems("gpqa-diamond", seed=5)
    for row, problem in zip(HUB["Idavidrein/gpqa", "gpqa_diamond", "train"], problems, strict=True):
        assert problem.kind == "letter"
        assert problem.choices["ABCD".index(problem.answer)] == row["Correct Answer"].strip()
        assert sorted(problem.choices) == sorted(str(int(row["Correct Answer"]) + i) for i in range(4))
    letters = Counter(problem.answer for problem in problems)
    assert len(letters) == 4
    assert min(letters.values()) >= 10
    assert load_problems("gpqa-diamond", seed=5, limit=7) == problems[:7]
    assert [p.answer for p in load_problems("gpqa-diamond", seed=6)] != [p.answer for p in problems]
    HUB["Idavidrein/gpqa", "gpqa_diamond", "train"].reverse()
    try:
        assert load_problems("gpqa-diamond", seed=5) == problems[::-1]
    finally:
        HUB["Idavidrein/gpqa", "gpqa_diamond", "train"].reverse()


def test_the_prompt_of_a_choice_lists_the_letters():
    problem = Problem("x", "Which is even?", "B", "letter", ("3", "4", "5"))
    assert prompt_of(problem) == (
        "Which is even?\nA. 3\nB. 4\nC. 5\n"
        "Please reason step by step, and put only the letter of the correct choice within \\boxed{}."
    )


def test_without_datasets_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"give --data FILE.jsonl, or install it with: .* install datasets$"):
        load_problems("gsm8k")


def test_offline_is_one_clear_line(hub):
    hub.error = ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\nmore\nlines")
    with pytest.raises(DataError, match=r"^cannot reach the hub for openai/gsm8k: go online, or give --data \S+$"):
        load_problems("gsm8k")
    hub.error = RuntimeError("no space left on the device\nmore\nlines")
    with pytest.raises(DataError, match=r"^cannot load openai/gsm8k from the hub: no space left on the device$"):
        load_problems("gsm8k")


def test_gated_data_says_what_to_do(hub):
    hub.error = type("DatasetNotFoundError", (Exception,), {})("Dataset 'Idavidrein/gpqa' is a gated dataset")
    with pytest.raises(DataError, match=r"accepts its terms at https://\S+/Idavidrein/gpqa and then logs in"):
        load_problems("gpqa-diamond")
    hub.error = ConnectionError("no route")
    with pytest.raises(DataError, match="cannot reach the hub"):
        load_problems("gpqa-diamond")


def test_a_changed_column_is_no_traceback(hub, monkeypatch):
    monkeypatch.setitem(HUB, ("math-ai/aime25", None, "test"), [{"question": "?", "answer": "7"}])
    with pytest.raises(DataError, match=r"math-ai/aime25 has changed on the hub: no column 'problem'"):
        load_problems("aime25")


def test_every_task_of_the_paper_is_there():
    assert list(TASKS) == ["generated", "gsm8k", "math500", "gpqa-diamond", "aime24", "aime25"]
    with pytest.raises(OptionError, match=r"unknown task 'gsm' \(known: generated, gsm8k"):
        load_problems("gsm")


def test_a_file(tmp_path):
    path = write(
        tmp_path,
        {"question": " What is 2+2? ", "answer": 4},
        "",
        {"question": "Half of 5?", "answer": 2.5, "id": 17, "level": "Level 3", "subject": "Halves"},
        {"question": "A word?", "answer": " yes ", "id": "word", "level": 2, "more": [1]},
        {"question": "As GSM8K has it", "answer": "thinking\n#### 2,500"},
    )
    problems = load_problems("math500", path)
    assert [(p.question, p.answer) for p in problems] == [
        ("What is 2+2?", "4"), ("Half of 5?", "2.5"), ("A word?", "yes"), ("As GSM8K has it", "2500"),
    ]  # fmt: skip
    assert [p.id for p in problems[1:3]] == ["17", "word"]
    assert [(p.level, p.subject) for p in problems[1:3]] == [(3, "Halves"), (2, None)]
    assert load_problems("gsm8k", str(path), limit=2) == problems[:2]
    assert load_problems("gsm8k", path, levels=(2,)) == [problems[2]]


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "a", "answer": 1}\r\n{"question": "b", "answer": 2}\r\n')
    assert [problem.answer for problem in read_problems(path)] == ["1", "2"]


def test_a_line_separator_in_a_question_ends_no_line(tmp_path):
    path = write(tmp_path, json.dumps({"question": "a\u2028b", "answer": 1}, ensure_ascii=False))
    assert [problem.question for problem in read_problems(path)] == ["a\u2028b"]


def test_ids_stay_in_any_order_and_twins_get_a_suffix(tmp_path):
    rows = [{"question": question, "answer": 1} for question in ("one", "two", "three")]
    ids = {problem.question: problem.id for problem in read_problems(write(tmp_path, *rows))}
    again = {problem.question: problem.id for problem in read_problems(write(tmp_path, *rows[::-1]))}
    assert ids == again
    assert len(set(ids.values())) == 3
    twins = read_problems(write(tmp_path, rows[0], rows[1], rows[0], {"question": " one", "answer": 2}))
    assert [problem.id for problem in twins] == [ids["one"], ids["two"], f"{ids['one']}-2", f"{ids['one']}-3"]
    clash = [{**row, "id": name} for row, name in zip(rows, ("a", "a-2", "a"), strict=True)]
    named = read_problems(write(tmp_path, *clash))
    assert len({problem.id for problem in named}) == 3


@pytest.mark.parametrize(
    ("answer", "letter"), [("B", "B"), ("(b)", "B"), ("4", "B"), (2, "C"), ("green", "C"), (0, "A"), ("D", "D")]
)
def test_choices_take_letters_indexes_and_texts(tmp_path, answer, letter):
    row = {"question": "Which?", "answer": answer, "choices": ["3", 4, "green", "A or B"]}
    (problem,) = load_problems("math500", write(tmp_path, row))
    assert (problem.kind, problem.answer, problem.choices) == ("letter", letter, ("3", "4", "green", "A or B"))


def test_choices_of_a_file_are_shuffled_for_gpqa_alone(tmp_path):
    rows = [{"question": f"{i}?", "answer": "a", "choices": ["a", "b", "c", "d"]} for i in range(20)]
    path = write(tmp_path, *rows)
    assert {problem.answer for problem in load_problems("math500", path)} == {"A"}
    shuffled = load_problems("gpqa-diamond", path, seed=1)
    assert {problem.answer for problem in shuffled} == set("ABCD")
    assert {problem.choices["ABCD".index(problem.answer)] for problem in shuffled} == {"a"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ('{"answer": 1}', "no question"),
        ('{"question": " ", "answer": 1}', "the question must be a text"),
        ('{"question": 5, "answer": 1}', "the question must be a text"),
        ('{"question": "q"}', "no answer"),
        ('{"question": "q", "answer": ""}', "the answer is empty"),
        ('{"question": "q", "answer": null}', "no answer"),
        ('{"question": "q", "answer": true}', "the answer must be a text or a number"),
        ('{"question": "q", "answer": ["1"]}', "the answer must be a text or a number"),
        ('{"question": "q", "answer": NaN}', "the answer must be a finite number"),
        ('{"question": "q", "answer": "steps ####"}', "the answer after #### is empty"),
        ('{"question": "q", "answer": 1, "level": "hard"}', "the level must be a whole number"),
        ('{"question": "q", "answer": 1, "id": [1]}', "the id must be a text or a whole number"),
        ('{"question": "q", "answer": 1, "subject": 3}', "the subject must be a text"),
        ('{"question": "q", "answer": "A", "choices": ["a"]}', "choices must be a list of 2 to 26"),
        ('{"question": "q", "answer": "A", "choices": ["a", null]}', "no choice"),
        ('{"question": "q", "answer": "C", "choices": ["a", "b"]}', "the answer is neither a letter up to B nor one"),
        ('{"question": "q", "answer": 2, "choices": ["a", "b"]}', "the answer 2 is no index of 2 choices"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path, line, fault):
    path = write(tmp_path, {"question": "fine", "answer": 1}, "", line)
    with pytest.raises(DataError) as error:
        load_problems("generated", path)
    assert f"line 3: {fault}" in str(error.value)
    assert "\n" not in str(error.value)


def test_many_damaged_lines_are_counted(tmp_path):
    with pytest.raises(DataError, match=r"line 1: not JSON; line 2: not JSON; line 3: not JSON, and 2 more$"):
        read_problems(write(tmp_path, *["{"] * 5))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none.jsonl: No such file"):
        load_problems("gsm8k", tmp_path / "none.jsonl")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="it is not UTF-8 text"):
        load_problems("gsm8k", binary)
    with pytest.raises(DataError, match="no problems"):
        load_problems("gsm8k", write(tmp_path, ""))
    with pytest.raises(DataError, match="have no levels"):
        load_problems("gsm8k", write(tmp_path, {"question": "q", "answer": 1}), levels=(1,))
    with pytest.raises(DataError, match="line 1: no choices"):
        load_problems("gpqa-diamond", write(tmp_path, {"question": "q", "answer": "A"}))


def test_a_problem_survives_json():
    problem = Problem("x", "Which?", "B", "letter", ("3", "4"), 2, "Numbers")
    assert Problem(
        **json.loads(json.dumps({name: getattr(problem, name) for name in problem.__dataclass_fields__}))
    ) == (problem)
