"""Tiny random-weight GGUF models for tests, and rewriting of GGUF files (split, dequantised)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, TokenType
from gguf.gguf_reader import ReaderField, ReaderTensor
from gguf.quants import dequantize, quantize

FloatArray = npt.NDArray[np.float32]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "qwen2vl", "glm4", "bert")
_ENCODERS = ("bert",)
_WITH_POST_NORMS = ("gemma3", "glm4")
_WITH_QKV_BIAS = ("qwen2", "qwen2vl", "bert")
_WITH_QK_NORM = ("qwen3", "gemma3")

# Standard deviation of the logits at output_scale 1: at temperature 0.6 over the top 20 this spreads the
# normalised top-3 entropy over the whole of 0..1.
_LOGIT_STD = 4.0
# How much larger than the token's own embedding each block's output is. With tied embeddings a smaller
# value makes every token predict itself.
_ATTENTION_GAIN = 3.0
_FEED_FORWARD_GAIN = 12.0
# Control tokens get short rows, so their logits stay near zero and random text seldom ends by chance.
_CONTROL_ROW_SCALE = 0.2

BOS, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TOKENS = (BOS, IM_START, IM_END)
THINKING_TOKENS = ("<think>", "</think>")

# Every prefix of a word (of two bytes and more) becomes a token, with the merge that builds it. The emoji
# is cut after three of its four bytes, so an incomplete character is a token as well.
_MERGED_WORDS: tuple[bytes, ...] = (
    b"the", b"ing", b"ion", b"er", b"es", b"ed", b"or", b"an", b"he", b"\n\n", b"  ", b"\\n", b"**",
    b" the", b" of", b" and", b" to", b" in", b" is", b" answer", b" number", b" so", b" we", b" \n",
    b"user", b"system", b"assistant", "é".encode(), "—".encode(), "你".encode(), "😀".encode()[:3],
)  # fmt: skip


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[int, str]:
    """GPT-2's mapping of bytes to printable characters."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(256 + len(alphabet) - len(printable))
    return alphabet


@dataclass(frozen=True)
class TinyVocabulary:
    """Token texts in GGUF's spelling, their types, and the BPE merges."""

    tokens: list[str]
    types: list[int]
    merges: list[str]

    def id_of(self, token: str) -> int:
        """Id of a token given in GGUF's spelling (a space is `Ġ`)."""
        return self.tokens.index(token)


@lru_cache(maxsize=32)
def tiny_vocabulary(thinking_tokens: bool = False, controls: tuple[str, ...] = CONTROL_TOKENS) -> TinyVocabulary:
    """The byte-level BPE vocabulary that every tiny model shares, but for its control tokens."""
    alphabet = _byte_alphabet()
    tokens = [alphabet[byte] for byte in range(256)]
    merges: list[str] = []
    for word in _MERGED_WORDS:
        spelled = "".join(alphabet[byte] for byte in word)
        for end in range(2, len(spelled) + 1):
            if spelled[:end] not in tokens:
                tokens.append(spelled[:end])
                merges.append(f"{spelled[: end - 1]} {spelled[end - 1]}")
    types = [int(TokenType.NORMAL)] * len(tokens)
    tokens += controls
    types += [int(TokenType.CONTROL)] * len(controls)
    if thinking_tokens:
        tokens += THINKING_TOKENS
        types += [int(TokenType.USER_DEFINED)] * len(THINKING_TOKENS)
    return TinyVocabulary(tokens, types, merges)


@dataclass(frozen=True)
class _Shape:
    """Sizes of one tiny model."""

    architecture: str
    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_ctx_train: int
    tie_embeddings: bool

    @property
    def head_dim(self) -> int:
        # Twice n_embd / n_head where the file states it, so that code deriving it is found out.
        return self.n_embd // self.n_head * (2 if self.architecture in _WITH_QK_NORM else 1)


