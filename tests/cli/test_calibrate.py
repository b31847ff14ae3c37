"""`selar-local calibrate`: what it prints, what it keeps, what it says where it cannot."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import selar_local as sl
from cli.conftest import COMMAND
from selar_local import calibration
from selar_local.analysis.calibrate import CalibrationConfig, Samples
from selar_local.analysis.questions import QUESTIONS
from selar_local.cli import calibrate as module
from selar_local.cli.histogram import DWARFED, bar_characters, histogram
from selar_local.config import SamplingConfig
from selar_local.methods import Selar
from selar_local.options import shown

SHORT = ("--limit", "3", "-n", "8", "-t", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def with_valley(monkeypatch):
    """The model's entropies have a valley at about 0.4; the filters take 0.05 from them."""
    random = np.random.default_rng(0)
    full = np.clip(np.concatenate((random.beta(0.2, 6, 3000), random.normal(0.63, 0.08, 600))), 0, 1)
    samples = Samples(full, np.where(full < 0.25, 0.0, full - 0.05), 3)
    monkeypatch.setattr(module, "collect", lambda *arguments, **more: samples)
    return samples


def find(model: Path, gate_on: str = "filtered") -> calibration.Calibration | None:
    return calibration.find(model, k=3, gate_on=gate_on, sampling=SamplingConfig())


def test_json_is_one_object_that_is_kept(chat_model, cli):
    done = cli("calibrate", chat_model, *SHORT, "--json", "--seed", "5", "-q")
    told = json.loads(done.out)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert told["model"] == str(chat_model) and told["kept"] is True and told["tau"] is None
    assert (told["prompts"], told["seed"], told["max_tokens"]) == (3, 5, 8)
    assert 3 <= told["steps"] <= 24 and "50 are needed" in told["reason"]
    assert (told["k"], told["gate_on"], told["temperature"], told["top_k"]) == (3, "filtered", 0.6, 20)
    for gate in ("full", "filtered"):
        assert len(told["histogram"][gate]) == 20 and sum(told["histogram"][gate]) == told["steps"]
    found = find(chat_model)
    assert found is not None and found.as_dict().items() <= told.items()


def test_what_a_person_reads(chat_model, cli):
    done = cli("calibrate", chat_model, *SHORT)
    lines = done.out.splitlines()
    assert done.code == 0 and done.err == f"asking {chat_model.name} 3 questions, at most 8 tokens each\n"
    assert lines[0].split()[:2] == ["entropy", "steps"] and lines[1].startswith("0.00-0.05 ")
    assert lines[20].startswith("0.95-1.00 ") and lines[21] == ""
    counts = [int(line.split()[1]) for line in lines[1:21]]
    assert re.fullmatch(rf"{sum(counts)} steps of 3 answers, \d+ of them above 0\.21", lines[22])
    assert lines[23].startswith("no threshold: only ") and lines[23].endswith(
        "; ask more (-n, --prompts) or choose a number for --tau"
    )


def test_the_valley_and_its_threshold(chat_model, cli, with_valley):
    done = cli("calibrate", chat_model)
    found = find(chat_model)
    assert found is not None and found.tau is not None and found.explored is not None
    assert found.tau == pytest.approx(found.valley - 0.05, abs=0.01)
    lines = done.out.splitlines()
    (marked,) = [line for line in lines if "◂" in line]
    low, high = map(float, marked.split()[0].split("-"))
    assert low <= found.valley < high and marked.endswith(f" ◂ valley {found.valley:.2f}")
    assert lines[0].endswith("(bars show square roots)")
    assert f"valley {found.valley:.2f} (90 % interval {found.low:.2f} to {found.high:.2f})" in done.out
    assert "p < 0.0001" in done.out
    share = f"{100 * float((with_valley.filtered >= found.tau).mean()):.1f} % of steps would explore"
    assert lines[-1] == f"tau {found.tau:.2f} of the filtered entropies: {share} (guard aside)"
    kept = f"kept for {chat_model.name} and these settings: selar-local run --tau auto uses it"
    assert done.err.splitlines()[-1] == kept
    assert cli("calibrate", chat_model, "-q") == (0, done.out, "")


