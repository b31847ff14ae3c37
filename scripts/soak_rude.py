"""Clients that send nothing, and clients that read nothing: for `soak_server.py`."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress

from soak_garbage import TEXT, raw

SILENT = 40  # connections of one silent client
_DEAF_SECONDS = 20.0


def _connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def be_silent(url: str, until: float) -> None:
    """Hold connections that send a byte now and then, and connect again where the server closes one."""
    with ExitStack() as stack:
        held: list[socket.socket] = []
        while time.monotonic() < until:
            with suppress(OSError):
                while len(held) < SILENT:
                    held.append(stack.enter_context(_connect(url)))
            for client in [*held]:
                try:
                    client.sendall(b"G")
                except OSError:
                    held.remove(client)
                    client.close()
            time.sleep(1)


def be_deaf(url: str, until: float) -> None:
    """Ask for long streams and read nothing of them."""
    body = {
        "prompt": "a very long story",
        "max_tokens": 400,
        "stream": True,
        "selar": {"method": "cot", "events": True},
    }
    while time.monotonic() < until:
        with suppress(OSError), _connect(url) as client:
            client.sendall(raw(TEXT, json.dumps(body).encode()))
            time.sleep(min(_DEAF_SECONDS, max(0.0, until - time.monotonic())))
