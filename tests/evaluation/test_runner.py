"""A study: its settings, its logs, and what is left of it after a kill -9."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log
from support.ollama_store import put_model

import selar_local as sl
from selar_local.cache import sha256_of
from selar_local.cli.main import main
from selar_local.config import EngineConfig
from selar_local.errors import DecodeError, OptionError, SelarError
from selar_local.evaluation import runner
from selar_local.evaluation.config import EvaluationConfig, methods_of, seed_of
from selar_local.evaluation.log_files import best_of, log_files
from selar_local.evaluation.logs import read_studies
from selar_local.evaluation.plan import Evaluation, Observer, default_folder
from selar_local.evaluation.problems import load_problems
from selar_local.evaluation.runner import evaluate

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COMMAND = [sys.executable, "-c", "import sys; from selar_local.evaluation import runner; runner._FLUSHES = {};"
           "from selar_local.cli.main import main; main(sys.argv[1:])"]  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(chat_template=TEMPLATE, n_ctx_train=4096)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    rows = [{"id": f"sum-{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def study(model, data, methods="cot,selar", sweep=None, given=None, **settings) -> Evaluation:
    given_by_default = {"samples": 2, "max_tokens": 10, "parallel": 3, "last_number": False}
    config = EvaluationConfig(**{"data": str(data), **given_by_default, **settings})
    return Evaluation(
        config=config,
        specs=tuple(methods_of(methods, given, sweep)),
        problems=tuple(load_problems("generated", data, config.limit)),
        model=model,
        engine=EngineConfig(threads=1, ctx_size=256, parallel=3),
        sampling={},
    )


class Opener:
    """Opens the engine and counts how often."""

    def __init__(self, model: Path) -> None:
        self.model, self.opened = model, 0

    @contextmanager
    def __call__(self, config):
        self.opened += 1
        with sl.Engine(self.model, config) as engine:
            yield engine


@pytest.fixture(scope="module")
def finished(model, data, tmp_path_factory):
    """A folder with the logs of cot and selar; no test may change it."""
    folder = tmp_path_factory.mktemp("finished")
    begun: list[tuple[str, int, int]] = []
    observer = Observer(begin=lambda *told: begun.append(told))
    logs = evaluate(study(model, data), folder, Opener(model), observer)
    assert begun == [("cot", 0, 8), ("selar", 0, 8)]
    return folder, logs


def test_every_method_has_the_same_problems_seeds_and_budget(finished):
    _, logs = finished
    read = [read_eval_log(str(path)) for path in logs]
    assert [log.eval.metadata["label"] for log in read] == ["cot", "selar"]
    assert all("level" in log.eval.metadata for log in read)
    asked = [{(s.id, s.epoch): s.output.metadata["seed"] for s in log.samples} for log in read]
    assert asked[0] == asked[1] and len(asked[0]) == 8
    assert asked[0]["sum-3", 2] == seed_of(0, "sum-3", 2)
    assert all(s.output.usage.output_tokens <= 10 and s.scores for log in read for s in log.samples)
    assert read[0].samples[0].input == read[1].samples[0].input
    assert r"What is 1 + 1?" in read[0].samples[0].input


def test_a_log_records_what_it_was_made_with(finished, model, data):
    _, logs = finished
    told = read_eval_log(str(logs[1]), header_only=True).eval.metadata
    assert told["model_sha256"] == sha256_of(model) and told["data_sha256"] == sha256_of(data)
    assert told["data"] == "sums.jsonl" and told["model"] == model.name
    assert (told["parallel"], told["batch_size"], told["max_tokens"], told["samples"]) == (3, 128, 10, 2)
    assert told["sampling"] == {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.0, "greedy": False}
    assert told["options"]["tau"] == 0.5 and told["method"] == "selar" and told["task"] == "sums.jsonl"
    assert told["selar_local"] == sl.__version__ and told["backend"] in ("cpu", "gpu")
    for name in (
        "llama_cpp",
        "llama_cpp_python",
        "inspect_ai",
        "math_verify",
        "template_hash",
        "machine",
        "quantisation",
    ):
        assert told[name], name


def test_nothing_is_done_twice(finished, model, data):
    folder, logs = finished
    before = {path: path.read_bytes() for path in logs}
    opener = Opener(model)
    assert evaluate(study(model, data), folder, opener) == logs
    assert opener.opened == 0 and {path: path.read_bytes() for path in logs} == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_tokens": 11}, "max_tokens 10, here 11"),
        ({"samples": 1}, "samples 2, here 1"),
        ({"seed": 1}, "seed 0, here 1"),
        ({"limit": 3}, "problems 4, here 3"),
    ],
)
def test_another_study_in_the_same_folder_is_refused(finished, model, data, change, told):
    folder, _ = finished
    with pytest.raises(OptionError) as refused:
        evaluate(study(model, data, **change), folder, Opener(model))
    assert told in str(refused.value) and "--out" in str(refused.value)


def test_other_engine_options_and_sampling_are_another_study(finished, model, data):
    folder, _ = finished
    base = study(model, data)
    for other, told in [
        (replace(base, engine=replace(base.engine, batch_size=64)), "batch_size 128, here 64"),
        (replace(base, sampling={"temperature": 0.9}), "sampling_given"),
        (replace(base, stop=("x",)), "stop"),
    ]:
        with pytest.raises(OptionError, match=told):
            evaluate(other, folder, Opener(model))
    threads = replace(base, engine=replace(base.engine, threads=2))  # they change no answer
    assert evaluate(threads, folder, Opener(model))


def test_a_method_more_joins_the_study(model, data, tmp_path):
    first = evaluate(study(model, data, "cot"), tmp_path, Opener(model))
    opener = Opener(model)
    both = evaluate(study(model, data, "cot,selar:tau=0.1"), tmp_path, opener)
    assert both[0] == first[0] and len(both) == 2 and opener.opened == 1


def test_options_given_for_all_methods_tell_studies_apart(finished, model, data):
    """The label is `selar` with any of them: the folder, and where it is given the log, must tell."""
    folder, _ = finished
    with pytest.raises(OptionError, match=r"holds selar with other options \(tau 0.5, here 0.7\)"):
        evaluate(study(model, data, given={"tau": 0.7}), folder, Opener(model))
    assert evaluate(study(model, data, "cot", given=None), folder, Opener(model))
    assert default_folder(study(model, data, given={"tau": 0.7})) != default_folder(study(model, data))


def test_a_method_that_joins_is_graded_as_the_others_are(model, data, tmp_path):
    evaluate(study(model, data, "cot", last_number=True), tmp_path, Opener(model))
    evaluate(study(model, data, "selar"), tmp_path, Opener(model))
    assert [file.graded_by for file in log_files(tmp_path)] == [{"last_number": False}] * 2
    (read,) = read_studies([tmp_path])
    assert read.facts["last_number"] is False


def test_the_default_folder_is_that_of_the_settings(model, data):
    folder = default_folder(study(model, data))
    assert folder.parent == Path("selar-eval") and folder.name.startswith(f"sums-{model.stem}-")
    assert default_folder(study(model, data, "cot")) == folder
    assert default_folder(study(model, data, seed=1)) != folder


def test_a_model_of_ollamas_is_called_by_its_name(model, data, tmp_path):
    evaluation = study(put_model(tmp_path / "models", "tiny", "8b", model), data)
    assert evaluation.settings()["model"] == "ollama:tiny:8b"
    assert "-ollama-tiny-8b-" in default_folder(evaluation).name
    assert f"-{model.stem}-" in default_folder(study(model, data)).name


def test_grading_is_a_step_of_its_own(model, data, tmp_path, monkeypatch):
    def no_grading(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "grade_log", no_grading)
        with pytest.raises(KeyboardInterrupt):
            evaluate(study(model, data, "cot"), tmp_path, Opener(model))
    (file,) = log_files(tmp_path)
    assert file.finished and file.graded_by is None
    opener = Opener(model)
    evaluate(study(model, data, "cot"), tmp_path, opener)
    assert opener.opened == 0 and log_files(tmp_path)[0].graded_by == {"last_number": False}
    evaluate(study(model, data, "cot", last_number=True), tmp_path, opener)
    assert opener.opened == 0 and log_files(tmp_path)[0].graded_by == {"last_number": True}


def test_grading_again_replaces_the_grades(model, data, tmp_path):
    (path,) = evaluate(study(model, data, "cot", last_number=True), tmp_path, Opener(model))
    graded = lambda: [s.scores["graded"].explanation for s in read_eval_log(str(path)).samples]  # noqa: E731
    before = graded()
    log = read_eval_log(str(path))
    for sample in log.samples:
        sample.scores["graded"].explanation = "wrong by hand"
    from inspect_ai.log import write_eval_log

    write_eval_log(log, str(path))
    evaluate(study(model, data, "cot", last_number=True), tmp_path, Opener(model))
    assert set(graded()) == {"wrong by hand"}
    evaluate(study(model, data, "cot", last_number=True), tmp_path, Opener(model), regrade=True)
    assert graded() == before and set(read_eval_log(str(path)).samples[0].scores) == {"graded"}


def test_logs_are_graded_in_the_order_of_the_methods(model, data, finished, tmp_path):
    for path, name in zip(finished[1], ("z.eval", "a.eval"), strict=True):
        shutil.copy(path, tmp_path / name)
    notes: list[str] = []
    opener = Opener(model)
    evaluate(study(model, data), tmp_path, opener, Observer(note=notes.append), regrade=True)
    assert notes == ["grading cot", "grading selar"] and opener.opened == 0


def test_an_error_ends_the_study_and_the_next_call_goes_on(model, data, tmp_path):
    calls = 0

    @contextmanager
    def failing(config):
        with sl.Engine(model, replace(config, prompt_cache=True)) as engine:
            made = engine.begin

            def begin(*arguments, **more):
                nonlocal calls
                calls += 1
                if calls > 5:
                    raise DecodeError("the model produced logits that are not numbers")
                return made(*arguments, **more)

            engine.begin = begin
            yield engine

    with pytest.raises(
        SelarError, match=r"^cot: the model produced logits that are not numbers; the same command again"
    ):
        evaluate(study(model, data, "cot", parallel=1), tmp_path, failing)
    (path,) = evaluate(study(model, data, "cot", parallel=1), tmp_path, Opener(model))
    log = read_eval_log(str(path))
    assert log.status == "success" and len(log.samples) == 8 and list(tmp_path.glob("*.eval")) == [path]


def test_the_best_log_of_a_method(finished):
    folder, _ = finished
    (cot, selar) = sorted(log_files(folder), key=lambda file: file.label)
    begun = replace(cot, finished=False, answers=5, changed=cot.changed + 9)
    later = replace(begun, answers=5, changed=cot.changed + 10)
    assert best_of([begun, cot, selar], "cot") is cot
    assert best_of([begun, later], "cot") is later
    assert best_of([replace(begun, answers=6), later], "cot").answers == 6
    assert best_of([selar], "cot") is None


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "half.eval").write_bytes(b"PK\x03\x04 broken")
    assert log_files(tmp_path) == [] and log_files(tmp_path / "missing") == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("flushes", [200, 1])
def test_a_kill_loses_at_most_what_was_running(tiny, tmp_path, flushes, monkeypatch, capsys):
    """flushes 1: no answer has reached the log file by then, they come from Inspect's database."""
    slow = tiny(chat_template=TEMPLATE, n_ctx_train=32768, n_layer=2, n_embd=128, n_ff=512)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    folder = tmp_path / "logs"
    words = [
        "eval", str(slow), "--limit", "12", "-n", "100", "-t", "1", "--parallel", "2", "--methods", "cot",
        "--out", str(folder), "--json",
    ]  # fmt: skip
    command = [*COMMAND[:2], COMMAND[2].format(flushes), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = _wait_for_answers(process, folder, tmp_path, 4, from_database=flushes == 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.time()
    if flushes == 1:
        assert all(file.answers == 0 for file in log_files(folder))
    with pytest.raises(SystemExit) as end:  # again, in this process, which has imported Inspect
        main(words)
    assert end.value.code == 0
    (file,) = log_files(folder)
    samples = read_eval_log(str(file.path)).samples
    kept = [s for s in samples if s.output.metadata["started"] + s.output.metadata["seconds"] < killed]
    assert len(samples) == 12 and file.finished and done >= 4
    assert len(kept) >= done
    assert len({(s.id, s.output.metadata["seed"]) for s in samples}) == 12
    assert json.loads(capsys.readouterr().out)["methods"]["cot"]["n"] == 12


def _wait_for_answers(process, folder, home, wanted, *, from_database) -> int:
    """Wait until so many answers are there, and say how many."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        assert process.poll() is None, "it was over too soon"
        count = _in_database(home) if from_database else sum(file.answers for file in log_files(folder))
        if count >= wanted:
            return count
        time.sleep(0.05)
    raise AssertionError(f"no {wanted} answers; {log_files(folder)}")


def _in_database(home: Path) -> int:
    import sqlite3

    count = 0
    for path in home.rglob("*.db"):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
                rows = db.execute("SELECT data FROM samples").fetchall()
        except sqlite3.Error:
            continue
        count += sum(bool(json.loads(row[0]).get("completed")) for row in rows)
    return count


def test_the_root_logger_keeps_its_level(monkeypatch):
    def meddle(evaluation: object) -> None:
        logging.getLogger().setLevel(logging.CRITICAL)
        raise OptionError("no")

    monkeypatch.setattr(runner.Evaluation, "settings", meddle)
    logging.getLogger().setLevel(logging.INFO)
    with pytest.raises(OptionError):
        runner.evaluate(object.__new__(runner.Evaluation), Path(), None)
    assert logging.getLogger().level == logging.INFO
