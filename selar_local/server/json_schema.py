"""JSON schemas: what is refused before the engine sees it, and the schema of a forced tool call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["call_schema", "check_schema"]

_MAX_DEPTH = 48
_MAX_NODES = 5000
_MAX_REPEAT = 1000
_COUNTED = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_QUANTIFIER = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


def check_schema(schema: Any) -> None:
    """Raises ValueError for a schema whose grammar would be too large.

    A repetition is written out in the grammar, once for each time, and llama.cpp's parser recurses into it: large
    counts would take the memory, and then the process.
    """
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    nodes = 0
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if depth > _MAX_DEPTH or nodes > _MAX_NODES:
            raise ValueError("the JSON schema is too large or too deep")
        if isinstance(node, dict):
            _check_counts(node)
            waiting += [(value, depth + 1) for value in node.values()]
        elif isinstance(node, list):
            waiting += [(value, depth + 1) for value in node]


def _check_counts(node: dict[str, Any]) -> None:
    counts = [node[name] for name in _COUNTED if isinstance(node.get(name), (int, float))]
    if isinstance(node.get("pattern"), str):
        counts += [int(count) for found in _QUANTIFIER.findall(node["pattern"]) for count in found if count]
    if any(count > _MAX_REPEAT for count in counts):
        raise ValueError(f"the JSON schema counts beyond {_MAX_REPEAT}")


def call_schema(functions: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The schema of ``{"name": .., "arguments": ..}`` for one of the functions, given with their parameters."""
    parameters = {f"tool{i}": _moved(schema, f"#/$defs/tool{i}") for i, (_, schema) in enumerate(functions)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/tool{i}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for i, (name, _) in enumerate(functions)
    ]
    return {"$defs": parameters, "anyOf": calls}


def _moved(node: Any, root: str) -> Any:
    """A copy whose references into the schema point to where it stands now."""
    if isinstance(node, list):
        return [_moved(value, root) for value in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(value, root) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference[1:]
    return moved
