"""The server's life: a bound socket, readiness, and an end that lets running requests finish."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from selar_local.errors import SelarError
from selar_local.server.service import Service

__all__ = ["Server", "bind", "url_of"]

_AFTER_GRACE = 3  # seconds for the last bytes, before connections are cut
_TICK = 0.05


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address; it refuses connections until the server listens. Raises SelarError."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise SelarError(f"cannot listen on {where}: {getattr(error, 'strerror', None) or error}") from error
    try:
        if os.name == "posix":  # on Windows it would let two servers share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise SelarError(f"cannot listen on {where}: {error.strerror or error}") from error
    return bound


def url_of(host: str, bound: socket.socket) -> str:
    """The address for a browser or a client."""
    return f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"


class _Uvicorn(uvicorn.Server):
    """Leaves signals alone: they mean something else here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Serves the application on a bound socket until it is stopped. Signals are taken in the main thread only."""

    def __init__(self, app: FastAPI, bound: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
        """on_ready: called once connections are taken."""
        self._service: Service = app.state.service
        self._grace = self._service.config.grace
        self._bound = bound
        self._on_ready = on_ready
        self._stops = 0
        self._server = _Uvicorn(
            uvicorn.Config(
                app, loop="asyncio", http="h11", ws="none", lifespan="off", access_log=False, log_config=None,
                log_level="critical", server_header=False, proxy_headers=False,
                timeout_graceful_shutdown=math.ceil(self._grace) + _AFTER_GRACE,
            )
        )  # fmt: skip

    def run(self) -> None:
        """Serve until `stop`, SIGINT or SIGTERM. Raises SelarError where the port was taken meanwhile."""
        try:
            asyncio.run(self._run())
        finally:
            self._bound.close()

    def stop(self, *_: Any) -> None:
        """Take no more requests; the second call does not wait for the running ones. From any thread, or a signal."""
        self._stops += 1

    async def _run(self) -> None:
        with self._signals():
            serving = asyncio.ensure_future(self._server.serve(sockets=[self._bound]))
            ready = False
            while not serving.done() and not self._stops:
                if not ready and self._server.started:
                    ready = True
                    self._on_ready()
                await asyncio.wait({serving}, timeout=_TICK)
            await self._end(serving)

    async def _end(self, serving: asyncio.Future[None]) -> None:
        """Close the door, wait for those inside, then end their generations."""
        self._service.closing = True
        self._server.should_exit = True
        loop = asyncio.get_running_loop()
        until = loop.time() + self._grace
        while not serving.done():
            if loop.time() >= until or self._stops > 1:
                self._service.cancel_all()
            if self._stops > 2:
                self._server.force_exit = True
            await asyncio.wait({serving}, timeout=_TICK)
        try:
            serving.result()
        except OSError as error:
            raise SelarError(f"cannot listen: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one on Windows only
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before = {number: signal.signal(number, self.stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
