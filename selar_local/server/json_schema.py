"""The schema of an answer, and of a forced tool call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selar_local.server.errors import bad_request
from selar_local.server.schemas import Common

__all__ = ["answer_schema", "call_schema"]


def answer_schema(request: Common) -> tuple[dict[str, Any] | None, str]:
    """The schema of the answer, None for a free one, and the field that asks for it. Raises ApiError."""
    form = request.response_format
    if form is None or form.type == "text":
        return request.json_schema, "json_schema"
    if request.json_schema is not None:
        raise bad_request("json_schema and response_format exclude each other", "json_schema")
    if form.type == "json_object":
        return {"type": "object"} if form.schema_ is None else form.schema_, "response_format"
    if form.json_schema is None:
        raise bad_request("response_format.json_schema is missing", "response_format.json_schema")
    if form.schema_ is not None:
        raise bad_request("response_format.schema belongs to the type json_object", "response_format.schema")
    return form.json_schema.schema_, "response_format"


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
