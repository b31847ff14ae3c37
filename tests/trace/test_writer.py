"""The trace: exactly the format of the contract, sound at every moment, and never in the generation's way."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from selar_local import __version__
from selar_local.config import SamplingConfig
from selar_local.engine.events import Result, Timings, TokenEvent, Usage
from selar_local.errors import SelarError
from selar_local.methods import CoT, Method, Selar
from selar_local.trace import TraceWriter, read_trace
from selar_local.trace import writer as writing

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

EVENTS = [
    TokenEvent(
        0, 2068, " To", "", 0.8123, True, ((2068, 0.5392), (33, 0.4181), (4239, 0.0)), 33, ((2068, -0.25), (33, 1.25))
    ),
    TokenEvent(1, 7, "", 'hm\n"é"', None, False, (), 7, ((7, 1.0),)),
    TokenEvent(2, 2, "", "", 0.0, False, ((2, 1.0),), 2, (), "end"),
]
RESULT = Result(
    text=" To", thinking="hm", finish_reason="stop", usage=Usage(4, 3, 1), timings=Timings(0.12345678, 2.5, 3)
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(3_000_000))
    return path


def warned(message: str) -> None:
    raise AssertionError(f"a warning: {message}")


def begin(writer: TraceWriter, model: Path | str, method: Method | None = None) -> None:
    facts = {"path": str(model), "architecture": "llama", "n_vocab": 325}
    writer.begin(facts, method or Selar(), SamplingConfig(top_k=7), 42, (1, 5, 9))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_all(path: Path, model: Path) -> None:
    with TraceWriter(path, warned) as writer:
        begin(writer, model)
        for event in EVENTS:
            writer.step(event)
        writer.end(RESULT)


def test_the_format_of_the_contract(tmp_path, model):
    path = tmp_path / "t.jsonl"
    write_all(path, model)
    run, *steps, end = lines(path)
    assert list(run) == ["type", "version", "model", "method", "options", "sampling", "prompt_tokens"]
    assert (run["type"], run["version"], run["method"]) == ("run", __version__, "selar")
    assert list(run["model"])[:3] == ["path", "sha256", "architecture"]
    assert run["model"]["path"] == str(model)
    assert run["model"]["n_vocab"] == 325
    assert run["options"]["tau"] == 0.5
    assert set(run["options"]) == {field.name for field in fields(Selar)}
    assert run["sampling"] == {
        "temperature": 0.6, "top_k": 7, "top_p": 0.95, "min_p": 0.0, "greedy": False, "seed": 42,
    }  # fmt: skip
    assert run["prompt_tokens"] == [1, 5, 9]
    assert steps == [
        {
            "type": "step", "i": 0, "token": 2068, "text": " To", "entropy": 0.8123, "explored": True,
            "top": [[2068, 0.5392], [33, 0.4181], [4239, 0.0]], "drawn": 33, "fed": [[2068, -0.25], [33, 1.25]],
        },
        {"type": "step", "i": 1, "token": 7, "text": "hm\n\"é\"", "entropy": None, "explored": False, "top": []},
        {
            "type": "step", "i": 2, "token": 2, "text": "", "entropy": 0.0, "explored": False, "top": [[2, 1.0]],
            "kept": "end",
        },
    ]  # fmt: skip
    assert all(list(step)[:7] == ["type", "i", "token", "text", "entropy", "explored", "top"] for step in steps)
    assert end == {
        "type": "end", "finish_reason": "stop", "tokens": 3, "explored_steps": 1,
        "prefill_seconds": 0.123457, "decode_seconds": 2.5,
    }  # fmt: skip
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert '"type":"step","i":0,"token":2068,"text":" To"' in path.read_text(encoding="utf-8")


def test_the_hash_is_filled_in_at_the_end(tmp_path, model):
    path = tmp_path / "t.jsonl"
    write_all(path, model)
    assert lines(path)[0]["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    again = tmp_path / "again.jsonl"
    write_all(again, model)
    assert again.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


def test_the_hash_delays_no_step(tmp_path, model, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(writing, "sha256_of", lambda _path, cancelled: go.wait(10) and "ab" * 32)
    path = tmp_path / "t.jsonl"
    writer = TraceWriter(path, warned)
    begin(writer, model)
    for event in EVENTS:
        writer.step(event)
    writer.end(RESULT)
    assert [record["type"] for record in lines(path)] == ["run", "step", "step", "step", "end"]
    go.set()
    writer.close()
    assert lines(path)[0]["model"]["sha256"] == "ab" * 32


def test_steps_go_out_several_at_once(tmp_path, model, monkeypatch):
    path, clock = tmp_path / "t.jsonl", iter([1000.0, 1000.1, 1000.15, 1000.3])
    monkeypatch.setattr(writing.time, "monotonic", lambda: next(clock))
    writer = TraceWriter(path, warned)
    begin(writer, model)
    for event, there in zip(EVENTS, (1, 1, 4), strict=True):
        writer.step(event)
        assert len(lines(path)) == there
    monkeypatch.undo()
    writer.close()


def test_valid_at_every_moment(tmp_path, model, monkeypatch):
    monkeypatch.setattr(writing, "_FLUSH_SECONDS", 0.0)
    path = tmp_path / "t.jsonl"
    writer = TraceWriter(path, warned)
    assert lines(path) == []
    begin(writer, model)
    assert lines(path)[0]["model"]["sha256"] is None
    size = path.read_text(encoding="utf-8").index("\n")
    for number, event in enumerate(EVENTS, 1):
        writer.step(event)
        assert len(lines(path)) == 1 + number
        assert read_trace(path)[2] is None
    writer.end(RESULT)
    assert len(lines(path)) == 5
    writer.close()
    writer.close()
    assert len(lines(path)) == 5
    assert path.read_text(encoding="utf-8").index("\n") == size


def test_paths_that_look_like_the_place_of_the_hash(tmp_path, model):
    odd = tmp_path / '"sha256":null é.gguf'
    odd.write_bytes(b"x")
    path = tmp_path / "t.jsonl"
    write_all(path, odd)
    run = lines(path)[0]
    assert run["model"]["path"] == str(odd)
    assert run["model"]["sha256"] == hashlib.sha256(b"x").hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_a_path_that_is_no_unicode(tmp_path):
    odd = tmp_path / "mod\udce9l.gguf"
    try:
        odd.write_bytes(b"x")
    except OSError:
        pytest.skip("the file system takes Unicode names only")
    path = tmp_path / "t.jsonl"
    write_all(path, odd)
    run = lines(path)[0]
    assert run["model"]["path"] == str(odd)
    assert run["model"]["sha256"] == hashlib.sha256(b"x").hexdigest()


def test_a_model_that_is_gone_leaves_the_hash_out(tmp_path):
    path = tmp_path / "t.jsonl"
    write_all(path, tmp_path / "gone.gguf")
    assert lines(path)[0]["model"]["sha256"] is None


def test_an_error_does_not_wait_for_the_hash(tmp_path, model, monkeypatch):
    begun = threading.Event()

    def hashing(_path: Path, cancelled: Callable[[], bool]) -> str:
        begun.set()
        end = time.monotonic() + 10
        while not cancelled():
            assert time.monotonic() < end
        raise InterruptedError

    monkeypatch.setattr(writing, "sha256_of", hashing)
    path = tmp_path / "t.jsonl"
    with pytest.raises(KeyboardInterrupt), TraceWriter(path, warned) as writer:
        begin(writer, model)
        writer.step(EVENTS[0])
        assert begun.wait(10)
        raise KeyboardInterrupt
    run, step = lines(path)
    assert run["model"]["sha256"] is None
    assert step["i"] == 0


@needs_dev_full
def test_a_full_disk_warns_once_and_goes_on(model):
    said: list[str] = []
    with TraceWriter(Path("/dev/full"), said.append) as writer:
        begin(writer, model)
        for event in EVENTS:
            writer.step(event)
        writer.end(RESULT)
    assert len(said) == 1
    assert said[0].startswith("the trace /dev/full ends after 0 steps: No space left")


def test_a_disk_that_fills_up_later(tmp_path, model, monkeypatch):
    said: list[str] = []
    path = tmp_path / "t.jsonl"
    with TraceWriter(path, said.append) as writer:
        begin(writer, model)
        writer.step(EVENTS[0])
        file = writer._file
        assert file is not None
        monkeypatch.setattr(writer, "_file", Full(file))
        writer.step(EVENTS[1])
        writer.step(EVENTS[2])
        writer.end(RESULT)
    assert said == [f"the trace {path} ends after 2 steps: No space left on device"]
    file.close()
    assert [record["type"] for record in lines(path)] == ["run", "step"]


class Full:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("name", ["no/such/folder/t.jsonl", "."])
def test_a_path_that_cannot_be_written(tmp_path, name):
    with pytest.raises(SelarError, match="cannot write the trace") as caught:
        TraceWriter(tmp_path / name, warned)
    assert "\n" not in str(caught.value)


def test_without_a_step(tmp_path, model):
    path = tmp_path / "t.jsonl"
    with TraceWriter(path, warned) as writer:
        begin(writer, model, CoT())
        writer.end(RESULT)
    run, steps, end = read_trace(path)
    assert (run["method"], run["options"], steps) == ("cot", {}, [])
    assert end is not None


# -- reading ----------------------------------------------------------------------------------


def test_read_what_was_written(tmp_path, model):
    path = tmp_path / "t.jsonl"
    write_all(path, model)
    run, steps, end = read_trace(path)
    assert [run, *steps, end] == lines(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"[1]\n",
        b"{}\n",
        b'"run"\n',
        b"null\n",
        b"\xff\xfe\x00\n",
        b'{"type":"step","i":0}\n',
        b'{"type":"run"}\n{"type":"st\n',
        b'{"type":"run","mod',
        b"[" * 200_000 + b"\n",
    ],
)
def test_files_that_are_no_traces(tmp_path, content):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(SelarError, match="is not a trace of selar-local"):
        read_trace(path)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_trace_that_was_cut_off(tmp_path, model, cut):
    path = tmp_path / "t.jsonl"
    write_all(path, model)
    wanted = lines(path)[:-1]
    path.write_bytes(path.read_bytes()[:-cut] if cut > 1 else path.read_bytes().rsplit(b"{", 1)[0])
    run, steps, end = read_trace(path)
    assert ([run, *steps], end) == (wanted, None)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SelarError, match="cannot read the trace"):
        read_trace(tmp_path / "none.jsonl")
    with pytest.raises(SelarError, match="cannot read the trace"):
        read_trace(tmp_path)
