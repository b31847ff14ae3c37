"""A GGUF file taken apart, damaged at random, and put together again: the material of fuzz_gguf.py."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path

from selar_local.llama.ggml import type_traits
from selar_local.llama.gguf_file import open_gguf

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass
class Pieces:
    """A GGUF file taken apart: (key, type, bytes of the value), (name, dimensions, type), data of each tensor."""

    keys: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    table: list[tuple[bytes, list[int], int]] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)

    def copy(self) -> Pieces:
        return Pieces(list(self.keys), [(n, list(d), t) for n, d, t in self.table], list(self.data))

    def pack(self) -> tuple[bytes, list[int]]:
        """The file's bytes, and where its four regions end."""
        header = b"GGUF" + struct.pack("<IQQ", 3, len(self.table), len(self.keys))
        keys = b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in self.keys)
        table, offset, data = b"", 0, []
        for (name, dims, kind), raw in zip(self.table, self.data, strict=True):
            table += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
            data.append(raw + bytes(-len(raw) % 32))
            offset += len(data[-1])
        ends = [24, 24 + len(keys), 24 + len(keys) + len(table)]
        body = bytes(-ends[2] % 32) + b"".join(data)
        return header + keys + table + body, [*ends, ends[2] + len(body)]


def string(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def take_apart(path: Path) -> Pieces:
    """Reads a sound file; the tensors come from our own reader."""
    raw, pieces, position = path.read_bytes(), Pieces(), 24

    def number(form: str) -> int:
        nonlocal position
        position += struct.calcsize(form)
        return int(struct.unpack_from("<" + form, raw, position - struct.calcsize(form))[0])

    for _ in range(struct.unpack_from("<Q", raw, 16)[0]):
        length = number("Q")
        key, position = raw[position : position + length], position + length
        kind, start = number("I"), position
        inner, count = (number("I"), number("Q")) if kind == 9 else (kind, 1)
        for _ in range(count):
            size = number("Q") if inner == 8 else SIZES[inner]
            position += size
        pieces.keys.append((key, kind, raw[start:position]))
    for tensor in open_gguf(path).tensors.values():
        pieces.table.append((tensor.name.encode(), list(tensor.shape), tensor.type))
        pieces.data.append(raw[tensor.offset : tensor.offset + tensor.nbytes])
    return pieces


def with_sentencepiece(pieces: Pieces) -> Pieces:
    """The same model with a SentencePiece vocabulary of the same size, to reach llama.cpp's other tokenizer."""
    size = next(struct.unpack_from("<IQ", value)[1] for key, _, value in pieces.keys if key.endswith(b".tokens"))
    texts = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), b"<|im_start|>"]
    texts += ["\u2581".encode(), *(bytes([letter]) for letter in b"etaoinshr"), "\u2581t".encode(), b"he", "é".encode()]
    texts = [*texts, *("\u2581w%d".encode() % number for number in range(size))][:size]
    types = [2, 3, 3] + [6] * 256 + [4] + [1] * (size - 260)
    kept = [entry for entry in pieces.keys if not entry[0].startswith(b"tokenizer.")]
    own = {
        b"model": (8, string(b"llama")),
        b"tokens": (9, struct.pack("<IQ", 8, size) + b"".join(map(string, texts))),
        b"token_type": (9, struct.pack(f"<IQ{size}i", 5, size, *types)),
        b"scores": (9, struct.pack(f"<IQ{size}f", 6, size, *(-float(rank) for rank in range(size)))),
        b"bos_token_id": (4, struct.pack("<I", 1)),
        b"eos_token_id": (4, struct.pack("<I", 2)),
        b"unknown_token_id": (4, struct.pack("<I", 0)),
    }
    keys = [(b"tokenizer.ggml." + name, kind, value) for name, (kind, value) in own.items()]
    return Pieces(kept + keys, pieces.table, pieces.data)


INTEGERS = [0, 1, 2, 3, 5, 7, 31, 33, 63, 65, 127, 255, 256, 511, 512, 513, 1024, 65535, 65536, 1 << 20, (1 << 31) - 1,
            1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]  # fmt: skip
FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    1e-30,
    1e30,
    -1e30,
    math.inf,
    -math.inf,
    math.nan,
    0.5,
    1e-5,
    2.0**31,
    2.0**63,
]
WORDS_TEXT = "llama gpt2 bert t5 rwkv no_vocab default yarn longrope none linear a gemma4 qwen2 plamo2 mamba wordpiece"
WORDS = [b"", b"\0", b"\xff\xfe", b"<0x0A>", b"x" * 5000, *WORDS_TEXT.encode().split()]
# keys a file may have besides its own; some switch on parts of llama.cpp the tiny models do not use
EXTRA_TEXT = """vocab_size context_length embedding_length embedding_length_out block_count feed_forward_length
expert_count expert_used_count expert_group_count expert_group_used_count expert_weights_scale expert_gating_func
nextn_predict_layers n_deepstack_layers pooling_type logit_scale attn_logit_softcapping final_logit_softcapping
residual_scale embedding_scale attention.head_count attention.head_count_kv attention.max_alibi_bias
attention.clamp_kqv attention.key_length attention.value_length attention.layer_norm_epsilon
attention.layer_norm_rms_epsilon attention.causal attention.sliding_window attention.sliding_window_pattern
attention.scale attention.temperature_length attention.temperature_scale attention.key_length_swa
attention.value_length_swa attention.shared_kv_layers rope.dimension_count rope.dimension_count_swa
rope.dimension_sections rope.freq_base rope.freq_base_swa rope.scale_linear rope.scaling.type rope.scaling.factor
rope.scaling.alpha rope.scaling.attn_factor rope.scaling.original_context_length rope.scaling.yarn_ext_factor
rope.scaling.yarn_attn_factor rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow rope.scaling.finetuned
ssm.conv_kernel full_attention_interval swin_norm use_parallel_residual decoder_start_token_id
interleave_moe_layer_step dense_2_feat_in dense_2_feat_out dense_3_feat_in dense_3_feat_out"""
TOKENIZER_TEXT = """bos_token_id eos_token_id eot_token_id eom_token_id unknown_token_id seperator_token_id
padding_token_id mask_token_id add_bos_token add_eos_token add_sep_token add_space_prefix remove_extra_whitespaces
precompiled_charsmap token_type_count pre model scores suppress_tokens fim_pre_token_id"""
TENSORS_TEXT = """rope_freqs.weight output.weight output.bias blk.0.attn_q.bias blk.0.attn_qkv.weight
blk.0.ffn_gate.bias rope_factors_long.weight blk.0.attn_rot_embd cls.weight blk.7.x"""
EXTRA, TOKENIZER, EXTRA_TENSORS = EXTRA_TEXT.split(), TOKENIZER_TEXT.split(), TENSORS_TEXT.encode().split()


def a_value(random_: random.Random, kind: int) -> bytes:
    """Bytes of a value of a GGUF type, extreme more often than not."""
    if kind == 8:
        return string(random_.choice(WORDS))
    if kind == 9:
        inner = random_.choice([*SIZES, 8])
        count = random_.choice([0, 1, 2, 3, 4, 8, 300, 512, 513])
        return struct.pack("<IQ", inner, count) + b"".join(a_value(random_, inner) for _ in range(count))
    if kind in (6, 12):
        value = random_.choice(FLOATS)
        if kind == 6 and abs(value) > 1e38 and math.isfinite(value):
            value = 1e38
        return struct.pack("<f" if kind == 6 else "<d", value)
    return (random_.choice(INTEGERS) & ((1 << 64) - 1)).to_bytes(8, "little")[: SIZES[kind]]


def change_key(pieces: Pieces, random_: random.Random, architecture: str) -> str:
    """Gives a key another value or another type, takes it away, or adds one."""
    index = random_.randrange(len(pieces.keys))
    arrays = [number for number, entry in enumerate(pieces.keys) if entry[1] == 9]
    what = random_.choice(["value", "value", "value", "type", "remove", "add", "add", "add", "array"])
    if what == "array" and arrays:
        index = random_.choice(arrays)
    key, kind, _ = pieces.keys[index]
    if what == "remove":
        del pieces.keys[index]
    elif what == "add":
        plain = random_.random() < 0.75
        key = (
            f"{architecture}.{random_.choice(EXTRA)}" if plain else f"tokenizer.ggml.{random_.choice(TOKENIZER)}"
        ).encode()
        floats = (b"epsilon", b"scale", b"base", b"factor", b"capping", b"bias", b"clamp", b"beta", b"alpha")
        kind = 8 if key.endswith(b"scaling.type") else 6 if any(word in key for word in floats) else 4
        if b"add_" in key or b"causal" in key or b"finetuned" in key:
            kind = 7
        if random_.random() < 0.1:
            kind = random_.choice([*SIZES, 8, 9])
        pieces.keys = [entry for entry in pieces.keys if entry[0] != key] + [(key, kind, a_value(random_, kind))]
    elif what == "array" and kind == 9:
        pieces.keys[index] = (key, 9, change_array(pieces.keys[index][2], random_))
    else:
        kind = random_.choice([*SIZES, 8, 9]) if what == "type" else kind
        pieces.keys[index] = (key, kind, a_value(random_, kind))
    value = "" if what == "remove" else f" = {pieces.keys[-1 if what == 'add' else index][2][:40]!r}"
    return f"{what} {key.decode()} type {kind}{value}"


