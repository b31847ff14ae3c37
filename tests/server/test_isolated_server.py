"""The server over an engine in a process of its own: what a client sees when that process is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import selar_local as sl

from .conftest import CHAT, HELLO, TEXT, events, sample, serving, until
from .test_live import idle, load_of
from .test_serve import start  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

SHORT = {"prompt": "the end", "seed": 1, "max_tokens": 8}
LONG = {"prompt": "the end", "seed": 1, "max_tokens": 30000}
METHODS = ("selar", "cot", "soft-thinking", "swir", "coconut")


@pytest.fixture(scope="module")
def isolated(model: Path) -> Iterator[sl.IsolatedEngine]:
    with sl.load(model, threads=1, parallel=3, ctx_size=1024, isolated=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def slow(tiny) -> Iterator[sl.IsolatedEngine]:
    """Two at a time, with room for seconds of work."""
    path = tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512)
    with sl.load(path, threads=1, ctx_size=32768, parallel=2, queue_size=4, isolated=True) as opened:
        yield opened


def kill(engine: sl.IsolatedEngine) -> int:
    pid = engine.process_id
    os.kill(pid, signal.SIGKILL)
    return pid


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("method", METHODS)
def test_it_says_what_an_engine_in_this_process_says(engine, live, isolated, server_of, method):
    url = server_of(isolated)
    body = {"messages": HELLO, "seed": 3, "max_tokens": 16, "logprobs": True, "top_logprobs": 2}
    body |= {"selar": {"method": method, "events": True}}
    here, there = (httpx.post(at + CHAT, json=body, timeout=30).json() for at in (live, url))
    assert here["choices"] == there["choices"]


def test_a_death_ends_the_stream_with_an_error_and_the_next_request_is_answered(slow, server_of):
    url = server_of(slow)
    before = httpx.post(url + TEXT, json=SHORT, timeout=30).json()["choices"]
    with httpx.stream("POST", url + TEXT, json={**LONG, "stream": True}, timeout=30) as response:
        assert response.status_code == 200
        pieces = response.iter_text()
        text = next(pieces)
        old = kill(slow)
        text += "".join(pieces)
    *chunks, last = events(text)
    assert chunks and all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert (last["error"]["code"], last["error"]["type"]) == ("engine_crashed", "server_error")
    assert httpx.get(url + "/health").json() == {"status": "ok"}
    assert httpx.post(url + TEXT, json=SHORT, timeout=30).json()["choices"] == before
    assert slow.process_id != old
    assert until(lambda: idle(url))
    assert sample(httpx.get(url + "/metrics").text, 'generations_total{finish_reason="error"}') == 1


def test_a_death_is_a_500_for_those_that_run_and_those_that_wait(slow, server_of):
    url = server_of(slow)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(httpx.post, url + TEXT, json={**LONG, "seed": i}, timeout=30) for i in range(4)]
        assert until(lambda: load_of(url) == (2, 2))
        kill(slow)
        answers = [one.result() for one in asked]
    assert [answer.status_code for answer in answers] == [500] * 4
    assert {answer.json()["error"]["code"] for answer in answers} == {"engine_crashed"}
    assert "prompt" not in answers[0].text
    assert httpx.get(url + "/health").status_code == 200
    assert until(lambda: idle(url))
    assert httpx.post(url + TEXT, json=SHORT, timeout=30).status_code == 200


def test_several_at_once_after_a_death_share_the_new_process(isolated, server_of):
    url = server_of(isolated)

    def ask(seed):
        return httpx.post(url + TEXT, json={**SHORT, "seed": seed}, timeout=30).json()["choices"]

    alone = [ask(seed) for seed in range(6)]
    old = kill(isolated)
    assert until(lambda: not isolated._child.alive())
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == alone
    assert isolated.process_id != old


def test_logprobs_while_the_process_dies(slow, server_of):
    """The texts of tokens come from the process, too."""
    url = server_of(slow)
    body = {**LONG, "stream": True, "logprobs": 5}
    with httpx.stream("POST", url + TEXT, json=body, timeout=30) as response:
        pieces = response.iter_text()
        text = next(pieces)
        kill(slow)
        text += "".join(pieces)
    assert events(text)[-1]["error"]["code"] == "engine_crashed"
    assert until(lambda: idle(url))


def test_a_client_that_leaves_frees_its_place_there(slow, server_of):
    url = server_of(slow)
    with httpx.stream("POST", url + TEXT, json={**LONG, "stream": True}, timeout=30) as response:
        next(response.iter_text())
    assert until(lambda: idle(url))
    assert sample(httpx.get(url + "/metrics").text, 'generations_total{finish_reason="cancelled"}') == 1


def test_stopping_leaves_no_process(tiny):
    path = tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512)
    with sl.load(path, threads=1, ctx_size=4096, isolated=True) as engine, serving(engine, grace=0.1) as url:
        pid = engine.process_id
        with httpx.stream("POST", url + TEXT, json={**LONG, "max_tokens": 4000, "stream": True}, timeout=30) as answer:
            pieces = answer.iter_text()
            text = next(pieces)
            url.stop()
            text += "".join(pieces)
        assert events(text)[-1] == "[DONE]"
        assert lives(pid)
    assert not lives(pid)


def test_the_command_leaves_no_process(model, start, capfd):  # noqa: F811
    server = start(model, "--port", 0, "-t", 1, "-c", 1024)
    url = server.listening()
    assert httpx.post(url + TEXT, json=SHORT, timeout=30).status_code == 200
    children = _children(server.process.pid)
    assert len(children) == 1
    os.kill(children[0], signal.SIGKILL)
    assert until(lambda: httpx.post(url + TEXT, json=SHORT, timeout=30).status_code == 200)
    (child,) = _children(server.process.pid)
    assert child != children[0]
    server.process.terminate()
    assert server.ended() == 0
    assert until(lambda: not lives(child))
    assert not [line for line in server.err if "Traceback" in line]


def _children(parent: int) -> list[int]:
    """Linux only: where there is no /proc the test is skipped."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        if int(its_parent) == parent and state != "Z":
            found.append(int(stat.parent.name))
    return found
