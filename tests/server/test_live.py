"""On a port of this machine: streaming as it happens, clients that leave, many at once, the end."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import selar_local as sl
from selar_local.server import responses

from .conftest import CHAT, HELLO, TEXT, events, sample, serving, until

LONG = {"prompt": "the end", "seed": 1, "stream": True}


def load_of(url):
    text = httpx.get(url + "/metrics", timeout=10).text
    return sample(text, "requests_running"), sample(text, "requests_waiting")


def idle(url):
    return load_of(url) == (0, 0)


def test_tokens_come_as_they_are_made(slow_engine, server_of):
    url = server_of(slow_engine)
    with httpx.stream("POST", url + TEXT, json=LONG, timeout=20) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        seen = [line for line in (next(lines) for _ in range(20)) if line]
        assert all(line.startswith("data: {") for line in seen)
        assert load_of(url) == (1, 0)  # it is still being generated
    assert until(lambda: idle(url))


def test_a_stream_that_waits_says_so(slow_engine, server_of, monkeypatch):
    monkeypatch.setattr(responses, "KEEP_ALIVE_SECONDS", 0.05)
    url = server_of(slow_engine)
    with slow_engine.stream("the end", seed=1) as busy, httpx.Client(timeout=20) as client:
        next(busy)
        with client.stream("POST", url + TEXT, json={**LONG, "max_tokens": 3}) as waiting:
            lines = waiting.iter_lines()
            assert [line for line in (next(lines) for _ in range(6)) if line] == [": still at work"] * 3
            busy.cancel()
            rest = [line for line in lines if line and not line.startswith(":")]
    assert rest[-1] == "data: [DONE]" and json.loads(rest[-2][6:])["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(slow_engine, server_of, stream):
    url = server_of(slow_engine)
    body = json.dumps({**LONG, "stream": stream}).encode()
    host, port = url.removeprefix("http://").split(":")
    head = f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(head + body)
        assert until(lambda: load_of(url) == (1, 0))
    left = time.perf_counter()
    assert until(lambda: idle(url))
    assert time.perf_counter() - left < 2
    text = httpx.get(url + "/metrics").text
    assert sample(text, 'requests_total{endpoint="/v1/completions",status="499"}') == 1
    assert sample(text, 'generations_total{finish_reason="cancelled"}') == 1


def test_one_that_waits_and_leaves_is_forgotten(slow_engine, server_of):
    url = server_of(slow_engine)
    with httpx.stream("POST", url + TEXT, json=LONG, timeout=20) as first:
        lines = first.iter_lines()  # dropping it would close the connection
        next(lines)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url + TEXT, json={**LONG, "stream": False}, timeout=0.2)
        assert until(lambda: load_of(url) == (1, 0))
    assert until(lambda: idle(url))


def test_half_a_request_harms_nobody(live):
    host, port = live.removeprefix("http://").split(":")
    cut_off = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
    for piece in (b"", b"POST", b"nonsense\r\n\r\n", cut_off):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(piece)
    assert httpx.get(live + "/health").json() == {"status": "ok"}


METHODS = ("selar", "cot", "soft-thinking", "swir", "cot-greedy")


def test_16_at_once_get_what_each_gets_alone(engine, live):
    """Half of them as streams, some on the other endpoint."""
    prompts = ["the end", "a", "we are so", "in the answer"]

    def ask(i):
        body = {"seed": i, "max_tokens": 24, "stream": i % 2 == 0, "selar": {"method": METHODS[i % 5]}}
        if i % 3:
            body["messages"] = [{"role": "user", "content": prompts[i % 4]}]
        else:
            body["prompt"] = prompts[i % 4]
        response = httpx.post(live + (CHAT if i % 3 else TEXT), json=body, timeout=60)
        assert response.status_code == 200
        if i % 2:
            (choice,) = response.json()["choices"]
            return choice["text"] if i % 3 == 0 else choice["message"]["content"]
        choices = [c for chunk in events(response.text)[:-1] for c in chunk["choices"]]
        return "".join(c["text"] if i % 3 == 0 else c["delta"].get("content", "") for c in choices)

    alone = [ask(i) for i in range(16)]
    assert len(set(alone)) > 8
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == alone
    assert until(lambda: idle(live))


async def fetch(url, request):
    """The status of one request on a connection of its own, without a client library's cost."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace(b"\r\n", b"\r\nHost: localhost\r\nConnection: close\r\n", 1))
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


