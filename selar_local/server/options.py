"""What a request may set and what it gets where it does not say: for pages and apps that offer the choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from selar_local._version import __version__
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.file_facts import ENGINE_SETTINGS, model_facts, thinks
from selar_local.methods import METHODS, Method
from selar_local.options import Option, described
from selar_local.presets import PRESETS, Preset
from selar_local.server.arguments import settings_of
from selar_local.server.config import Defaults
from selar_local.server.schemas import Common
from selar_local.server.service import Service

_LENGTH = ("max_tokens", "stop", "thinking_budget", "reasoning_effort")


def offered(service: Service) -> dict[str, Any]:
    """The body of ``GET /v1/selar``: methods with their options, sampling and length, with this server's defaults.

    Methods that this model cannot be decoded with are left out; no_vectors says why.
    """
    defaults, info = service.defaults, service.engine.info
    methods = [
        _method(cls, defaults, info.sampling)
        for cls in METHODS.values()
        if info.no_vectors is None or not cls.feeds_vectors
    ]
    return {
        "object": "selar.options",
        "version": __version__,
        "model": service.model,
        "ctx_size": info.ctx_size,
        "chat_template": info.chat_template,
        "method": defaults.method.name,
        "thinking": defaults.thinking,
        "no_vectors": info.no_vectors,
        "methods": methods,
        "presets": [_preset(one, method) for one in PRESETS for method in methods if method["name"] == one.method],
        "sampling": [_of_sampling(one) for one in described(SamplingConfig)],
        "generation": [
            one.as_dict() | {"default": getattr(defaults.generation, one.name)}
            for one in described(GenerationConfig)
            if one.name in _LENGTH
        ],
    }


def model_served(service: Service) -> dict[str, Any]:
    """The body of ``GET /v1/selar/model``: what tells whether two servers answer alike. Reads the file once."""
    engine = service.engine
    config, path = engine.config, Path(engine.info.path)
    return {
        "object": "selar.model",
        "version": __version__,
        **_file_facts(path, config.chat_template),
        **{name: getattr(config, name) for name in ENGINE_SETTINGS},
        "ctx_size": engine.info.ctx_size,
        "sampling": dict(engine.info.sampling),
        "defaults": _own_defaults(service.defaults),
    }


def _own_defaults(defaults: Defaults) -> dict[str, Any]:
    """The defaults of this server that differ from the usual ones."""
    own = {one.name: (getattr(defaults.generation, one.name), one.default) for one in described(GenerationConfig)}
    own["thinking"] = (defaults.thinking, None)
    return {name: value for name, (value, usual) in own.items() if value != usual}


@lru_cache(maxsize=4)
def _file_facts(path: Path, chat_template: str | None) -> dict[str, Any]:
    return {**model_facts(path, chat_template), "thinks": thinks(path, chat_template)}


def _method(cls: type[Method], defaults: Defaults, recommended: Mapping[str, Any]) -> dict[str, Any]:
    # What a request that names the method and nothing else comes to: the one place that knows.
    arguments = settings_of(Common(selar={"method": cls.name}), defaults, None, raw=False).arguments
    method = arguments["method"]
    given = {f.name: arguments[f.name] for f in fields(SamplingConfig) if f.name in arguments}
    sampling = method.sampling(given, recommended)
    seed = defaults.sampling.get("seed")
    return {
        "name": cls.name,
        "summary": cls.summary,
        "source": cls.source,
        "entropy_unit": cls.entropy_unit,
        "greedy": cls.greedy,
        "options": [one.as_dict() | {"default": getattr(method, one.name)} for one in described(cls) if one.flags],
        "sampling": {f.name: getattr(sampling, f.name) for f in fields(SamplingConfig)} | {"seed": seed},
    }


def _preset(preset: Preset, method: Mapping[str, Any]) -> dict[str, Any]:
    """Its options are those that this server would set otherwise."""
    values = {one.name: one.default for one in described(METHODS[preset.method])} | dict(preset.options)
    usual = {one["name"]: one["default"] for one in method["options"]}
    options = {name: values[name] for name, default in usual.items() if values[name] != default}
    return {"name": preset.name, "method": preset.method, "help": preset.meaning, "options": options}


def _of_sampling(option: Option) -> dict[str, Any]:
    """Without a default: each method says its own."""
    return {name: value for name, value in option.as_dict().items() if name != "default"}
