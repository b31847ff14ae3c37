"""Headers of models as large as real ones, with no bytes of weights on the disk: for sizes, never for computing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES

Shape = tuple[str, tuple[int, ...], str]


@dataclass(frozen=True)
class ModelShape:
    """The published sizes of a model. experts: of a layer, 0 for a dense one; used: of them in a step."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    experts: int = 0
    used: int = 0

    def tensors(self, weight: str) -> Iterator[Shape]:
        """Name, ggml's ne, type."""
        key = self.width // self.heads * self.kv_heads
        yield "token_embd.weight", (self.width, self.vocabulary), weight
        yield "output_norm.weight", (self.width,), "F32"
        yield "output.weight", (self.width, self.vocabulary), "Q6_K"
        for number in range(self.layers):
            name = f"blk.{number}."
            for norm in ("attn_norm", "ffn_norm"):
                yield f"{name}{norm}.weight", (self.width,), "F32"
            for matrix, out in (("attn_q", self.width), ("attn_k", key), ("attn_v", key), ("attn_output", self.width)):
                yield f"{name}{matrix}.weight", (self.width, out), weight
            if self.experts:
                yield f"{name}ffn_gate_inp.weight", (self.width, self.experts), "F32"
            many, suffix = ((self.experts,), "_exps") if self.experts else ((), "")
            for matrix in ("ffn_gate", "ffn_up"):
                yield f"{name}{matrix}{suffix}.weight", (self.width, self.inner, *many), weight
            yield f"{name}ffn_down{suffix}.weight", (self.inner, self.width, *many), weight

    def cache(self, tokens: int) -> int:
        """Bytes of a KV cache in F16."""
        return 2 * 2 * self.layers * self.width // self.heads * self.kv_heads * tokens


SHAPES = {
    "llama-8b": ModelShape(32, 4096, 32, 8, 14336, 128256),
    "qwen-14b": ModelShape(48, 5120, 40, 8, 13824, 152064),
    "qwen-32b": ModelShape(64, 5120, 40, 8, 27648, 152064),
    "llama-70b": ModelShape(80, 8192, 64, 8, 28672, 128256),
    "mixtral-8x7b": ModelShape(32, 4096, 32, 8, 14336, 32000, experts=8, used=2),
    "qwen-30b-a3b": ModelShape(48, 2048, 32, 4, 768, 151936, experts=128, used=8),
}


def write_shape(path: Path, shape: ModelShape, weight: str = "Q4_K") -> Path:
    """A file with this header. Its data is a hole: it has the length and no blocks."""
    writer = GGUFWriter(path, "llama")
    for key, value in {
        "context_length": 131072,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.inner,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "rope.dimension_count": shape.width // shape.heads,
        "vocab_size": shape.vocabulary,
        **({"expert_count": shape.experts, "expert_used_count": shape.used} if shape.experts else {}),
    }.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "<0x0A>", *(f"t{number}" for number in range(4, shape.vocabulary))])
    end = 0
    for name, dims, kind in shape.tensors(weight):
        quant = GGMLQuantizationType[kind]
        block, size = GGML_QUANT_SIZES[quant]
        count = 1
        for dim in dims:
            count *= dim
        writer.add_tensor_info(name, list(reversed(dims)), None, count // block * size, quant)  # type: ignore[arg-type]
        end += -(-(count // block * size) // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(-(-path.stat().st_size // 32) * 32 + end)
    return path