def test_a_trial_does_not_replace_a_larger_sample_that_showed_one(chat_model, cli, with_valley, monkeypatch):
    cli("calibrate", chat_model)
    found = find(chat_model)
    monkeypatch.setattr(module, "collect", lambda *arguments, **more: Samples(np.zeros(9), np.zeros(9), 1))
    done = cli("calibrate", chat_model, "--json")
    assert done.code == 0 and json.loads(done.out)["kept"] is False and find(chat_model) == found
    assert f"the earlier tau {found.tau:.2f}, of 3,600 steps, stays in use" in done.err
    monkeypatch.setattr(module, "collect", lambda *arguments, **more: Samples(np.zeros(5000), np.zeros(5000), 1))
    assert json.loads(cli("calibrate", chat_model, "--json").out)["kept"] is True and find(chat_model).tau is None


def test_run_uses_what_is_kept(chat_model, cli, with_valley):
    words = ("run", chat_model, "Hi", "-n", "2", "-t", "1", "--json", "--tau", "auto")
    before = cli(*words)
    assert before.code == 1 and "run: selar-local calibrate" in before.err
    cli("calibrate", chat_model)
    after = cli(*words)
    found = find(chat_model)
    assert after.code == 0 and found is not None and json.loads(after.out)["options"]["tau"] == found.tau
    words = [word for word in words if word != "--json"]
    assert f" · tau {found.tau:.4g} (calibrated) · " in cli(*words).err
    assert "calibrated" not in cli(*words[:-2], "--tau", "0.4").err


def test_each_gate_has_its_own(chat_model, cli, with_valley):
    done = cli("calibrate", chat_model, "--gate-on", "full")
    found = find(chat_model, "full")
    assert found is not None and found.tau == found.valley and find(chat_model) is None
    assert done.out.splitlines()[-1].startswith(f"tau {found.tau:.2f}: ")


