"""Options: every class declares its bounds, and one checker holds each value against them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Literal

import pytest

from selar_local.analysis.calibrate import CalibrationConfig
from selar_local.analysis.lens.config import LensConfig
from selar_local.config import ALL_TOKENS, ChatConfig, EngineConfig, GenerationConfig, SamplingConfig
from selar_local.errors import OptionError
from selar_local.evaluation.config import EvaluationConfig
from selar_local.methods import METHODS
from selar_local.options import Option, Options, described, opt, shown
from selar_local.server.config import ServerConfig

CLASSES = (
    EngineConfig, SamplingConfig, GenerationConfig, ChatConfig, ServerConfig, EvaluationConfig, LensConfig,
    CalibrationConfig, *METHODS.built_in.values(),
)  # fmt: skip
ANY: tuple[Any, ...] = (
    None, True, False, -2, 0, 1, 7, 0.5, -0.5, 1.5, math.nan, math.inf, -math.inf, 10**400, -(10**5000), "", " ", "a",
    b"a", "0.5", (), ("a",), ["a", "b"], ("",), [1], {}, {"a": 1}, object(), 2**31, 2**63, 2**64,
)  # fmt: skip


@dataclass(frozen=True)
class Sample(Options):
    """One option of each kind."""

    switch: bool = opt(True, "x", "--switch/--no-switch")
    whole: int = opt(3, "x", "--whole", low=1, high=9, minus_one=9)
    share: float = opt(0.5, "x", "--share", above=0, below=1)
    text: str | None = opt(None, "x (default: the other)", "--text")
    texts: tuple[str, ...] = opt((), "x", "--more")
    ids: tuple[int, ...] = opt((), "x")
    word: Literal["a", "b"] = opt("a", "x", "--word")
    number: float | Literal["auto"] = opt(1.0, "x", "--number", low=0)
    token: int | str | None = opt(None, "x", "--token", low=0)
    thing: str | Mapping[str, Any] | None = opt(None, "x", cli=False)

    def check_together(self) -> None:
        if self.word == "b" and not self.switch:
            raise OptionError("word b needs switch")


def wrong(option: Option) -> Iterator[Any]:
    """Values just outside of the bounds."""
    tiny = 1 if option.number is int else 1e-6
    if option.low is not None:
        takes_minus_one = option.minus_one in (None, 0, ALL_TOKENS)
        yield option.low - (2 if takes_minus_one else 1)
        yield option.low - tiny if option.number is float else option.low - 1000
    if option.high is not None:
        yield option.high + 1
    yield from (bound for bound in (option.above, option.below) if bound is not None)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_default_and_the_bounds_are_values_and_what_lies_outside_is_none(cls: type) -> None:
    for option in described(cls):
        assert option.checked(option.default) == option.default
        for bound in (option.low, option.high):
            assert bound is None or option.checked(bound) == bound
        for value in wrong(option):
            with pytest.raises(OptionError, match=f"^{option.name} must be ") as caught:
                option.checked(value)
            assert str(value) in str(caught.value)
            with pytest.raises(OptionError, match=option.name):
                cls(**{option.name: value})


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_any_value_is_kept_or_refused_in_one_line(cls: type) -> None:
    for option, value in product(described(cls), ANY):
        try:
            kept = option.checked(value)
        except OptionError as error:
            text = str(error)
            assert text.startswith(f"{option.name} must be ") and "\n" not in text and len(text) < 300
        else:
            assert option.checked(kept) == kept
            require_kind(option, kept)


def require_kind(option: Option, kept: Any) -> None:
    if kept is None:
        assert option.optional
    elif option.kind == "boolean":
        assert isinstance(kept, bool)
    elif isinstance(kept, tuple):
        of = {"texts": str, "integers": int}[option.kind]
        assert all(type(one) is of and one != "" for one in kept)
    elif isinstance(kept, (int, float)):
        assert option.number is not None and not isinstance(kept, bool) and math.isfinite(kept)
        assert option.number is float or isinstance(kept, int)
    else:
        assert isinstance(kept, str) or (option.mapping and isinstance(kept, Mapping))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_is_described(cls: type) -> None:
    assert [option.name for option in described(cls)] == [one.name for one in fields(cls)]
    for option in described(cls):
        assert option.help and json.loads(json.dumps(option.as_dict()))["name"] == option.name
        if option.number is not None:
            assert option.bounds, option.name


def test_the_kinds_and_the_words_for_them() -> None:
    rows = {option.name: option for option in described(Sample)}
    assert {name: row.kind for name, row in rows.items()} == {
        "switch": "boolean", "whole": "integer", "share": "float", "text": "text", "texts": "texts",
        "ids": "integers", "word": "choice", "number": "number|text", "token": "number|text", "thing": "text",
    }  # fmt: skip
    assert {name: row.bounds for name, row in rows.items() if row.bounds} == {
        "whole": "between 1 and 9", "share": "above 0 and below 1", "number": "at least 0", "token": "at least 0",
    }  # fmt: skip
    assert rows["whole"].usage == "--whole INTEGER" and rows["texts"].usage == "--more TEXT"
    assert rows["word"].usage == "--word [a|b]" and rows["switch"].usage == "--switch / --no-switch"
    assert rows["thing"].usage == "thing (Python only)" and rows["text"].default_text == "the other"
    told = rows["share"].as_dict()
    assert (told["exclusiveMinimum"], told["exclusiveMaximum"], "minimum" in told) == (0, 1, False)
    assert rows["whole"].as_dict()["maximum"] == 9 and rows["thing"].as_dict()["python_only"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"switch": 1}, "switch must be True or False, not 1"),
        ({"whole": 10}, "whole must be between 1 and 9, or -1, not 10"),
        ({"whole": "3"}, "whole must be a whole number, not '3'"),
        ({"share": 1}, "share must be above 0 and below 1, not 1"),
        ({"share": math.nan}, "share must be a finite number, not nan"),
        ({"text": 5}, "text must be a text that is not empty, not 5"),
        ({"texts": "abc"}, "texts must be texts that are not empty, not 'abc'"),
        ({"ids": [1, -1]}, "ids must be whole numbers between 0 and 2147483647, not (1, -1)"),
        ({"word": "c"}, "word must be one of a, b, not 'c'"),
        ({"number": "Auto"}, "number must be a number or auto, not 'Auto'"),
        ({"number": 2**64}, "number must be at most 18446744073709551615, not a number of so many digits"),
        ({"token": ""}, "token must be a whole number or a text, not ''"),
        ({"thing": 5}, "thing must be a text or an object, not 5"),
        ({"text": ["x" * 500]}, f"text must be a text that is not empty, not ['{'x' * 78} ..."),
        ({"word": "b", "switch": False}, "word b needs switch"),
    ],
)
def test_the_messages(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        Sample(**options)
    assert str(caught.value) == said


def test_values_are_made_what_they_mean() -> None:
    made = Sample(whole=-1, texts=iter(["a", "b"]), number="auto", token="<x>", thing={"a": 1})  # type: ignore[arg-type]
    assert (made.whole, made.texts, made.number, made.token, made.thing) == (9, ("a", "b"), "auto", "<x>", {"a": 1})
    assert [shown(value) for value in (True, False, None, (), ("a",), 0.5)] == [
        "on",
        "off",
        "none",
        "none",
        "'a'",
        "0.5",
    ]


def test_a_misspelt_declaration_is_an_error() -> None:
    @dataclass(frozen=True)
    class Misspelt(Options):
        size: int = opt(1, "x", lowest=0)

    with pytest.raises(TypeError, match="lowest"):
        Misspelt()
