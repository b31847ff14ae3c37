"""A small server with OpenAI's API, in a thread of the tests."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class OpenAi(ThreadingHTTPServer):
    """Answers every chat with the next of its `replies`, the last one again and again: a text, or a status.

    model: the facts with which it passes for one of ours.
    """

    daemon_threads = True

    def __init__(self, *replies: str | int, key: str | None = None, model: dict | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies, self.key, self.asked, self.lock = list(replies), key, [], threading.Lock()
        self.model = model
        self.url = f"http://127.0.0.1:{self.server_port}"

    def next_reply(self, body: dict) -> str | int:
        with self.lock:
            self.asked.append(body)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    server: OpenAi

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self) -> None:
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._send(401, {})
        elif self.path == "/v1/models":
            self._send(200, {"data": [{"id": "some-model"}]})
        elif self.path == "/v1/selar/model" and self.server.model is not None:
            self._send(200, {"object": "selar.model", **self.server.model})
        else:
            self._send(404, {})

    def do_POST(self) -> None:
        reply = self.server.next_reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if isinstance(reply, int):
            code = "context_length_exceeded" if reply == 400 and "long" in self.server.replies else None
            self._send(reply, {"error": {"message": f"no: {reply}", "code": code}})
            return
        self.send_response(200)
        self.end_headers()
        usage = {"prompt_tokens": 7, "completion_tokens": 5}
        chunks = [{"choices": [{"delta": {"content": word}}]} for word in re.findall(r"\S+ ?", reply)]
        if "cut" not in reply:
            chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
        for chunk in chunks:
            self.wfile.write(f": a comment\n\ndata: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


@contextmanager
def open_ai(*replies: str | int, **more: Any) -> Iterator[OpenAi]:
    server = OpenAi(*replies, **more)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
