"""Other APIs over the chat endpoint: their requests become chat requests, its answers become theirs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import ValidationError

from selar_local.server.bridge import Job
from selar_local.server.errors import bad_request, invalid
from selar_local.server.responses import Answer
from selar_local.server.schemas import ChatRequest, Common

Event = dict[str, Any]


class Block:
    """A part of an answer: its thinking, its text, or one call."""

    def __init__(self, kind: Literal["thinking", "text", "call"], index: int, id: str = "", name: str = "") -> None:
        self.kind = kind
        self.index = index
        self.id = id
        self.name = name
        self.text = ""  # of a call: the arguments


class _Piece(NamedTuple):
    """What a chunk adds. A call's id and name come with its first piece."""

    kind: Literal["thinking", "text", "call"]
    text: str
    id: str = ""
    name: str = ""


class Translated(Answer):
    """The answer of a chat, block by block. A class writes down what its API says of each."""

    named_events: ClassVar[bool] = True

    def __init__(self, chat: Answer) -> None:
        self._chat = chat
        self.blocks: list[Block] = []

    async def whole(self, job: Job) -> dict[str, Any]:
        answer = await self._chat.whole(job)
        choice = answer["choices"][0]
        for piece in _pieces(choice["message"]):
            self._open(piece).text = piece.text
        return self.ended(choice["finish_reason"], choice.get("stop_reason"), answer["usage"])

    async def chunks(self, job: Job) -> AsyncIterator[Event]:
        for event in self.begun(job):
            yield event
        choice: dict[str, Any] = {}
        usage: dict[str, Any] = {}
        async for chunk in self._chat.chunks(job):
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                for piece in _pieces(choice["delta"]):
                    for event in self._events_of(piece):
                        yield event
        if self.blocks:
            for event in self.closed(self.blocks[-1]):
                yield event
        for event in self.last(self.ended(choice.get("finish_reason"), choice.get("stop_reason"), usage)):
            yield event

    def _events_of(self, piece: _Piece) -> Iterator[Event]:
        current = self.blocks[-1] if self.blocks else None
        if current is None or current.kind != piece.kind or piece.id:
            if current is not None:
                yield from self.closed(current)
            current = self._open(piece)
            yield from self.opened(current)
        if piece.text:
            current.text += piece.text
            yield from self.grown(current, piece.text)

    def _open(self, piece: _Piece) -> Block:
        self.blocks.append(Block(piece.kind, len(self.blocks), piece.id, piece.name))
        return self.blocks[-1]

    @abstractmethod
    def begun(self, job: Job) -> Iterator[Event]:
        """The first events."""

    @abstractmethod
    def opened(self, block: Block) -> Iterator[Event]:
        """A block begins."""

    @abstractmethod
    def grown(self, block: Block, text: str) -> Iterator[Event]:
        """A block got more text."""

    @abstractmethod
    def closed(self, block: Block) -> Iterator[Event]:
        """A block is complete."""

    @abstractmethod
    def ended(self, reason: str | None, stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        """The whole answer. reason: the chat's finish reason. stop: the stop string that has ended the text."""

    @abstractmethod
    def last(self, answer: dict[str, Any]) -> Iterator[Event]:
        """The last events."""


def _pieces(message: dict[str, Any]) -> Iterator[_Piece]:
    if message.get("reasoning_content"):
        yield _Piece("thinking", message["reasoning_content"])
    if message.get("content"):
        yield _Piece("text", message["content"])
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        yield _Piece("call", function.get("arguments") or "", call.get("id") or "", function.get("name") or "")


def chat_request(body: Common, **own: Any) -> ChatRequest:
    """The chat request for a body of another API: what both share, and `own`. Raises ApiError.

    These APIs give one answer, without the events of steps.
    """
    if (body.n or 1) > 1:
        raise bad_request("n must be 1: this API has one answer", "n", "unsupported_parameter")
    if (body.selar or {}).get("events"):
        text = "selar.events: the answers of this API have no place for events"
        raise bad_request(text, "selar.events", "unsupported_parameter")
    shared = {name: getattr(body, name) for name in Common.model_fields if name in body.model_fields_set}
    given = {name: value for name, value in {**shared, **own}.items() if value is not None}
    if body.stream:
        given["stream_options"] = {"include_usage": True}
    try:
        request = ChatRequest.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
    request.check_together()
    return request


def text_of(content: Any, kinds: tuple[str, ...], param: str) -> str:
    """The text of a content, which is a text or a list of parts of these types. Raises ApiError."""
    parts = content if isinstance(content, list) else [{"type": kinds[0], "text": content}]
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in kinds or not isinstance(part.get("text"), str):
            raise bad_request(f"{param} must be a text or a list of parts of type {' or '.join(kinds)}", param)
    return "".join(part["text"] for part in parts)
