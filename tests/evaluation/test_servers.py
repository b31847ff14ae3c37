"""A study on running servers: two of ours, one of which is killed, and others with OpenAI's API."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest
from inspect_ai.log import read_eval_log
from support.open_ai import open_ai
from support.serving import serving

from selar_local.config import EngineConfig
from selar_local.errors import OptionError, SelarError
from selar_local.evaluation.config import EvaluationConfig, methods_of
from selar_local.evaluation.logs import read_studies
from selar_local.evaluation.plan import Evaluation, Observer
from selar_local.evaluation.problems import load_problems
from selar_local.evaluation.runner import evaluate
from selar_local.evaluation.servers import Server, Servers, find_servers

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
EVAL = [sys.executable, "-c", "from selar_local.cli.main import main; main()", "eval"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    rows = [{"id": f"sum-{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 31)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# -- any server with OpenAI's API ------------------------------------------------------------


def made(servers: Servers, data, folder, **more):
    """The study's answers, and the notes."""
    config = EvaluationConfig(data=str(data), limit=6, max_tokens=9, last_number=True)
    problems = tuple(load_problems("generated", data, 6))
    sampling = more.pop("sampling", {})
    plan = Evaluation(config, tuple(methods_of("cot")), problems, servers, EngineConfig(), sampling, **more)
    notes: list[str] = []
    logs = evaluate(plan, folder, lambda config: pytest.fail("no engine is needed"), Observer(notes.append))
    (study,) = read_studies(logs)
    return study, notes


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"sampling": {"temperature": 0.1}}, "--no-model-sampling"),
        (
            {"defaults": {"stop": ["a"], "thinking": False, "max_tokens": 9}},
            "its own defaults for stop, thinking: start",
        ),
        ({"defaults": {"max_tokens": 9}}, None),
    ],
)
def test_a_server_with_defaults_that_change_answers_is_refused(facts, word):
    with open_ai("2", model={"parallel": 2, **facts}) as one:
        if word is None:
            assert find_servers([one.url], None, 1).parallel == 2
            return
        with pytest.raises(OptionError, match=word):
            find_servers([one.url], None, 1)


