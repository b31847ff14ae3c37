"""What the turns of a conversation are asked with: method, sampling, length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods import DEFAULT_METHOD, Method, method_class

__all__ = ["TurnSettings", "as_method"]

_SAMPLING = frozenset(f.name for f in fields(SamplingConfig))
_GENERATION = frozenset(f.name for f in fields(GenerationConfig))


class TurnSettings:
    """A method, and the sampling and generation options that were given. They always fit together."""

    def __init__(self, method: Method | str | None, options: Mapping[str, Any]) -> None:
        """Raises OptionError."""
        self._method = as_method(method or DEFAULT_METHOD)
        self._options = _checked(self._method, options)

    @property
    def method(self) -> Method:
        """The decoding method. May be set to an instance or a name; raises OptionError."""
        return self._method

    @method.setter
    def method(self, method: Method | str) -> None:
        self.configure(method, self._options)

    @property
    def options(self) -> dict[str, Any]:
        """The sampling and generation options that were given; `set` changes them."""
        return dict(self._options)

    def set(self, **options: Any) -> None:
        """Set sampling and generation options for the turns to come; None: back to the default. Raises OptionError."""
        self.configure(self._method, {**self._options, **options})

    def configure(self, method: Method | str, options: Mapping[str, Any]) -> None:
        """Replace both. Raises OptionError, and then changes nothing."""
        chosen = as_method(method)
        self._options = _checked(chosen, options)
        self._method = chosen

    @property
    def sampling(self) -> SamplingConfig:
        """The sampling in force: the given options, else the defaults of the method."""
        return self._method.sampling(_some(self._options, _SAMPLING))

    @property
    def generation(self) -> GenerationConfig:
        """The generation options in force."""
        return GenerationConfig(**_some(self._options, _GENERATION))


def as_method(method: Method | str) -> Method:
    """The method, with its default options where a name is given. Raises OptionError for an unknown name."""
    return method if isinstance(method, Method) else method_class(method)()


def _checked(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that are None."""
    known = _SAMPLING | _GENERATION
    for name in options:
        if name not in known:
            raise OptionError(f"unknown option {name!r} (known: {', '.join(sorted(known))})")
    given = {name: value for name, value in options.items() if value is not None}
    method.sampling(_some(given, _SAMPLING))
    GenerationConfig(**_some(given, _GENERATION))
    return given


def _some(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}
