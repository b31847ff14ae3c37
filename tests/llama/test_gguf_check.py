"""Values and vocabularies that would crash llama.cpp are refused before it sees them; fuzzing."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.raw_gguf import ARCHITECTURE, ARRAY, STRING, U32, gguf, key, refusal, tensor, text
from support.tiny_gguf import write_tiny_gguf

from selar_local.errors import SelarError, UnsupportedModel
from selar_local.llama.gguf_file import check_hyperparameters, open_gguf

ROOT = Path(__file__).resolve().parents[2]
TinyModel = Callable[..., Path]


def vocabulary(tokens: list[bytes], model: str = "gpt2", *more: bytes) -> bytes:
    packed = struct.pack("<IQ", STRING, len(tokens)) + b"".join(map(text, tokens))
    tokenizer = [key("tokenizer.ggml.model", STRING, text(model)), key("tokenizer.ggml.tokens", ARRAY, packed)]
    return gguf([ARCHITECTURE, *tokenizer, *more])


WORDS = [b"w%d" % number for number in range(2000)]


@pytest.mark.parametrize(
    ("tokens", "twice"),
    [
        ([*WORDS, b"w17"], "w17"),
        ([*WORDS, b"", b"", b""], None),
        ([*WORDS, b"one\0two", b"one\0three"], "one"),
        ([*WORDS, b"w5\0"], "w5"),
        ([*WORDS, b"a" * 300, b"a" * 301], None),
        ([*WORDS, b"a" * 300, b"b" * 70000, b"a" * 300], "a" * 300),
        # the same length, beginning, middle and end, and yet another text
        ([*WORDS, b"x" * 12 + b"1" + b"x" * 40, b"x" * 12 + b"2" + b"x" * 40], None),
        ([*WORDS, b"x" * 12 + b"1" + b"x" * 40, b"x" * 12 + b"1" + b"x" * 40], "x" * 12 + "1" + "x" * 40),
        ([bytes([1, 0, 0, 0, 0, 0, 0, 0]) * 3 + b"%d" % number for number in range(50)], "\x01"),
    ],
)
def test_tokens_that_stand_twice(tmp_path: Path, tokens: list[bytes], twice: str | None) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(vocabulary(tokens))
    if twice is None:
        assert open_gguf(path).array_lengths["tokenizer.ggml.tokens"] == len(tokens)
    else:
        assert f"the token {twice!r} stands in its vocabulary twice" in refusal(path)


def test_string_arrays_of_every_length_are_walked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "m.gguf"
    for longest in (1, 9, 255, 256, 700):
        tokens = [rng.bytes(int(size)) + b"#%d" % at for at, size in enumerate(rng.integers(0, longest, 500))]
        after = key("after", U32, struct.pack("<I", 7))
        path.write_bytes(vocabulary([token.replace(b"\0", b".") for token in tokens], "gpt2", after))
        assert open_gguf(path).metadata["after"] == 7


def test_a_sentencepiece_vocabulary_needs_its_bytes(tmp_path: Path) -> None:
    letters = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), b"a"]
    (tmp_path / "m.gguf").write_bytes(vocabulary(letters, "llama"))
    open_gguf(tmp_path / "m.gguf")
    letters[3 + 0xC3] = b"<0xZZ>"
    assert "no token for the byte 0xC3" in refusal(tmp_path / "n.gguf", vocabulary(letters, "llama"))


def test_a_token_to_begin_with_must_exist(tmp_path: Path) -> None:
    add = key("tokenizer.ggml.add_bos_token", 7, b"\1")
    assert "texts are to get a bos token" in refusal(tmp_path / "m.gguf", vocabulary([b"a", b"b"], "gpt2", add))


@pytest.mark.parametrize(
    ("architecture", "values", "words"),
    [
        ("llama", {"block_count": 0}, "llama.block_count is 0, but must be between 1 and 512"),
        ("llama", {"block_count": 513}, "llama.block_count is 513"),
        ("llama", {"context_length": 0}, "llama.context_length is 0, but must be positive"),
        ("llama", {"nextn_predict_layers": 2}, "llama.nextn_predict_layers is 2, but must be less than block_count"),
        ("llama", {"attention.layer_norm_rms_epsilon": -1e-5}, "must be a small positive number"),
        ("llama", {"attention.layer_norm_rms_epsilon": float("nan")}, "is nan, but must be a finite number"),
        ("llama", {"rope.freq_base": float("inf")}, "llama.rope.freq_base is inf, but must be a finite number"),
        ("llama", {"rope.scaling.type": "spiral"}, "llama.rope.scaling.type is 'spiral', but must be one of none,"),
        ("llama", {"rope.dimension_count": 8}, "llama.rope.dimension_count is 8, but must be the size of a head (16)"),
        ("llama", {"attention.head_count": 0}, "llama.attention.head_count is 0, but must be positive"),
        ("llama", {"attention.head_count_kv": 3}, "is 3, but must be a divisor of head_count (4)"),
        ("llama", {"attention.value_length": 8}, "must be equal to attention.value_length (8)"),
        ("llama", {"expert_count": 1025}, "llama.expert_count is 1025, but must be at most 1024"),
        ("llama", {"expert_count": 4}, "llama.expert_used_count is 0, but must be between 1 and expert_count (4)"),
        ("llama", {"expert_used_count": 1}, "llama.expert_used_count is 1"),
        ("llama", {"expert_group_count": 1}, "llama.expert_group_count is 1, but must be less than expert_count (0)"),
        ("qwen3", {"rope.dimension_count": 0}, "qwen3.rope.dimension_count is 0"),
        ("gemma3", {"rope.dimension_count": 0}, "is 0, but must be an even number from 2 to the size of a head (32)"),
        ("gemma3", {"rope.dimension_count_swa": 31}, "gemma3.rope.dimension_count_swa is 31"),
        ("gemma3", {"attention.sliding_window": 2**31 - 1}, "gemma3.attention.sliding_window is 2147483647"),
        ("gemma3", {"attention.sliding_window_pattern": 1}, "must be such that some layer has the window"),
        ("gemma3", {"attention.sliding_window_pattern": [False, False]}, "must be such that some layer has the window"),
        ("qwen2vl", {"rope.dimension_sections": [0, 0, 0, 8]}, "must be there, and not all zero"),
        ("qwen2vl", {"rope.dimension_sections": [90, 0, 0, 0]}, "must be at most the size of a head (16) in all"),
    ],
)
def test_values_that_would_crash(tmp_path: Path, architecture: str, values: dict[str, Any], words: str) -> None:
    path = tmp_path / "m.gguf"
    named = {f"{architecture}.{name}": value for name, value in values.items()}
    write_tiny_gguf(path, architecture=architecture, metadata=named)
    assert words in refusal(path)


@pytest.mark.parametrize(
    ("name", "demand"), [("output_norm", "f32, as every vector"), ("token_embd", "a type for weights")]
)
def test_tensor_types_that_would_crash(tmp_path: Path, tiny: TinyModel, name: str, demand: str) -> None:
    # another type of the same size: 26 is i32
    raw = bytearray(tiny().read_bytes())
    shape = open_gguf(tiny()).tensors[f"{name}.weight"].shape
    entry = tensor(f"{name}.weight", shape)[: -struct.calcsize("<IQ")]
    at = bytes(raw).index(entry) + len(entry)
    raw[at : at + 4] = struct.pack("<I", 26)
    assert f"tensor {name}.weight has type i32 instead of {demand}" in refusal(tmp_path / "m.gguf", bytes(raw))


@pytest.mark.parametrize("tokenizer", ["none", "no_vocab", "t5", "bert"])
def test_tokenizers_of_other_models(tmp_path: Path, tokenizer: str) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", metadata={"tokenizer.ggml.model": tokenizer})
    with pytest.raises(UnsupportedModel, match=r"^m\.gguf has .* tokenizer"):
        check_hyperparameters(open_gguf(path))


@pytest.mark.skipif(sys.platform == "win32", reason="every mutation runs in a forked process")
@pytest.mark.parametrize("options", [["--architecture", "llama"], ["--architecture", "gemma3", "--sentencepiece"]])
def test_damage_never_kills_the_process(options: list[str]) -> None:
    """A few of the thousands of mutations that scripts/fuzz_gguf.py tries, from opening to text."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_gguf.py"), "--mutations", "40", "--seed", "7", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40  mutations" in done.stdout


def test_damage_is_an_error_of_ours(tmp_path: Path, tiny: TinyModel) -> None:
    """Whatever stands in the header, nothing but our own errors comes out."""
    whole, rng = tiny().read_bytes(), np.random.default_rng(5)
    end = min(info.offset for info in open_gguf(tiny()).tensors.values())
    path = tmp_path / "m.gguf"
    for _ in range(300):
        raw = bytearray(whole)
        for spot in rng.integers(4, end, rng.integers(1, 6)):
            raw[spot] = rng.integers(256)
        path.write_bytes(raw)
        try:
            check_hyperparameters(open_gguf(path))
        except SelarError as error:
            assert str(error).startswith("m.gguf ")
            assert "\n" not in str(error)
