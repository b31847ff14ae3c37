"""The server's life: a bound socket, readiness, and an end that lets running requests finish."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from selar_local.errors import SelarError
from selar_local.server.connections import Connection, Connections, most_connections
from selar_local.server.service import Service

_AFTER_GRACE = 4  # seconds for the last bytes, before connections are cut
_LAST_STEP = 2  # of them, seconds for the step in which generations notice that they are cancelled
_TICK = 0.05
# asyncio accepts so many connections before it looks at any, and needs a file for each. More may wait in the system.
_ACCEPTED_AT_ONCE = 16
_WAITING = 1024


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


class Server(uvicorn.Server):
    """Serves the application on a bound socket until it is stopped. The main thread's server takes signals."""

    def __init__(self, app: Starlette, bound: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
        """on_ready: called once connections are taken."""
        self._service: Service = app.state.service
        self._grace = self._service.config.grace
        self._bound = bound
        self._on_ready = on_ready
        self._stops = 0
        super().__init__(
            uvicorn.Config(
                app, loop="asyncio", http=Connection, ws="none", lifespan="off", access_log=False, log_config=None,
                log_level="critical", server_header=False, proxy_headers=False,
                backlog=_ACCEPTED_AT_ONCE,
                timeout_graceful_shutdown=math.ceil(self._grace) + _AFTER_GRACE,
            )
        )  # fmt: skip
        self.server_state = self._connections = Connections(most_connections(self._service.config.max_connections))

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop`, SIGINT or SIGTERM. Raises SelarError where another program took the port meanwhile."""
        try:
            asyncio.run(self.serve(sockets or [self._bound]))
        except OSError as error:
            raise SelarError(f"cannot listen: {error.strerror or error}") from error
        finally:
            self._bound.close()

    def stop(self, *_: Any) -> None:
        """Take no more requests; the second call does not wait for the running ones. From any thread, or a signal."""
        self._stops += 1
        self.should_exit = True
        self.force_exit = self._stops > 2

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._bound.listen(_WAITING)
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 5 == 0:
            self._connections.check(others_wait=self._service.load[1] > 0)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, wait for the running ones, and end their generations when the grace is over."""
        self._service.closing = True
        ending = asyncio.ensure_future(self._end_generations())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_generations(self) -> None:
        until = time.monotonic() + self._grace
        while True:
            if time.monotonic() >= until or self._stops > 1:
                until = min(until, time.monotonic())
                self._service.cancel_all()
            if time.monotonic() >= until + _LAST_STEP:
                self._service.give_up()
            await asyncio.sleep(_TICK)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own would raise them again at the end: here they are an end without an error."""
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
