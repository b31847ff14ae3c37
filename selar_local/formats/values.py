"""Arguments that a model writes as raw text, typed by the tool's JSON schema."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from selar_local.formats.scanner import loads

_TYPES = ("null", "boolean", "integer", "number", "object", "array")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_TOOL_NAME = re.compile(r"[\w.\-:/]+")
_NAMES = {"true": True, "false": False, "null": None, "none": None}


class ToolSchemas:
    """The parameters' schemas of the tools that a request offers."""

    def __init__(self, tools: Sequence[Mapping[str, Any]] | None) -> None:
        self._schemas: dict[str, Mapping[str, Any]] = {}
        for tool in tools or ():
            function = tool.get("function", tool)
            self._schemas[function["name"]] = function.get("parameters") or {}

    @property
    def any(self) -> bool:
        """Whether there is a tool."""
        return bool(self._schemas)

    def known(self, name: str) -> bool:
        """Whether a call of this name may be one: a tool has it, or no tools are known."""
        return name in self._schemas if self._schemas else bool(_TOOL_NAME.fullmatch(name))

    def begins(self, text: str) -> bool:
        """Whether a call's name may begin so."""
        if not self._schemas:
            return not text or bool(_TOOL_NAME.fullmatch(text))
        return any(name.startswith(text) for name in self._schemas)

    def properties(self, name: str) -> Mapping[str, Any]:
        """The schema of each parameter of a tool."""
        return properties_of(self._schemas.get(name, {}), self._schemas.get(name, {}))

    def property(self, name: str, key: str) -> Any:
        """The schema of a parameter, with its references resolved; None for an unknown one."""
        return resolved(self.properties(name).get(key), self._schemas.get(name, {}))


def properties_of(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of an object's schema."""
    schema = resolved(schema, root)
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """A schema whose own and whose branches' ``$ref`` are followed, within the tool's schema."""
    for _ in range(16):
        ref = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(ref, str) or not ref.startswith("#/"):
            break
        target: Any = root
        for part in ref[2:].split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        schema = target
    if not isinstance(schema, Mapping):
        return schema
    branches = {
        key: [resolved(branch, root) if branch is not schema else branch for branch in schema[key]]
        for key in ("anyOf", "oneOf", "allOf")
        if isinstance(schema.get(key), list) and any(isinstance(b, Mapping) and "$ref" in b for b in schema[key])
    }
    return {**schema, **branches} if branches else schema


def types_of(schema: Any) -> set[str]:
    """The JSON types that a schema allows; empty where it does not say."""
    if not isinstance(schema, Mapping):
        return set()
    types: set[str] = set()
    kind = schema.get("type")
    types.update([kind] if isinstance(kind, str) else kind if isinstance(kind, list) else [])
    for key in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(key) or ():
            types |= types_of(branch)
    values = [*(schema.get("enum") or ()), *([schema["const"]] if "const" in schema else [])]
    if not types:
        types = {_type_of(value) for value in values}
        if "properties" in schema:
            types.add("object")
        if "items" in schema:
            types.add("array")
    if schema.get("nullable") is True:
        types.add("null")
    return types


def _type_of(value: object) -> str:
    kinds = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def only_string(schema: Any) -> bool:
    """Whether a value of this schema can only be a string."""
    return types_of(schema) == {"string"}


def dumps(value: object) -> str:
    """JSON text, as the readers write it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def typed(raw: str, schema: Any) -> str:
    """The JSON text of a raw value.

    A type that the schema allows and the text can be is taken, strings last. Where the schema does not say, or the
    text fits no type that it allows, the text is JSON if it can be, and else a string.
    """
    types = types_of(schema)
    for kind in _TYPES:
        if kind in types:
            found = _as(kind, raw.strip())
            if found is not None:
                return found
    return dumps(raw) if "string" in types else best_reading(raw)


def best_reading(raw: str) -> str:
    """The JSON text of a raw value of which no type is known."""
    try:
        loads(raw)
    except ValueError:
        return dumps(raw)
    return raw.strip()


def _as(kind: str, text: str) -> str | None:
    """The JSON text of a text that is to be of a type; None where it cannot be."""
    if kind == "null":
        return "null" if text.lower() in ("null", "none") else None
    if kind == "boolean":
        return text.lower() if text.lower() in ("true", "false") else None
    if kind in ("integer", "number"):
        number = _NUMBER.fullmatch(text)
        whole = number and (not (number[2] or number[3]) or float(text).is_integer())
        return text if whole or (number and kind == "number") else None
    wanted = dict if kind == "object" else list
    try:
        return text if isinstance(loads(text), wanted) else None
    except ValueError:
        pass
    value = python_value(text)
    return dumps(value) if isinstance(value, wanted) else None


def python_value(text: str) -> object:
    """The value of a Python literal, JSON's names included; an Ellipsis where it is none."""
    try:
        with warnings.catch_warnings():  # of backslashes in strings
            warnings.simplefilter("ignore")
            value = _value(ast.parse(text.strip(), mode="eval").body)
        dumps(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ...
    return value


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id.lower() in _NAMES:
        return _NAMES[node.id.lower()]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(node.keys):
        return {str(_value(key)): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    value = ast.literal_eval(node)
    if isinstance(value, str | int | float | bool | None):
        return value
    raise ValueError(type(value))
