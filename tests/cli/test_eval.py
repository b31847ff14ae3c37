"""`selar-local eval`: the table, the object, what it refuses, how it is interrupted and goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import fields

import pytest
from inspect_ai.log import read_eval_log
from support.open_ai import open_ai

from cli.conftest import COMMAND
from selar_local.cli import eval as module
from selar_local.cli.answer_bar import AnswerBar
from selar_local.evaluation.config import EvaluationConfig
from selar_local.evaluation.generation import Meter
from selar_local.evaluation.log_files import log_files
from selar_local.install_hint import install_hint
from selar_local.methods import METHODS

HEAVY = {
    "inspect_ai", "math_verify", "reasoning_gym", "scipy", "statsmodels", "matplotlib", "sympy", "pandas", "datasets",
    "llama_cpp", "gguf", "jinja2", "huggingface_hub", "tqdm", "asyncio", "pydantic",
}  # fmt: skip
SHORT = ("--limit", "4", "-n", "8", "-t", "1", "--parallel", "2")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs"


def test_json_is_one_object(chat_model, cli, folder):
    done = cli("eval", chat_model, *SHORT, "--samples", "2", "--out", folder, "--json", "-q")
    told = json.loads(done.out)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert told["task"] == "generated" and told["model"] == chat_model.name
    assert list(told["methods"]) == ["cot", "selar"]
    for name, one in told["methods"].items():
        assert one["n"] == 4 and one["answers"] == 8 and 0 < one["tokens_per_answer"] <= 8
        assert one["interval"][0] <= one["accuracy"] <= one["interval"][1] and 0 <= one["truncated"] <= 1
        assert {"tpca", "explored_share"} <= set(one) and (one["explored_share"] > 0) is (name == "selar")
    (comparison,) = told["comparisons"]
    assert (comparison["method"], comparison["baseline"]) == ("selar", "cot")
    assert {"difference", "interval", "p"} <= set(comparison)
    assert told["facts"]["parallel"] == 2 and told["facts"]["max_tokens"] == 8


def test_problems_of_one_s_own_have_their_file_s_name_and_too_long_ones_are_told(chat_model, cli, folder, tmp_path):
    rows = [{"question": "What is 1 + 1?", "answer": "2"}, {"question": "word " * 2000, "answer": "2"}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--data", tmp_path / "mine.jsonl", "-n", "300", "-c", "256", "-t", "1", "--out", folder)
    done = cli("eval", chat_model, *options, "--methods", "selar", "--json")
    told = json.loads(done.out)
    assert told["task"] == "mine.jsonl" and "2 problems of mine.jsonl" in done.err
    assert "the context of 256 tokens, prompt included, ends answers before 300 tokens do" in done.err
    assert told["notes"][0].startswith("1 problem does not fit into the context and counts")
    assert 0 < told["methods"]["selar"]["explored_share"] < 1


def test_what_a_person_reads(chat_model, cli, folder):
    done = cli("eval", chat_model, *SHORT, "--out", folder)
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0].startswith("method") and lines[1].startswith("cot ")
    assert lines[2].startswith("selar ") and lines[3].startswith("points: difference in accuracy; p: two-sided")
    assert lines[6] == "" and lines[7].startswith("selar: ")
    notes = done.err.splitlines()
    assert notes[0] == (
        f"4 problems of generated, 1 answer each, 2 methods, at most 8 tokens an answer; logs in {folder}"
    )
    assert notes[1].startswith("a last number counts as the answer where there is no \\boxed{}")
    assert notes[2:4] == ["grading cot", "grading selar"] and notes[4].startswith("done in ") and len(notes) == 5
    again = cli("eval", chat_model, *SHORT, "--out", folder, "--no-last-number")
    assert again.code == 0 and again.err.count("grading") == 2
    assert r"8 of 8 answers have no \boxed{}, so they count as wrong" in again.err.splitlines()[-1]
    assert "--last-number" in again.err.splitlines()[-1] and "a last number" not in again.err
    once_more = cli("eval", chat_model, *SHORT, "--out", folder, "--no-last-number")
    assert once_more.out == again.out and "grading" not in once_more.err


def test_the_rule_of_the_grading_is_the_task_s(chat_model, cli, folder, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    data = ("--data", tmp_path / "mine.jsonl", "-n", "4", "-t", "1", "--methods", "cot", "--json", "-q")
    for options, rule in (
        ((), True),
        (("--no-last-number",), False),
        (("--task", "math500"), False),
        (("--task", "math500", "--last-number"), True),
    ):
        done = cli("eval", chat_model, *data, "--out", folder / f"of-{'math500' in options}", *options)
        assert json.loads(done.out)["facts"]["last_number"] is rule, options


def test_the_same_command_finds_its_logs_by_itself(chat_model, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = cli("eval", chat_model, *SHORT, "--methods", "cot")
    (folder,) = (tmp_path / "selar-eval").iterdir()
    logs = sorted(folder.iterdir())
    assert cli("eval", chat_model, *SHORT, "--methods", "cot").out == first.out
    assert sorted(folder.iterdir()) == logs and len(logs) == 1


def test_methods_options_and_a_sweep(chat_model, cli, folder):
    done = cli(
        "eval", chat_model, *SHORT, "--out", folder, "--json", "-q",
        "--methods", "cot,selar,selar:tau=0;symbol_guard=off", "--sweep", "tau=0.3,0.9",
        "--contrast", "0", "--temperature", "0.8",
    )  # fmt: skip
    told = json.loads(done.out)
    assert list(told["methods"]) == ["cot", "selar tau=0.3", "selar tau=0.9", "selar tau=0 symbol_guard=off"]
    options = {label: one["options"] for label, one in told["methods"].items()}
    assert options["selar tau=0.3"]["contrast"] == 0 and options["selar tau=0.3"]["tau"] == 0.3
    assert options["selar tau=0 symbol_guard=off"]["symbol_guard"] is False
    assert told["methods"]["selar tau=0 symbol_guard=off"]["explored_share"] > 0.8
    assert told["facts"]["sampling_given"] == {"temperature": 0.8}


def test_problems_of_a_file(chat_model, cli, tmp_path):
    data = tmp_path / "mine.jsonl"
    data.write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    done = cli(
        "eval",
        chat_model,
        "--data",
        data,
        "-n",
        "4",
        "-t",
        "1",
        "--out",
        tmp_path / "o",
        "--json",
        "--baseline",
        "selar",
    )
    told = json.loads(done.out)
    assert told["methods"]["cot"]["n"] == 1 and told["comparisons"][0]["baseline"] == "selar"
    assert told["facts"]["data"] == "mine.jsonl"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--task", "chess"), "--task must be one of generated, gsm8k"),
        (("--methods", "magic"), "unknown method 'magic'"),
        (("--methods", "cot", "--tau", "0.3"), "--tau is no option of cot"),
        (("--methods", "selar:k=1"), "k must be"),
        (("--sweep", "tau"), "--sweep must be such as"),
        (("--baseline", "swir"), "--baseline swir is none of the methods: cot, selar"),
        (("--limit", "0"), "--limit must be"),
        (("--level", "x"), "--level must be a number or a range"),
        (("--temperature", "-1"), "temperature must be between 0 and 100"),
        (("--parallel", "0"), "--parallel must be"),
        (("--json-schema", "{}"), "No such option"),
        (("--level", "3"), "--level has no effect: generated problems have no levels"),
        (("--methods", "cot,selar:tau=0.2", "--tau", "0.3"), "--tau has no effect: every method with it sets its own"),
        (("--sweep", "tau=0.1", "--tau", "0.3"), "tau is given and swept"),
        (("--threads", "0"), "--threads must be"),
        (("--top-p", "-1"), "--top-p must be between 0 and 1"),
    ],
)
def test_wrong_options_are_usage_errors(chat_model, cli, arguments, told):
    done = cli("eval", chat_model, *arguments)
    assert (done.code, done.out) == (2, "") and told in done.err and done.err.count("\n") == 1


def test_a_mistake_is_answered_before_anything_heavy_is_imported(chat_model, tmp_path):
    (tmp_path / "broken.jsonl").write_text("nothing\n")
    mistakes = [
        *([str(chat_model), *arguments] for arguments in (
            ("--task", "chess"), ("--methods", "magic"), ("--methods", "cot", "--tau", "0.3"), ("--limit", "0"),
            ("--methods", "selar:k=1"), ("--baseline", "swir"), ("--temperature", "-1"), ("--parallel", "0"),
            ("--level", "3"), ("--threads", "0"), ("--no-such-option",), ("--sweep", "tau"),
            ("--data", str(tmp_path / "missing.jsonl")), ("--data", str(tmp_path / "broken.jsonl")),
        )),
        ["no-such-model.gguf"],
        [str(tmp_path / "broken.jsonl"), "--task", "chess"],
    ]  # fmt: skip
    code = (
        "import json, sys\nfrom selar_local.cli.main import main\nfor words in json.loads(sys.argv[1]):\n"
        "    try:\n        main(['eval', *words])\n    except SystemExit as end:\n"
        f"        print(end.code, sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(mistakes)], capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(mistakes) == done.stderr.count("error: ")
    assert {line[1:] for line in lines} == {" []"} and {line[0] for line in lines} == {"1", "2"}
    assert [line[0] for line in lines[:12]] == ["2"] * 12


def test_options_without_effect_say_so(chat_model, thinking_model, cli, folder):
    short = ("--limit", "1", "-n", "2", "-t", "1")
    done = cli("eval", chat_model, *short, "--out", folder / "a", "--scope", "thinking", "--thinking")
    lines = done.err.splitlines()
    assert "thinking has no effect: the chat template of this model has no switch for it" in lines
    assert "selar: no step explores with scope thinking: this model has no thinking tags" in lines
    assert "no effect" not in cli("eval", chat_model, *short, "--out", folder / "a", "--scope", "thinking", "-q").err
    done = cli("eval", thinking_model, *short, "--out", folder / "b", "--scope", "thinking")
    assert "no step explores" not in done.err and "no effect" not in done.err
    again = ("--samples", "2", "--methods", "cot,cot-greedy,coconut")
    done = cli("eval", chat_model, *short, *again, "--out", folder / "c")
    assert "cot-greedy, coconut: no token is drawn at random, so --samples repeats the same answer" in done.err
    assert "coconut: this model has no token <|start-latent|>: it was probably not trained for coconut" in done.err


def test_a_data_file_that_is_not_there(chat_model, cli):
    done = cli("eval", chat_model, "--data", "missing.jsonl")
    assert done.code in (1, 2) and "missing.jsonl" in done.err and done.err.count("\n") == 1


def test_another_study_in_the_folder(chat_model, cli, folder):
    assert cli("eval", chat_model, *SHORT, "--methods", "cot", "--out", folder).code == 0
    done = cli("eval", chat_model, *SHORT, "--methods", "cot", "--out", folder, "--seed", "1")
    assert done.code == 2 and "seed 0, here 1" in done.err and "--out" in done.err and done.out == ""


def test_the_seed_is_the_studys_and_decides_the_answers(chat_model, cli, folder):
    data = folder.with_name("mine.jsonl")
    data.write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": "2 + 2?", "answer": "4"}\n')
    texts = {}
    for name, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        arguments = (*SHORT, "--methods", "cot", "--data", data, "--temperature", "1.5", "--seed", seed)
        assert cli("eval", chat_model, *arguments, "--out", folder / name).code == 0
        (log,) = (read_eval_log(str(path)) for path in (folder / name).glob("*.eval"))
        assert log.eval.metadata["seed"] == int(seed)
        texts[name] = [sample.output.completion for sample in log.samples]
    assert texts["one"] == texts["again"] != texts["other"]


def test_without_the_extra(chat_model, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    done = cli("eval", chat_model, *SHORT)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: an evaluation needs inspect_ai; {install_hint('eval')}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_ctrl_c_keeps_what_is_finished(tiny, folder, cli):
    from cli.conftest import CHAT_TEMPLATE

    slow = tiny(chat_template=CHAT_TEMPLATE, n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512)
    words = [
        "eval", str(slow), "--limit", "8", "-n", "150", "-t", "1", "--parallel", "2", "--methods", "cot",
        "--out", str(folder),
    ]  # fmt: skip
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 240
    while sum(file.answers for file in log_files(folder)) < 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert f"what is finished is kept in {folder}: the same command goes on from there" in err
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
    kept = sum(file.answers for file in log_files(folder))
    assert 2 <= kept < 8
    done = cli(*words)
    (file,) = log_files(folder)
    assert done.code == 0 and file.answers == 8 and done.out.startswith("method")


def test_a_bar_on_a_terminal(chat_model, terminal, folder):
    one = terminal("eval", chat_model, "--limit", "6", "-n", "300", "-t", "1", "--out", folder)
    one.expect("answers |").expect("tokens/s")
    assert one.end() == 0 and "/6 answers" in one.text and "method" in one.text
    lines = [line.rpartition("\r")[2].rstrip() for line in one.text.replace("\r\n", "\n").split("\n")]
    assert {"grading cot", "grading selar"} <= set(lines)
    assert "answers |" not in one.text[one.text.index("grading cot") :], "a bar for what is over"


class Screen:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_the_bar_follows_the_meter():
    screen, meter = Screen(), Meter()
    with AnswerBar(screen, hidden=False, meter=meter) as bar:
        bar.begin("cot", 3, 10)
        meter.answers += 4
        meter.tokens += 5000
        bar._show()
        assert "cot 7/10 answers" in screen.text and "tokens/s" in screen.text
        meter.answers += 40  # never beyond the end
        bar._show()
        assert "cot 10/10 answers" in screen.text
        bar.begin("selar", 0, 10)
        bar._show()
        assert "selar 0/10 answers" in screen.text
    silent = Screen()
    with AnswerBar(silent, hidden=True, meter=meter) as bar:
        bar.begin("cot", 0, 10)
    assert silent.text == ""


def test_the_options_are_each_there_once(cli):
    names = [parameter.name for parameter in module.evaluation_command.params]
    assert len(names) == len(set(names))
    flags = [flag for one in module.evaluation_command.params for flag in one.opts if flag.startswith("-")]
    assert len(flags) == len(set(flags))
    wanted = {"task", "methods", "ctx_size", "gpu_layers", "threads", "temperature", "top_k", "min_p", "tau", "as_json"}
    assert wanted | set(EvaluationConfig.__dataclass_fields__) <= set(names)
    own = {one.name for cls in METHODS.values() for one in fields(cls) if one.metadata.get("cli", True)}
    assert own <= set(names)
    assert {"method", "grammar", "json_schema"}.isdisjoint(names)
    page = cli("eval", "--help").out
    assert "Problems and budget:" in page and "Options of selar:" in page and "Model and engine:" in page


def test_a_model_that_takes_ids_alone(family_model, cli, folder, tmp_path):
    words = ("eval", family_model("glm4"), *SHORT, "--json")
    done = cli(*words, "--out", folder)
    assert done.code == 0 and list(json.loads(done.out)["methods"]) == ["cot"]
    assert done.err.count("soft methods cannot be used: ") == 1
    for number, named in enumerate((["--methods", "cot,selar"], ["--tau", "0.3"])):
        refused = cli(*words, "--out", tmp_path / str(number), *named)
        assert refused.code == 1 and refused.out == ""
        assert refused.err.splitlines()[-1].startswith("error: selar cannot be used, cot can: ")


def test_options_that_servers_do_not_have(cli):
    with open_ai("x") as one:
        done = cli("eval", "--url", one.url, "--methods", "cot,selar")
        assert done.code == 2 and "is no server of selar-local and knows no selar" in done.err
        done = cli("eval", "--url", one.url, "--methods", "cot", "-c", "512")
        assert done.code == 2 and "--ctx-size has no effect with --url" in done.err
        done = cli("eval", "--url", one.url, "--methods", "cot", "--thinking")
        assert done.code == 2 and "--thinking needs servers of selar-local" in done.err
