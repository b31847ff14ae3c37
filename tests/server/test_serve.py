"""``selar-local serve`` as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest
from support.serving import COMMAND, Process, serving

from selar_local.install_hint import install_hint

from .conftest import CHAT, HELLO, TEXT, events


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    with serving() as begin:
        yield begin


def test_serving_and_sigterm(model, start):
    server = start(
        model, "--port", 0, "-t", 1, "--method", "cot", "--log-requests", "--grace", 0.3, "-c", 1024, "--top-k", 5,
        SELAR_LOCAL_API_KEY="one,two",
    )  # fmt: skip
    url = server.listening()
    headers = {"Authorization": "Bearer two"}
    assert httpx.get(url + "/v1/models").status_code == 401
    (listed,) = httpx.get(url + "/v1/models", headers=headers).json()["data"]
    assert listed["selar"]["method"] == "cot"
    body = {"messages": HELLO, "max_tokens": 3, "selar": {"events": True}}
    answer = httpx.post(url + CHAT, json=body, headers=headers, timeout=20).json()
    assert answer["choices"][0]["selar"]["method"] == "cot"
    body = {"prompt": "the secret", "stream": True, "n": 4, "seed": 5}
    with httpx.stream("POST", url + TEXT, json=body, headers=headers, timeout=20) as response:
        pieces = response.iter_text()
        text = next(pieces)
        server.process.send_signal(signal.SIGTERM)
        text += "".join(pieces)
    *chunks, last = events(text)
    reasons = [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert last == "[DONE]" and len(reasons) == 4 and set(reasons) <= {"cancelled", "length", "stop"}
    assert server.ended() == 0
    assert server.process.stdout.read() == ""
    log = "".join(server.err)
    assert re.search(r"^POST /v1/chat/completions 200 \d+\.\d{3} s$", log, re.MULTILINE)
    assert "GET /v1/models 401" in log and "secret" not in log and "two" not in log


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c(model, start):
    server = start(model, "--port", 0, "-t", 1, "-c", 256)
    server.listening()
    server.process.send_signal(signal.SIGINT)
    assert server.ended() == 0
    assert server.err == [f"listening on {server.url}\n", f"serving {model.stem} at {server.url}/v1\n"]


def call(*words, **environment):
    done = subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=30, env={**os.environ, **environment},
        check=False,
    )  # fmt: skip
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: "), done.stderr
    return done.returncode, done.stderr


def test_a_port_in_use(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, text = call(model, "--port", taken.getsockname()[1], "-t", 1)
    assert code == 1 and "cannot listen on 127.0.0.1:" in text and "in use" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--api-key"), (["--port", "99999"], "--port"),
        (["--tau", "2", "--method", "cot"], "--tau"),
        (["--grammar", "x"], "--grammar"), (["--cors-origin", "example.org"], "--cors-origin must look like"),
        (["--parallel", "0"], "parallel"),
        (["--grace", "-1"], "--grace"),
    ],
)  # fmt: skip
def test_wrong_usage(cli, model, words, said):
    outcome = cli("serve", model, *words)
    assert outcome.code == 2 and said in outcome.err and len(outcome.err.splitlines()) == 1


def test_other_errors(cli, tmp_path):
    outcome = cli("serve", tmp_path / "no.gguf", "--port", 0)
    assert outcome.code == 1 and "no.gguf" in outcome.err
    outcome = cli("serve", tmp_path / "no.gguf", "--host", "no such host", "--insecure", "--port", 0)
    assert outcome.code == 1


def test_without_the_extra_it_says_so(cli, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    outcome = cli("serve", model)
    assert outcome.code == 1 and f"the server needs the package starlette; {install_hint('server')}" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_the_help_has_all_options(cli):
    text = cli("serve", "--help").out
    for flag in ("--host", "--api-key", "--cors-origin", "--parallel", "--queue-size", "--max-body-bytes", "--tau",
                 "--max-prompt-tokens", "--request-timeout", "--model-name", "--insecure", "--grace", "--log-requests",
                 "--temperature", "--ctx-size", "--prompt-cache"):  # fmt: skip
        assert flag in text
    assert "--grammar" not in text


def test_a_model_that_takes_ids_alone(start, cli, family_model):
    server = start(family_model("glm4"), "--port", 0, "-t", 1)
    server.listening()
    server.process.send_signal(signal.SIGINT)
    assert server.ended() == 0
    assert any("soft methods cannot be used: " in line for line in server.err)
    refused = cli("serve", family_model("glm4"), "--port", 0, "-t", 1, "--method", "selar")
    assert refused.code == 1 and "error: selar cannot be used, cot can: " in refused.err
