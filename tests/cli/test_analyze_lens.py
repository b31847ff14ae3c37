"""`selar-local analyze lens`: its tables, its object, its plot, and its errors."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields

import pytest

from cli.conftest import COMMAND
from selar_local.analysis.lens.config import LensConfig
from selar_local.analysis.lens.measure import LensSamples
from selar_local.analysis.questions import QUESTIONS
from selar_local.cli import analyze_lens as background_module
from selar_local.cli.analyze_lens import Background
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.llama.output_head import OutputHead
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import Selar
from selar_local.options import shown

SHORT = ("-n", "30", "--max-steps", "3", "-t", "1", "-c", "512")
OPEN = ("--tau", "0.4", "--no-symbol-guard")
PROMPTS = ("-p", "the answer is", "-p", "so we", "--raw")
PAIRS = ["with_top1", "with_top2", "without_top1", "without_top2", "top1_top2"]


def test_json_is_one_object(chat_model, cli):
    done = cli("analyze", "lens", chat_model, *PROMPTS, *SHORT, *OPEN, "--seed", "4", "--json", "-q")
    report = json.loads(done.out)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert report["model"] == str(chat_model) and report["architecture"] == "llama"
    assert report["output_matrix"] == {"type": "f32", "tied": True}
    assert report["self_check"]["relative"] < 1e-5 and report["self_check"]["mass"] > 0.9999
    assert report["self_check"]["max_abs_diff"] < 1e-3 < report["self_check"]["largest_logit"]
    assert report["options"]["tau"] == 0.4 and report["options"]["symbol_guard"] is False
    assert report["sampling"]["temperature"] == 0.6 and "seed" not in report["sampling"]
    assert (report["seed"], report["max_steps"], report["max_tokens"], report["overlap_k"]) == (4, 3, 30, 10)
    assert (report["prompts"], report["prompts_with_steps"], len(report["steps"])) == (2, 2, 6)
    step = report["steps"][0]
    assert list(step) == [
        "prompt", "index", "first", "second", "entropy", "first_share", "second_share", "first_weight",
        "second_weight", "first_text", "second_text",
    ]  # fmt: skip
    assert step["entropy"] >= 0.4 and isinstance(step["first_text"], str)
    assert [layer["layer"] for layer in report["layers"]] == [1, 2]
    for layer in report["layers"]:
        for measure in ("mass", "common"):
            assert list(layer[measure]) == PAIRS
            for figure in layer[measure].values():
                assert 0 <= figure["low"] <= figure["mean"] <= figure["high"] <= 1
    assert report["resampled"] == "prompts" and report["deep"]["from_layer"] == 2
    assert set(report["derived"]["mass"]) == {"lead_with", "lead_without", "gain_top2", "both_with", "both_without"}
    assert report["mean_weights"]["with"][0] < report["mean_weights"]["without"][0]


def test_a_seed_repeats_the_table_to_the_digit(chat_model, cli):
    words = ("analyze", "lens", chat_model, *PROMPTS, *SHORT, *OPEN)
    first = cli(*words, "--seed", "4")
    assert first.code == 0 and cli(*words, "--seed", "4").out == first.out != cli(*words, "--seed", "5").out
    report = cli(*words, "--seed", "4", "--json").out
    assert cli(*words, "--seed", "4", "--json").out == report
    assert cli(*words).out == cli(*words, "--seed", "0").out


def test_what_a_person_reads(chat_model, cli):
    done = cli("analyze", "lens", chat_model, *PROMPTS, *SHORT, *OPEN)
    lines = done.out.splitlines()
    assert lines[0] == "mass in common, sum of min(p, q)"
    assert lines[1].split("  ")[0] == "" and "with the push" in lines[1] and "without it" in lines[1]
    assert lines[2].split() == ["layer", "top-1", "top-2", "top-1", "top-2", "top-1,top-2"]
    cell = r"[01]\.\d\d ±0\.\d\d"
    for number, line in enumerate(lines[3:5], 1):
        assert re.fullmatch(rf"    {number}  (?:{cell} +){{4}}{cell}", line), line
    assert lines[1].index("without it") == lines[2].index("top-1", 30) and lines[5] == ""
    assert lines[6] == "share of the 10 most probable tokens in common"
    assert lines[12] == "6 exploration steps of 2 prompts; 95 % intervals by a bootstrap over the prompts"
    assert re.fullmatch(r"weights of top-1 and top-2: (-?\d\.\d\d( and |,? with the push, | without)?){4}", lines[13])
    for start, name in ((14, "mass"), (20, "common")):
        assert re.fullmatch(rf"layers 2 to 2, {name}: top-1 and top-2 themselves [01]\.\d\d", lines[start])
        figure = r"-?\d\.\d\d \(-?\d\.\d\d to -?\d\.\d\d\)"
        lead = rf"top-1 [01]\.\d\d, top-2 [01]\.\d\d: top-1 leads by {figure}"
        report = f"  with the push  {lead}", f"  +the smaller of a step's two {figure}", f"  without it     {lead}"
        for number, line in enumerate((*report, report[1], f"  the push gives top-2 {figure}"), start + 1):
            assert re.fullmatch(line, lines[number]), lines[number]
    assert lines[26].startswith("self-check: lens of the last layer against the model's own logits: at most ")
    assert len(lines) == 27 and max(map(len, lines[:26])) <= 88
    assert done.err == f"looking into 2 layers of {chat_model.name}: 2 prompts, at most 30 tokens each\n"


def test_a_single_step_has_no_interval(model, cli):
    done = cli("analyze", "lens", model, "-p", "so we", "--raw", *SHORT, *OPEN, "--max-steps", "1", "-q")
    assert done.code == 0 and "±" not in done.out and "1 exploration step of 1 prompt\n" in done.out
    assert done.err == ""


def test_prompts(chat_model, model, tmp_path, cli, monkeypatch):
    asked = {}

    def measure(session, prompts, method, sampling, config, **how):
        asked.update(how, prompts=prompts, method=method, sampling=sampling, config=config)
        return LensSamples(method, (), None, 0, 0)

    monkeypatch.setattr("selar_local.analysis.lens.measure.measure", measure)
    (tmp_path / "p.jsonl").write_text('{"question": "three"}\n{"prompt": "four"}\n')
    options = ("-t", "1", "-c", "512", "-q")
    assert cli("analyze", "lens", chat_model, *options).code == 1
    assert asked["prompts"] == list(QUESTIONS) and asked["raw"] is False and asked["config"] == LensConfig()
    words = ("-p", "one", "-p", "two", "-f", tmp_path / "p.jsonl", "--system", "Be brief.", "--no-thinking")
    cli("analyze", "lens", chat_model, *words, "--limit", "3", "--temp", "0.9", "--k", "5", *options)
    assert asked["prompts"] == ["one", "two", "three"] and asked["system"] == "Be brief."
    assert asked["thinking"] is False and asked["sampling"].temperature == 0.9 and asked["method"].k == 5
    cli("analyze", "lens", chat_model, "-f", "-", *options, stdin=b"five\nsix\n")
    assert asked["prompts"] == ["five", "six"]
    cli("analyze", "lens", model, "-p", "x", *options)
    assert asked["raw"] is True, "a model without a chat template"


def test_plots(chat_model, tmp_path, cli):
    path = tmp_path / "lens.svg"
    done = cli("analyze", "lens", chat_model, *PROMPTS, *SHORT, *OPEN, "-o", path)
    assert done.code == 0 and done.err.splitlines()[-1] == f"plot written to {path}"
    text = path.read_text("utf-8")
    for label in ("layer", "overlap", "with the push, top-1", "without it, top-2", "top-1 and top-2 themselves",
                  "mass in common: sum of min(p, q)", "share of the 10 most probable in common",
                  f"{chat_model.name}: 6 exploration steps of 2 prompts"):  # fmt: skip
        assert f">{label}<" in text, label
    cli("analyze", "lens", chat_model, *PROMPTS, *SHORT, *OPEN, "-o", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == path.read_bytes()
    assert cli("analyze", "lens", chat_model, *PROMPTS, *SHORT, *OPEN, "-o", tmp_path / "p.png", "--json").code == 0
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "report"),
    [
        (("--contrast", "0"), "--contrast must be above 0"),
        (("-n", "0"), "--max-tokens must be at least 1, not"),
        (("--max-steps", "-1"), "--max-steps must be at least 0, not"),
        (("--overlap-k", "0"), "--overlap-k must be between 1 and"),
        (("--limit", "0"), "--limit must be at least 1, not"),
        (("--seed", "-1"), "--seed must be between 0 and"),
        (("--k", "1"), "--k must be between 2 and"),
        (("--temperature", "-1"), "temperature must be between 0 and 100"),
        (("--raw", "--system", "x"), "--system has no place in a --raw prompt"),
        (("-p", " "), "a prompt is empty"),
        (("-o", "plot.pdf"), "--output must end in .png or .svg"),
        (("--method", "cot"), "No such option"),
    ],
    ids=str,
)
def test_wrong_usage(arguments, report, model, cli):
    done = cli("analyze", "lens", model, *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and report in done.err


def test_errors_are_one_line(model, tmp_path, cli, monkeypatch):
    def fails(*arguments: object) -> str:
        done = cli("analyze", "lens", *arguments, "-q")
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1) and done.err.startswith("error: ")
        return done.err

    assert "there is no" in fails(tmp_path / "none.gguf")
    assert "none of the 60 steps explored: lower --tau" in fails(model, *PROMPTS, *SHORT, "--tau", "1.5")
    assert "prompt 2: the prompt is too long" in fails(
        model, "-p", "a", "-p", "long " * 300, "--raw", "-c", "128", "-t", "1"
    )
    assert "run: selar-local calibrate" in fails(model, *PROMPTS, *SHORT, "--tau", "auto")
    with monkeypatch.context() as patch:
        patch.setattr(LlamaRuntime, "truncate", lambda self, slot, length: False)
        assert "recurrent or hybrid" in fails(model, *PROMPTS, *SHORT)
    logits = OutputHead.logits
    monkeypatch.setattr(OutputHead, "logits", lambda self, *states: 2 * logits(self, *states))
    assert "the lens of the last layer is not what the model says" in fails(model, *PROMPTS, *SHORT)


def test_options_without_effect_say_so(chat_model, cli):
    done = cli("analyze", "lens", chat_model, "-p", "Hello", *SHORT, *OPEN, "--thinking")
    assert done.code == 0
    assert "thinking has no effect: the chat template of this model has no switch for it" in done.err.splitlines()
    done = cli("analyze", "lens", chat_model, "-p", "Hello", *SHORT, "--scope", "thinking")
    assert done.code == 1
    assert "no step explores with scope thinking: this model has no thinking tags" in done.err.splitlines()


def test_an_architecture_that_was_not_compared(tiny, cli):
    path = tiny(architecture="qwen2vl")
    done = cli("analyze", "lens", path, *PROMPTS, *SHORT, *OPEN)
    assert done.code == 0 and "was not compared with architecture qwen2vl; its self-check passed" in done.err


def test_an_encoding_without_plus_minus(model, process, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = process("analyze", "lens", model, *PROMPTS, *SHORT, *OPEN, "-q")
    assert done.code == 0 and done.out.isascii() and " +-0." in done.out and "?" not in done.out


def test_work_in_the_background():
    report: list[float] = []
    with Background() as background:
        assert background.do(lambda: 7) == 7 and background.do(threading.current_thread).name.startswith("selar-local")
        with pytest.raises(ValueError, match="wrong"):
            background.do(lambda: int("wrong"))
        background.stoppable(report.append)(0.5)
    assert report == [0.5] and background.stopped()
    with pytest.raises(InterruptedError):
        background.stoppable(report.append)(0.6)


def test_an_interrupt_ends_the_work_first(monkeypatch):
    def interrupted(futures: object, timeout: object = None) -> object:
        if timeout is None:
            return wait(futures)
        raise KeyboardInterrupt

    wait = background_module.wait
    monkeypatch.setattr(background_module, "wait", interrupted)
    ended: list[bool] = []

    def work() -> None:
        while not background.stopped():
            time.sleep(0.01)
        ended.append(True)

    with Background() as background, pytest.raises(KeyboardInterrupt):
        background.do(work)
    assert ended == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_ctrl_c(chat_model):
    words = [*COMMAND, "analyze", "lens", str(chat_model), "-n", "100000", "-c", "40000", "-t", "1", "--tau", "0.2"]
    words += ["--max-steps", "0", "--no-symbol-guard"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None and "looking into" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert (run.returncode, out, err.strip()) == (130, "", "interrupted")


def test_the_help_page_has_the_declared_options(cli):
    page = " ".join(cli("analyze", "lens", "--help").out.split())
    for cls in (LensConfig, Selar, SamplingConfig, EngineConfig):
        for field in fields(cls):
            if field.metadata.get("cli", True) and (cls, field.name) != (SamplingConfig, "seed"):
                assert field.metadata["flags"][-1].split("/")[0] in page
                assert " ".join(field.metadata["help"].split()) in page, field.name
                plain = field.default not in (None, False, ())
                assert not plain or f"[default: {shown(field.default)}]" in page
    assert "--method" not in page and page.count("--seed") == 1
