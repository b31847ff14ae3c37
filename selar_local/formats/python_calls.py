"""Calls that are written as Python calls: ``[f(a=1), g()]``."""

from __future__ import annotations

from selar_local.formats.reader import Reader
from selar_local.formats.scanner import Steps
from selar_local.formats.values import dumps, python_value

_OPEN, _CLOSE = "([{", ")]}"


class PythonCalls(Reader):
    """Reads a list of calls; a family finds its start."""

    def calls(self) -> Steps[bool]:
        """Read the calls after the opening bracket, and the closing one; False where there is none."""
        n_before = self._n_calls
        while True:
            name, _ = yield from self.name("(")
            if not name:
                return self._n_calls > n_before
            self.begin(name)
            self.argue("{")
            if not (yield from self._keywords()):
                return True
            self.argue("}")
            self.end()
            if (yield from self.take(",", "]")) != ",":
                return True

    def _keywords(self) -> Steps[bool]:
        """Read the keyword arguments and the closing bracket."""
        mark = ""
        while True:
            if (yield from self.take(")")):
                return True
            key, stop = yield from self.until("=", limit=128)
            if not stop or not key.strip().isidentifier():
                return False
            text = yield from self._expression()
            if text is None or (value := python_value(text)) is ...:
                return False
            self.argue(f"{mark}{dumps(key.strip())}: {dumps(value)}")
            mark = ", "
            yield from self.take(",")

    def _expression(self) -> Steps[str | None]:
        """Take the text up to the comma or the bracket that ends it; None where it was cut off."""
        start = self.pos
        depth, quote = 0, ""
        while True:
            while self.pos < len(self.text):
                sign = self.text[self.pos]
                if quote:
                    if sign == "\\" and self.pos + 1 >= len(self.text):
                        break
                    self.pos += sign == "\\"
                    quote = "" if sign == quote else quote
                elif sign in "'\"":
                    quote = sign
                elif not depth and sign in ",)":
                    return self.text[start : self.pos]
                else:
                    depth += (sign in _OPEN) - (sign in _CLOSE)
                self.pos += 1
            if self.ended:
                self.cut = True
                return None
            yield
