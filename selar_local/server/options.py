"""What a request may set and what it gets where it does not say: for pages and apps that offer the choice."""

from __future__ import annotations

import types
import typing
from dataclasses import Field, fields
from typing import Any

from selar_local._version import __version__
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.methods import METHODS, Method
from selar_local.server.arguments import wishes
from selar_local.server.config import Defaults
from selar_local.server.schemas import Common
from selar_local.server.service import Service

__all__ = ["offered"]

_KINDS = {bool: "boolean", int: "integer", float: "float", str: "text"}
_LENGTH = ("max_tokens", "stop")


def offered(service: Service) -> dict[str, Any]:
    """The body of ``GET /v1/selar``: methods with their options, sampling and length, with this server's defaults."""
    defaults, info = service.defaults, service.engine.info
    return {
        "object": "selar.options",
        "version": __version__,
        "model": service.model,
        "ctx_size": info.ctx_size,
        "chat_template": info.chat_template,
        "method": defaults.method.name,
        "thinking": defaults.thinking,
        "methods": [_method(cls, defaults) for cls in METHODS.values()],
        "sampling": [_described(SamplingConfig, field) for field in fields(SamplingConfig)],
        "generation": [
            _described(GenerationConfig, field) | {"default": getattr(defaults.generation, field.name)}
            for field in fields(GenerationConfig)
            if field.name in _LENGTH
        ],
    }


def _method(cls: type[Method], defaults: Defaults) -> dict[str, Any]:
    # What a request that names the method and nothing else comes to: the one place that knows.
    arguments = wishes(Common(selar={"method": cls.name}), defaults, None, raw=False).arguments
    method = arguments["method"]
    sampling = method.sampling({f.name: arguments[f.name] for f in fields(SamplingConfig) if f.name in arguments})
    seed = defaults.sampling.get("seed")
    return {
        "name": cls.name,
        "summary": cls.summary,
        "source": cls.source,
        "entropy_unit": cls.entropy_unit,
        "greedy": cls.greedy,
        "options": [
            _described(cls, field) | {"default": getattr(method, field.name)}
            for field in fields(cls)
            if field.metadata.get("cli", True)
        ],
        "sampling": {f.name: getattr(sampling, f.name) for f in fields(SamplingConfig)} | {"seed": seed},
    }


def _described(cls: type, field: Field[Any]) -> dict[str, Any]:
    told = {"name": field.name, "type": _kind(cls, field), "help": field.metadata["help"]}
    if "choices" in field.metadata:
        told["choices"] = list(field.metadata["choices"])
    return told


def _kind(cls: type, field: Field[Any]) -> str:
    """What a value is: a word of `selar-local methods --json`, or "texts" for a list of them."""
    if "choices" in field.metadata:
        return "choice"
    hint = typing.get_type_hints(cls)[field.name]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) > 1 and (int in kinds or float in kinds):
        return "number|text"
    return "texts" if typing.get_origin(kinds[0]) is tuple else _KINDS[kinds[0]]
