"""Options: what a field of a configuration class declares about itself, in one place.

`opt` declares a field: default, help, flags, bounds. `Options` checks every value of a new instance. `described` gives
the declarations to all that show or read options: flags, help pages, documentation, the server, the config file.
"""

from __future__ import annotations

import contextlib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import Any, Literal, TypeVar

from selar_local.errors import OptionError

T = TypeVar("T")

_DEFAULT_IN_WORDS = re.compile(r" \(default: (.*)\)$")
_LARGEST = 2**31 - 1  # of a whole number without a bound of its own
_SAME = object()  # -1 has no other meaning
_SEVERAL = ("texts", "integers")
_SWITCH = {**dict.fromkeys(("on", "true", "yes", "1"), True), **dict.fromkeys(("off", "false", "no", "0"), False)}
_LONG = 80  # characters of a wrong value in a message


def require(condition: bool, message: str) -> None:
    """Raise `OptionError` with `message` unless `condition` holds."""
    if not condition:
        raise OptionError(message)


def opt(default: Any, help_text: str, *flags: str, cli: bool = True, repr: bool = True, **declared: Any) -> Any:
    """A field of an `Options` class. Its annotation says which kind of value it takes, and whether None is one.

    `Literal["on", "off"]` in the annotation lists the only texts: alone the choices, beside a number its words.

    cli: False for an option of Python alone. repr: False hides the value, also in messages.
    declared: low, high: the bounds of a number. above, below: the same, without the bound itself.
    minus_one: what replaces the value -1, as in llama.cpp. source: of the option, if not the source of its class.
    """
    metadata = {"help": help_text, "flags": flags, "cli": cli, **declared}
    return field(default=default, repr=repr, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option: the declaration of a field, with what its annotation says.

    kind: "boolean", "integer", "float", "text", "texts", "integers", "number|text",
    "object" or "choice".
    flags: as declared, such as "--mmap/--no-mmap"; none where only Python has the option.
    number: int or float where the value may be a number. optional: None is a value.
    choices: the only values. words: the only texts beside a number.
    mapping: a mapping is a value as well. secret: messages do not show the value.
    The other fields: as in `opt`.
    """

    name: str
    kind: str
    default: Any
    help: str
    flags: tuple[str, ...]
    source: str | None
    number: type | None = None
    optional: bool = False
    mapping: bool = False
    secret: bool = False
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    minus_one: Any = _SAME

    @property
    def usage(self) -> str:
        """What one writes on the command line, as help pages show it."""
        if not self.flags:
            return f"{self.name} (Python only)"
        if self.kind == "boolean":
            return ", ".join(flag.replace("/", " / ") for flag in self.flags)
        if self.choices:
            return f"{', '.join(self.flags)} [{'|'.join(self.choices)}]"
        return f"{', '.join(self.flags)} {'TEXT' if self.kind == 'texts' else self.kind.upper()}"

    @property
    def default_text(self) -> str:
        """The default as a person reads it; where it is None, the words that the help has for it."""
        words = _DEFAULT_IN_WORDS.search(self.help) if self.default is None else None
        return words[1] if words else shown(self.default)

    @property
    def meaning(self) -> str:
        """The help without those words."""
        return _DEFAULT_IN_WORDS.sub("", self.help) if self.default is None else self.help

    @property
    def bounds(self) -> str:
        """The bounds in words: "between 0 and 1", "above 0 and at most 1", "at least 0"; empty without any."""
        if self.low is not None and self.high is not None:
            return f"between {self.low} and {self.high}"
        named = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        return " and ".join(f"{words} {bound}" for words, bound in named.items() if bound is not None)

    def as_dict(self) -> dict[str, Any]:
        """The option as JSON has it. Bounds have their names in JSON Schema, and stand there if they are declared."""
        bounds = {"minimum": self.low, "maximum": self.high}
        bounds |= {"exclusiveMinimum": self.above, "exclusiveMaximum": self.below}
        return {
            "name": self.name,
            "flags": [flag for declared in self.flags for flag in declared.split("/")],
            "type": self.kind,
            "default": self.default,
            "choices": list(self.choices),
            **{name: bound for name, bound in bounds.items() if bound is not None},
            "help": self.help,
            "source": self.source,
            "python_only": not self.flags,
        }

    def parse(self, text: str) -> Any:
        """The value that `text` stands for; "none" and "default" are the default. Raises OptionError."""
        if text.lower() in ("none", "default"):
            return self.default
        value: Any = text
        if self.kind == "boolean":
            value = _SWITCH.get(text.lower(), text)
        elif self.kind == "texts":
            value = (text,)
        elif self.number is not None:
            with contextlib.suppress(ValueError):
                value = self.number(text)
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        """The value to keep. Raises OptionError, with the option's name as the first word."""
        if value is None and self.optional:
            return None
        if type(value) is int and value == -1 and self.minus_one is not _SAME:
            return self.minus_one
        if self.kind in _SEVERAL and isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
            value = tuple(value)
        given = "" if self.secret else f", not {_brief(value)}"
        require(self._is_of_kind(value), f"{self.name} must be {self._expected(value)}{given}")
        if self.number is not None and not isinstance(value, str):
            self._check_bounds(value)
        return value

    def _is_of_kind(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return self.mapping
        if self.kind == "texts":
            return isinstance(value, tuple) and all(isinstance(one, str) and one for one in value)
        if self.kind == "integers":
            return isinstance(value, tuple) and all(type(one) is int and 0 <= one <= _LARGEST for one in value)
        if isinstance(value, str):
            texts = self.choices or self.words
            some = value if self.kind == "number|text" else value.strip()
            return value in texts if texts else self.kind in ("text", "number|text") and some != ""
        if isinstance(value, bool):
            return self.kind == "boolean"
        if isinstance(value, float):
            return self.number is float and math.isfinite(value)
        return isinstance(value, int) and self.number is not None

    def _expected(self, value: Any) -> str:
        number = "a finite number" if isinstance(value, float) else "a number"
        if self.number is int:
            number = "a whole number"
        return {
            "boolean": "True or False",
            "integer": number,
            "float": number,
            "number|text": f"{number} or {' or '.join(self.words) or 'a text'}",
            "choice": f"one of {', '.join(self.choices)}",
            "texts": "texts that are not empty" + (", or an object" if self.mapping else ""),
            "integers": f"whole numbers between 0 and {_LARGEST}",
            "object": "an object",
        }.get(self.kind, "a text or an object" if self.mapping else "a text that is not empty")

    def _check_bounds(self, value: float) -> None:
        inside = (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )
        or_minus_one = "" if self.minus_one is _SAME else ", or -1"
        require(inside, f"{self.name} must be {self.bounds}{or_minus_one}, not {_brief(value)}")
        most = _LARGEST if self.kind == "integer" else 2**64 - 1
        fits = self.high is not None or self.below is not None or abs(value) <= most
        require(fits, f"{self.name} must be at most {most}, not {_brief(value)}")


class Options:
    """Base of the classes of options, which are frozen dataclasses with fields made by `opt`.

    A new instance is checked: a wrong value raises OptionError. Rules between options stand in `check_together`.
    """

    def __post_init__(self) -> None:
        cls: type = type(self)
        for option in described(cls):
            object.__setattr__(self, option.name, option.checked(getattr(self, option.name)))
        self.check_together()

    def check_together(self) -> None:
        """Check what no single option can say. Raises OptionError."""


@cache
def described(cls: type) -> tuple[Option, ...]:
    """The options of a class, in the order of declaration."""
    hints = typing.get_type_hints(cls)
    source = getattr(cls, "source", None)
    return tuple(_option(one, hints[one.name], source) for one in fields(cls) if "help" in one.metadata)


def _option(one: Field[Any], hint: Any, source: str | None) -> Option:
    declared = one.metadata
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    literals = tuple(text for kind in kinds if typing.get_origin(kind) is Literal for text in typing.get_args(kind))
    number = next((kind for kind in kinds if kind in (int, float)), None)
    if number is not None:
        kind = "number|text" if literals or str in kinds else "integer" if number is int else "float"
    elif literals:
        kind = "choice"
    elif bool in kinds:
        kind = "boolean"
    else:
        several = next((hint for hint in kinds if typing.get_origin(hint) is tuple), None)
        if several is not None:
            kind = "integers" if int in typing.get_args(several) else "texts"
        else:
            kind = "text" if str in kinds else "object"
    more = {key: value for key, value in declared.items() if key not in ("flags", "cli", "source")}
    return Option(
        name=one.name,
        kind=kind,
        default=one.default,
        flags=declared["flags"] if declared["cli"] else (),
        choices=literals if number is None else (),
        words=literals if number is not None else (),
        source=declared.get("source", source),
        number=number,
        optional=type(None) in kinds,
        mapping=any(typing.get_origin(hint) is Mapping for hint in kinds),
        secret=not one.repr,
        **more,
    )


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build the dataclass `cls` from `values`; an unknown key is an `OptionError` that lists the known ones."""
    known = [one.name for one in fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            options = ", ".join(known) or "none"
            raise OptionError(f"unknown option {name!r} for {cls.__name__} (known: {options})")
    return cls(**values)


def shown(value: Any) -> str:
    """A value of an option as a person writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(map(repr, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {one}" for name, one in value.items()) or "none"
    return "none" if value is None else str(value)


def _brief(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 2**64:
        return "a number of so many digits"
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]} ..."
