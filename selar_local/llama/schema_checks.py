"""JSON schemas that llguidance would take and not keep to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selar_local.errors import OptionError

__all__ = ["check_schema"]

_MAX_DEPTH = 100
_NAMED = ("properties", "patternProperties", "$defs", "definitions")  # the keys in them are names, not keywords
_VALUES = ("const", "enum")  # in them is no schema
_NOTES = ("default", "examples", "example")  # they bind nothing


def check_schema(schema: Any) -> None:
    """Raises OptionError, which names the keyword.

    - Numbers are doubles there: one that is no double would be another.
    - Additional properties may have the same name twice: two of them need not be two properties.
    - `x-guidance` would switch to lenient modes.
    """
    if isinstance(schema, dict) and "x-guidance" in schema:
        raise OptionError("json_schema: x-guidance is not supported")
    _check(schema, 0)


def _check(node: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OptionError(f"json_schema is nested deeper than {_MAX_DEPTH}")
    if isinstance(node, list):
        for child in node:
            _check(child, depth + 1)
    elif isinstance(node, dict):
        _check_properties(node)
        for keyword, value in node.items():
            if keyword in _NAMED and isinstance(value, dict):
                for child in value.values():
                    _check(child, depth + 1)
            elif keyword not in _NOTES:
                numbers = _numbers(value) if keyword in _VALUES or not isinstance(value, (dict, list)) else ()
                if not all(map(_is_double, numbers)):
                    raise OptionError(f"json_schema: {keyword} has an integer that is no double (beyond 2^53)")
                if keyword not in _VALUES:
                    _check(value, depth + 1)


def _check_properties(node: dict[str, Any]) -> None:
    least, required = node.get("minProperties"), node.get("required")
    if isinstance(least, int) and least - (len(required) if isinstance(required, list) else 0) > 1:
        raise OptionError("json_schema: minProperties is supported up to the number of required properties and one")


def _numbers(value: Any) -> Iterator[int]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int) and not isinstance(value, bool):
            yield value
        elif isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value


def _is_double(number: int) -> bool:
    try:
        return int(float(number)) == number
    except OverflowError:
        return False
