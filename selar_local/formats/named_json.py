"""Calls that are a name in markers and then a JSON object: the arguments."""

from __future__ import annotations

from collections.abc import Callable

from selar_local.formats.reader import Reader
from selar_local.formats.scanner import Steps


class NamedJson(Reader):
    """Helps to read calls of this kind; a family reads its header."""

    def arguments(self, name: str, id: str | None, *closes: str) -> Steps[bool]:
        """Read a call from its arguments on, and its close, which may be missing; False where it is none."""
        if not self.tools.known(name):
            return False
        sign = yield from self.take("{", *closes)
        if not sign:
            return False
        if sign != "{":
            self.call(name, "{}", id)
            return True
        self.pos -= 1
        self.begin(name, id)
        if (yield from self.json(self.argue)) is None:
            return (yield from self.skip(*closes))
        self.end()
        yield from self.take(*closes)
        return True

    def section(self, opening: str, closing: str, item: Callable[[], Steps[bool]]) -> Steps[bool]:
        """Read calls that begin with `opening` and text between them, which is dropped, up to `closing`.

        item: reads one call after its opening.
        """
        n_before = self._n_calls
        while True:
            text, stop = yield from self.until(opening, closing, limit=1024)
            if stop == opening and (yield from item()):
                if self._open is None:
                    continue
                return (yield from self.skip(closing))
            if stop == closing and not (text.strip() and self._n_calls == n_before):
                return True
            left = self.text[self.pos :].strip()
            self.cut = self.cut and (stop == opening or opening.startswith(left) or closing.startswith(left))
            return self._n_calls > n_before