class _RandomTensors:
    """Draws float32 tensors in GGUF's layout (output dimension first)."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def matrix(self, rows: int, columns: int, gain: float = 1.0) -> FloatArray:
        """A matrix that turns inputs of unit variance into outputs of standard deviation `gain`."""
        values = self._rng.standard_normal((rows, columns)) * (gain / columns**0.5)
        return np.asarray(values, np.float32)

    def vector(self, size: int, mean: float, deviation: float) -> FloatArray:
        """A norm weight or a bias."""
        return np.asarray(mean + deviation * self._rng.standard_normal(size), np.float32)

    def norm(self, size: int, mean: float = 1.0) -> FloatArray:
        """A norm weight near `mean`, but not constant."""
        return self.vector(size, mean, 0.15 * mean)


def _token_rows(draw: _RandomTensors, shape: _Shape, types: list[int]) -> FloatArray:
    rows = draw.matrix(shape.n_vocab, shape.n_embd)
    rows[[kind == TokenType.CONTROL for kind in types]] *= _CONTROL_ROW_SCALE
    return rows


def _attention_tensors(draw: _RandomTensors, shape: _Shape, block: str) -> Iterator[tuple[str, FloatArray]]:
    q_size, kv_size = shape.head_dim * shape.n_head, shape.head_dim * shape.n_head_kv
    for name, size, gain in (("q", q_size, 1.2), ("k", kv_size, 1.2), ("v", kv_size, 1.0)):
        yield f"{block}.attn_{name}.weight", draw.matrix(size, shape.n_embd, gain)
        if shape.architecture in _WITH_QKV_BIAS:
            yield f"{block}.attn_{name}.bias", draw.vector(size, 0.0, 0.1)
    if shape.architecture in _WITH_QK_NORM:
        yield f"{block}.attn_q_norm.weight", draw.norm(shape.head_dim)
        yield f"{block}.attn_k_norm.weight", draw.norm(shape.head_dim)
    gain = _ATTENTION_GAIN / shape.n_embd**0.5
    yield f"{block}.attn_output.weight", draw.matrix(shape.n_embd, q_size, gain)


def _decoder_tensors(draw: _RandomTensors, shape: _Shape, types: list[int]) -> Iterator[tuple[str, FloatArray]]:
    n_embd, fused = shape.n_embd, shape.architecture == "glm4"  # GLM-4 keeps gate and up in one matrix
    yield "token_embd.weight", _token_rows(draw, shape, types)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", draw.norm(n_embd)
        yield from _attention_tensors(draw, shape, block)
        if shape.architecture in _WITH_POST_NORMS:
            yield f"{block}.post_attention_norm.weight", draw.norm(n_embd, _ATTENTION_GAIN)
            yield f"{block}.post_ffw_norm.weight", draw.norm(n_embd, _FEED_FORWARD_GAIN)
        yield f"{block}.ffn_norm.weight", draw.norm(n_embd)
        if not fused:
            yield f"{block}.ffn_gate.weight", draw.matrix(shape.n_ff, n_embd, 1.5)
        yield f"{block}.ffn_up.weight", draw.matrix(shape.n_ff * (1 + fused), n_embd, 1.5)
        yield f"{block}.ffn_down.weight", draw.matrix(n_embd, shape.n_ff, _FEED_FORWARD_GAIN / n_embd**0.5)
    yield "output_norm.weight", draw.norm(n_embd, _LOGIT_STD)
    if not shape.tie_embeddings:
        yield "output.weight", _token_rows(draw, shape, types)


def _encoder_tensors(draw: _RandomTensors, shape: _Shape, types: list[int]) -> Iterator[tuple[str, FloatArray]]:
    n_embd = shape.n_embd
    yield "token_embd.weight", _token_rows(draw, shape, types)
    yield "token_types.weight", draw.matrix(2, n_embd)
    yield "position_embd.weight", draw.matrix(shape.n_ctx_train, n_embd)
    yield from _layer_norm(draw, "token_embd_norm", n_embd)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        yield from _attention_tensors(draw, shape, block)
        yield f"{block}.attn_output.bias", draw.vector(n_embd, 0.0, 0.1)
        yield from _layer_norm(draw, f"{block}.attn_output_norm", n_embd)
        yield f"{block}.ffn_up.weight", draw.matrix(shape.n_ff, n_embd)
        yield f"{block}.ffn_up.bias", draw.vector(shape.n_ff, 0.0, 0.1)
        yield f"{block}.ffn_down.weight", draw.matrix(n_embd, shape.n_ff)
        yield f"{block}.ffn_down.bias", draw.vector(n_embd, 0.0, 0.1)
        yield from _layer_norm(draw, f"{block}.layer_output_norm", n_embd)


def _layer_norm(draw: _RandomTensors, name: str, size: int) -> Iterator[tuple[str, FloatArray]]:
    yield f"{name}.weight", draw.norm(size)
    yield f"{name}.bias", draw.vector(size, 0.0, 0.1)


def _hyper_parameters(shape: _Shape) -> dict[str, Any]:
    values: dict[str, Any] = {
        "context_length": shape.n_ctx_train,
        "embedding_length": shape.n_embd,
        "block_count": shape.n_layer,
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": shape.n_head_kv,
        "vocab_size": shape.n_vocab,
    }
    if shape.architecture in _ENCODERS:
        values |= {"attention.layer_norm_epsilon": 1e-12, "attention.causal": False, "pooling_type": 1}
    else:
        values |= {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    if shape.architecture in _WITH_QK_NORM:
        values |= {"attention.key_length": shape.head_dim, "attention.value_length": shape.head_dim}
    else:
        values["rope.dimension_count"] = shape.head_dim
    if shape.architecture == "gemma3":
        # A window shorter than a test's prompt, so that windowed layers matter; the two rope bases differ.
        values |= {"attention.sliding_window": 16, "attention.sliding_window_pattern": 2}
        values |= {"rope.freq_base": 1000000.0, "rope.freq_base_swa": 10000.0}
    if shape.architecture == "qwen2vl":
        first = shape.head_dim // 8
        second = (shape.head_dim // 2 - first) // 2
        # llama.cpp never reads this model's epsilon and takes 0; readers that do read it must agree.
        values["attention.layer_norm_rms_epsilon"] = 1e-12
        values["rope.dimension_sections"] = [first, second, shape.head_dim // 2 - first - second, 0]
    return {f"{shape.architecture}.{key}": value for key, value in values.items()}


def tokenizer_metadata(
    vocabulary: TinyVocabulary, chat_template: str | None, *, bos: str = BOS, end: str = IM_END
) -> dict[str, Any]:
    """The tokenizer's keys. end: the token that ends a turn."""
    values: dict[str, Any] = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": vocabulary.tokens,
        "token_type": vocabulary.types,
        "merges": vocabulary.merges,
        "bos_token_id": vocabulary.id_of(bos),
        "eos_token_id": vocabulary.id_of(end),
        "padding_token_id": vocabulary.id_of(end),
        "add_bos_token": False,
    }
    named = {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    return named if chat_template is None else {**named, "tokenizer.chat_template": chat_template}


def _value_type(value: Any) -> GGUFValueType:
    if isinstance(value, bytes):
        return GGUFValueType.STRING
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return GGUFValueType.UINT32
    return GGUFValueType.get_type(value)


def add_metadata(writer: GGUFWriter, metadata: Mapping[str, Any]) -> None:
    """Add the keys; None leaves a key out."""
    for key, value in metadata.items():
        # The writer puts general.architecture itself, and warns of a key that is already there.
        writer.kv_data[0].pop(key, None)
        if value is not None:
            writer.add_key_value(key, value, _value_type(value))


def _close(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tiny_gguf(
    path: Path | str,
    *,
    architecture: str = "llama",
    n_embd: int = 64,
    n_layer: int = 2,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ff: int = 128,
    n_ctx_train: int = 512,
    seed: int = 0,
    weight_type: str = "F32",
    token_embd_type: str | None = None,
    output_scale: float = 1.0,
    tie_embeddings: bool = True,
    chat_template: str | None = None,
    thinking_tokens: bool = False,
    controls: tuple[str, ...] = CONTROL_TOKENS,
    output_bias: bool = False,
    metadata: Mapping[str, Any] | None = None,
    nan_tensor: str | None = None,
) -> Path:
    """Write a model with random weights that llama.cpp loads and decodes.

    `metadata` adds or overrides keys (None leaves a key out, bytes are written as a string unchecked).
    `output_scale` multiplies the logits. `nan_tensor` names a tensor to fill with NaN; it is stored in
    F32 unless it is F16, because block types cannot hold NaN.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is none of {', '.join(ARCHITECTURES)}")
    vocabulary = tiny_vocabulary(thinking_tokens, controls)
    if architecture in _ENCODERS:
        n_head_kv = n_head
    sizes = (len(vocabulary.tokens), n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx_train)
    shape = _Shape(architecture, *sizes, tie_embeddings)
    make_tensors = _encoder_tensors if architecture in _ENCODERS else _decoder_tensors
    tensors = dict(make_tensors(_RandomTensors(seed), shape, vocabulary.types))
    if "output_norm.weight" in tensors:
        tensors["output_norm.weight"] *= np.float32(output_scale)
    if output_bias:
        tensors["output.bias"] = _RandomTensors(seed + 1).vector(shape.n_vocab, 0.0, 1.0)
    if nan_tensor is not None:
        tensors[nan_tensor] = np.full_like(tensors[nan_tensor], np.nan)

    writer = GGUFWriter(path, architecture)
    described = {"general.name": f"tiny {architecture}", "general.quantization_version": 2}
    described |= _hyper_parameters(shape) | tokenizer_metadata(vocabulary, chat_template)
    if architecture in _ENCODERS:
        described["tokenizer.ggml.token_type_count"] = 2
    add_metadata(writer, described | dict(metadata or {}))
    for name, values in tensors.items():
        wanted = token_embd_type if name == "token_embd.weight" and token_embd_type else weight_type
        kind = GGMLQuantizationType[wanted]
        nan_in_blocks = name == nan_tensor and kind != GGMLQuantizationType.F16
        # llama.cpp wants norms, biases and position tables in F32.
        if values.ndim == 1 or nan_in_blocks or name in ("position_embd.weight", "token_types.weight"):
            kind = GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    _close(writer)
    return Path(path)


class QuickReader(GGUFReader):
    """GGUFReader without its slow element-by-element parsing of arrays.

    An array field has its decoded elements in `parts[-1]`: a list of bytes for strings, else an ndarray.
    """

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        item_type = GGUFValueType(int(self._get(orig_offs, np.uint32)[0]))
        count = int(self._get(orig_offs + 4, np.uint64)[0])
        start = orig_offs + 12
        if item_type == GGUFValueType.STRING:
            items, end = self._strings(start, count)
        elif item_type in self.gguf_scalar_to_np:
            items = self._get(start, self.gguf_scalar_to_np[item_type], count)
            end = start + int(items.nbytes)
        else:
            raise ValueError(f"arrays of {item_type.name} are not supported")
        return end - orig_offs, [items], [0], [GGUFValueType.ARRAY, item_type]

    def _strings(self, offset: int, count: int) -> tuple[Any, int]:
        buffer, items = memoryview(self.data), []
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", buffer, offset)
            items.append(bytes(buffer[offset + 8 : offset + 8 + length]))
            offset += 8 + length
        return items, offset


def field_value(field: ReaderField) -> Any:
    """Value of a QuickReader field: str, a Python number, or a list (of bytes for strings)."""
    kind, content = field.types[0], field.parts[-1]
    if kind == GGUFValueType.STRING:
        return bytes(content).decode("utf-8")
    if kind == GGUFValueType.ARRAY:
        return content if isinstance(content, list) else content.tolist()
    return content[0].item()


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    for name, field in reader.fields.items():
        if name.startswith(("GGUF.", "split.")) or name == "general.architecture":
            continue
        kind, value = field.types[0], field_value(field)
        if kind == GGUFValueType.ARRAY and not value:
            continue  # the writer has no empty arrays
        writer.add_key_value(name, value, kind, field.types[-1] if kind == GGUFValueType.ARRAY else None)


def _open_copy(source: Path | str, target: Path | str, **options: Any) -> tuple[QuickReader, GGUFWriter]:
    reader = QuickReader(source)
    writer = GGUFWriter(target, field_value(reader.fields["general.architecture"]), **options)
    writer.data_alignment = reader.alignment
    _copy_metadata(reader, writer)
    return reader, writer


def split_gguf(path: Path | str, directory: Path | str, parts: int = 2) -> list[Path]:
    """Write the model again as a split GGUF and return its files; llama.cpp opens the first."""
    path, directory = Path(path), Path(directory)
    n_tensors = len(QuickReader(path).tensors)
    if not 2 <= parts <= n_tensors:
        raise ValueError(f"{parts} parts of {n_tensors} tensors")
    directory.mkdir(parents=True, exist_ok=True)
    reader, writer = _open_copy(path, directory / path.name)
    for numbers in np.array_split(np.arange(n_tensors), parts):
        writer.tensors.append({})
        for number in numbers:
            tensor = reader.tensors[number]
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    del writer.tensors[0]  # the empty one every writer starts with
    _close(writer)
    return [directory / f"{path.stem}-{part:05d}-of-{parts:05d}.gguf" for part in range(1, parts + 1)]


def _float32_pieces(tensor: ReaderTensor, rows_at_once: int = 4096) -> Iterable[FloatArray]:
    for start in range(0, tensor.data.shape[0], rows_at_once):
        yield dequantize(tensor.data[start : start + rows_at_once], tensor.tensor_type)


def dequantise_to_f32(source: Path | str, target: Path | str) -> Path:
    """Write the model again with every tensor in F32, metadata kept but for the file type."""
    reader, writer = _open_copy(source, target)
    if "general.file_type" in reader.fields:
        writer.kv_data[0]["general.file_type"].value = 0
    for tensor in reader.tensors:
        shape = tuple(reversed(tensor.shape.tolist()))
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), 4 * int(tensor.n_elements))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    for tensor in reader.tensors:
        for piece in _float32_pieces(tensor):
            piece.tofile(file)
        writer.write_padding(file, 4 * int(tensor.n_elements))
    writer.close()
    return Path(target)
