"""How much memory the KV cache of a context takes: measured on a small one, so that every layer counts as it is."""

from __future__ import annotations

from typing import Any, NamedTuple

from selar_local.llama.native import C

_PAD = 256  # llama.cpp rounds the cells of a window up to it
_TOKENS = 64


class CacheSize(NamedTuple):
    """Bytes of a sequence. fixed: of a running state. window: positions that its layers keep, 0 for none."""

    per_token: int
    per_token_in_window: int
    fixed: int
    window: int

    def needed(self, tokens: int, batch: int) -> int:
        """Bytes for a context of so many tokens, read in batches of so many."""
        kept = min(tokens, (self.window + batch + _PAD - 1) // _PAD * _PAD)
        return self.fixed + tokens * self.per_token + kept * self.per_token_in_window


def measure(model: Any, params: C.llama_context_params, window: int) -> CacheSize | None:
    """The sizes on a small context of these parameters, in which two tokens are decoded. None where that fails."""
    params.n_ctx = params.n_batch = params.n_ubatch = _TOKENS
    params.n_seq_max, params.n_outputs_max = 1, 2
    pointer = C.llama_init_from_model(model, params)
    if not pointer:
        return None
    try:
        sizes = [_decoded(pointer, position) for position in range(2)]
    finally:
        C.llama_free(pointer)
    if None in sizes:
        return None
    (whole, part), (next_whole, next_part) = sizes  # type: ignore[misc]
    per_token, in_part = next_whole - whole, next_part - part
    if whole == part or not window:  # a plain cache, or a running state
        return CacheSize(per_token, 0, whole - per_token, 0)
    return CacheSize(per_token - in_part, in_part, 0, window)


def _decoded(pointer: Any, position: int) -> tuple[int, int] | None:
    """Bytes of the sequence's state once it has a token at this position: all of it, and without what can be cut."""
    batch = C.llama_batch_init(1, 0, 1)
    batch.n_tokens, batch.token[0], batch.pos[0] = 1, position, position
    batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 0, 1
    code = C.llama_decode(pointer, batch)
    C.llama_batch_free(batch)
    if code:
        return None
    whole, part = (
        int(C.llama_state_seq_get_size_ext(pointer, 0, flags)) for flags in (0, C.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)
    )
    return whole, part
