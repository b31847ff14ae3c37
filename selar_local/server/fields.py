"""Fields of a request's body that the schemas do not declare: no field that would change the answer is ignored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from selar_local.server.errors import ApiError, bad_request

#: Names that other servers have for our fields.
OTHER_NAMES = {
    "n_predict": "max_tokens",
    "n_cmpl": "n",
    "repetition_penalty": "repeat_penalty",
    "typical": "typical_p",
    "thinking_token_budget": "thinking_budget",
    "thinking_budget_tokens": "thinking_budget",
    "reasoning_budget": "thinking_budget",
}

#: Fields that are taken and change nothing here. Those of mirostat and of a dynamic temperature do nothing alone.
NO_EFFECT = frozenset(
    {
        "user", "metadata", "store", "service_tier", "prediction", "prompt_cache_key", "prompt_cache_retention",
        "safety_identifier", "client_metadata", "cache_control",
        "cache_prompt", "cache_salt", "id_slot", "priority", "request_id", "n_keep", "n_discard",
        "return_progress", "timings_per_token", "mirostat_tau", "mirostat_eta", "dynatemp_exponent", "adaptive_decay",
    }
)  # fmt: skip

_NEVER: tuple[Any, ...] = ()
#: Fields that would change the answer, and that we do not have: the values that change nothing are taken.
REFUSED: Mapping[str, tuple[Any, ...]] = {
    # llama.cpp
    "samplers": _NEVER,
    "mirostat": (0,),
    "top_n_sigma": (0, -1),
    "dynatemp_range": (0,),
    "adaptive_target": (-1,),
    "tfs_z": (1,),
    "top_a": (0,),
    "min_keep": (0,),
    "n_probs": (0,),
    "post_sampling_probs": (False,),
    "n_indent": (0,),
    "t_max_predict_ms": (0, -1),
    "lora": ([],),
    "return_tokens": (False,),
    "reasoning_format": ("auto", "deepseek"),
    "parse_tool_calls": (True,),
    # vLLM
    "bad_words": ([],),
    "allowed_token_ids": ([],),
    "prompt_logprobs": _NEVER,
    "truncate_prompt_tokens": (-1,),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "early_stopping": (False,),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "add_special_tokens": (True, False),  # a special token that the prompt has is not added again
    "return_token_ids": (False,),
    "include_reasoning": (True,),
    "separate_reasoning": (True,),
    # OpenAI
    "audio": _NEVER,
    "modalities": ([], ["text"]),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "web_search_options": _NEVER,
    "verbosity": ("medium",),
    "suffix": ("",),
}


def declared(fields: Collection[str], body: Mapping[str, Any]) -> dict[str, Any]:
    """The body's fields under the names in `fields`. Null is as good as absent. Raises ApiError for all others."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        own = name if name in fields else OTHER_NAMES.get(name, name)
        if value is None or name in NO_EFFECT:
            continue
        if own not in fields:
            _require_neutral(name, value, fields)
        elif own in found and found[own] != value:
            raise bad_request(f"{name[:100]} and another name of it say different things", name[:100])
        else:
            found[own] = value
    return found


def _require_neutral(name: str, value: Any, fields: Collection[str]) -> None:
    if name not in REFUSED:
        raise _unknown(name, fields)
    if not any(type(value) is type(one) or not isinstance(value, bool) for one in REFUSED[name] if value == one):
        raise bad_request(f"{name} is not supported", name, "unsupported_parameter")


def _unknown(name: str, fields: Collection[str]) -> ApiError:
    close = get_close_matches(name[:100], [*fields, *OTHER_NAMES, *REFUSED, *NO_EFFECT], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return bad_request(f"{name[:100]} is no field of this request{hint}", name[:100], "unknown_parameter")
