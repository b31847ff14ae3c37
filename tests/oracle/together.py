"""The oracle's transformer over many texts at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .transformer import Cache, ModelInput, Transformer, softmax
from .weights import Array


class Together(Transformer):
    """One new position of each of many texts: every matrix is read once for all."""

    def forward_each(self, inputs: Sequence[ModelInput], caches: Sequence[Cache]) -> tuple[Array, Array]:
        """Feed each text its input, extend its cache; logits and hidden states, a row a text."""
        states = np.stack([self._entering(item) for item in inputs])
        positions = np.array([len(cache) for cache in caches])
        for layer in range(self.hyper.n_layer):
            states = self._block(layer, states, positions, caches)
        hidden = self._norm("output_norm", states)
        return hidden @ self.weights.output.T, hidden

    def _attention(self, layer: int, states: Array, positions: Any, cache: Any) -> Array:
        if isinstance(cache, Cache):
            return super()._attention(layer, states, positions, cache)
        hyper, name = self.hyper, f"blk.{layer}"
        queries = self._heads(f"{name}.attn_q", states, hyper.n_head)
        keys = self._heads(f"{name}.attn_k", states, hyper.n_head_kv)
        values = self._heads(f"{name}.attn_v", states, hyper.n_head_kv)
        if f"{name}.attn_q_norm.weight" in self.weights.tensors:
            queries = self._norm(f"{name}.attn_q_norm", queries)
            keys = self._norm(f"{name}.attn_k_norm", keys)
        queries, keys = self._rope(layer, queries, positions), self._rope(layer, keys, positions)
        mixed = np.empty((len(states), hyper.n_head, hyper.head_dim))
        group = hyper.n_head // hyper.n_head_kv
        for i, own in enumerate(cache):
            seen, worth = own.extend(layer, keys[i : i + 1], values[i : i + 1])
            if hyper.is_windowed(layer):
                seen, worth = seen[-hyper.window :], worth[-hyper.window :]
            query = queries[i].reshape(hyper.n_head_kv, group, hyper.head_dim)
            shares = softmax(np.einsum("kgd,pkd->kgp", query, seen) / hyper.head_dim**0.5)
            mixed[i] = np.einsum("kgp,pkd->kgd", shares, worth).reshape(hyper.n_head, -1)
        return self._linear(f"{name}.attn_output", mixed.reshape(len(states), -1))
