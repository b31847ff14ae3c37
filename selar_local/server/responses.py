"""Answers that generate while they are sent: whole, or as a stream of server-sent events.

Both watch the connection meanwhile; when the client leaves, its generations are stopped.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, ClassVar, TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from selar_local.errors import SelarError
from selar_local.server.bridge import Job
from selar_local.server.errors import ApiError, api_error

T = TypeVar("T")

_BODY_SECONDS = 60.0
#: After so many seconds of silence (a long prompt, a full house) a comment is sent, for proxies that drop idle ones.
KEEP_ALIVE_SECONDS = 15.0


def encoded(value: Any) -> bytes:
    """JSON in UTF-8; a lone half of a surrogate pair, which UTF-8 has no form for, is replaced."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(encoded(value), status, headers, media_type="application/json")


def error_response(error: ApiError) -> Response:
    """The answer to a request that is refused or has failed."""
    return json_response(error.body(), error.status, error.headers)


async def read_body(request: Request, limit: int) -> bytes:
    """The body. Raises ApiError 413 for a longer one, 408 for one that does not come."""
    too_large = ApiError(413, f"the body is larger than {limit} bytes", code="body_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large

    async def read() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)

    try:
        return await asyncio.wait_for(read(), _BODY_SECONDS)
    except asyncio.TimeoutError:
        raise ApiError(408, "the body did not arrive in time", code="timeout") from None


class Answer(ABC):
    """What the endpoints make of a job: one object, or the events of a stream."""

    #: Whether the events of a stream have their `type` as a name, and no [DONE] at the end.
    named_events: ClassVar[bool] = False

    def failure(self, error: ApiError, *, streaming: bool) -> dict[str, Any]:
        """What is said of an error."""
        return error.body()

    @abstractmethod
    async def whole(self, job: Job) -> dict[str, Any]:
        """The object, when all is generated."""

    @abstractmethod
    def chunks(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """The objects of the stream."""


class Generating(Response):
    """The response of a job that has begun."""

    def __init__(
        self, job: Job, answer: Answer, params: dict[str, str], *, stream: bool, timeout: float | None
    ) -> None:
        """params: as of `api_error`. timeout: seconds until the job is stopped."""
        super().__init__()
        self._job = job
        self._answer = answer
        self._params = params
        self._stream = stream
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        timer = None if self._timeout is None else loop.call_later(self._timeout, self._job.expire)
        answering = asyncio.ensure_future(self._respond(scope, receive, send))
        watching = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            self._job.cancel()
            if timer is not None:
                timer.cancel()
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._job.started()
            if self._stream:
                await self._send_events(send)
                return
            response = json_response(await self._answer.whole(self._job))
        except SelarError as error:
            known = api_error(error, self._params)
            response = json_response(self._answer.failure(known, streaming=False), known.status, known.headers)
        await response(scope, receive, send)

    async def _send_events(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        headers.append((b"x-accel-buffering", b"no"))  # for proxies that would collect the events
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        named = self._answer.named_events
        last = None if named else _event(b"[DONE]")
        try:
            async for chunk in _or_silence(self._answer.chunks(self._job), KEEP_ALIVE_SECONDS):
                await send(_COMMENT if chunk is None else _event(encoded(chunk), chunk["type"] if named else ""))
        except SelarError as error:
            failure = self._answer.failure(api_error(error, self._params), streaming=True)
            last = _event(encoded(failure), "error" if named else "")
        if last is not None:
            await send(last)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _next(items: AsyncIterator[T]) -> T | object:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return _NO_MORE


async def _or_silence(items: AsyncIterator[T], seconds: float) -> AsyncIterator[T | None]:
    """The items; None each time that none has come for so long."""
    coming = asyncio.ensure_future(_next(items))
    try:
        while True:
            await asyncio.wait({coming}, timeout=seconds)
            if not coming.done():
                yield None
                continue
            item = coming.result()
            if item is _NO_MORE:
                return
            yield cast(T, item)
            coming = asyncio.ensure_future(_next(items))
    finally:
        coming.cancel()


def _event(data: bytes, name: str = "") -> Message:
    head = f"event: {name}\n".encode() if name else b""
    return {"type": "http.response.body", "body": head + b"data: " + data + b"\n\n", "more_body": True}


_COMMENT: Message = {"type": "http.response.body", "body": b": still at work\n\n", "more_body": True}
_NO_MORE = object()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
