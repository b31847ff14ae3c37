"""An OpenAI-compatible HTTP server over one engine. The web packages are imported with `app` and `lifecycle` only."""

from __future__ import annotations

from importlib import import_module

from selar_local.errors import MissingExtra
from selar_local.install_hint import install_hint
from selar_local.server.config import Defaults, RequestLine, ServerConfig

__all__ = ["Defaults", "RequestLine", "ServerConfig", "require_web"]


def require_web() -> None:
    """Raises MissingExtra where the packages of the extra `server` are not installed."""
    for package in ("starlette", "uvicorn", "pydantic", "prometheus_client"):
        try:
            import_module(package)
        except ImportError as error:
            raise MissingExtra(f"the server needs the package {error.name}; {install_hint('server')}") from error