def test_the_loop_stays_awake_with_256_requests(tiny):
    body = b'{"prompt": "a", "max_tokens": 8}'
    ask = f"POST {TEXT} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def storm(url):
        asks = [asyncio.ensure_future(fetch(url, ask)) for _ in range(256)]
        longest, n = 0.0, 0
        while not all(ask.done() for ask in asks):
            begun = time.perf_counter()
            assert await fetch(url, b"GET /health HTTP/1.1\r\n\r\n") == 200
            longest, n = max(longest, time.perf_counter() - begun), n + 1
            await asyncio.sleep(0.02)
        return [ask.result() for ask in asks], longest, n

    with sl.load(tiny(), threads=1, parallel=4) as engine, serving(engine) as url:
        statuses, longest, n = asyncio.run(storm(url))
        assert statuses == [200] * 256
        assert longest < 20 and n > 1  # a loop that waits for the engine answers once, at the end
        assert until(lambda: threading.active_count() < 30)


def test_two_servers_on_two_ports(engine, live, server_of):
    other = server_of(engine, api_keys=("k",))
    assert other != live
    assert httpx.get(live + "/v1/models").status_code == 200
    assert httpx.get(other + "/v1/models").status_code == 401


def test_stopping_ends_what_runs(slow_engine):
    """The running one gets its grace, then its text ends cleanly; new ones are refused."""
    with serving(slow_engine, grace=0.3) as url, httpx.Client(timeout=20) as client:
        with client.stream("POST", url + TEXT, json=LONG) as response:
            pieces = response.iter_text()
            text = next(pieces)
            stopped = time.perf_counter()
            url.stop()
            text += "".join(pieces)
            took = time.perf_counter() - stopped
        *chunks, last = events(text)
        assert last == "[DONE]" and chunks[-1]["choices"][0]["finish_reason"] == "cancelled"
        assert 0.2 < took < 5
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/health")


def test_stopping_waits_for_what_ends_in_time(slow_engine):
    body = {**LONG, "max_tokens": 150}
    with serving(slow_engine, grace=20) as url, httpx.stream("POST", url + TEXT, json=body, timeout=20) as response:
        pieces = response.iter_text()
        text = next(pieces)
        url.stop()
        *chunks, last = events(text + "".join(pieces))
    assert last == "[DONE]" and chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_stopping_twice_does_not_wait(slow_engine):
    with serving(slow_engine, grace=60) as url, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, url + TEXT, json={**LONG, "stream": False}, timeout=20)
        assert until(lambda: load_of(url) == (1, 0))
        url.stop()
        url.stop()
        answer = asked.result().json()
        assert answer["choices"][0]["finish_reason"] == "cancelled"


def test_stopping_ends_what_does_not_come_back(slow_engine, monkeypatch):
    """A step that lasts longer than the server waits: its streams end with an error all the same."""
    go, within, step = threading.Event(), threading.Event(), slow_engine._runtime.step

    def slow(*arguments):
        within.set()
        assert go.wait(60)
        return step(*arguments)

    with serving(slow_engine, grace=0.1) as url, ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(slow_engine._runtime, "step", slow)
        stream = pool.submit(httpx.post, url + TEXT, json=LONG, timeout=30)
        whole = pool.submit(httpx.post, url + TEXT, json={**LONG, "stream": False}, timeout=30)
        assert within.wait(10) and until(lambda: sum(load_of(url)) == 2)
        url.stop()
        assert events(stream.result().text)[-1]["error"]["code"] == "closing"
        assert whole.result().json()["error"]["code"] == "closing"
        go.set()


def test_a_client_that_does_not_read_cannot_hold_the_end_up(slow_engine):
    with serving(slow_engine, grace=0.1) as url:
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps(LONG).encode()
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(
                f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            assert until(lambda: load_of(url) == (1, 0))
            url.stop()
            assert until(lambda: not _listens(host, int(port)))


def _listens(host, port):
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl(live):
    def curl(*words):
        command = ["curl", "-sS", "--max-time", "20", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    body = json.dumps({"messages": HELLO, "max_tokens": 4, "seed": 1})
    whole = json.loads(curl(live + CHAT, "-d", body))  # as curl sends it: no JSON content type
    as_json = ("-H", "Content-Type: application/json")
    streamed = events(curl("-N", live + CHAT, *as_json, "-d", body[:-1] + ', "stream": true}'))
    text = "".join(c["delta"].get("content", "") for chunk in streamed[:-1] for c in chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert json.loads(curl(live + CHAT, "-d", "{"))["error"]["code"] == "invalid_json"
