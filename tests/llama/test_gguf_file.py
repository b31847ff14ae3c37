"""Opening GGUF files: what is refused, and in which words; split models."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.raw_gguf import ARCHITECTURE, ARRAY, SMALL, STRING, U16, U32, gguf, key, refusal, tensor, text
from support.tiny_gguf import split_gguf

from selar_local.errors import ModelFileError, ModelNotFound, SelarError
from selar_local.llama.gguf_file import open_gguf

TinyModel = Callable[..., Path]


def test_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.gguf", tmp_path / "no" / "where.gguf", tmp_path / ("x" * 400), Path("a\0b")):
        with pytest.raises(ModelNotFound, match="there is no model at"):
            open_gguf(path)


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a directory; name the .gguf file in it"


def test_empty(tmp_path: Path) -> None:
    assert refusal(tmp_path / "m.gguf", b"") == "is empty; download it again"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"just some words, and no model at all", "is not a GGUF file: it is a text file"),
        (b"PK\x03\x04" + bytes(80), "it is a zip archive; unpack it first"),
        (b"PK\x03\x04" + bytes(20) + b"archive/data.pkl" + bytes(20), "it looks like a PyTorch checkpoint"),
        (b"\x80\x02\x8a\x0al\xfc\x9c" + bytes(50), "it looks like a PyTorch checkpoint"),
        (
            struct.pack("<Q", 500) + b'{"__metadata__":{}}',
            "it looks like safetensors; get or convert the model as GGUF",
        ),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer, not the model"),
        (b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"\x1f\x8b\x08" + bytes(50), "it is gzip-compressed; unpack it first"),
        (b"tjgg\x03" + bytes(50), "it is an old GGML file"),
        (bytes(5000), "it holds only zeros; download it again"),
        (b"FUGG" + bytes(range(40)), "it begins with b'FUGG' instead of b'GGUF'"),
        (b"GGUF\x03\0\0\0", "is incomplete: it has 8 bytes; download it again"),
    ],
)
def test_something_else(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path / "m.gguf", content)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root and Windows may read everything")
def test_not_readable(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf())
    path.chmod(0)
    assert refusal(path) == "cannot be read: Permission denied"


def test_the_sound_one_opens(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf())
    model = open_gguf(tmp_path / "m.gguf")
    assert model.architecture == "llama"
    assert model.tensors["a"].shape == (8,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gguf(version=1), "is a GGUF file of version 1, which llama.cpp no longer reads"),
        (gguf(version=99), "is a GGUF file of version 99; versions 2 and 3 can be read"),
        (gguf(version=0), "is a GGUF file of version 0"),
        (gguf(version=0x03000000), "is a big-endian GGUF file"),
        (gguf(counts=(1 << 63, 1)), "is damaged: it claims 9223372036854775808 tensors and 1 keys"),
        (gguf(counts=(1, 1 << 31)), "is damaged: it claims 1 tensors and 2147483648 keys"),
        (gguf(counts=(60000, 1)), "damaged"),
        (gguf(keys=[]), "does not say which architecture it has"),
        (gguf(keys=[key("general.architecture", U32, bytes(4))]), "does not say which architecture it has"),
        (gguf(keys=[ARCHITECTURE, ARCHITECTURE]), "the key 'general.architecture' stands in it twice"),
        (gguf(keys=[ARCHITECTURE, key("a\nb", U32, bytes(4))]), "a key is empty or holds control characters"),
        (gguf(keys=[ARCHITECTURE, key("\udcff".encode(errors="surrogatepass"), U32, b"")]), "a key is not text"),
        (gguf(keys=[ARCHITECTURE, key("x", 13, bytes(4))]), "x has the unknown value type 13"),
        (
            gguf(keys=[ARCHITECTURE, key("x", STRING, struct.pack("<Q", 1 << 40))]),
            "the value of x is 1099511627776 bytes",
        ),
        (gguf(keys=[ARCHITECTURE, key("x", STRING, struct.pack("<Q", 1 << 20))]), "is incomplete or damaged: it ends"),
        (gguf(keys=[ARCHITECTURE, key("x", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "x is an array of arrays"),
        (gguf(keys=[ARCHITECTURE, key("x", ARRAY, struct.pack("<IQ", U32, 1 << 62))]), "x claims"),
        (gguf(keys=[ARCHITECTURE, key("x", ARRAY, struct.pack("<IQ", U32, 1 << 29))]), "it ends inside its header"),
        (
            gguf(keys=[ARCHITECTURE, key("x", ARRAY, struct.pack("<IQ", STRING, 1 << 29))]),
            "a list of 536870912 strings",
        ),
        (gguf(tensors=[]), "holds no tensors: it is a vocabulary, not a model"),
        (gguf(tensors=[tensor("x" * 64, (8,))]), "is too long"),
        (gguf(tensors=[tensor("a", (1, 1, 1, 1, 8))]), "tensor a has 5 dimensions"),
        (gguf(tensors=[tensor("a", (0, 8))]), "tensor a of shape (0, 8) is empty"),
        (gguf(tensors=[tensor("a", (1 << 40, 1 << 40))]), "is larger than any file"),
        (gguf(tensors=[tensor("a", (8,), kind=99)]), "tensor a has type 99, which this llama.cpp does not know"),
        (gguf(tensors=[tensor("a", (8,), kind=4)]), "tensor a has type 4, which this llama.cpp does not know"),
        (gguf(tensors=[tensor("a", (33,), kind=8)]), "a row of tensor a (33) is no whole number of q8_0 blocks"),
        (gguf(tensors=[SMALL, tensor("a", (8,), offset=32)], data=bytes(64)), "the tensor a stands in it twice"),
        (
            gguf(tensors=[tensor("a", (8,), offset=32)], data=bytes(64)),
            "tensor a lies at 32 of the tensor data instead of 0",
        ),
        (gguf(tensors=[tensor("a", (1 << 20,))]), "is incomplete: 0.0 MB of 4.2 MB are there; download it again"),
    ],
)
def test_a_damaged_header(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path / "m.gguf", content)


@pytest.mark.parametrize("alignment", [0, 3, 48, 0xFFFFFFFF])
def test_an_alignment_that_is_none(tmp_path: Path, alignment: int) -> None:
    keys = [ARCHITECTURE, key("general.alignment", U32, struct.pack("<I", alignment))]
    assert f"general.alignment is {alignment} (u32), not a power of two" in refusal(tmp_path / "m.gguf", gguf(keys))


def test_an_alignment_of_the_wrong_type(tmp_path: Path) -> None:
    keys = [ARCHITECTURE, key("general.alignment", U16, struct.pack("<H", 32))]
    assert "general.alignment is 32 (u16)" in refusal(tmp_path / "m.gguf", gguf(keys))


def test_another_alignment(tmp_path: Path) -> None:
    keys = [ARCHITECTURE, key("general.alignment", U32, struct.pack("<I", 256))]
    (tmp_path / "m.gguf").write_bytes(gguf(keys, alignment=256))
    assert open_gguf(tmp_path / "m.gguf").tensors["a"].offset == 256


def test_truncated_anywhere(tmp_path: Path, tiny: TinyModel) -> None:
    whole = tiny().read_bytes()
    path = tmp_path / "m.gguf"
    half = refusal(path, whole[: len(whole) // 2])
    assert "is incomplete: 0." in half
    assert half.endswith("are there; download it again")
    assert refusal(path, whole[:-1]).startswith(f"is incomplete: {len(whole) - 1} of {len(whole)} bytes")
    for size in np.random.default_rng(0).integers(24, len(whole), 60):
        assert "is incomplete" in refusal(path, whole[:size])


def test_bytes_after_the_end_do_no_harm(tmp_path: Path, tiny: TinyModel) -> None:
    (tmp_path / "m.gguf").write_bytes(tiny().read_bytes() + b"more")
    open_gguf(tmp_path / "m.gguf")


def test_split_models(tmp_path: Path, tiny: TinyModel) -> None:
    whole, parts = open_gguf(tiny()), split_gguf(tiny(), tmp_path, 3)
    for named in parts:
        model = open_gguf(named)
        assert model.path == parts[0]
        assert list(model.parts) == parts
        assert set(model.tensors) == set(whole.tensors)
        assert {info.part for info in model.tensors.values()} == set(parts)
        assert model.file_size == sum(part.stat().st_size for part in parts)
        assert model.metadata["llama.block_count"] == whole.metadata["llama.block_count"]


def test_a_part_is_missing(tmp_path: Path, tiny: TinyModel) -> None:
    parts = split_gguf(tiny(), tmp_path, 3)
    parts[1].unlink()
    assert refusal(parts[0]) == f"is one of 3 parts, and {parts[1].name} is missing"
    parts[0].unlink()
    assert "is part 3 of 3 of a split model; name its first part" in refusal(parts[2])


def test_parts_that_do_not_belong_together(tmp_path: Path, tiny: TinyModel) -> None:
    parts = split_gguf(tiny(), tmp_path, 3)
    second = parts[1].read_bytes()
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(ModelFileError, match="is not part 2 of 3, whatever its name says"):
        open_gguf(parts[0])
    parts[1].write_bytes(second[:-1])
    with pytest.raises(ModelFileError, match=rf"^{parts[1].name} is incomplete"):
        open_gguf(parts[0])
    renamed = parts[0].rename(tmp_path / "first.gguf")
    assert "its name must end in -00001-of-00003.gguf" in refusal(renamed)


def test_a_split_key_of_the_wrong_type(tmp_path: Path) -> None:
    # llama.cpp aborts over it
    keys = [ARCHITECTURE, key("split.count", U32, struct.pack("<I", 2))]
    assert "split.count is of type u32 instead of u16" in refusal(tmp_path / "m.gguf", gguf(keys))


def vocabulary(tokens: list[bytes], *more: bytes) -> bytes:
    packed = struct.pack("<IQ", STRING, len(tokens)) + b"".join(map(text, tokens))
    tokenizer = [key("tokenizer.ggml.model", STRING, text("gpt2")), key("tokenizer.ggml.tokens", ARRAY, packed)]
    return gguf([ARCHITECTURE, *tokenizer, *more])


def test_string_arrays_of_every_length_are_walked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "m.gguf"
    for longest in (1, 9, 255, 256, 700):
        tokens = [rng.bytes(int(size)) + b"#%d" % at for at, size in enumerate(rng.integers(0, longest, 500))]
        after = key("after", U32, struct.pack("<I", 7))
        path.write_bytes(vocabulary([token.replace(b"\0", b".") for token in tokens], after))
        assert open_gguf(path).metadata["after"] == 7


WORDS = [b"w%d" % number for number in range(2000)]


@pytest.mark.parametrize(
    "tokens",
    [
        [*WORDS, b"", b"", b""],
        [*WORDS, b"one\0two", b"one\0three"],
        [*WORDS, b"a" * 300, b"b" * 70000, b"a" * 300],
        [bytes([1, 0, 0, 0, 0, 0, 0, 0]) * 3 + b"%d" % number for number in range(50)],
    ],
    ids=["empty", "zero bytes", "long", "like lengths"],
)
def test_strange_string_arrays_are_walked(tmp_path: Path, tokens: list[bytes]) -> None:
    after = key("after", U32, struct.pack("<I", 7))
    (tmp_path / "m.gguf").write_bytes(vocabulary(tokens, after))
    assert open_gguf(tmp_path / "m.gguf").metadata["after"] == 7


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
            open_gguf(path)
        except SelarError as error:
            assert str(error).startswith("m.gguf ")
            assert "\n" not in str(error)
