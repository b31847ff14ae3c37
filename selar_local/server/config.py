"""How the server is set up: frozen, checked, and without a default that the command line does not share."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from selar_local.config import GenerationConfig, opt, require
from selar_local.methods import DEFAULT_METHOD, Method, method_class
from selar_local.options import Options

KEY_VARIABLE = "SELAR_LOCAL_API_KEY"
#: Requests that a server decodes together where nobody says otherwise.
PARALLEL = 4


class RequestLine(NamedTuple):
    """What the request log says of a request: nothing that its sender wrote but the path."""

    method: str
    path: str
    status: int
    seconds: float


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say otherwise.

    sampling: the fields of `SamplingConfig` that were given; the rest are the method's defaults, as in ``run``.
    """

    method: Method = field(default_factory=method_class(DEFAULT_METHOD))
    sampling: Mapping[str, Any] = field(default_factory=dict)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    thinking: bool | None = None

    def __post_init__(self) -> None:
        self.method.sampling(self.sampling)


@dataclass(frozen=True)
class ServerConfig(Options):
    """Where the server listens, whom it lets in, and what it refuses."""

    host: str = opt("127.0.0.1", "address to listen on", "--host")
    port: int = opt(8080, "port to listen on (0: any free one)", "--port", low=0, high=65535)
    api_keys: tuple[str, ...] = opt(
        (),
        "key that requests must bring (may be given several times; also: SELAR_LOCAL_API_KEY)",
        "--api-key",
        repr=False,
    )
    cors_origins: tuple[str, ...] = opt(
        (), "web origin that may read answers, such as https://app.example (several times; *: any)", "--cors-origin"
    )
    allowed_hosts: tuple[str, ...] = opt(
        (),
        "name by which clients may call a server on this machine's own address (several times; *: any)",
        "--allowed-host",
    )
    max_connections: int = opt(
        1000, "most open connections (less where the system allows fewer open files)", "--max-connections", low=1
    )
    max_body_bytes: int = opt(8 << 20, "largest request body", "--max-body-bytes", low=1)
    max_prompt_tokens: int | None = opt(
        None, "longest prompt (default: what the context holds)", "--max-prompt-tokens", low=1
    )
    request_timeout: float | None = opt(
        None,
        "seconds a request may take, waiting included (default: no limit)",
        "--request-timeout",
        low=0.001,
        high=10**7,
    )
    grace: float = opt(5.0, "seconds that running requests get when the server is stopped", "--grace", low=0, high=3600)
    model_name: str | None = opt(None, "name of the model in the API (default: the file's)", "--model-name")
    strict_model_name: bool = opt(False, "refuse requests that name another model", "--strict-model-name")
    aliases: tuple[str, ...] = opt((), "another name of the model in the API (may be given several times)", "--alias")
    insecure: bool = opt(False, "listen beyond this machine without an API key", "--insecure")
    ui: bool = opt(False, "serve a chat page at /", "--ui")

    def check_together(self) -> None:
        sound = all(re.fullmatch(r"[\x21-\x7e]+", key) for key in self.api_keys)
        require(sound, "api_keys must be of printable ASCII without spaces")
        for origin in self.cors_origins:
            known = origin == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin) is not None
            require(known, f"cors_origins must look like https://host[:port], not {origin!r}")
        require(
            self.insecure or bool(self.api_keys) or is_loopback(self.host),
            f"host {self.host} lets other machines in: give --api-key KEY, or --insecure if that is meant",
        )


def keys_in_environment() -> tuple[str, ...]:
    """The API keys that the variable `KEY_VARIABLE` has, with commas or spaces between them."""
    return tuple(os.environ.get(KEY_VARIABLE, "").replace(",", " ").split())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. Names but localhost are not looked up: they do not count."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
