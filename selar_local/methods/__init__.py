"""The decoding methods: pure NumPy, no llama.cpp."""

from __future__ import annotations

from selar_local.errors import OptionError
from selar_local.methods.base import Method
from selar_local.methods.cot import CoT, CoTGreedy
from selar_local.methods.selar import Selar

__all__ = ["DEFAULT_METHOD", "METHODS", "CoT", "CoTGreedy", "Method", "Selar", "method_class"]

METHODS: dict[str, type[Method]] = {cls.name: cls for cls in (Selar, CoT, CoTGreedy)}
DEFAULT_METHOD = Selar.name


def method_class(name: str) -> type[Method]:
    """The class of the method called `name`; OptionError lists the known names."""
    try:
        return METHODS[name]
    except KeyError:
        raise OptionError(f"unknown method {name!r} (known: {', '.join(METHODS)})") from None
