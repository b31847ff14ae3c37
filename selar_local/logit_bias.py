"""The option `logit_bias`: tokens, and what is added to their logits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from selar_local.errors import OptionError

_ENTRY = re.compile(r"\s*(\d{1,10})\s*([+-].+)")
_MOST = 2048


def logit_biases(given: Mapping[Any, Any] | Iterable[str]) -> dict[int, float]:
    """Token ids with their biases, from ``{id: bias}`` or texts such as ``151+2.5``; False forbids a token, as -inf.

    Raises OptionError.
    """
    pairs = list(given.items()) if isinstance(given, Mapping) else [_parts(entry) for entry in given]
    if len(pairs) > _MOST:
        raise OptionError(f"logit_bias has {len(pairs)} tokens, at most {_MOST} are taken")
    return {_token(token): _bias(bias) for token, bias in pairs}


def _parts(entry: str) -> tuple[str, str]:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise OptionError(f"logit_bias must be a token id and its bias, such as 151+2.5, not {entry[:80]!r}")
    return found[1], found[2]


def _token(token: Any) -> int:
    known = isinstance(token, int) and not isinstance(token, bool) and token >= 0
    if not known and not (isinstance(token, str) and re.fullmatch(r"\d{1,10}", token)):
        raise OptionError(f"logit_bias has {str(token)[:80]!r} for a token: ids are taken")
    return int(token)


def _bias(bias: Any) -> float:
    if bias is False:
        return -math.inf
    try:
        value = math.nan if bias is True else float(bias)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not (-1e6 <= value <= 1e6 or value == -math.inf):
        raise OptionError(f"logit_bias must be numbers between -1e6 and 1e6, or -inf, not {str(bias)[:80]}")
    return value
