"""The chat page: plain files, read once and served from memory. It talks to the API as any client does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["page_routes"]

_PAGE = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Nothing from elsewhere, nothing inline, in no frame; and no text can become markup: the page makes elements only.
_POLICY = "; ".join([
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types 'none'",
])  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def page_routes() -> dict[str, Endpoint]:
    """The endpoints by path: the page at ``/``, what it loads below ``/ui/``."""
    routes = {}
    for file in files(__name__).iterdir():
        kind = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            path = "/" if file.name == _PAGE else f"/ui/{file.name}"
            routes[path] = _served(file.read_bytes(), kind)
    return routes


def _served(body: bytes, kind: str) -> Endpoint:
    tag = f'"{sha256(body).hexdigest()[:24]}"'
    headers = {**_HEADERS, "Content-Type": kind, "ETag": tag}

    async def endpoint(request: Request) -> Response:
        known = tag in request.headers.get("if-none-match", "")
        return Response(b"" if known else body, 304 if known else 200, headers)

    return endpoint
