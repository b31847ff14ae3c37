"""An engine for conversations that answers by a script: a word is a token, and a prompt is its messages in a row."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

from selar_local.engine.events import Result, Started, Timings, TokenEvent, Usage
from selar_local.engine.stream import Stream
from selar_local.errors import PromptTooLong, SelarError

#: What the model says to a question: its answer, or how the generation ends otherwise.
Answer = str | Result | SelarError


def result(text: str = "", reason: str = "stop", thinking: str = "", seed: int = 7) -> Result:
    return Result(text, thinking, reason, Usage(1, len(text.split()), 0), Timings(0.0, 0.0, 1), seed=seed)


def messages_of(answer: Answer, seed: int) -> SimpleQueue[Any]:
    """All messages of a generation, which are there from the start."""
    messages: SimpleQueue[Any] = SimpleQueue()
    if isinstance(answer, SelarError):
        messages.put(answer)
        answer = result(reason="error", seed=seed)
    if isinstance(answer, str):
        answer = result(answer, seed=seed)
    for i, word in enumerate(answer.text.split(" ") if answer.text else []):
        messages.put(TokenEvent(i, i, (" " if i else "") + word, "", None, False, (), i, ((i, 1.0),)))
    messages.put(answer)
    return messages


class ScriptedChat:
    """Answers in the order of the script, and then with "ok". `asked` has the arguments of each turn."""

    def __init__(self, *script: Answer, ctx_size: int = 1000) -> None:
        self.info: Any = SimpleNamespace(
            ctx_size=ctx_size, name="scripted", chat_template=True, no_vectors=None, sampling={}
        )
        self.asked: list[dict[str, Any]] = []
        self._script = list(script)

    @property
    def sent(self) -> list[list[str]]:
        """The texts that each turn sent, oldest first."""
        return [[message["content"] for message in turn["messages"]] for turn in self.asked]

    def stream(self, **arguments: Any) -> Stream:
        self.asked.append(arguments)
        count = len(self.tokenize(self.render(arguments["messages"])))
        if count > self.info.ctx_size:
            raise PromptTooLong(
                f"the prompt is too long: it has {count} tokens, the context holds {self.info.ctx_size}"
            )
        seed = arguments.get("seed") or 7
        answer = self._script.pop(0) if self._script else "ok"
        started = Started(seed, (), arguments["method"], (), lambda: None, lambda error: None)
        return Stream(started, messages_of(answer, seed), self)

    def alive(self) -> bool:
        return True

    def render(self, messages: Sequence[dict[str, str]], **_more: Any) -> str:
        return " ".join(message["content"] for message in messages)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(range(len(text.split())))
