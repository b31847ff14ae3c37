"""Connections that send nothing, or half of something, or read nothing: the others are served."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import httpx
import pytest

from selar_local.server import connections
from selar_local.server.connections import most_connections

from .conftest import TEXT, sample, until
from .test_live import LONG, idle, load_of

STREAM = {**LONG, "selar": {"events": True}}


def connect(url, *, buffer=None):
    """A socket to the server. buffer: the bytes that the system takes for it before it is read."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(10)
    client.connect((host, int(port)))
    return client


def ask(client, body):
    data = json.dumps(body).encode()
    client.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)


def answer(client):
    """The status and the JSON body of an answer that closes the connection."""
    text = b""
    while piece := client.recv(1 << 16):
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)


def is_closed(client):
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_silent_connections_make_room(engine, server_of):
    url = server_of(engine, max_connections=8)
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(url)) for _ in range(40)]
        for client in silent[::2]:
            with suppress(OSError):  # some are closed already
                client.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n".encode())
        assert httpx.get(url + "/health", timeout=10).status_code == 200
        assert until(lambda: sum(map(is_closed, silent)) >= 32)
        assert not is_closed(silent[-1])


def test_where_all_connections_are_busy_the_next_one_is_told(slow_engine, server_of):
    url = server_of(slow_engine, max_connections=1)
    with connect(url) as busy:
        ask(busy, LONG)
        assert busy.recv(1)
        with connect(url) as refused:
            status, body = answer(refused)
        assert status == 503 and body["error"]["code"] == "too_many_connections"
    assert until(lambda: httpx.get(url + "/health").status_code == 200)


def test_a_head_that_does_not_come_closes_the_connection(engine, server_of, monkeypatch):
    url = server_of(engine)
    begun = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    with connect(url) as silent, connect(url) as slow, connect(url) as kept:
        slow.sendall(begun)
        kept.sendall(begun + b"\r\n" + begun)
        assert kept.recv(15) == b"HTTP/1.1 200 OK"
        while kept.recv(1) != b"}":
            pass
        monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
        assert until(lambda: all(map(is_closed, (silent, slow, kept))))


@pytest.mark.parametrize(
    "seconds",
    [{"UNREAD_SECONDS": 0.3}, {"UNREAD_SECONDS": 60, "UNREAD_WHILE_OTHERS_WAIT": 0.3}],
    ids=["alone", "sooner where others wait"],
)
def test_a_reader_that_does_not_read_is_dropped(slow_engine, server_of, monkeypatch, seconds):
    for name, value in seconds.items():
        monkeypatch.setattr(connections, name, value)
    url = server_of(slow_engine)
    with connect(url, buffer=4096) as deaf:
        ask(deaf, STREAM)
        dropped = 'generations_total{finish_reason="cancelled"}'
        assert until(lambda: load_of(url) == (1, 0) or sample(httpx.get(url + "/metrics").text, dropped) == 1)
        assert httpx.post(url + TEXT, json={"prompt": "a", "max_tokens": 1}, timeout=20).status_code == 200
        assert until(lambda: idle(url))


def test_a_slow_reader_is_kept(slow_engine, server_of, monkeypatch):
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 1.5)
    url = server_of(slow_engine)
    with connect(url, buffer=4096) as slow:
        ask(slow, STREAM)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert slow.recv(4096)
            time.sleep(0.05)
        assert load_of(url) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json(live, text):
    with connect(live) as client:
        client.sendall(text)
        status, body = answer(client)
    assert status == 400 and body["error"]["code"] == "invalid_http"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_as_many_as_files_may_be_open():
    script = "from selar_local.server.connections import most_connections as most; print(most(1000), most(10))"
    command = ["sh", "-c", f"ulimit -n 128; exec {sys.executable} -c '{script}'"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert done.stdout.split() == ["64", "10"]
    assert most_connections(1) == 1
