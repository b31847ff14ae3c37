"""The schema of a forced tool call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["call_schema"]


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
