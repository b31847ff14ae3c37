"""JSON schemas: what is kept to, and what is refused by name."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.schemas import random_text, schemas, validate

from selar_local.errors import DecodeError, OptionError
from selar_local.llama.json_schema import SchemaCompiler

PIECES = [bytes([byte]) for byte in range(256)] + [b'{"', b'":', b'": "', b'"}', b"the", "é".encode(), b""]
END = len(PIECES) - 1


@pytest.fixture(scope="module")
def compiler():
    return SchemaCompiler(PIECES, [END])


def fits(compiler: SchemaCompiler, schema: Any, text: str) -> bool:
    """Whether the text may be written byte by byte, and end there."""
    grammar = compiler.grammar(schema)
    for token in [*text.encode(), END]:
        if not np.isfinite(grammar.mask(np.zeros(len(PIECES), np.float32))[token]):
            return False
        grammar.accept(token)
    return True


def of(**schema: Any) -> dict[str, Any]:
    """The schema of an object with one property, and a word for its texts: see `test_what_is_kept`."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}


NODE = {"$ref": "#/$defs/N", "$defs": {"N": {"type": "array", "items": {"$ref": "#/$defs/N"}}}}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 10}, ["1", "10"], ["0", "11", "400", "1.5", "-1"]),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, ["1", "0.5"], ["0", "0.0", "3.44", "-1"]),
        ({"type": "integer", "multipleOf": 7}, ["0", "14", "-7"], ["15"]),
        ({"type": "string"}, ['"a\\nb"', '"é😀"', '"\\\\"'], ['"a\nb"', '"\t"', "a", '"\\x"', '"a']),
        ({"enum": ['say "hi"', "C:\\new", 5, None]},
         ['"say \\"hi\\""', '"C:\\\\new"', "5", "null"], ['"C:\\new"', "6"]),
        ({"const": {"b": 1, "a": [True]}}, ['{"b":1,"a":[true]}'], ['{"b":1,"a":[false]}', "{}"]),
        ({"type": ["string", "null"], "maxLength": 3}, ['"abc"', "null"], ['"abcd"', "5"]),
        ({"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]}, ['"ab"', "12"], ['"abc"', "1.0"]),
        ({"type": "string", "maxLength": 1000}, [f'"{"a" * 1000}"'], [f'"{"a" * 1001}"']),
        ({"type": "string", "minLength": 2}, ['"éé"'], ['"é"']),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 100},
         ["[]", f"[{'1,' * 99}1]"], [f"[{'1,' * 100}1]"]),
        ({"type": "string", "pattern": r"^\d{2,60}$"}, ['"12"'], ['"1"', '"a1"', '"1２"']),
        ({"type": "string", "pattern": r"^[^\x00-\x1f]+$", "description": "\0"}, ['"a"'], ['""', '"\\n"']),
        ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"']),
        ({"type": "string", "pattern": r"^(?:a|b)\.c$"}, ['"a.c"'], ['"abc"']),
        ({"type": "string", "pattern": "^((a?){0,40}){0,40}$"}, ['""', '"aaa"'], ['"b"']),
        ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2024-13-01"', '"today"']),
        (NODE, ["[]", "[[],[[]]]"], ["[1]"]),
        (of(title="Any"),
         ['{"a":[1,{"b":null}]}', '{ "a": "x"}', '{\n  "a": 1\n}'], ["{}", '{"a":1,"b":2}', '{"a":1} ']),
        ({"type": "object"}, ["{}", '{"x": {"y": []}}'], ["[]", "{x:1}", '{"x":1,}']),
        ({"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": {"type": "string"}},
         ['{"a":1,"b":"x"}', '{"b":"x"}', "{}"], ['{"a":"x"}', '{"b":1}', '{"\\u0061":"x"}', '{"b":"x","a":"y"}']),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}], "type": "object"},
         ['{"a":1}'], ["{}", '{"a":"x"}']),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"x"'], ["null"]),
        ({"type": "object", "properties": {"minProperties": {"enum": [5]}, "const": {"type": "null"}}},
         ['{"minProperties":5,"const":null}'], ['{"minProperties":6}']),
        ({"type": "string", "default": 2**60 + 1}, ['"x"'], ["1"]),
        (True, ["1", "[null]"], ["x"]),
    ],
)  # fmt: skip
def test_what_is_kept(compiler, schema, good, bad):
    assert [text for text in good if not fits(compiler, schema, text)] == []
    assert [text for text in bad if fits(compiler, schema, text)] == []
    assert all(fits(compiler, json.dumps(schema), text) for text in good)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"not": {"type": "string"}}, "not"), ({"if": {}, "then": {}}, "if, then"), ({"contains": {}}, "contains"),
        (of(type="array", uniqueItems=True), "uniqueItems"), ({"dependentRequired": {}}, "dependentRequired"),
        ({"oneOf": [{"type": "integer", "minimum": 5}, {"type": "integer"}]}, "oneOf"),
        ({"type": "string", "pattern": "(?=a)b"}, "pattern.*look-ahead"),
        ({"type": "string", "pattern": "("}, "pattern"),
        ({"type": "string", "format": "binary"}, "format: binary"), ({"type": "nope"}, "type.*nope"),
        ({"$ref": "#/nowhere"}, r"\$ref"), ({"$ref": "https://example.com/x"}, r"\$ref"),
        ({"const": 2**53 + 1}, "const"), ({"type": "integer", "minimum": -(2**53) - 1}, "minimum"),
        ({"enum": [{"a": [10**400]}]}, "enum"), ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"anyOf": [{"type": "object", "minProperties": 3, "required": ["a"]}]}, "minProperties"),
        ({"type": "number", "minimum": 1e300, "maximum": 1e308}, "minimum, maximum"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "minimum"),
        ({"type": "string", "maxLength": -1}, "maxLength"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "x-guidance"), ({"$ref": "#"}, "no text"), (False, "false"),
        ({"const": "a\0"}, "const"), ({"properties": {"a\x7f": {}}}, "properties"),
        ({"required": ["\x01"]}, "required"), ({"pattern": r"\cA"}, "pattern"),
        ({"pattern": r"^a\x01b$"}, "pattern"), ({"pattern": r"^[\u0002]$"}, "pattern"),
        ({"title": "x" * 300_000}, "longer"),
        ({"anyOf": [{"patternProperties": {f"^{i}{j}$": {} for j in range(60)}} for i in "ab"]}, "patternProperties"),
        ({"const": float("nan")}, "JSON"), ({"const": object()}, "JSON"), ("{", "JSON"), ("", "JSON"), ("[]", "object"),
        (7, "object"), ('{"items":' * 2000 + "{}" + "}" * 2000, "deeper|JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_by_name(compiler, schema, words):
    with pytest.raises(OptionError, match=f"^json_schema.*({words})") as refused:
        compiler.grammar(schema)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=schemas, seed=st.integers(0, 2**32))
