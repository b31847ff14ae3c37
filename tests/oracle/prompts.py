"""Prompts, filters and vocabularies that the comparisons share."""

from __future__ import annotations

from typing import Any

from support.tiny_gguf import tiny_vocabulary

from .methods import Filters

PROMPT = "the answer is so the number of the user — and we 12+7=\n\nin the system: "
OTHER = "a number of users and the answer in one system, so we "
QUESTIONS = ("how many users?", "the number 7 is", "so we add", "an answer in the system", "to be", "is it?")
OPENED = tuple(f"{question}\n<think>\n" for question in QUESTIONS)  # tiny models that start alike go on alike
CLOSED = f"{OPENED[0]}\n</think>\n\n"

WIDE, NARROW = Filters(1.0, 0, 1.0, 0.0), Filters(0.5, 5, 0.8, 0.1)


def with_line_break() -> dict[str, Any]:
    """Metadata of a vocabulary in which a backslash and an n are one token in texts as well."""
    return {"tokenizer.ggml.pre": "qwen2"}  # the usual one splits a text there


def without_line_break() -> dict[str, Any]:
    """Metadata of a vocabulary without that token."""
    vocabulary = tiny_vocabulary()
    tokens = ["\\n~" if token == "\\n" else token for token in vocabulary.tokens]
    merges = [merge for merge in vocabulary.merges if merge != "\\ n"]
    return {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges}


def with_latent_markers() -> dict[str, Any]:
    """Metadata of a vocabulary (with thinking tokens) that has Coconut's markers in place of the thinking tokens."""
    return {"tokenizer.ggml.tokens": [*tiny_vocabulary(True).tokens[:-2], "<|start-latent|>", "<|end-latent|>"]}
