"""Texts without a break, which llama.cpp's pre-tokenizers recurse over, for each character."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.tiny_gguf import tiny_vocabulary

from selar_local.config import EngineConfig
from selar_local.errors import OptionError
from selar_local.llama import deep_stack
from selar_local.llama.deep_stack import longest_run, on_deep_stack
from selar_local.llama.digit_runs import cut_digits
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.model import LlamaModel

RECURSIVE = ("tekken", "gpt-4o", "llama4", "deepseek-v3", "deepseek-llm")
TOKENIZE = """
import sys, threading
from pathlib import Path
from selar_local.config import EngineConfig
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.model import LlamaModel

model = LlamaModel(open_gguf(Path(sys.argv[1])), EngineConfig())
kinds = ("a", "A", "aA", "中", "\\n", " ", "\\n ", "-", "a-", "1", "é", "!\\n", "<", "\\u0301", "😀")

def work():
    for kind in kinds:
        text = kind * (60_000 // len(kind))
        assert b"".join(model.piece(token) for token in model.tokenize(text, special=True)).decode() == text, kind
    print("alive")

threading.stack_size(512 * 1024)  # as on macOS
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("name", [*RECURSIVE, "smollm", "qwen2", "llama-bpe", "superbpe"])
def test_no_run_of_one_kind_kills_the_process(name, tiny):
    path = tiny(metadata={"tokenizer.ggml.pre": name})
    done = subprocess.run(
        [sys.executable, "-c", TOKENIZE, path], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-500:]


def test_only_a_long_run_gets_a_thread():
    here = threading.current_thread()
    assert on_deep_stack("word " * 10_000, threading.current_thread) is here
    assert on_deep_stack("w" * 1001, threading.current_thread) is not here
    assert longest_run("ab  cd\n\n") == 4 and longest_run("") == 0


def test_errors_come_out_and_the_size_of_other_stacks_stays():
    before = threading.stack_size()
    with pytest.raises(KeyError):
        on_deep_stack("w" * 2000, lambda: {}["missing"])
    assert threading.stack_size() == before


def test_a_run_that_no_stack_holds_is_refused(monkeypatch):
    monkeypatch.setattr(deep_stack, "LONGEST_RUN", 3000)
    with pytest.raises(OptionError, match="3001 characters without a break"):
        on_deep_stack("w" * 3001, lambda: None)


@pytest.mark.parametrize("length", [599, 600, 601, 900, 901, 902, 1777])
def test_a_long_run_of_digits_is_cut_into_groups_of_three_from_its_end(length):
    text = "no " + "7" * length + ", " + "8" * length
    pieces = list(cut_digits(text))
    assert "".join(pieces) == text and max(map(len, pieces)) < 1300 and (len(pieces) > 1) == (length >= 600)
    after = ""
    for piece in reversed(pieces[1:]):
        after = piece + after
        run = after.partition(",")[0] if after.startswith(("7", "8")) else after
        assert len(run) % 3 == 0


def test_superbpe_has_the_same_tokens_for_a_run_that_was_cut(tiny):
    vocabulary = tiny_vocabulary()
    renamed = {"\\n": "11", "**": "111"}  # two tokens that no other merge is made of
    changed = {
        "tokenizer.ggml.pre": "superbpe",
        "tokenizer.ggml.tokens": [renamed.get(token, token) for token in vocabulary.tokens],
        "tokenizer.ggml.merges": [{"\\ n": "1 1", "* *": "11 1"}.get(merge, merge) for merge in vocabulary.merges],
    }
    model = LlamaModel(open_gguf(tiny(metadata=changed)), EngineConfig())
    for length in (4500, 4501, 4502):
        text = f"so {'1' * length}, and {'1' * 700} is"
        tokens = model.tokenize(text, special=False)
        assert tokens == model._tokenize(text, False) and len(tokens) < 2000
    model.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent SIGINT alone on Windows")
def test_an_interrupt_waits_for_the_native_call():
    """The caller frees what the call uses."""
    done: list[str] = []

    def work() -> None:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        done.append("done")

    with pytest.raises(KeyboardInterrupt):
        on_deep_stack("w" * 1001, work)
    assert done == ["done"]
