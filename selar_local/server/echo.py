"""``echo`` of ``POST /v1/completions``: the prompt before the text, with log-probabilities where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selar_local.engine.events import Logprobs
from selar_local.server.collecting import LOWEST, TokenOf

#: The four lists of the endpoint.
LogprobLists = dict[str, list[Any]]


def no_logprobs() -> LogprobLists:
    """The lists of a text without tokens."""
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def echoed_text(prompt: str | Sequence[int], token_of: TokenOf) -> str:
    """The prompt as it was given, or as its tokens spell it."""
    if isinstance(prompt, str):
        return prompt
    return b"".join(token_of(token)[0] for token in prompt).decode("utf-8", "replace")


def echoed_logprobs(
    prompt: Sequence[int], found: Sequence[Logprobs | None], text: LogprobLists, begins: int, token_of: TokenOf
) -> LogprobLists:
    """The lists of the prompt's tokens and then of the text's, which begins at the character `begins`."""
    lists, offset = no_logprobs(), 0
    for token, logprobs in zip(prompt, found, strict=True):
        piece = token_of(token)[0].decode("utf-8", "replace")
        lists["tokens"].append(piece)
        lists["text_offset"].append(min(offset, begins))
        lists["token_logprobs"].append(None if logprobs is None else max(logprobs.token, LOWEST))
        lists["top_logprobs"].append(None if logprobs is None else _top(token, logprobs, token_of))
        offset += len(piece)
    text = {**text, "text_offset": [begins + offset for offset in text["text_offset"]]}
    return {name: [*lists[name], *text[name]] for name in lists}


def _top(token: int, logprobs: Logprobs, token_of: TokenOf) -> dict[str, float]:
    """By text. Where two tokens have one text, the more probable one counts. The prompt's own is always among them."""
    rows = [*logprobs.top, (token, logprobs.token)] if logprobs.top else []
    return {token_of(i)[0].decode("utf-8", "replace"): max(value, LOWEST) for i, value in sorted(rows, key=_value)}


def _value(row: tuple[int, float]) -> float:
    return row[1]
