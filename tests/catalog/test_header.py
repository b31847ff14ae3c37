"""The beginning of a GGUF file: what a list shows of it, and that no file can break the reading."""

from __future__ import annotations

import random
import struct

import pytest
from gguf import LlamaFileType
from support.raw_gguf import ARRAY, STRING, U32, gguf, key, text
from support.tiny_gguf import ARCHITECTURES

from selar_local.catalog.entries import FILE_TYPES, Header, read_header
from selar_local.catalog.file_names import parameters_in, quantisation_in

from .conftest import model_bytes, write


def u32(name, value):
    return key(name, U32, struct.pack("<I", value))


def string(name, value):
    return key(name, STRING, text(value))


def texts(name, *values):
    return key(name, ARRAY, struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_that_can_be_opened_are_read(tiny, architecture):
    header = read_header(tiny(architecture=architecture))
    assert header.architecture == architecture
    assert header.writes_text == (architecture != "bert")


def test_facts_before_the_tokenizer(tmp_path):
    more = [
        string("general.type", "model"), texts("general.tags", "a", "b" * 5000), string("general.size_label", "0.6B"),
        string("general.description", "x" * 100_000), u32("general.file_type", 15), string("tokenizer.ggml.model", "x"),
        u32("general.file_type", 7),
    ]  # fmt: skip
    path = write(tmp_path / "m.gguf", model_bytes("Name", *more))
    assert read_header(path) == Header("llama", "model", "0.6B", "Q4_K_M")


@pytest.mark.parametrize(
    ("keys", "writes"),
    [
        ([], True),
        ([string("general.type", "mmproj")], False),
        ([string("general.type", "adapter")], False),
        ([string("general.type", "imatrix")], False),
        ([string("general.type", "model")], True),
    ],
)
def test_what_is_no_language_model(tmp_path, keys, writes):
    assert read_header(write(tmp_path / "m.gguf", model_bytes("", *keys))).writes_text is writes


@pytest.mark.parametrize(
    "architecture", ["clip", "bert", "nomic-bert-moe", "jina-bert-v2", "gemma-embedding", "t5encoder"]
)
def test_encoders_write_no_text(tmp_path, architecture):
    assert not read_header(write(tmp_path / "m.gguf", model_bytes(architecture=architecture))).writes_text


def test_no_gguf_file(tmp_path):
    for data in (b"", b"GGU", b"GGUF" + bytes(40), b"<html>", gguf(version=1), gguf(version=99)):
        assert read_header(write(tmp_path / "m.gguf", data)) is None
    for data in (b"GGUF", b"GGUF\3\0\0\0", b"GGUF\3\0\0\0" + bytes(16)):  # cut off
        header = read_header(write(tmp_path / "m.gguf", data))
        assert header is None or not header.writes_text
    assert read_header(tmp_path / "missing.gguf") is None and read_header(tmp_path) is None


def test_damaged_files_are_read_as_far_as_they_make_sense(tmp_path):
    keys = [u32("general.file_type", 7), texts("general.tags", "a", "b"), string("general.size_label", "1B")]
    for seed in range(300):
        chance = random.Random(seed)
        data = bytearray(model_bytes("A name", *keys))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 8, 9, 255, chance.randrange(256)])
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        header = read_header(write(tmp_path / "m.gguf", bytes(data)))
        assert header is None or (header.writes_text in (True, False) and header.architecture.isprintable()), seed


def test_huge_counts_end_the_reading(tmp_path):
    for value in (1 << 40, (1 << 63) + 5, (1 << 64) - 1):
        huge = struct.pack("<Q", value)
        for extra in (
            text("general.name") + struct.pack("<I", STRING) + huge,
            text("x") + struct.pack("<II", ARRAY, STRING) + huge,
            text("x") + struct.pack("<II", ARRAY, 6) + huge,
            huge,
        ):
            path = write(
                tmp_path / "m.gguf", gguf([string("general.architecture", "llama"), extra], counts=(1, 1 << 60))
            )
            assert read_header(path).architecture == "llama"


def test_file_types_are_those_of_llama_cpp():
    known = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}
    del known[int(LlamaFileType.GUESSED)]
    assert known.items() <= FILE_TYPES.items()


@pytest.mark.parametrize(
    ("name", "quantisation", "parameters"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0", "0.6B"),
        ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", "Q4_K_M", "1.5B"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1", "135M"),
        ("gemma-3-270m-it-F16.gguf", "F16", "270M"),
        ("m-BF16.gguf", "BF16", None),
        ("Qwen3-30B-A3B-UD-Q4_K_XL.gguf", "Q4_K_XL", "30B-A3B"),
        ("Qwen3-30B-A3B-IQ3_XXS-00001-of-00002.gguf", "IQ3_XXS", "30B-A3B"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4", "20B"),
        ("phi-4-Q6_K.gguf", "Q6_K", None),
        ("Llama-3.1-8B-Q3_K_L.gguf", "Q3_K_L", "8B"),
        ("model.gguf", None, None),
        ("Q4.gguf", None, None),
        ("b16-v2.gguf", None, None),
    ],
)
def test_facts_in_names(name, quantisation, parameters):
    assert (quantisation_in(name), parameters_in(name)) == (quantisation, parameters)
