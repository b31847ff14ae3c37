"""A decoder-only transformer in float64 NumPy, to check llama.cpp's logits and ours against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .weights import Array, HyperParameters, Weights


@dataclass(frozen=True)
class Raw:
    """A vector that enters the first layer as it is, such as a hidden state: Gemma's scale is for rows only."""

    values: Array


ModelInput = int | Array | Raw


class Cache:
    """Keys and values of the positions seen so far, per layer: (positions, KV heads, head_dim)."""

    def __init__(self, hyper: HyperParameters) -> None:
        empty = np.zeros((0, hyper.n_head_kv, hyper.head_dim))
        self.keys: list[Array] = [empty] * hyper.n_layer
        self.values: list[Array] = [empty] * hyper.n_layer

    def __len__(self) -> int:
        return len(self.keys[-1])

    def copy(self) -> Cache:
        """An independent cache; the arrays are shared because `extend` replaces them."""
        twin = object.__new__(Cache)
        twin.keys, twin.values = list(self.keys), list(self.values)
        return twin

    def extend(self, layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
        """Append new positions to one layer and return all of its keys and values."""
        self.keys[layer] = np.concatenate([self.keys[layer], keys])
        self.values[layer] = np.concatenate([self.values[layer], values])
        return self.keys[layer], self.values[layer]


class Transformer:
    """Forward pass of llama, qwen2, qwen2vl (text only), qwen3 and gemma3 models."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.hyper = weights.hyper
        self.is_gemma = self.hyper.architecture == "gemma3"
        # Gemma scales rows of the table on their way in. A mixture of rows is scaled as a row is.
        self.embedding_scale = self.hyper.n_embd**0.5 if self.is_gemma else 1.0

    @property
    def rows(self) -> Array:
        """The token-embedding matrix, unscaled: what vectors are mixed from."""
        return self.weights["token_embd"]

    def new_cache(self) -> Cache:
        """An empty cache."""
        return Cache(self.hyper)

    def forward(self, inputs: Sequence[ModelInput], cache: Cache) -> Array:
        """Feed token ids and unscaled embedding vectors, extend the cache, return the last logits."""
        return self.forward_with_hidden(inputs, cache)[0]

    def forward_with_hidden(self, inputs: Sequence[ModelInput], cache: Cache) -> tuple[Array, Array]:
        """Like `forward`; also the last position's hidden state after the final norm."""
        hidden = self._norm("output_norm", self.forward_with_layers(inputs, cache)[-1])
        return self.weights.output @ hidden, hidden

    def forward_with_layers(self, inputs: Sequence[ModelInput], cache: Cache) -> Array:
        """Feed the inputs; the last position's state after each layer, (n_layer, n_embd)."""
        states = np.stack([self._entering(item) for item in inputs])
        positions = len(cache) + np.arange(len(states))
        last = []
        for layer in range(self.hyper.n_layer):
            states = self._block(layer, states, positions, cache)
            last.append(states[-1])
        return np.stack(last)

    def lens(self, states: Array) -> Array:
        """What the final norm and the output matrix make of states: their logits, (states, n_vocab)."""
        return self._norm("output_norm", states) @ self.weights.output.T

    def _entering(self, item: ModelInput) -> Array:
        """What the first layer gets for one input."""
        if isinstance(item, Raw):
            return item.values.astype(np.float64)
        row = self.rows[item] if isinstance(item, int | np.integer) else item
        return row.astype(np.float64) * self.embedding_scale

    def _block(self, layer: int, states: Array, positions: Array, cache: Cache) -> Array:
        name = f"blk.{layer}"
        attended = self._attention(layer, self._norm(f"{name}.attn_norm", states), positions, cache)
        if self.is_gemma:
            attended = self._norm(f"{name}.post_attention_norm", attended)
        states = states + attended
        changed = self._feed_forward(name, self._norm(f"{name}.ffn_norm", states))
        if self.is_gemma:
            changed = self._norm(f"{name}.post_ffw_norm", changed)
        return states + changed

    def _attention(self, layer: int, states: Array, positions: Array, cache: Cache) -> Array:
        hyper, name = self.hyper, f"blk.{layer}"
        queries = self._heads(f"{name}.attn_q", states, hyper.n_head)
        keys = self._heads(f"{name}.attn_k", states, hyper.n_head_kv)
        values = self._heads(f"{name}.attn_v", states, hyper.n_head_kv)
        if f"{name}.attn_q_norm.weight" in self.weights.tensors:
            queries = self._norm(f"{name}.attn_q_norm", queries)
            keys = self._norm(f"{name}.attn_k_norm", keys)
        queries, keys = self._rope(layer, queries, positions), self._rope(layer, keys, positions)
        keys, values = cache.extend(layer, keys, values)
        # Query head h reads KV head h // group.
        group = hyper.n_head // hyper.n_head_kv
        keys, values = np.repeat(keys, group, axis=1), np.repeat(values, group, axis=1)
        scores = np.einsum("qhd,khd->hqk", queries, keys) / hyper.head_dim**0.5
        distance = positions[:, None] - np.arange(len(keys))[None, :]
        visible = distance >= 0
        if hyper.is_windowed(layer):
            visible &= distance < hyper.window
        shares = softmax(np.where(visible, scores, -np.inf))
        mixed = np.einsum("hqk,khd->qhd", shares, values).reshape(len(states), -1)
        return self._linear(f"{name}.attn_output", mixed)

    def _heads(self, name: str, states: Array, n_heads: int) -> Array:
        return self._linear(name, states).reshape(len(states), n_heads, self.hyper.head_dim)

    def _rope(self, layer: int, heads: Array, positions: Array) -> Array:
        """Rotate pairs of the first n_rot dimensions by position times frequency."""
        hyper = self.hyper
        half = hyper.n_rot // 2
        base = hyper.rope_base_windowed if hyper.is_windowed(layer) else hyper.rope_base
        frequencies = base ** (-np.arange(half) / half)
        if "rope_freqs.weight" in self.weights.tensors:
            frequencies = frequencies / self.weights["rope_freqs"]
        angles = (positions[:, None] * frequencies)[:, None, :]
        if hyper.architecture == "llama":
            # GGUF stores llama's q and k rows permuted so that pairs are neighbours.
            first, second = slice(0, hyper.n_rot, 2), slice(1, hyper.n_rot, 2)
        else:
            first, second = slice(0, half), slice(half, hyper.n_rot)
        rotated = heads.copy()
        rotated[..., first] = heads[..., first] * np.cos(angles) - heads[..., second] * np.sin(angles)
        rotated[..., second] = heads[..., first] * np.sin(angles) + heads[..., second] * np.cos(angles)
        return rotated

    def _feed_forward(self, name: str, states: Array) -> Array:
        activation = gelu if self.is_gemma else silu
        gate = activation(self._linear(f"{name}.ffn_gate", states))
        return self._linear(f"{name}.ffn_down", gate * self._linear(f"{name}.ffn_up", states))

    def _linear(self, name: str, states: Array) -> Array:
        return states @ self.weights[name].T + self.weights.bias(name)

    def _norm(self, name: str, states: Array) -> Array:
        """RMS norm. Gemma's 1 + w is already in the stored weight."""
        mean_square = np.mean(states**2, axis=-1, keepdims=True)
        return states / np.sqrt(mean_square + self.hyper.norm_epsilon) * self.weights[name]


def softmax(values: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def silu(values: Array) -> Array:
    """x * sigmoid(x)."""
    return values / (1.0 + np.exp(-values))


def gelu(values: Array) -> Array:
    """GELU's tanh approximation as ggml's CPU code has it: a table over half-precision numbers.

    Its rounding (about 5e-4 of a value) would otherwise be the largest difference between the two.
    """
    inputs = values.astype(np.float16).astype(np.float64)
    inner = (2.0 / np.pi) ** 0.5 * (inputs + 0.044715 * inputs**3)
    looked_up = (0.5 * inputs * (1.0 + np.tanh(inner))).astype(np.float16).astype(np.float64)
    return np.where(values <= -10.0, 0.0, np.where(values >= 10.0, values, looked_up))
