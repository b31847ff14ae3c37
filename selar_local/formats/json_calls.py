"""Calls that are JSON objects with the name in them, alone or in a list, after a marker."""

from __future__ import annotations

from typing import Any, ClassVar

from selar_local.formats.reader import Reader
from selar_local.formats.scanner import Steps, is_object, loads

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")
_IDS = ("id", "tool_call_id")


class JsonCalls(Reader):
    """Reads ``{"name": .., "arguments": {..}}``, whatever the order of the keys, and lists of them."""

    #: What closes a block, by what starts it. The close may be missing: the JSON tells its end.
    closes: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Whether an object without arguments is no call.
    needs_arguments: ClassVar[bool] = False

    def block(self, start: str) -> Steps[bool]:
        return (yield from self.json_block(dict(self.closes).get(start, "")))

    def json_block(self, close: str) -> Steps[bool]:
        """Read the objects of a block and its close."""
        closes = (close,) if close else ()
        listed = yield from self.take("[")
        n_before = self._n_calls
        while True:
            found = yield from self.json_call()
            if not found:
                if self._n_calls == n_before:
                    return False
                return (yield from self.skip(*closes))
            sign = yield from self.take(*(("]", ",") if listed else (*closes, "{", ",", ";")))
            if sign == "{":
                self.pos -= 1
            if sign in ("", "]", close):
                break
        if sign == "]" and close:
            yield from self.take(close)
        return True

    def json_call(self) -> Steps[bool]:
        """Read an object that is a call; False where it is none, broken or cut off."""
        if not (yield from self.take("{")):
            return False
        found: dict[str, Any] = {}
        begun = False
        sign = ","
        while sign == ",":
            if not found and (yield from self.take("}")):
                return False
            key = yield from self.key()
            if key is None:
                return False
            if key in _ARGUMENTS and self._name(found) and (yield from self.take("{")):
                self.pos -= 1
                self.begin(self._name(found), self._id(found))
                begun = True
                if (yield from self.json(self.argue)) is None:
                    return False
                found[key] = ...
            else:
                text = yield from self.json()
                value = _value(text)
                if value is ... or not self.fits(key, value):
                    return False
                found[key] = text if isinstance(value, dict) else value
            sign = yield from self.take(",", "}")
        if not sign or not self._name(found):
            return False
        if begun:
            self.end(self._id(found))
            return True
        arguments = _arguments(found, self.needs_arguments)
        if arguments:
            self.call(self._name(found), arguments, self._id(found))
        return bool(arguments)

    def fits(self, key: str, value: object) -> bool:
        """Whether a key and its value may stand in a call."""
        return key not in _NAMES or (isinstance(value, str) and self.tools.known(value))

    def key(self) -> Steps[str | None]:
        """Take a key and its colon; None if there is none."""
        key = _value((yield from self.json()))
        if not isinstance(key, str) or not (yield from self.take(":")):
            return None
        return key

    def _name(self, found: dict[str, Any]) -> str:
        return next((found[key] for key in _NAMES if key in found), "")

    def _id(self, found: dict[str, Any]) -> str | None:
        return next((str(found[key]) for key in _IDS if found.get(key) is not None), None)


def _value(text: str | None) -> object:
    """The value of a JSON text; an Ellipsis for what is no JSON."""
    try:
        return ... if text is None else loads(text)
    except ValueError:
        return ...


def _arguments(found: dict[str, Any], needed: bool) -> str:
    """The JSON text of the arguments; "" where they are no object."""
    text = next((found[key] for key in _ARGUMENTS if key in found), "" if needed else None)
    if text is None:
        return "{}"
    return text if isinstance(text, str) and is_object(text) else ""
