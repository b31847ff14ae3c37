"""Servers over tiny models: in this process without a socket (`api`), and on a port of 127.0.0.1 (`live`)."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import selar_local as sl
from selar_local.server.app import create_app
from selar_local.server.config import Defaults, ServerConfig
from selar_local.server.lifecycle import Server, bind, url_of

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)
HELLO = [{"role": "user", "content": "the end"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


class Api:
    """Calls an application in this process. Answers are httpx's."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.service = app.state.service

    async def call(self, method: str, path: str, **more: Any) -> Any:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            return await client.request(method, path, **more)

    def request(self, method: str, path: str, **more: Any) -> Any:
        return asyncio.run(self.call(method, path, **more))

    def get(self, path: str, **more: Any) -> Any:
        return self.request("GET", path, **more)

    def post(self, path: str, **body: Any) -> Any:
        return self.request("POST", path, json=body)

    def chat(self, messages: Any = HELLO, **body: Any) -> Any:
        return self.post(CHAT, messages=messages, **{"max_tokens": 8, "seed": 1, **body})

    def text(self, prompt: Any = "the end", **body: Any) -> Any:
        return self.post(TEXT, prompt=prompt, **{"max_tokens": 8, "seed": 1, **body})

    def metric(self, name: str) -> float:
        """The value of a sample of /metrics."""
        return sample(self.get("/metrics").text, name)


def sample(text: str, name: str) -> float:
    for line in text.splitlines():
        if line.startswith(f"selar_local_{name} "):
            return float(line.split()[-1])
    raise KeyError(name)


def events(text: str) -> list[Any]:
    """The objects of a stream of server-sent events, whose form is checked. The last may be "[DONE]"."""
    assert text.endswith("\n\n")
    found = []
    for block in text[:-2].split("\n\n"):
        if block.startswith(": "):
            continue  # a comment, where nothing came for long
        assert block.startswith("data: ") and "\n" not in block
        data = block[len("data: ") :]
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


class Url(str):
    """The URL of a server, which `stop` stops."""

    stop: Callable[[], None]


@contextmanager
def serving(engine: sl.Engine, defaults: Defaults | None = None, **config: Any) -> Iterator[Url]:
    """A server in a thread; yields its URL."""
    settings = ServerConfig(port=0, **{"grace": 0.2, **config})
    app = create_app(engine, settings, defaults)
    ready = threading.Event()
    with bind(settings.host, 0) as bound:
        url = Url(url_of(settings.host, bound))
        server = Server(app, bound, ready.set)
        url.stop = server.stop
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            assert ready.wait(10)
            yield url
        finally:
            server.stop()
            thread.join(15)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def model(tiny: Callable[..., Path]) -> Path:
    """A llama with a chat template that knows tools and thinking.

    Q8_0: up to three of them in a batch give what each gives alone, to the bit.
    """
    return tiny(chat_template=TEMPLATE, thinking_tokens=True, n_ctx_train=4096, weight_type="Q8_0")


@pytest.fixture(scope="session")
def engine(model: Path) -> Iterator[sl.Engine]:
    with sl.load(model, threads=1, parallel=3, ctx_size=1024) as opened:
        yield opened


@pytest.fixture(scope="session")
def slow_engine(tiny: Callable[..., Path]) -> Iterator[sl.Engine]:
    """One sequence at a time, with room for seconds of work that tests break off."""
    path = tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512, chat_template=TEMPLATE)
    with sl.load(path, threads=1, ctx_size=32768, parallel=1, queue_size=3) as opened:
        yield opened


@pytest.fixture
def api(engine: sl.Engine) -> Api:
    return Api(create_app(engine))


@pytest.fixture
def asked(engine: sl.Engine, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of the requests that the engine gets."""
    seen: list[dict[str, Any]] = []
    begin = engine.begin
    monkeypatch.setattr(engine, "begin", lambda emit, **request: seen.append(request) or begin(emit, **request))
    return seen


@pytest.fixture(scope="session")
def live(engine: sl.Engine) -> Iterator[str]:
    with serving(engine) as url:
        yield url


@pytest.fixture
def server_of() -> Iterator[Callable[..., str]]:
    """`server_of(engine, **fields of ServerConfig)` is the URL of a new server."""
    with ExitStack() as stack:
        yield lambda engine, *more, **config: stack.enter_context(serving(engine, *more, **config))


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`cli(*arguments)` runs the command in this process: its exit code and output."""
    from selar_local.cli.main import main

    def call(*arguments: object) -> SimpleNamespace:
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=leaving.value.code, out=out, err=err)

    return call
