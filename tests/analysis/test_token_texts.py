"""Traces in memory, and where the texts of their tokens come from."""

from __future__ import annotations

import json
import threading

import pytest
from methods.fakes import Words, generate, linear
from support import traces as made
from support.tiny_gguf import THINKING_TOKENS, tiny_vocabulary

from selar_local.analysis.token_texts import Piece, TokenTexts, token_texts
from selar_local.config import SamplingConfig
from selar_local.errors import ModelFileError, ModelNotFound, SelarError
from selar_local.llama.vocabulary import read_vocabulary
from selar_local.methods import CoT, Selar, SoftThinking, SwiReasoning
from selar_local.trace import TraceRecorder, TraceWriter, load_trace, read_trace
from selar_local.trace import writer as writing
from selar_local.trace.trace import trace_of

VOCABULARY = Words(" yes", " no", " maybe", ends=("<end>",))
NOTHING = TokenTexts(({},), ())


@pytest.mark.parametrize("method", [Selar(), CoT(), SoftThinking(), SwiReasoning()], ids=str)
def test_a_trace_in_memory_is_that_of_the_file(method, tmp_path):
    done = generate(method, linear(VOCABULARY.n_vocab), VOCABULARY)
    path = tmp_path / "t.jsonl"
    made.written(path, method, done, VOCABULARY)
    recorder = TraceRecorder()
    assert recorder.trace("t") is None
    recorder.begin({"path": "gone.gguf", "n_vocab": VOCABULARY.n_vocab}, method, SamplingConfig(), 3, (5,))
    for event in done.events:
        recorder.step(event)
    found, early = load_trace(path, "t"), recorder.trace("t")
    assert early is not None and (early.steps, early.end) == (found.steps, None)
    recorder.end(done.result, VOCABULARY.piece)
    assert recorder.trace("t") == found and json.loads(json.dumps(found.run)) == read_trace(path)[0]


def test_the_trace_holds_the_texts_of_its_tokens(tmp_path):
    done = generate(Selar(), linear(VOCABULARY.n_vocab), VOCABULARY)
    found = made.written(tmp_path / "t.jsonl", Selar(), done, VOCABULARY)
    told = token_texts([found])
    tokens = {5} | {token for step in found.steps for token in (step.token, step.drawn, *dict(step.top))}
    assert told.notes == ()
    assert told.pieces[0] == {token: Piece("text", VOCABULARY.words[token]) for token in tokens}


def test_half_characters_and_tokens_without_text_in_the_trace(tmp_path):
    bytes_of = {5: "é".encode()[:1], 6: b"", 7: "é".encode()}
    records = {**made.end(1), "pieces": {"5": [0xC3], "7": "é", "x": "no id", "8": [300], "9": None, "²": "no digit"}}
    one = trace_of(
        "t", made.run(prompt=(6,)), [made.step(5, "", top=[(5, 0.5), (7, 0.3), (8, 0.1), (9, 0.1)])], records
    )
    assert token_texts([one]).pieces[0] == {5: Piece("bytes", "C3"), 7: Piece("text", "é")}
    path = tmp_path / "t.jsonl"
    done = generate(CoT(), linear(VOCABULARY.n_vocab), VOCABULARY, max_tokens=1)
    with TraceWriter(path, lambda message: None) as writer:
        writer.begin({"path": "gone.gguf"}, CoT(), SamplingConfig(), 3, (5, 6, 7))
        writer.end(done.result, bytes_of.__getitem__)
    assert (read_trace(path)[2] or {})["pieces"] == {"5": [0xC3], "7": "é"}


def test_an_engine_that_has_failed_tells_no_texts(tmp_path):
    def gone(token: int) -> bytes:
        raise SelarError("the engine is closed")

    done = generate(CoT(), linear(VOCABULARY.n_vocab), VOCABULARY, max_tokens=1)
    with TraceWriter(tmp_path / "t.jsonl", lambda message: None) as writer:
        writer.begin({"path": "gone.gguf"}, CoT(), SamplingConfig(), 3, (5,))
        writer.end(done.result, gone)
    assert "pieces" not in (read_trace(tmp_path / "t.jsonl")[2] or {"pieces": 0})


def test_the_vocabulary_of_the_model(tiny):
    vocabulary = tiny_vocabulary(True)
    the, half, think, end = map(vocabulary.id_of, ("Ġthe", "ð", THINKING_TOKENS[0], "<|im_end|>"))
    path = tiny(thinking_tokens=True)
    told = read_vocabulary(path, [the, half, end, 10**6, -1])
    assert told.n_vocab == len(vocabulary.tokens)
    assert told.tokens == {the: (b" the", False), half: (b"\xf0", False), end: (b"<|im_end|>", True)}
    head = made.run(prompt=(the,), model={"path": str(path), "n_vocab": told.n_vocab})
    one = trace_of(
        "t", head, [made.step(half, "", top=[(half, 0.5), (think, 0.5)]), made.step(end, "", top=[(end, 1)])], None
    )
    found = token_texts([one])
    assert found.notes == ()
    assert found.pieces[0] == {
        the: Piece("text", " the"), half: Piece("bytes", "F0"), think: Piece("text", "<think>"),
        end: Piece("control", "<|im_end|>"),
    }  # fmt: skip


def test_a_model_that_is_not_there_or_another_one(tiny, tmp_path):
    path = tiny()
    n_vocab = len(tiny_vocabulary().tokens)
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(path.read_bytes()[:1000])
    for where, size in (
        ("/nowhere/x.gguf", n_vocab),
        (str(path), n_vocab + 1),
        (str(damaged), n_vocab),
        ("", 5),
        (7, 5),
    ):
        told = token_texts([made.trace(made.step(5, "a"), model={"path": where, "n_vocab": size})])
        assert told.pieces == ({},) and len(told.notes) == 1
        assert told.notes[0].startswith("t.jsonl: its model") and "--model" in told.notes[0]
    there = made.trace(made.step(5, "a"), model={"path": "/nowhere/x.gguf", "n_vocab": n_vocab})
    assert token_texts([there], path).pieces[0][5].kind == "text"
    with pytest.raises(ModelFileError, match=rf"is not the model of t.jsonl: it has {n_vocab} tokens instead of 5"):
        token_texts([made.trace(made.step(5, "a"), model={"n_vocab": 5})], path)
    with pytest.raises(ModelNotFound):
        token_texts([there], tmp_path / "none.gguf")
    with pytest.raises(ModelFileError):
        token_texts([there], damaged)
    assert token_texts([made.trace(prompt=(), model={})]) == NOTHING


# -- the hash, which shares the processors with the generation -----------------------------------------


def test_hashing_pauses_while_tokens_are_generated(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_PAUSE", 60)
    asked, told = threading.Event(), threading.Event()

    def hashing(_path, cancelled):
        asked.set()
        cancelled()  # as between two blocks of the file
        told.set()
        return "ab" * 32

    monkeypatch.setattr(writing, "sha256_of", hashing)
    done = generate(CoT(), linear(VOCABULARY.n_vocab), VOCABULARY, max_tokens=2)
    path = tmp_path / "t.jsonl"
    with TraceWriter(path, lambda message: None) as writer:
        writer.begin({"path": "m.gguf"}, CoT(), SamplingConfig(), 3, (5,))
        for event in done.events:
            writer.step(event)
        assert asked.wait(10) and not told.wait(0.3)
        writer.end(done.result)
        assert told.wait(10)
    assert read_trace(path)[0]["model"]["sha256"] == "ab" * 32
