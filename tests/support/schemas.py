"""Random JSON schemas, and random texts that a grammar allows."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import jsonschema
import numpy as np
from hypothesis import strategies as st

from selar_local.llama.json_schema import SchemaGrammar

_NAMES = st.sampled_from(["a", "b", "name", "größe", 'q"uote', "back\\slash", "line\nbreak", "$ref", "minProperties"])
_TEXTS = st.one_of(st.sampled_from(["", "x", "\0", 'a "b"', "C:\\new", "ä\n\t"]), st.text(max_size=6))
_PATTERNS = st.sampled_from(
    [
        "^a{2,60}$",
        r"\d",
        r"^\d{3}-\d{4}$",
        "a|b",
        "^(?:a|b)*$",
        r"a\.b",
        "[^x]$",
        "^.{3}$",
        r"\w+@\w+",
        "^((a?){0,40}){0,40}$",
    ]
)
_FORMATS = st.sampled_from(["date", "time", "date-time", "uuid", "ipv4", "email", "hostname", "duration", "binary"])
_NUMBERS = st.one_of(st.integers(-1000, 1000), st.sampled_from([0.5, -2.25, 1e6, 2**60 + 1, 0.1]))
_COUNTS = st.integers(0, 5)
_SELDOM = st.sampled_from([False] * 9 + [True])
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)),
    max_leaves=4,
)


def _some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


def _typed(kind: str, **keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _some(**keywords).map(lambda found: {"type": kind, **found})


_LEAVES = st.one_of(
    st.sampled_from([True, {}, {"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}, {"title": "Any"}]),
    st.lists(_VALUES, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    _VALUES.map(lambda value: {"const": value}),
    _typed("string", minLength=_COUNTS, maxLength=st.integers(0, 200), pattern=_PATTERNS, format=_FORMATS),
    _typed("integer", minimum=_NUMBERS, maximum=_NUMBERS, exclusiveMinimum=_NUMBERS, multipleOf=st.integers(1, 9)),
    _typed("number", minimum=_NUMBERS, exclusiveMaximum=_NUMBERS, multipleOf=st.sampled_from([0.5, 0.01, 3])),
    st.just({"$ref": "#/$defs/node"}),
    _some(title=_TEXTS, contains=st.just({}), format=_FORMATS),
)  # fmt: skip


def _branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        _typed("array", items=inner, prefixItems=few, minItems=_COUNTS, maxItems=_COUNTS, uniqueItems=_SELDOM),
        _typed(
            "object",
            properties=st.dictionaries(_NAMES, inner, max_size=3),
            required=st.lists(_NAMES, max_size=3, unique=True),
            additionalProperties=inner,
            patternProperties=st.dictionaries(_PATTERNS, inner, max_size=1),
            minProperties=st.integers(0, 2),
            maxProperties=_COUNTS,
        ),
        few.map(lambda found: {"anyOf": found}),
        _some(oneOf=few, allOf=few, anyOf=few),
    )


#: Schemas with the keywords that people use, sound and unsound, satisfiable and not.
schemas: st.SearchStrategy[Any] = st.recursive(_LEAVES, _branches, max_leaves=6).map(
    lambda schema: schema if not isinstance(schema, dict) else {**schema, "$defs": {"node": _NODE}}
)

_NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}


def validate(text: str, schema: Any) -> None:
    """Raises jsonschema's ValidationError where the JSON text does not follow the schema."""
    jsonschema.Draft202012Validator(_in_python(schema)).validate(json.loads(text))


def _in_python(schema: Any) -> Any:
    """The schema with Python's spelling of its patterns: in JSON Schema (ECMA 262) `\\w` and `\\d` are ASCII alone."""
    if isinstance(schema, list):
        return [_in_python(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _in_python(value) for key, value in schema.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = f"(?a:{found['pattern']})"
    if isinstance(found.get("patternProperties"), dict):
        found["patternProperties"] = {f"(?a:{key})": value for key, value in found["patternProperties"].items()}
    return found


def random_text(grammar: SchemaGrammar, pieces: Sequence[bytes], seed: int, steps: int = 500) -> str | None:
    """A text that the grammar allows, token by token; None where it has not ended after `steps` of them.

    The last token of the vocabulary ends a text.
    """
    choose, end, text = random.Random(seed), len(pieces) - 1, b""
    for step in range(steps):
        allowed = np.flatnonzero(np.isfinite(grammar.mask(np.zeros(len(pieces), np.float32)))).tolist()
        closing = [token for token in allowed if pieces[token] in (b"", b'"', b"]", b"}")]
        token = choose.choice(closing if closing and choose.random() < step / 100 else allowed)
        grammar.accept(token)
        if token == end:
            return text.decode()
        text += pieces[token]
    return None
