"""Random requests and what becomes of them: for `soak_server.py`."""

from __future__ import annotations

import json
import random
import socket
import time
from typing import Any, NamedTuple

import httpx
from soak_garbage import CHAT, GARBAGE, TEXT

PROSE = 'the end of a long answer is in numbers and we are so sure it was 12 more than é — 你 {"a": 1}'
WORDS = PROSE.split()


class Outcome(NamedTuple):
    """What became of a request. kind: done, left, crashed, or the fault that it is."""

    kind: str
    begun: float
    ended: float
    text: str = ""
    first: float | None = None  # seconds until the first token of a stream came


class Broken(Exception):
    """An answer that is not as it must be."""


def check_usage(body: dict[str, Any], usage: dict[str, Any], reason: Any, token_chunks: int | None) -> None:
    """The counts, against what was asked for and what was seen. Raises Broken."""
    made, most = usage["completion_tokens"], body["max_tokens"]
    if reason not in ("stop", "length"):
        raise Broken(f"finish_reason {reason}")
    if usage["total_tokens"] != usage["prompt_tokens"] + made or usage["prompt_tokens"] < 1:
        raise Broken(f"usage does not add up: {usage}")
    if (made != most) if reason == "length" else not 1 <= made <= most:
        raise Broken(f"{made} tokens of {most}, finish_reason {reason}")
    if token_chunks is not None and not made - (reason == "stop") <= token_chunks <= made:
        raise Broken(f"{token_chunks} chunks of tokens, usage says {made}")


def text_of(choice: dict[str, Any]) -> str:
    """Everything that a choice, or a chunk's, has written."""
    said = choice.get("message") or choice.get("delta") or choice
    return (said.get("reasoning_content") or "") + (said.get("content") or said.get("text") or "")


def check_stream(body: dict[str, Any], text: str) -> str:
    """A complete stream: what it wrote. Raises Broken, or Crash where its last event says so."""
    if not text.endswith("\n\n"):
        raise Broken("a stream without its end")
    blocks = [block for block in text[:-2].split("\n\n") if not block.startswith(":")]  # comments mean nothing
    if any(not block.startswith("data: ") or "\n" in block for block in blocks):
        raise Broken("a stream with something that is no event")
    if blocks[-1] != "data: [DONE]":
        raise Crash(json.loads(blocks[-1][6:]))
    *chunks, usage = (json.loads(block[6:]) for block in blocks[:-1])
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if len(reasons) != 1 or len({chunk["id"] for chunk in (*chunks, usage)}) != 1:
        raise Broken(f"finish reasons {reasons}, or chunks of several answers in one stream")
    steps = [choice["selar"] for choice in choices if "selar" in choice]
    if steps and steps[-1].get("seed", body["seed"]) != body["seed"]:
        raise Broken("the answer of another request")
    tokens = sum("token" in facts for facts in steps) if body["selar"]["events"] else None  # else it may have notes
    check_usage(body, usage["usage"], reasons[0], tokens)
    return "".join(map(text_of, choices))


class Crash(Exception):
    """An error in place of an answer, or as the end of a stream."""

    def __init__(self, answer: Any) -> None:
        super().__init__(str(answer)[:200])
        error = answer.get("error") if isinstance(answer, dict) else None
        self.expected = isinstance(error, dict) and error.get("code") == "engine_crashed"


def ask(client: httpx.Client, path: str, body: dict[str, Any], leave_after: int | None = None) -> Outcome:
    """One request. leave_after: the pieces of a stream after which the client goes away."""
    begun, first = time.monotonic(), None
    try:
        with client.stream("POST", path, json=body) as answer:
            pieces: list[str] = []
            for piece in answer.iter_text():
                if first is None and body["stream"] and '"role"' not in piece and piece.startswith("data: {"):
                    first = time.monotonic() - begun
                pieces.append(piece)
                if leave_after is not None and len(pieces) > leave_after:
                    return Outcome("left", begun, time.monotonic(), first=first)
        whole = "".join(pieces)
        if answer.status_code != 200:
            raise Crash(json.loads(whole))
        if body["stream"]:
            text = check_stream(body, whole)
        else:
            (choice,) = (found := json.loads(whole))["choices"]
            if choice.get("selar", {}).get("seed", body["seed"]) != body["seed"]:
                raise Broken("the answer of another request")
            check_usage(body, found["usage"], choice["finish_reason"], None)
            text = text_of(choice)
        return Outcome("done", begun, time.monotonic(), text, first)
    except Crash as error:
        return Outcome("crashed" if error.expected else f"refused: {error}", begun, time.monotonic())
    except (Broken, ValueError, KeyError, TypeError) as error:
        return Outcome(f"broken: {type(error).__name__} {error}", begun, time.monotonic())
    except httpx.HTTPError as error:
        return Outcome(f"no answer: {type(error).__name__} {error}", begun, time.monotonic())


def random_request(draw: random.Random, methods: list[str]) -> tuple[str, dict[str, Any]]:
    """An endpoint, and a body that it takes."""
    prompt = " ".join(draw.choices(WORDS, k=draw.randint(1, 40)))
    body: dict[str, Any] = {
        "max_tokens": draw.randint(1, 64), "seed": draw.getrandbits(40), "stream": draw.random() < 0.6,
        "selar": {"method": draw.choice(methods), "events": draw.random() < 0.5},
    }  # fmt: skip
    if body["stream"]:
        body["stream_options"] = {"include_usage": True}
    if draw.random() < 0.5:
        return TEXT, {**body, "prompt": prompt}
    return CHAT, {**body, "messages": [{"role": "user", "content": prompt}]}


def throw(url: str, draw: random.Random) -> Outcome:
    """Send something that is no request. What comes back, if anything, must be a refusal."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    begun, answer = time.monotonic(), b""
    try:
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(draw.choice(GARBAGE))
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(1 << 16):
                answer += piece
    except TimeoutError:
        return Outcome("garbage that is never answered", begun, time.monotonic())
    except OSError:
        pass  # the server has closed before it took everything
    fault = bool(answer) and not answer.startswith(b"HTTP/1.1 4")
    return Outcome(f"garbage got {answer[:60]!r}" if fault else "garbage", begun, time.monotonic())
