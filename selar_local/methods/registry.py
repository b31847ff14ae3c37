"""The decoding methods by name: from this package and from installed packages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from selar_local.config import ChatConfig, EngineConfig, GenerationConfig, SamplingConfig, require
from selar_local.methods.base import Method
from selar_local.options import described

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: The entry-point group of a package that brings methods: ``name = "module:Class"``.
GROUP = "selar_local.methods"


class Registry(Mapping[str, type[Method]]):
    """Name to class, the built-in methods first. A built-in name always means the built-in method.

    Entry points are read when the methods are listed, or when a name is not a built-in one.
    """

    def __init__(self, built_in: Mapping[str, type[Method]]) -> None:
        self.built_in = dict(built_in)

    def __getitem__(self, name: str) -> type[Method]:
        return self.built_in[name] if name in self.built_in else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def problems(self) -> Mapping[str, str]:
        """The installed methods that cannot be used, by name, with one line that says why."""
        return self._installed[1]

    @property
    def _all(self) -> dict[str, type[Method]]:
        return self._installed[0]

    @cached_property
    def _installed(self) -> tuple[dict[str, type[Method]], dict[str, str]]:
        from importlib.metadata import entry_points  # takes long to import

        found, problems = dict(self.built_in), {}
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            try:
                require(entry.name not in found, "another method has this name")
                found[entry.name] = _loaded(entry)
            except (Exception, SystemExit) as error:
                package = entry.dist.name if entry.dist else entry.value
                reason = " ".join(f"{type(error).__name__}: {error}".removeprefix("OptionError: ").split())
                problems[entry.name] = f"the method {entry.name!r} of the package {package} cannot be used: {reason}"
        return found, problems


def _loaded(entry: EntryPoint) -> type[Method]:
    """The class, checked. Raises OptionError, or whatever its module raises."""
    cls: Any = entry.load()
    is_method = inspect.isclass(cls) and issubclass(cls, Method) and not inspect.isabstract(cls)
    require(is_method, f"{entry.value} is not a class that implements Method")
    for name in ("name", "summary", "source"):
        require(isinstance(getattr(cls, name, None), str), f"{cls.__name__} has no {name}")
    require(cls.name == entry.name, f"{cls.__name__} has the name {cls.name!r}")
    plain = [one.name for one in fields(cls) if "help" not in one.metadata]
    require(not plain, f"the field {', '.join(plain)} is not made by opt(...)")
    others = [
        other for config in (SamplingConfig, GenerationConfig, EngineConfig, ChatConfig) for other in described(config)
    ]
    taken = {word for other in others for word in (other.name, *other.flags)}
    for option in described(cls):
        clash = sorted(taken & {option.name, *option.flags})
        require(not clash, f"its option {option.name} is called {', '.join(clash)}, as an option of all methods is")
    cls()
    return cls  # type: ignore[no-any-return]
