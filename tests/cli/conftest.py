"""The command line called in this process (`cli`), as a process (`process`), and on a terminal (`terminal`)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from selar_local.cli.main import main

COMMAND = [sys.executable, "-m", "selar_local"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING_TEMPLATE = CHAT_TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


class Outcome(NamedTuple):
    """What a call left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


class _NotATerminal(io.TextIOWrapper):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")


class _AlsoATerminal(_NotATerminal):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli(*arguments, stdin=b"...")` runs the command in this process. stdin None: a terminal nobody types on."""

    def call(*arguments: object, stdin: bytes | None = None) -> Outcome:
        monkeypatch.setattr(sys, "stdin", _AlsoATerminal(b"") if stdin is None else _NotATerminal(stdin))
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        code = leaving.value.code
        assert isinstance(code, int)
        return Outcome(code, out, err)

    return call


@pytest.fixture
def process() -> Cli:
    """The same as a process of its own: for what could kill it."""

    def call(*arguments: object, stdin: bytes = b"") -> Outcome:
        words = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=60, check=False)
        return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    return call


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """`terminal(*arguments, **environment)` starts the command on a pseudo-terminal of its own."""
    if sys.platform == "win32":
        pytest.skip("pseudo-terminals are POSIX")
    from cli.terminal import Terminal

    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    started: list[Terminal] = []

    def start(*arguments: object, **environment: str) -> Terminal:
        settings = {**os.environ, "TERM": "xterm-256color", **environment}
        started.append(Terminal([*COMMAND, *map(str, arguments)], settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def model(tiny: Callable[..., Path]) -> Path:
    """A tiny model without a chat template."""
    return tiny(n_ctx_train=65536)


@pytest.fixture(scope="session")
def chat_model(tiny: Callable[..., Path]) -> Path:
    """A tiny model with a chat template."""
    return tiny(n_ctx_train=65536, chat_template=CHAT_TEMPLATE)


@pytest.fixture(scope="session")
def thinking_model(tiny: Callable[..., Path]) -> Path:
    """A tiny model whose template opens the thinking."""
    return tiny(n_ctx_train=65536, chat_template=THINKING_TEMPLATE, thinking_tokens=True)
