"""From logs to studies: every field of an answer, which logs belong together, and what is refused."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.log import read_eval_log, write_eval_log

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.errors import SelarError
from selar_local.evaluation import _registry
from selar_local.evaluation.config import EvaluationConfig, methods_of
from selar_local.evaluation.inspect_tasks import thinking_of
from selar_local.evaluation.logs import covered, read_studies
from selar_local.evaluation.plan import Evaluation
from selar_local.evaluation.problems import load_problems
from selar_local.evaluation.records import BINS
from selar_local.evaluation.runner import evaluate
from selar_local.evaluation.slips import Slips, count_slips

ENGINE = EngineConfig(threads=1, ctx_size=256, parallel=3)


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(n_ctx_train=4096)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    rows = [{"id": f"sum-{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(model, data, folder, methods="selar:tau=0.2;symbol_guard=off,cot", **settings):
    given_by_default = {"samples": 2, "max_tokens": 8, "parallel": 3, "last_number": False}
    config = EvaluationConfig(**{"data": str(data), **given_by_default, **settings})
    problems = tuple(load_problems("generated", data))

    @contextmanager
    def opened(config):
        with sl.Engine(model, config) as engine:
            yield engine

    return evaluate(Evaluation(config, tuple(methods_of(methods)), problems, model, ENGINE, {}), folder, opened)


@pytest.fixture(scope="module")
def logs(model, data, tmp_path_factory):
    return made(model, data, tmp_path_factory.mktemp("logs"))


def test_a_study_of_its_logs(logs, model):
    (study,) = read_studies([logs[0].parent])
    assert (study.task, study.model) == ("sums.jsonl", model.name)
    assert [run.label for run in study.runs] == ["selar tau=0.2 symbol_guard=off", "cot"]
    assert [run.method for run in study.runs] == ["selar", "cot"]
    assert study.runs[0].options["tau"] == 0.2 and study.runs[0].options["symbol_guard"] is False
    assert study.facts["max_tokens"] == 8 and study.facts["seed"] == 0 and "label" not in study.facts
    assert read_studies(logs) == [study] == read_studies([*logs, logs[0].parent])


def test_every_answer_is_that_of_the_log(logs):
    (study,) = read_studies(logs)
    for run, path in zip(study.runs, logs, strict=True):
        samples = {(str(s.id), s.epoch): s for s in read_eval_log(str(path)).samples}
        assert [(a.problem, a.sample) for a in run.answers] == sorted(samples)
        for answer in run.answers:
            sample = samples[answer.problem, answer.sample]
            assert answer.tokens == sample.output.usage.output_tokens
            assert answer.explored == sample.output.metadata["explored_steps"]
            assert answer.mismatched == sample.output.metadata["mismatched_steps"]
            assert answer.seconds == sample.output.metadata["seconds"] > 0
            assert answer.truncated is (sample.output.stop_reason == "max_tokens")
            assert answer.given is None and not answer.correct and not answer.repetitive
            question = sample.metadata["problem"]["question"]
            assert Slips(answer.words, answer.doubled, answer.merged, answer.missing) == count_slips(
                thinking_of(sample.output) + sample.output.completion, question
            )
        counts = [sum(s.output.metadata["entropies"][i] for s in samples.values()) for i in range(BINS)] \
            if run.method == "selar" else []  # fmt: skip
        assert run.entropies == tuple(counts)
        assert 0 < run.wall_seconds <= sum(answer.seconds for answer in run.answers) + 1e-9
    assert sum(study.runs[0].entropies) == sum(answer.tokens for answer in study.runs[0].answers)
    assert any(answer.explored for answer in study.runs[0].answers)
    assert any(answer.mismatched for answer in study.runs[0].answers)
    assert not any(answer.mismatched for answer in study.runs[1].answers)


def test_grades_are_taken_over(logs, tmp_path):
    log = read_eval_log(str(logs[1]))
    first, second, third = log.samples[:3]
    first.scores["graded"].value, first.scores["graded"].answer = "C", "2"
    second.scores["graded"].metadata = {"repetitive": True}
    third.output.choices[0].stop_reason = "model_length"
    path = tmp_path / "cot.eval"
    write_eval_log(log, str(path))
    (study,) = read_studies([path])
    answers = {(a.problem, a.sample): a for a in study.runs[0].answers}
    one = answers[str(first.id), first.epoch]
    assert one.correct and one.given == "2" and sum(a.correct for a in answers.values()) == 1
    assert answers[str(second.id), second.epoch].repetitive and sum(a.repetitive for a in answers.values()) == 1
    assert answers[str(third.id), third.epoch].truncated
    assert answers[str(second.id), second.epoch].words is None and one.words is not None


def test_other_settings_are_another_study(logs, model, data, tmp_path):
    other = made(model, data, tmp_path, "cot", seed=1, max_tokens=7)
    studies = read_studies([*logs, *other])
    assert [len(study.runs) for study in studies] == [2, 1]
    assert [study.facts["seed"] for study in studies] == [0, 1]


def test_another_seed_of_one_method(logs, model, data, tmp_path):
    (study,) = read_studies([*made(model, data, tmp_path, "cot", seed=1), *logs])
    assert study.facts["seed"] == [0, 1] and study.facts["samples"] == 4
    samples = {run.label: {answer.sample for answer in run.answers} for run in study.runs}
    assert samples == {"selar tau=0.2 symbol_guard=off": {1, 2}, "cot": {1, 2, 3, 4}}


def test_a_finished_log_goes_before_one_that_broke_off(logs, tmp_path):
    shutil.copy(logs[1], tmp_path / "done.eval")
    log = read_eval_log(str(logs[1]))
    log.status = "cancelled"
    log.eval.created = "2999-01-01T00:00:00+00:00"
    write_eval_log(log, str(tmp_path / "a-broken.eval"))
    (study,) = read_studies([tmp_path])
    assert len(study.runs) == 1 and len(study.runs[0].answers) == 6
    (tmp_path / "done.eval").unlink()
    with pytest.raises(SelarError, match=r"cot: a-broken\.eval is not finished \(cancelled\)"):
        read_studies([tmp_path])


def test_what_cannot_be_read_is_told(logs, tmp_path):
    with pytest.raises(SelarError, match="there is no log"):
        read_studies([tmp_path / "missing.eval"])
    with pytest.raises(SelarError, match="there are no logs"):
        read_studies([tmp_path])
    (tmp_path / "x.eval").write_bytes(b"nothing")
    with pytest.raises(SelarError, match=r"x\.eval is no Inspect log"):
        read_studies([tmp_path / "x.eval"])
    log = read_eval_log(str(logs[1]))
    for sample in log.samples:
        sample.scores = None
    write_eval_log(log, str(tmp_path / "x.eval"))
    with pytest.raises(SelarError, match=r"cot: x\.eval is not graded"):
        read_studies([tmp_path / "x.eval"])


def test_logs_of_inspect_itself(model, data, tmp_path):
    """As ``inspect eval selar_local/problems --model selar/... -M method=selar -M tau=0.3`` makes them."""
    arguments = {"method": "selar", "tau": 0.3, "threads": 1, "ctx_size": 256}
    for method in (arguments, {"method": "cot", "threads": 1, "ctx_size": 256}):
        inspect_eval(
            _registry.problems("generated", str(data)), model=f"selar/{model}", model_args=method,
            log_dir=str(tmp_path), display="none", log_level="critical", ctl_server=False, max_tokens=6,
        )  # fmt: skip
    (study,) = read_studies([tmp_path])
    assert [run.label for run in study.runs] == ["selar tau=0.3", "cot"]
    assert [len(run.answers) for run in study.runs] == [3, 3] and study.task == "sums.jsonl"
    assert study.runs[0].entropies and all(answer.tokens for answer in study.runs[1].answers)


@pytest.mark.parametrize(
    ("task", "given", "rule"),
    [("generated", None, True), ("generated", False, False), ("math500", None, False), ("math500", True, True)],
)
def test_inspects_own_logs_record_the_rule_of_the_grading(model, data, tmp_path, task, given, rule):
    (log,) = inspect_eval(
        _registry.problems(task, str(data), last_number=given), model=f"selar/{model}", max_tokens=3,
        model_args={"method": "cot", "threads": 1, "ctx_size": 256}, log_dir=str(tmp_path), display="none",
        log_level="critical", ctl_server=False,
    )  # fmt: skip
    assert log.results.scores[0].params == {"last_number": rule}
    (study,) = read_studies([tmp_path])
    assert study.facts["last_number"] is rule


def test_pauses_do_not_count_as_wall_time():
    assert covered([]) == 0
    assert covered([(0, 2), (1, 3), (10, 11)]) == 4
    assert covered([(5, 6), (0, 10), (2, 3)]) == 10
