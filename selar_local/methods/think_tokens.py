"""Tokens that a method's options name: by id, by text, or the model's own pair around its thinking."""

from __future__ import annotations

from selar_local.config import require
from selar_local.formats import TAGS, Thinking
from selar_local.methods.base import NamedTokens, Vocabulary


def own_think_tokens(vocabulary: NamedTokens, thinking: Thinking | None = None) -> tuple[int, int] | None:
    """The tokens that open and close the model's thinking; None where no known pair is a single token each.

    thinking: the tags of the model's family, which come first.
    """
    own = () if thinking is None else ((thinking.opening, thinking.closing),)
    for opening, closing in (*own, *TAGS):
        start, end = vocabulary.token_of(opening), vocabulary.token_of(closing)
        if start is not None and end is not None:
            return start, end
    return None


def named_token(vocabulary: Vocabulary, option: str, token: int | str) -> int:
    """The id that `token`, an id or a text, means in this vocabulary. Raises OptionError where there is none."""
    if isinstance(token, int):
        require(token < vocabulary.n_vocab, f"{option} {token} lies outside the vocabulary of {vocabulary.n_vocab}")
        return token
    known = vocabulary.token_of(token)
    require(known is not None, f"{option} {token!r} is not one token of this model's vocabulary")
    return int(known or 0)
