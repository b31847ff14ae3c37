"""The schema of an answer, and of a forced tool call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selar_local.server.errors import bad_request
from selar_local.server.schemas import Common


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


_NAMES = ("properties", "$defs", "definitions", "patternProperties")  # of schemas by name
_VALUES = ("enum", "const", "default", "examples")  # no schemas
_PARTS = {"allOf", "if", "dependentSchemas", "$dynamicRef"}
_OPEN = {"additionalProperties", "patternProperties", "unevaluatedProperties", "anyOf", "oneOf", "$ref"}


def call_schema(
    functions: Sequence[tuple[str, dict[str, Any]]], answer: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The schema of ``{"name": .., "arguments": ..}`` for one of the functions, given with their parameters.

    answer: the schema of what may come instead of a call.
    Objects have the declared properties alone, unless the schema says something else: small models would invent others
    without an end.
    """
    parameters = {
        f"tool{i}": _moved(schema, f"#/$defs/tool{i}", close=not _composes(schema))
        for i, (_, schema) in enumerate(functions)
    }
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/tool{i}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for i, (name, _) in enumerate(functions)
    ]
    if answer is None:
        return {"$defs": parameters, "anyOf": calls}
    parts = {**parameters, "answer": _moved(answer, "#/$defs/answer", close=False)}
    return {"$defs": parts, "anyOf": [{"$ref": "#/$defs/answer"}, *calls]}


def _composes(node: Any) -> bool:
    """Whether an object of the schema may have its properties from several parts."""
    if isinstance(node, list):
        return any(map(_composes, node))
    return isinstance(node, dict) and (bool(_PARTS & node.keys()) or any(map(_composes, node.values())))


def _moved(node: Any, root: str, *, close: bool) -> Any:
    """A copy whose references into the schema point to where it stands now. close: objects get no other properties."""
    if isinstance(node, list):
        return [_moved(value, root, close=close) for value in node]
    if not isinstance(node, dict):
        return node
    moved: dict[str, Any] = {}
    for key, value in node.items():
        if key in _NAMES and isinstance(value, dict):
            moved[key] = {name: _moved(one, root, close=close) for name, one in value.items()}
        else:
            moved[key] = value if key in _VALUES else _moved(value, root, close=close)
    if close and node.get("type") == "object" and node.get("properties") and not _OPEN & node.keys():
        moved["additionalProperties"] = False
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference[1:]
    return moved
