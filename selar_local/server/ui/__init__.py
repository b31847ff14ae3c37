"""The chat page: plain files, read once and served from memory. It talks to the API as any client does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from importlib.abc import Traversable

__all__ = ["page_routes"]

_PAGE = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
#: Nothing from elsewhere, nothing inline, in no frame; and no text can become markup: the page makes elements only.
_POLICY = "; ".join([
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'",
    "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
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
    for name, file in _files(files(__name__)):
        kind = _TYPES.get(f".{name.rpartition('.')[2]}")
        if kind is not None:
            path = "/" if name == _PAGE else f"/ui/{name}"
            routes[path] = _served(file.read_bytes(), kind)
    return routes


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """The files of a folder and of those below it, with their paths."""
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        else:
            yield name, entry


def _served(body: bytes, kind: str) -> Endpoint:
    tag = f'"{sha256(body).hexdigest()[:24]}"'
    headers = {**_HEADERS, "Content-Type": kind, "ETag": tag}

    async def endpoint(request: Request) -> Response:
        known = tag in request.headers.get("if-none-match", "")
        return Response(b"" if known else body, 304 if known else 200, headers)

    return endpoint
