"""What happens to every request before and after its endpoint: who may come in, the count, the log line."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import time
import traceback
from collections.abc import Callable, Collection
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selar_local.server.config import RequestLine, ServerConfig, is_loopback
from selar_local.server.errors import ApiError
from selar_local.server.metrics import Metrics

logger = logging.getLogger("selar_local.server")

_OPEN_PATHS = ("/health",)
#: Names under these nobody can own; containers call the machine they run on by one.
_PRIVATE = (".localhost", ".internal")
#: The status that metrics and log give a request whose client left before the answer was complete.
CLIENT_LEFT = 499


class Door:
    """Wraps the application. Plain ASGI: the body and the disconnect reach the endpoints untouched."""

    def __init__(
        self,
        app: ASGIApp,
        config: ServerConfig,
        metrics: Metrics,
        paths: Collection[str],
        public: Collection[str],
        refused: Callable[[str, ApiError], Response],
        on_request: Callable[[RequestLine], None] | None,
    ) -> None:
        """paths: what the metrics count by name; anything else is "other". public: what needs no key: the chat page.

        refused: the answer to a request for a path that is refused.
        """
        self._app = app
        self._own_host = config.host if config.ui else None
        self._names = None if "*" in config.allowed_hosts or not is_loopback(config.host) else _own_names(config)
        self._keys = [sha256(key.encode()).digest() for key in config.api_keys]
        self._origins = config.cors_origins
        self._metrics = metrics
        self._paths = paths
        self._open_paths = {*_OPEN_PATHS, *public}
        self._refused = refused
        self._on_request = on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(send)
        begun = time.perf_counter()
        try:
            await self._admit(scope, receive, visit.send)
        except Exception as error:
            _log_failure(error)
            if not visit.begun:
                failed = self._refused(scope["path"], ApiError(500, "internal error", code="server_error"))
                await failed(scope, receive, visit.send)
        finally:
            status = visit.status if visit.done else CLIENT_LEFT
            path = str(scope["path"])
            self._metrics.request(path if path in self._paths else "other", status)
            if self._on_request is not None:
                self._on_request(RequestLine(scope["method"], path, status, time.perf_counter() - begun))

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope, Headers(scope=scope))
        await (self._app if refusal is None else self._refused(scope["path"], refusal))(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> ApiError | None:
        if self._keys:
            if scope["path"] in self._open_paths or self._has_key(headers):
                return None
            named = {"WWW-Authenticate": "Bearer"}
            return ApiError(401, "the API key is missing or wrong", code="invalid_api_key", headers=named)
        # Any web page could make a browser ask here. Without a key nothing else would stop it.
        if not self._is_called_here(headers.get("host", "")):
            return ApiError(403, "this host name is not allowed: see --allowed-host", code="host_not_allowed")
        if self._is_from_elsewhere(scope, headers):
            return ApiError(403, "this web origin is not allowed: see --cors-origin", code="origin_not_allowed")
        return None

    def _is_called_here(self, host: str) -> bool:
        """Whether the name in the request is this machine's. A web page's own name can be made to lead here."""
        if self._names is None or not host:
            return True
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self._names or name.endswith(_PRIVATE) or _is_address(name)

    def _is_from_elsewhere(self, scope: Scope, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            return scope["method"] == "POST" and self._is_foreign(origin, headers.get("host"))
        if headers.get("sec-fetch-site") != "cross-site" or "*" in self._origins:
            return False
        follows_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        return not (follows_link and scope["path"] in self._open_paths)

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = [token.strip() if scheme.lower() == "bearer" else "", headers.get("x-api-key", "").strip()]
        digests = [sha256(key.encode("utf-8", "surrogateescape")).digest() for key in given]
        found = [hmac.compare_digest(digest, known) for digest in digests for known in self._keys]
        return any(found)  # all pairs are compared: the time reveals nothing

    def _is_foreign(self, origin: str, host: str | None) -> bool:
        """Whether a web page from elsewhere asks. Apps with a scheme of their own are no web pages."""
        if "*" in self._origins or origin in self._origins:
            return False
        try:
            parts = urlsplit(origin)
            name = parts.hostname or ""
        except ValueError:
            return True
        if parts.scheme not in ("http", "https"):
            return origin == "null"
        return not is_loopback(name) and not (parts.netloc == host and self._is_own(name))

    def _is_own(self, name: str) -> bool:
        """Whether our chat page may be at this name. A stranger's name can be made to lead here, an address cannot."""
        return self._own_host is not None and (name == self._own_host.lower() or _is_address(name))


def _own_names(config: ServerConfig) -> set[str]:
    names = ("localhost", config.host, socket.gethostname(), *config.allowed_hosts)
    return {name.lower() for name in names}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Visit:
    """What was sent to the client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.begun = False
        self.done = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, int(message["status"])
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.done = True


def _log_failure(error: Exception) -> None:
    """Where it happened, without the error's own words: they could hold a prompt."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request failed: %s\n%s", type(error).__name__, where)