def change_array(value: bytes, random_: random.Random) -> bytes:
    """Makes an array shorter or longer than it says its neighbours are, or changes some of its entries."""
    kind, count = struct.unpack_from("<IQ", value)
    if not count:
        return value
    if kind == 8:
        texts, position = [], 12
        for _ in range(count):
            length = struct.unpack_from("<Q", value, position)[0]
            texts.append(value[position + 8 : position + 8 + length])
            position += 8 + length
        for _ in range(random_.choice([1, 1, 3, 50])):
            text = random_.choice([*WORDS, random_.choice(texts), bytes(random_.randbytes(3)), b"\xc4", b"\xf0\x9f"])
            texts[random_.randrange(count)] = text
        if random_.random() < 0.3:
            texts = texts[: random_.randrange(count)]
        return struct.pack("<IQ", 8, len(texts)) + b"".join(map(string, texts))
    items = [value[12 + i * SIZES[kind] :][: SIZES[kind]] for i in range(count)]
    for _ in range(random_.choice([1, 10, len(items)])):
        items[random_.randrange(count)] = (
            a_value(random_, kind) if random_.random() < 0.5 else bytes([random_.randrange(8), *bytes(SIZES[kind] - 1)])
        )
    if random_.random() < 0.3:
        items = items[: random_.randrange(count)]
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def change_tensor(pieces: Pieces, random_: random.Random) -> str:
    """Gives a tensor another type or shape, with data to match, or another name, or takes it away."""
    index = random_.randrange(len(pieces.table))
    name, dims, kind = pieces.table[index]
    what = random_.choice(["type", "type", "shape", "name", "remove", "extra"])
    if what == "remove":
        del pieces.table[index], pieces.data[index]
        return f"remove tensor {name.decode()}"
    if what == "type":
        kind = random_.choice(list(type_traits()))
    elif what == "shape":
        dims[random_.randrange(len(dims))] = random_.choice([0, 1, 2, 16, 31, 32, 64, 128, 256, 1000])
        if random_.random() < 0.2:
            dims = dims[::-1]
    elif what == "name":
        name = random_.choice([*(entry[0] for entry in pieces.table), b"x" * 63, b"rope_freqs.weight"])
    else:
        name, dims, kind = random_.choice(EXTRA_TENSORS), random_.choice([[8], [16], [32], [32, 32], [1]]), 0
        pieces.table.append((name, dims, kind))
        pieces.data.append(bytes(4 * math.prod(dims)))
        return f"add tensor {name.decode()} {dims}"
    traits = type_traits()[kind]
    size = math.prod(dims) // traits.block * traits.block_bytes
    pieces.table[index] = (name, dims, kind)
    pieces.data[index] = random_.randbytes(size)
    return f"{what} of tensor {name.decode()} {dims} type {traits.name}"


def change_bytes(raw: bytes, ends: list[int], random_: random.Random) -> tuple[bytes, str]:
    """Damages the file as it lies on the disk, one of its four regions at a time."""
    region = random_.choice([0, 1, 1, 1, 2, 2, 3])
    low, high = (ends[region - 1] if region else 0), max(ends[region], 1)
    spot = random_.randrange(low, max(high, low + 1))
    data = bytearray(raw)
    what = random_.choice(["flip", "flip", "byte", "u32", "u64", "f32", "cut", "insert", "delete", "swap", "noise"])
    if what == "flip":
        for _ in range(random_.choice([1, 1, 2, 8])):
            data[min(random_.randrange(low, max(high, low + 1)), len(data) - 1)] ^= 1 << random_.randrange(8)
    elif what in ("byte", "u32", "u64", "f32"):
        value = a_value(random_, {"byte": 0, "u32": 4, "u64": 10, "f32": 6}[what])
        data[spot : spot + len(value)] = value
    elif what == "cut":
        del data[spot:]
    elif what == "insert":
        data[spot:spot] = random_.randbytes(random_.choice([1, 4, 8, 32, 4096]))
    elif what == "delete":
        del data[spot : spot + random_.choice([1, 4, 8, 32, 4096])]
    elif what == "swap":
        size, other = random_.choice([1, 4, 8, 32]), random_.randrange(low, max(high, low + 1))
        data[spot : spot + size], data[other : other + size] = (
            data[other : other + size],
            data[spot : spot + size],
        )
    else:
        data[spot : spot + 16] = random_.randbytes(16)
    return bytes(data), f"{what} at {spot} (region {region})"


def mutate(sound: Pieces, architecture: str, random_: random.Random) -> tuple[bytes, str]:
    """The bytes of a damaged model, and what was done to it."""
    if random_.random() < 0.4:
        return change_bytes(*sound.pack(), random_)
    pieces, done = sound.copy(), []
    for _ in range(random_.choice([1, 1, 1, 2, 3])):
        if random_.random() < 0.75:
            done.append(change_key(pieces, random_, architecture))
        else:
            done.append(change_tensor(pieces, random_))
    return pieces.pack()[0], "; ".join(done)
