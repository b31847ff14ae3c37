"""Engines on tiny models. The names say what is special about them; all use one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import selar_local as sl

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
)


@pytest.fixture(scope="session")
def model(tiny: Callable[..., Path]) -> Path:
    """A llama with a chat template."""
    return tiny(chat_template=TEMPLATE)


@pytest.fixture(scope="session")
def long_model(tiny: Callable[..., Path]) -> Path:
    """A slower one, trained for 32768 tokens."""
    return tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512)


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[sl.Engine]:
    with sl.load(model, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def long_engine(long_model: Path) -> Iterator[sl.Engine]:
    """One sequence at a time, each up to 32768 tokens: seconds of work that tests break off."""
    with sl.load(long_model, threads=1, ctx_size=32768) as opened:
        yield opened
