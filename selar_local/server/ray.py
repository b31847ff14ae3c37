"""The server on a Ray cluster: ``serve run selar_local.server.ray:build model=model.gguf method=cot max_replicas=8``.

Ray Serve's proxies take the requests and hand them to replicas, each of which has the whole application and an engine
of its own. This module needs Ray: the extra `ray`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from starlette.applications import Starlette

from selar_local.catalog import resolve
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig, opt, require
from selar_local.engine.isolated import IsolatedEngine
from selar_local.engine.settings import default_method, require_usable
from selar_local.methods import DEFAULT_METHOD, Method, method_class
from selar_local.options import Options, described
from selar_local.server.app import create_app
from selar_local.server.config import PARALLEL, Defaults, ServerConfig, keys_in_environment

_GENERATION = ("max_tokens", "stop", "thinking_budget", "reasoning_effort", "keep_form")
#: Options of the server that Ray Serve has under names of its own.
_OF_RAY = {
    "host": "http_options.host", "port": "http_options.port", "insecure": "http_options.host",
    "max_connections": "max_queued_requests", "grace": "graceful_shutdown_timeout_s (here: drain)",
}  # fmt: skip


@dataclass(frozen=True)
class ScaleConfig(Options):
    """How many replicas there are, and what each of them takes of the cluster."""

    min_replicas: int = opt(1, "replicas that are always there", low=0)
    max_replicas: int = opt(4, "most replicas", low=1)
    num_cpus: float | None = opt(None, "cores that the cluster counts for a replica (default: threads, or 1)", low=0)
    num_gpus: float = opt(0.0, "GPUs of a replica; without one it sees none", low=0)
    drain: float = opt(300.0, "seconds that a replica gets to finish its requests before it goes", low=0)

    def check_together(self) -> None:
        require(self.min_replicas <= self.max_replicas, "min_replicas must be at most max_replicas")


@dataclass(frozen=True)
class _Switches(Options):
    thinking: bool | None = opt(None, "ask the chat template for thinking")


@dataclass(frozen=True)
class Setup:
    """What a replica is made of. method: None where none is named: it depends on the model."""

    model: str | None
    scale: ScaleConfig
    engine: EngineConfig
    server: ServerConfig
    method: Method | None
    sampling: Mapping[str, Any]
    generation: GenerationConfig
    thinking: bool | None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Setup:
        """Of arguments by name. Texts are read as the command line reads them. Raises OptionError."""
        rest = dict(arguments)
        model, name = rest.pop("model", None), rest.pop("method", None)
        for own, instead in _OF_RAY.items():
            require(own not in rest, f"{own} is not for the replicas: Ray Serve has {instead}")
        method = method_class(name or DEFAULT_METHOD)
        given = {kind: _taken(kind, rest) for kind in (ScaleConfig, EngineConfig, ServerConfig, SamplingConfig)}
        generation = _taken(GenerationConfig, rest, _GENERATION)
        switches = _taken(_Switches, rest)
        options = _taken(method, rest)
        require(not rest, f"unknown argument {', '.join(rest)} with method {method.name}")
        keys = (*given[ServerConfig].pop("api_keys", ()), *keys_in_environment())
        chosen = method(**options)
        chosen.sampling(given[SamplingConfig])
        return cls(
            model,
            ScaleConfig(**given[ScaleConfig]),
            EngineConfig(**{"parallel": PARALLEL, **given[EngineConfig]}),
            ServerConfig(**given[ServerConfig], api_keys=keys),
            chosen if name or options else None,
            given[SamplingConfig],
            GenerationConfig(**generation),
            _Switches(**switches).thinking,
        )


def _taken(cls: type, arguments: dict[str, Any], names: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options of `cls` among the arguments, taken away from them."""
    found = {}
    for option in described(cls):
        if option.name in arguments and (not names or option.name in names):
            value = arguments.pop(option.name)
            found[option.name] = option.parse(value) if isinstance(value, str) else option.checked(value)
    return found


class Replica:
    """One engine, in a process of its own, with the application over it."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._engine = IsolatedEngine(resolve(setup.model), setup.engine)

    def __serve_build_asgi_app__(self) -> Starlette:
        """The application; Ray Serve asks for it once the model is loaded."""
        setup, info = self._setup, self._engine.info
        method = setup.method or default_method(info)
        require_usable(method, info)
        return create_app(
            self._engine, setup.server, Defaults(method, setup.sampling, setup.generation, setup.thinking)
        )

    def __del__(self) -> None:
        self._engine.close()


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application of ``serve run``: the options of ``selar-local serve``, with underscores, and `ScaleConfig`.

    A replica gets no more requests than it decodes together; the others wait in the proxies, where the end of a
    replica does not touch them, and bring more replicas. Raises OptionError.
    """
    setup = Setup.of(arguments)
    scale, engine = setup.scale, setup.engine
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="selar-local",
        max_ongoing_requests=engine.parallel,
        max_queued_requests=max(1, engine.queue_size),
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        graceful_shutdown_timeout_s=scale.drain,
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": engine.parallel,
        },
        ray_actor_options={
            "num_cpus": scale.num_cpus if scale.num_cpus is not None else engine.threads or 1,
            "num_gpus": scale.num_gpus,
        },
    )
    return deployment.bind(setup)
