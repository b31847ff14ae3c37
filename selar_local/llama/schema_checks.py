"""JSON schemas that llguidance would take and not keep to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from selar_local.errors import OptionError

_MAX_DEPTH = 100
_MAX_PATTERNS = 100  # of properties: llguidance compares each with each
_NAMED = ("properties", "patternProperties", "$defs", "definitions")  # the keys in them are names, not keywords
_VALUES = ("const", "enum", "required")  # in them is no schema
_NOTES = ("default", "examples", "example", "title", "description", "$comment")  # they bind nothing
_PATTERNS = ("pattern", "patternProperties")
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")  # those that JSON writes as \u00XX alone
_ESCAPED = re.compile(r"\\(?:x[01]|x7[fF]|u00[01]|u007[fF]|c[a-zA-Z]|0|v)")
_CLASS = re.compile(r"\[(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^xu]|[^\]\\]){2,}\]")


def check_schema(schema: Any) -> None:
    """Raises OptionError, which names the keyword.

    - Numbers are doubles there: one that is no double would be another.
    - Control characters without a short escape are left out of texts and patterns: see `json_allowed_escapes`.
    - Additional properties may have the same name twice: two of them need not be two properties.
    - `x-guidance` would switch to lenient modes.

    And for one that would take long: see `_MAX_PATTERNS`.
    """
    if isinstance(schema, dict) and "x-guidance" in schema:
        raise OptionError("json_schema: x-guidance is not supported")
    if _check(schema, 0) > _MAX_PATTERNS:
        raise OptionError(f"json_schema: patternProperties has more than {_MAX_PATTERNS} patterns in all")


def _check(node: Any, depth: int) -> int:
    """Check a node; returns how many patterns of properties are in it."""
    if depth > _MAX_DEPTH:
        raise OptionError(f"json_schema is nested deeper than {_MAX_DEPTH}")
    if isinstance(node, list):
        return sum(_check(child, depth + 1) for child in node)
    if not isinstance(node, dict):
        return 0
    _check_properties(node)
    patterns = 0
    for keyword, value in node.items():
        if keyword in _NOTES:
            continue
        if keyword in _NAMED and isinstance(value, dict):
            _check_scalars(keyword, list(value))
            patterns += _check(list(value.values()), depth + 1) + len(value) * (keyword == "patternProperties")
        elif keyword in _VALUES or not isinstance(value, (dict, list)):
            _check_scalars(keyword, value)
        else:
            patterns += _check(value, depth + 1)
    return patterns


def _check_properties(node: dict[str, Any]) -> None:
    least, required = node.get("minProperties"), node.get("required")
    if isinstance(least, int) and least - (len(required) if isinstance(required, list) else 0) > 1:
        raise OptionError("json_schema: minProperties is supported up to the number of required properties and one")


def _check_scalars(keyword: str, value: Any) -> None:
    for scalar in _scalars(value):
        if isinstance(scalar, int) and not _is_double(scalar):
            raise OptionError(f"json_schema: {keyword} has an integer that is no double (beyond 2^53)")
        if isinstance(scalar, str):
            escaped = keyword in _PATTERNS and _ESCAPED.search(_CLASS.sub("", scalar))
            if escaped or _CONTROL.search(scalar):
                raise OptionError(f"json_schema: {keyword} has a control character without a short escape")


def _scalars(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        else:
            yield value


def _is_double(number: int) -> bool:
    try:
        return int(float(number)) == number
    except OverflowError:
        return False
