"""The decoding methods: pure NumPy, no llama.cpp. Every module here that defines a `Method` is found by itself.

Other packages bring methods through entry points of the group ``selar_local.methods``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from selar_local.errors import OptionError
from selar_local.methods.base import Method
from selar_local.methods.coconut import Coconut
from selar_local.methods.cot import CoT, CoTGreedy
from selar_local.methods.moi import MoI
from selar_local.methods.multiplex import Multiplex
from selar_local.methods.registry import Registry
from selar_local.methods.selar import Selar
from selar_local.methods.soft_thinking import SoftThinking
from selar_local.methods.swireasoning import SwiReasoning

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "CoT",
    "CoTGreedy",
    "Coconut",
    "Method",
    "MoI",
    "Multiplex",
    "Selar",
    "SoftThinking",
    "SwiReasoning",
    "method_class",
]

DEFAULT_METHOD = Selar.name


def _discover() -> Iterator[type[Method]]:
    """The methods that the modules of this package define."""
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and issubclass(cls, Method) and not inspect.isabstract(cls):
                yield cls


#: By name: the default first, then in the order of the alphabet; methods of other packages last.
METHODS = Registry(
    {cls.name: cls for cls in sorted(_discover(), key=lambda cls: (cls.name != DEFAULT_METHOD, cls.name))}
)


def method_class(name: str) -> type[Method]:
    """The class of the method called `name`; OptionError lists the known names."""
    try:
        return METHODS[name]
    except KeyError:
        problem = METHODS.problems.get(name)
        raise OptionError(problem or f"unknown method {name!r} (known: {', '.join(METHODS)})") from None
