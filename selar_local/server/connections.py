"""The connections of the server: no more than it has files for, none that stays silent, none that does not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from selar_local.server.errors import ApiError
from selar_local.server.responses import encoded

#: Seconds until the whole head of a request must have come, from the connection or the last answer on.
HEAD_SECONDS = 20.0
#: Seconds after which a client that takes nothing of its answer is dropped.
UNREAD_SECONDS = 10.0
#: The same, where other requests wait for a place. The systems take some 60 KB first, 200 tokens or more.
UNREAD_WHILE_OTHERS_WAIT = 2.0
_UNSENT = 8 << 10  # bytes of an answer in this process, and as many in the system, before the answer has to wait
_SPARE_FILES = 64  # for the model, the engine's process, and connections that were just accepted


def most_connections(wanted: int) -> int:
    """`wanted`, or as many connections as this process may have open files for."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files - _SPARE_FILES))


class Connections(ServerState):
    """All connections. `most`: beyond it, the one that has been silent the longest makes room for a new one."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def check(self, *, others_wait: bool) -> None:
        """Drop those that have kept the server waiting for too long. Called twice a second."""
        patience = min(UNREAD_SECONDS, UNREAD_WHILE_OTHERS_WAIT) if others_wait else UNREAD_SECONDS
        for connection in list(self.connections):
            cast(Connection, connection).check(patience)


class Connection(H11Protocol):
    """One connection."""

    server_state: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and make room for it."""
        super().connection_made(transport)
        self._idle_since = self._read_at = self.loop.time()
        self._unsent = 0
        transport.set_write_buffer_limits(high=_UNSENT)
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
        if len(self.connections) > self.server_state.most:
            self._make_room()

    def _make_room(self) -> None:
        others = [cast(Connection, other) for other in self.connections if other is not self]
        silent = [other for other in others if other.idle or other.cycle.more_body]
        if silent:
            min(silent, key=lambda other: other._idle_since).drop()
        else:
            self._refuse(ApiError(503, "the server has too many connections", code="too_many_connections"))

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def on_response_complete(self) -> None:
        """An answer is complete: the next request may come."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def resume_writing(self) -> None:
        """The client has read: the answer goes on."""
        self._read_at = self.loop.time()
        super().resume_writing()

    def check(self, patience: float) -> None:
        """Drop it where the client has sent no request for too long, or has read nothing for so many seconds."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._read_at = now
        self._unsent = unsent
        silent = self.idle and not unsent and now - self._idle_since > HEAD_SECONDS
        if silent or now - self._read_at > patience:
            self.drop()

    def drop(self) -> None:
        """Close it at once; its generations end."""
        self.connections.discard(self)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in JSON like everything else."""
        self._refuse(ApiError(400, "this is no valid HTTP request", code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        if not self.idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # in the middle of an answer
            self.drop()
            return
        body = encoded(error.body())
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()