def test_every_finished_text_validates(compiler, schema, seed):
    try:
        grammar = compiler.grammar(schema)
    except OptionError:
        return
    text = random_text(grammar, PIECES, seed)
    if text is not None:
        with suppress(OverflowError):  # jsonschema divides numbers beyond a double
            validate(text, schema)


@pytest.mark.parametrize("pattern", [r"\w+@\w+", r"\d"])
def test_classes_of_characters_are_ascii(compiler, pattern):
    """ECMA 262, by which JSON Schema reads patterns. Python's own classes have all of Unicode."""
    schema = {"type": "object", "patternProperties": {pattern: {"type": "null"}}}
    for text, is_right in (('{"ä@ä": 6}', True), ('{"２": 6}', True), ('{"a@1": 6}', False), ('{"a@1": null}', True)):
        assert fits(compiler, schema, text) is is_right
        with nullcontext() if is_right else pytest.raises(jsonschema.ValidationError):
            validate(text, schema)


def test_the_mask_acts_on_the_logits(compiler):
    grammar, logits = compiler.grammar({"enum": ["a", "b"]}), np.arange(len(PIECES), dtype=np.float32)
    masked = grammar.mask(logits)
    assert np.flatnonzero(np.isfinite(masked)).tolist() == [ord('"')] and masked[ord('"')] == ord('"')
    grammar.accept(ord('"'))
    assert np.flatnonzero(np.isfinite(grammar.mask(logits))).tolist() == [ord("a"), ord("b")]


@pytest.mark.parametrize("size", [257, 287, 288, 289, 320, 1024])
def test_vocabularies_of_any_size(size):
    pieces = [*PIECES[:256], *[b"xx"] * (size - 257), b""]
    assert random_text(SchemaCompiler(pieces, [size - 1]).grammar({"enum": ["xx", "yy"]}), pieces, 1) in (
        '"xx"',
        '"yy"',
    )


def test_texts_of_one_schema_do_not_share_their_place(compiler):
    first, second = compiler.grammar({"const": "ab"}), compiler.grammar({"const": "ab"})
    first.accept(ord('"'))
    logits = np.zeros(len(PIECES), np.float32)
    assert np.isfinite(first.mask(logits))[ord("a")] and not np.isfinite(second.mask(logits))[ord("a")]


def test_a_token_that_is_not_allowed_is_an_error_and_no_end(compiler):
    grammar = compiler.grammar({"type": "integer"})
    with pytest.raises(DecodeError):
        grammar.accept(ord("x"))
    with pytest.raises(DecodeError):
        grammar.mask(np.zeros(len(PIECES), np.float32))


def test_every_end_token_ends_and_none_is_text():
    pieces = [*PIECES[:-1], b"<end>", b"", b""]
    compiler = SchemaCompiler(pieces, [END, END + 1])
    grammar = compiler.grammar({"const": "<end>"})
    for byte in b'"<end>"':
        allowed = np.flatnonzero(np.isfinite(grammar.mask(np.zeros(len(pieces), np.float32)))).tolist()
        assert allowed == [byte]
        grammar.accept(byte)
    allowed = np.flatnonzero(np.isfinite(grammar.mask(np.zeros(len(pieces), np.float32)))).tolist()
    assert allowed == [END, END + 1]
    with pytest.raises(OptionError, match="ends"):
        SchemaCompiler(pieces, [])
