"""The settings of a request by name: method, sampling, length. A conversation keeps them from turn to turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from selar_local import methods
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig, from_mapping
from selar_local.engine.model_info import ModelInfo
from selar_local.errors import OptionError, UnsupportedModel
from selar_local.methods import DEFAULT_METHOD, METHODS, CoT, Method, method_class

_GENERATION = frozenset(f.name for f in fields(GenerationConfig))
_KNOWN = _GENERATION | {f.name for f in fields(SamplingConfig)}


def as_method(method: Method | str | None) -> Method:
    """The method, with its default options where a name is given. Raises OptionError for an unknown name."""
    if isinstance(method, type) and issubclass(method, Method):
        raise OptionError(f"method must be an instance: write {method.__name__}() for {method.__name__}")
    return method if isinstance(method, Method) else method_class(method or DEFAULT_METHOD)()


def default_method(info: ModelInfo) -> Method:
    """The method of a request that names none: the default one, or `cot` where the model takes no vectors."""
    return as_method(DEFAULT_METHOD if info.no_vectors is None else CoT.name)


def require_usable(method: Method, info: ModelInfo) -> None:
    """Raises UnsupportedModel for a method that feeds vectors where the model takes none."""
    if method.feeds_vectors and info.no_vectors is not None:
        raise UnsupportedModel(f"{method.name} cannot be used, {CoT.name} can: {info.no_vectors}")


def configs_of(
    method: Method, options: Mapping[str, Any], recommended: Mapping[str, Any] | None = None
) -> tuple[SamplingConfig, GenerationConfig]:
    """The sampling and generation options of a request with this method. Raises OptionError."""
    _require_known(method, options)
    generation = from_mapping(GenerationConfig, {k: v for k, v in options.items() if k in _GENERATION})
    given = {name: value for name, value in options.items() if name not in _GENERATION}
    return method.sampling(given, recommended), generation


def _require_known(method: Method, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name not in _KNOWN:
            raise OptionError(f"unknown option {name!r}{_place_of(name, value, type(method))}")


class TurnSettings:
    """A method, and the sampling and generation options that were given. They always fit together."""

    def __init__(
        self,
        method: Method | str | None,
        options: Mapping[str, Any],
        recommended: Mapping[str, Any] | None = None,
    ) -> None:
        """recommended: the sampling that the model file has. Raises OptionError."""
        self._recommended = recommended
        self.configure(as_method(method), options)

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
        _require_known(chosen, options)
        given = {name: value for name, value in options.items() if value is not None}
        self._sampling, self._generation = configs_of(chosen, given, self._recommended)
        self._method, self._options = chosen, given

    @property
    def sampling(self) -> SamplingConfig:
        """The sampling in force: the given options, else the defaults of the method."""
        return self._sampling

    @property
    def generation(self) -> GenerationConfig:
        """The generation options in force."""
        return self._generation


def _place_of(name: str, value: object, chosen: type[Method]) -> str:
    """Where an option belongs that a request does not have, else which options there are."""
    owners = [cls for cls in (chosen, *METHODS.values()) if name in {f.name for f in fields(cls)}]
    if chosen in owners:
        owners = [chosen]
    if owners:
        public = [f"sl.{cls.__name__}" if cls.__name__ in methods.__all__ else cls.__name__ for cls in owners]
        calls = " or ".join(f"method={cls}({name}={value!r})" for cls in public)
        return f": it is an option of a method, give {calls}"
    if name in {f.name for f in fields(EngineConfig)}:
        return ": it is an option of sl.load"
    close = get_close_matches(name, _KNOWN, n=1)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: method, {', '.join(sorted(_KNOWN))})"