def test_any_server_answers_cot(data, tmp_path):
    with open_ai("So it is 2") as one:
        servers = find_servers([f"{one.url}/v1/"], None, 2)
        study, _ = made(servers, data, tmp_path, stop=("END",), sampling={"temperature": 0.5})
    (run,) = study.runs
    assert (study.model, len(run.answers), sum(answer.correct for answer in run.answers)) == ("some-model", 6, 1)
    assert {(answer.tokens, answer.words, answer.truncated) for answer in run.answers} == {(5, 3, False)}
    assert study.facts["servers"] == [{"server": one.url[7:], "version": None, "model_sha256": None}]
    assert len({body.pop("seed") for body in one.asked}) == 6
    assert one.asked[0].pop("messages")[0]["content"].startswith("What is")
    assert one.asked[0] == {
        "model": "some-model", "temperature": 0.5, "top_p": 0.95, "top_k": 20, "max_tokens": 9, "stop": ["END"],
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


@pytest.mark.parametrize(("reply", "said"), [(500, "no: 500"), ("a cut text", "it ended before the answer did")])
def test_a_server_that_fails_is_left_to_the_others(data, tmp_path, reply, said):
    with open_ai("It is 2", reply) as bad, open_ai("It is 2") as good:
        study, notes = made(find_servers([bad.url, good.url], None, 1), data, tmp_path)
    assert len(study.runs[0].answers) == 6 and len(good.asked) >= 4
    assert f"{bad.url[7:]} was lost: {said}; the others answered in its place" in notes


def test_a_busy_server_is_asked_again(data, tmp_path):
    with open_ai(429, 429, "It is 2") as one:
        study, notes = made(find_servers([one.url], "mine", 4), data, tmp_path)
    assert len(study.runs[0].answers) == 6 and len(one.asked) == 8 and one.asked[0]["model"] == "mine"
    assert not any("lost" in note for note in notes)


def test_no_server_is_left_and_the_next_call_goes_on(data, tmp_path):
    with (
        open_ai("It is 2", "It is 2", 503) as one,
        pytest.raises(SelarError, match=r"no server is left .*: no: 503.*again"),
    ):
        made(find_servers([one.url], None, 1), data, tmp_path)
    with open_ai("It is 2") as other:
        study, _ = made(find_servers([other.url], None, 1), data, tmp_path)
    assert len(study.runs[0].answers) == 6 and 1 <= len(other.asked) <= 4


def test_what_a_server_refuses_ends_the_study(data, tmp_path):
    with open_ai(422) as one, pytest.raises(SelarError, match="refuses the request: no: 422"):
        made(find_servers([one.url], None, 1), data, tmp_path)


def test_a_prompt_that_does_not_fit_is_an_answer(data, tmp_path):
    with open_ai(400, "long") as one:
        study, _ = made(find_servers([one.url], None, 1), data, tmp_path)
    assert [answer.truncated for answer in study.runs[0].answers].count(True) == 1


def test_who_a_server_is():
    with open_ai("x", key="k") as one:
        with pytest.raises(SelarError, match="refuses the API key"):
            find_servers([one.url], None, 1)
        assert find_servers([one.url], None, 1, "k").all[0].model == "some-model"
    with pytest.raises(SelarError, match="cannot be asked"):
        find_servers([one.url], None, 1)
    with pytest.raises(OptionError, match="url must be like"):
        find_servers(["localhost"], None, 1)


def test_different_models_are_refused():
    facts = [{"model_sha256": digest, "model": "m", "parallel": 2} for digest in ("aa", "aa", "bb")]
    alike = [Server(f"http://h{n}/v1", "m", 2, one) for n, one in enumerate(facts)]
    assert Servers(alike[:2]).parallel == 4
    for others in (alike, [alike[0], Server("http://other/v1", "m", 1)]):
        with pytest.raises(OptionError, match=r"different models \(SHA-256\): h0 aa, "):
            Servers(others)


def test_settings_of_servers_that_differ_are_all_recorded():
    facts = [{"model_sha256": "aa", "model": "m", "parallel": n, "ctx_size": 512} for n in (4, 2)]
    found = Servers([Server(f"http://h{n}/v1", "m", n, one) for n, one in enumerate(facts)]).settings()
    assert (found["model_sha256"], found["parallel"], found["ctx_size"]) == ("aa", [2, 4], 512)


# -- our own -------------------------------------------------------------------------------------


def _evaluated(*words: object, home, kill=None) -> subprocess.CompletedProcess:
    """The command; `kill`, a server's process, dies once it has answered twice."""
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home)}
    running = subprocess.Popen(
        [*EVAL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    if kill is not None:
        deadline = time.monotonic() + 120
        while _answers(kill.url) < 2 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        kill.process.kill()
    out, err = running.communicate(timeout=240)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


def _answers(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:
        found = re.findall(r"requests_total\{[^}]*chat/completions[^}]*\} (\d+)", answer.read().decode())
    return sum(map(int, found))


def test_a_killed_server_loses_no_answer(tiny, data, tmp_path):
    """The other does its part; what the study has is what this machine would have made, bit for bit."""
    model = tiny(chat_template=TEMPLATE, n_ctx_train=4096)
    serve = (model, "--port", 0, "--parallel", 1, "-c", 512, "-t", 1, "--tau", "0.9", "--temperature", "0.1")
    common = (
        "--data", data, "-n", 64, "--limit", 12, "--methods", "cot,selar", "--out", tmp_path / "logs", "--json", "-q",
    )  # fmt: skip
    with serving() as start:
        first, second = start(*serve), start(*serve)
        urls = f"{first.listening()},{second.listening()}/v1"
        done = _evaluated("--url", urls, *common, home=tmp_path, kill=first)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {name: one["answers"] for name, one in report["methods"].items()} == {"cot": 12, "selar": 12}
    assert report["facts"]["parallel"] == 1 and len(report["facts"]["servers"]) == 2
    assert report["methods"]["selar"]["explored_share"] > 0 and sum(report["methods"]["selar"]["entropies"]) > 0
    logs = [read_eval_log(str(path)) for path in (tmp_path / "logs").glob("*.eval")]
    served = {sample.output.metadata["server"] for log in logs for sample in log.samples}
    assert served == {one.url[7:] for one in (first, second)}
    engine = (model, "-c", 512, "-t", 1, "--parallel", 1)
    here = _evaluated(*engine, *common[:8], "--out", tmp_path / "here", "-q", home=tmp_path)
    assert here.returncode == 0, here.stderr
    texts = {}
    for folder in ("logs", "here"):
        for log in (read_eval_log(str(path)) for path in (tmp_path / folder).glob("*.eval")):
            for sample in log.samples:
                texts.setdefault((log.eval.metadata["label"], sample.id), set()).add(sample.output.completion)
    assert len(texts) == 24 and all(len(found) == 1 for found in texts.values())
    joined = read_studies([tmp_path / "logs", tmp_path / "here"])
    assert [len(study.runs) for study in joined] == [2]