def test_settings_reach_the_model(chat_model, cli, monkeypatch):
    asked = {}

    def collect(engine, prompts, **more):
        asked.update(more, prompts=prompts, engine=engine.config)
        return Samples(np.zeros(0), np.zeros(0), len(prompts))

    monkeypatch.setattr(module, "collect", collect)
    options = ("--k", "5", "--temp", "0.9", "--top-k", "7", "--top-p", "0.8", "--min-p", "0.1", "-c", "2000", "-t", "1")
    assert cli("calibrate", chat_model, *options, "-n", "9", "-s", "4").code == 0
    assert asked["k"] == 5 and asked["config"] == CalibrationConfig(max_tokens=9, seed=4)
    sampling = asked["sampling"]
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.9, 7, 0.8, 0.1)
    assert asked["prompts"] == list(QUESTIONS)
    assert (asked["engine"].parallel, asked["engine"].ctx_size, asked["engine"].threads) == (4, 500, 1)
    cli("calibrate", chat_model, "--limit", "1", "-c", "0", "-t", "1")
    assert (asked["engine"].parallel, asked["engine"].ctx_size) == (1, 0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mine.txt", b"one\n\n  \r\ntwo\r\n"),
        ("mine.txt", b"\xef\xbb\xbfone\ntwo"),
        ("mine.jsonl", b'{"prompt": "one"}\n\n{"question": "two", "answer": "2"}\n'),
        ("MINE.JSONL", b'{"question": "ignored", "prompt": "one"}\n{"prompt": "", "question": "two"}'),
    ],
)
def test_prompts_of_a_file(name, data, model, tmp_path, cli, monkeypatch):
    asked = []
    empty = Samples(np.zeros(0), np.zeros(0), 2)
    monkeypatch.setattr(module, "collect", lambda engine, prompts, **more: asked.extend(prompts) or empty)
    (tmp_path / name).write_bytes(data)
    assert cli("calibrate", model, "--prompts", tmp_path / name, "-t", "1").code == 0
    assert asked == ["one", "two"]
    assert cli("calibrate", model, "--prompts", "-", "-t", "1", stdin=b"three\n").code == 0
    assert asked[2:] == ["three"]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("empty.txt", b"", "there is no prompt in"),
        ("blank.jsonl", b"\n \n", "there is no prompt in"),
        ("x.jsonl", b'{"prompt": "one"}\nnothing\n', "line 2: a JSON object"),
        ("x.jsonl", b'["prompt"]', "line 1: a JSON object"),
        ("x.jsonl", b'{"prompt": 1}', "line 1: a JSON object"),
        ("x.jsonl", b"[" * 100_000, "line 1: a JSON object"),
        (None, b"", "cannot read"),
    ],
    ids=str,
)
def test_files_without_prompts(name, data, told, model, tmp_path, cli):
    path = tmp_path / (name or "none.txt")
    if name:
        path.write_bytes(data)
    done = cli("calibrate", model, "--prompts", path)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith("error: ") and told in done.err and path.name in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-n", "0"), "--max-tokens must be at least 1, not"),
        (("--limit", "0"), "--limit must be at least 1, not"),
        (("--seed", "-1"), "--seed must be between 0 and"),
        (("--k", "1"), "--k must be between 2 and"),
        (("--temperature", "-1"), "temperature must be between 0 and 100"),
        (("--top-p", "-1"), "--top-p must be between 0 and 1"),
        (("--gate-on", "neither"), "'neither' is not one of"),
        (("--tau", "0.5"), "No such option"),
    ],
    ids=str,
)
def test_wrong_usage(arguments, told, model, cli):
    done = cli("calibrate", model, *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and told in done.err


def test_no_such_model(tmp_path, cli):
    done = cli("calibrate", tmp_path / "none.gguf")
    assert (done.code, done.out) == (1, "") and done.err.startswith("error: ")


def test_a_prompt_that_does_not_fit(model, tmp_path, cli):
    (tmp_path / "long.txt").write_text("short\n" + "long " * 300)
    done = cli("calibrate", model, "--prompts", tmp_path / "long.txt", "-c", "128", "-t", "1", "-q")
    assert done.code == 1 and done.err.startswith("error: prompt 2: the prompt is too long: it has ")


def test_a_result_that_cannot_be_kept_is_told(chat_model, tmp_path, cli, monkeypatch, with_valley):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "file" / "below"))
    done = cli("calibrate", chat_model, "-q")
    assert done.code == 0 and "tau 0." in done.out
    assert done.err.startswith("warning: the result could not be kept") and done.err.count("\n") == 1
    told = json.loads(cli("calibrate", chat_model, "-q", "--json").out)
    assert told["kept"] is False and told["tau"] is not None


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c(chat_model, folder):
    words = [*COMMAND, "calibrate", str(chat_model), "-n", "100000", "-c", "40000", "-t", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None and "asking" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert (run.returncode, out, err.strip()) == (130, "", "interrupted")
    assert find(chat_model) is None


def test_the_help_page_has_the_declared_options(cli):
    page = " ".join(cli("calibrate", "--help").out.split())
    declared = [(SamplingConfig, ("temperature", "top_k", "top_p", "min_p")), (Selar, ("k", "gate_on"))]
    declared.append((CalibrationConfig, tuple(field.name for field in fields(CalibrationConfig))))
    for cls, names in declared:
        for field in fields(cls):
            if field.name in names:
                assert field.metadata["help"] in page
                assert field.default is None or f"[default: {shown(field.default)}]" in page
    assert "--greedy" not in page and "--tau auto" in page


def test_bars():
    blocks, plain = bar_characters("utf-8"), bar_characters("latin-1")
    assert bar_characters("no such encoding") == bar_characters(None) == plain and plain.isascii()
    lines = histogram([8, 4, 1, 0], [(0.3, "here"), (1.5, "beyond")], blocks, 8)
    assert lines == [
        "entropy    steps",
        "0.00-0.25      8  ████████",
        "0.25-0.50      4  ████ ◂ here",
        "0.50-0.75      1  █",
        "0.75-1.00      0",
    ]
    assert histogram([8, 3, 1, 0], [(1.0, "x")], plain, 4)[1:] == [
        "0.00-0.25      8  ####", "0.25-0.50      3  ##", "0.50-0.75      1  #", "0.75-1.00      0   < x",
    ]  # fmt: skip
    assert histogram([1000, 1], [], blocks, 8)[2] == "0.50-1.00      1  ▎"
    assert len(histogram([0, 0], [], blocks, 8)) == 3


@pytest.mark.parametrize(("largest", "told"), [(DWARFED * 100, True), (DWARFED * 100 - 1, False)])
def test_one_bin_that_dwarfs_the_others(largest, told):
    head, first, second = histogram([int(largest), 100], [], "_#", 100)
    assert ("square roots" in head) is told
    assert first.count("#") == 100 and second.count("#") == (35 if told else round(100 * 100 / largest))


def test_ascii_where_the_encoding_demands_it(chat_model, process, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = process("calibrate", chat_model, *SHORT, "-q")
    assert done.code == 0 and done.out.isascii() and "#" in done.out and "?" not in done.out


def test_the_answers_are_those_of_the_engine(chat_model, cli):
    told = json.loads(cli("calibrate", chat_model, "--limit", "1", "-n", "12", "-t", "1", "--json", "-q").out)
    with sl.load(chat_model, threads=1) as engine:
        said = engine.generate(QUESTIONS[0], method="cot", max_tokens=12, seed=0)
    assert told["steps"] == said.usage.completion_tokens - (said.finish_reason == "stop")
