"""Opening a model, its vocabulary, and what llama.cpp answers to bad decodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import TokenType
from support.prefill import prefill
from support.tiny_gguf import BOS, IM_END, IM_START, split_gguf, tiny_vocabulary

from selar_local.config import EngineConfig
from selar_local.errors import DecodeError, ModelFileError, UnsupportedModel
from selar_local.llama import library
from selar_local.llama.context import Aborted, ContextFull
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.model import LlamaModel
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Mixture, Token, Vector

Tiny = Callable[..., Path]
WORDS = tiny_vocabulary()


@pytest.fixture
def opened(tiny) -> Iterator[Callable[..., LlamaModel]]:
    """`opened(**arguments of write_tiny_gguf)` is that model, closed after the test."""
    models: list[LlamaModel] = []

    def load(**options: Any) -> LlamaModel:
        models.append(LlamaModel(open_gguf(tiny(**options)), EngineConfig(threads=1)))
        return models[-1]

    yield load
    for model in models:
        model.close()
        model.close()


# -- vocabulary -------------------------------------------------------------------------------


def test_facts(opened):
    model = opened(architecture="qwen2vl")
    assert (model.n_vocab, model.n_embd, model.n_embd_inp, model.n_ctx_train) == (325, 64, 64, 512)
    assert model.mrope
    assert not opened().mrope
    assert model.n_params() > 0
    assert "qwen2vl" in model.description()
    assert model.chat_template() is None
    assert opened(chat_template="{{ 1 }}é").chat_template() == "{{ 1 }}é"


@pytest.mark.parametrize("add_bos", [True, False])
def test_the_bos_rule(opened, add_bos):
    model = opened(metadata={"tokenizer.ggml.add_bos_token": add_bos})
    bos = WORDS.id_of(BOS)
    plain = model.encode("the answer")
    assert bos not in plain
    assert model.prompt_tokens("the answer") == ([bos, *plain] if add_bos else plain)
    assert model.prompt_tokens(BOS + "the answer") == [bos, *plain]
    assert model.prompt_tokens("") == ([bos] if add_bos else [])


def test_special_tokens_are_parsed_in_prompts_only(opened):
    model = opened()
    text = f"{IM_START}user\nHi{IM_END}"
    tokens = model.prompt_tokens(text)
    assert tokens[0] == WORDS.id_of(IM_START)
    assert tokens[-1] == WORDS.id_of(IM_END)
    spelled = model.encode(text)
    assert not set(spelled) & {WORDS.id_of(t) for t in (IM_START, IM_END)}
    assert b"".join(model.piece(token) for token in spelled) == text.encode()


@pytest.mark.parametrize("text", ["", "a\0b", "é — 你好 😀", " \n\t ", "x" * 20_000, "\x00"])
def test_text_survives_the_tokenizer(opened, text):
    model = opened()
    assert b"".join(model.piece(token) for token in model.encode(text)) == text.encode()


def test_text_that_is_no_unicode(opened):
    model = opened()
    assert b"".join(model.piece(token) for token in model.encode("a\udc80b")) == b"a?b"


def test_pieces_and_names(opened):
    model = opened()
    end = WORDS.id_of(IM_END)
    assert model.piece(end) == b""
    assert model.render(end, special=False) == b""
    assert model.render(end, special=True) == IM_END.encode()
    assert model.special_text("bos") == BOS
    assert model.special_text("eos") == IM_END
    assert model.piece(WORDS.id_of("Ġthe")) == b" the"
    half = model.encode("é")
    assert b"".join(map(model.piece, half)) == "é".encode()


def test_a_long_token(opened):
    tokens = [*WORDS.tokens]
    tokens[WORDS.id_of("Ġanswer")] = "Ġ" + "y" * 700
    model = opened(metadata={"tokenizer.ggml.tokens": tokens})
    assert model.piece(WORDS.id_of("Ġanswer")) == b" " + b"y" * 700
    assert model.piece(WORDS.id_of("Ġthe")) == b" the"


def test_every_declared_end_ends(opened):
    ends = {"eot": WORDS.id_of("Q"), "eom": WORDS.id_of("Z")}
    metadata = {f"tokenizer.ggml.{name}_token_id": token for name, token in ends.items()}
    model = opened(metadata=metadata)
    found = {token for token in range(model.n_vocab) if model.is_end(token)}
    assert {*ends.values(), WORDS.id_of(IM_END)} <= found
    assert len(found) <= 4
    plain = opened()
    assert plain.is_end(WORDS.id_of(IM_END))
    assert not plain.is_end(WORDS.id_of("Q"))


def test_tags_that_are_control_tokens_are_shown(opened):
    vocabulary = tiny_vocabulary(True)
    types = [*vocabulary.types[:-2], int(TokenType.CONTROL), int(TokenType.CONTROL)]
    model = opened(thinking_tokens=True, metadata={"tokenizer.ggml.token_type": types})
    opening, closing = vocabulary.id_of("<think>"), vocabulary.id_of("</think>")
    assert model.piece(opening) == b""
    model.show_as_text(["<think>", "</think>", "no token of its own"])
    assert (model.piece(opening), model.piece(closing)) == (b"<think>", b"</think>")
    assert model.piece(vocabulary.id_of(IM_END)) == b""


# -- files ------------------------------------------------------------------------------------


def runtime(path: Path, **options: Any) -> LlamaRuntime:
    return LlamaRuntime(path, EngineConfig(**{"threads": 1, "ctx_size": 256, "batch_size": 512, **options}))


def greedy(path: Path, n: int = 8) -> list[int]:
    """The first tokens after a fixed prompt."""
    model = runtime(path)
    tokens: list[int] = []
    logits = prefill(model, 0, 0, [10, 20, 30])
    for position in range(3, 3 + n):
        assert logits is not None
        tokens.append(int(logits.argmax()))
        (logits,) = model.step([Feed(0, position, Token(tokens[-1]))], True)
    model.close()
    return tokens


@pytest.mark.parametrize("n", [2, 5])
def test_split_files(tiny, tmp_path, n):
    path = tiny(weight_type="Q8_0")
    parts = split_gguf(path, tmp_path, n)
    assert len(parts) == n
    wanted = greedy(path)
    assert greedy(parts[0]) == wanted
    assert greedy(parts[-1]) == wanted
    parts[1].unlink()
    with pytest.raises(ModelFileError, match="missing"):
        runtime(parts[0])


def test_what_llama_cpp_said_is_quoted(tiny):
    with pytest.raises(ModelFileError, match="unheard-of"):
        runtime(tiny(metadata={"tokenizer.ggml.pre": "unheard-of"}))


@pytest.mark.parametrize(
    "options",
    [{"cache_type_v": "q4_0", "flash_attn": "off"}, {"cache_type_k": "q8_0"}],
)
def test_options_that_the_model_cannot_have(tiny, options):
    with pytest.raises(UnsupportedModel, match="could not create a context: "):
        runtime(tiny(), **options)
    assert len(greedy(tiny(), 1)) == 1


def test_a_matrix_with_too_few_rows(tiny, monkeypatch):
    original = LlamaModel.__init__

    def larger(model: LlamaModel, *arguments: Any) -> None:
        original(model, *arguments)
        model.n_vocab += 1

    monkeypatch.setattr(LlamaModel, "__init__", larger)
    with pytest.raises(ModelFileError, match="fewer rows"):
        runtime(tiny())


class Line(str):
    """An error line during whose reading another load says something."""

    __slots__ = ()

    def split(self, *arguments: Any) -> Any:
        library._errors.append("g: too late")
        return super().split(*arguments)


def test_the_errors_of_two_loads_at_once():
    library.start()
    library._errors.extend([Line("f: failed to load model"), Line("f: something went wrong")])
    assert library.recent_errors() == "something went wrong"
    library.start()
    assert library.recent_errors() == ""


# -- decoding ---------------------------------------------------------------------------------


@pytest.fixture
def two(tiny) -> Iterator[LlamaRuntime]:
    """Two sequences of 256 tokens each."""
    model = runtime(tiny(), parallel=2)
    yield model
    model.close()
    model.close()


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma3", "qwen2vl"])
def test_rows_and_ids_agree_over_many_steps(tiny, architecture):
    """With M-RoPE an embedding batch must carry its positions four times over: one step would not show it."""
    model = runtime(tiny(architecture=architecture), parallel=2)
    draw = np.random.default_rng(0)
    for slot in (0, 1):
        prefill(model, slot, 0, [10, 20, 30])
    for position in range(3, 28):
        token = Token(int(draw.integers(0, 300)))
        as_id = model.step([Feed(0, position, token)], False)[0].copy()
        as_row = model.step([Feed(1, position, token)], True)[0].copy()
        assert np.array_equal(as_id, as_row), position
        assert as_id.std() > 0.1
    model.close()


@pytest.mark.parametrize("lengths", [(5, 5, 5, 5), (5, 3, 5, 1)], ids=["alike", "unlike"])
def test_chunks_of_several_prompts_in_one_batch(tiny, lengths):
    model = runtime(tiny(weight_type="F32"), parallel=4)
    draw = np.random.default_rng(1)
    prompts = [draw.integers(0, 300, length).tolist() for length in lengths]
    wanted = []
    for slot, ids in enumerate(prompts):
        wanted.append(prefill(model, slot, 0, ids).copy())
    follow = [model.step([Feed(slot, len(ids), Token(7))], False)[0].copy() for slot, ids in enumerate(prompts)]
    model.clear()
    found = model.prefill([Chunk(slot, 0, ids, slot != 2) for slot, ids in enumerate(prompts)], bool)
    assert found[2] is None
    for slot in (0, 1, 3):
        assert np.allclose(found[slot], wanted[slot], atol=1e-3), slot
    again = model.step([Feed(slot, len(ids), Token(7)) for slot, ids in enumerate(prompts)], False)
    for slot in range(4):
        assert np.allclose(again[slot], follow[slot], atol=1e-3), slot
        assert np.array_equal(again[slot], model.context.logits(slot)), slot
    assert not np.allclose(wanted[0], wanted[1], atol=0.1)
    model.close()


def test_the_three_kinds_of_input(two):
    row = np.empty(two.table.width, np.float32)
    two.table.row(50, row)
    inputs = [Token(50), Mixture(np.array([50]), np.array([1.0])), Vector(row)]
    results = []
    for chosen in inputs:
        two.clear()
        prefill(two, 0, 0, [10, 20])
        results.append(two.step([Feed(0, 2, chosen)], True)[0].copy())
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    two.clear()
    prefill(two, 0, 0, [10, 20])
    mixed = two.step([Feed(0, 2, Mixture(np.array([50, 60]), np.array([0.5, 0.5])))], True)[0]
    assert not np.allclose(mixed, results[0])


def test_a_full_context_and_how_it_goes_on(two):
    assert two.capacity == 256
    logits = prefill(two, 0, 0, [10] * 256)
    assert logits is not None
    with pytest.raises(ContextFull):
        two.step([Feed(0, 256, Token(10))], False)
    assert prefill(two, 1, 0, [10] * 3) is not None
    two.forget(0)
    assert prefill(two, 0, 0, [10] * 3) is not None


def test_a_prompt_that_is_cancelled(two):
    before = prefill(two, 0, 0, [10, 20])
    assert before is not None
    wanted = before.copy()
    two.forget(0)
    with pytest.raises(Aborted):
        prefill(two, 0, 0, [10] * 200, cancelled=lambda: True)
    two.forget(0)
    after = prefill(two, 0, 0, [10, 20])
    assert np.array_equal(after, wanted)


@pytest.mark.parametrize(
    "feed",
    [
        Feed(0, 5, Token(10)),  # a gap
        Feed(0, 1, Token(10)),  # a repeat
        Feed(2, 0, Token(10)),  # no such sequence
        Feed(-1, 0, Token(10)),
        Feed(0, -1, Token(10)),
        Feed(0, 2, Token(-1)),
        Feed(0, 2, Token(325)),
        Feed(0, 2, Vector(np.full(64, np.nan, np.float32))),
        Feed(0, 2, Vector(np.full(64, np.inf, np.float32))),
    ],
)
def test_bad_inputs_are_refused_and_harm_nothing(two, feed):
    for slot in (0, 1):
        prefill(two, slot, 0, [10, 20])
    for prefer_rows in (True, False):
        with pytest.raises((DecodeError, IndexError)):
            two.step([feed], prefer_rows)
    good = [two.step([Feed(slot, 2, Token(30))], False)[0].copy() for slot in (0, 1)]
    assert np.array_equal(good[0], good[1])
    assert np.isfinite(good[0]).all()


def test_logits_nobody_asked_for(two):
    assert prefill(two, 0, 0, [10, 20], last=False) is None
    with pytest.raises(DecodeError, match="no logits"):
        two.context.logits(1)


def test_a_closed_runtime(two):
    two.close()
    with pytest.raises(DecodeError, match="closed"):
        two.forget(0)


@pytest.mark.parametrize("flash_attn", ["on", "off"])
def test_clearing_wipes_nan(tiny, flash_attn):
    model = runtime(tiny(), flash_attn=flash_attn)
    first = prefill(model, 0, 0, [10, 20])
    assert first is not None
    wanted = first.copy()
    model.clear()
    rows = model.batch.rows(1)
    rows[:] = 0
    batch = model.batch.of_rows(1, [5], [0], [True])
    rows[:] = np.nan  # behind the back of the batch's own check
    model.context.decode(batch)
    assert np.isnan(model.context.logits(0)).all()
    model.clear()
    after = prefill(model, 0, 0, [10, 20])
    assert np.array_equal(after, wanted)
    model.close()


def test_pieces_are_right_whoever_asks_at_the_same_time(tiny: Callable[..., Path]) -> None:
    runtime = LlamaRuntime(tiny(), EngineConfig(threads=1))
    model = runtime.model
    expected = [model.render(token, special=True) for token in range(model.n_vocab)]
    wrong: list[int] = []

    def look() -> None:
        for _ in range(20):
            wrong.extend(t for t in range(model.n_vocab) if model.render(t, special=True) != expected[t])

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runtime.close()
    assert wrong == []
