"""Short texts for `repr`: one line, whatever is in the object."""

from __future__ import annotations

_LONGEST = 60  # characters of a text


def short(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def call(thing: object, **parts: object) -> str:
    """``Name(part=value, ...)``, without the parts that are None."""
    given = ", ".join(f"{name}={value!r}" for name, value in parts.items() if value is not None)
    return f"{type(thing).__name__}({given})"
