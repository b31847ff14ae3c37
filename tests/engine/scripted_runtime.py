"""A runtime without llama.cpp for the scheduler: its logits follow a script, and it checks what it is fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.events import Prefilled, Result, TokenEvent
from selar_local.engine.request import Request
from selar_local.engine.scheduler import Scheduler
from selar_local.engine.sequence import Sequence as Running
from selar_local.errors import SelarError
from selar_local.formats import GENERAL, Format
from selar_local.llama.context import ContextFull
from selar_local.llama.inputs import Chunk, Feed
from selar_local.methods import CoTGreedy, Method
from selar_local.methods.base import NextInput, Token, Vector

END = 1
N_VOCAB = 64

#: What the logits say at a step: a token, several equally likely ones, None for NaN, an error of the decode.
Item = int | tuple[int, ...] | Exception | None


class ScriptedVocabulary:
    """Token ids with the bytes given, END ends; nothing is guarded."""

    n_vocab = N_VOCAB

    def __init__(self, pieces: Mapping[int, bytes] | None = None) -> None:
        self._pieces = pieces or {}

    def encode(self, text: str) -> list[int]:
        return []

    def token_of(self, text: str) -> int | None:
        return next((token for token, piece in self._pieces.items() if piece == text.encode()), None)

    def piece(self, token: int) -> bytes:
        return self._pieces.get(token, f"<{token}>".encode())

    def is_end(self, token: int) -> bool:
        return token == END


class ScriptedRuntime:
    """Scripts are found by the first token of the prompt. After its script a sequence ends.

    cells: places in the KV cache, shared by all. on_prefill: called within every prefill, may raise.
    """

    def __init__(
        self, scripts: Mapping[int, Sequence[Item]], capacity: int = 100, batch_size: int = 4, cells: int = 1000
    ) -> None:
        self.capacity, self.batch_size, self.largest_batch = capacity, batch_size, 2 * batch_size
        self.calls: list[tuple[object, ...]] = []
        self.held: dict[int, int] = {}
        self.together: list[int] = []  # chunks of each prefill
        self.prefer_rows: list[bool] = []
        self.cleared = 0
        self.can_truncate = True
        self.needs_checkpoints, self.exact_cut = False, 2**31
        self.strict = True  # whether what is fed must be the token of the step before
        self.fed: list[tuple[int, NextInput]] = []
        self._rows: list[int] = []
        self.on_prefill: Callable[[Callable[[], bool]], None] = lambda _cancelled: None
        self._scripts, self._cells = scripts, cells
        self._key: dict[int, int] = {}
        self._done: dict[int, int] = {}

    def prefill(
        self, chunks: Sequence[Chunk], cancelled: Callable[[], bool], hidden: bool = False
    ) -> list[npt.NDArray[np.float32] | None]:
        slots = [chunk.sequence for chunk in chunks]
        assert slots
        assert slots == sorted(set(slots)), "llama.cpp splits a batch that is out of order"
        assert all(len(chunk.ids) <= self.batch_size for chunk in chunks)
        assert sum(len(chunk.ids) for chunk in chunks) <= self.largest_batch
        assert not hidden or len(chunks) == 1
        self._rows = slots if hidden else []
        self.together.append(len(chunks))
        for chunk in chunks:
            self._begin(chunk)
        self.on_prefill(cancelled)
        self._room(sum(len(chunk.ids) for chunk in chunks))
        for chunk in chunks:
            if chunk.last:
                self._fail(chunk.sequence)
        for chunk in chunks:
            self.held[chunk.sequence] = chunk.position + len(chunk.ids)
        return [self._logits(chunk.sequence) if chunk.last else None for chunk in chunks]

    def _begin(self, chunk: Chunk) -> None:
        slot, position, ids, _ = chunk
        assert len(ids) > 0
        assert position == self.held.get(slot, 0), "a gap, or a slot that was not freed"
        if position == 0:
            self._key[slot], self._done[slot] = ids[0], 0
        self.calls.append(("prefill", self._key[slot], position, len(ids)))

    def core_wait_meter(self) -> Callable[[], float | None]:
        return lambda: 0.5

    def hidden_state(self, row: int) -> npt.NDArray[np.float32]:
        """The position the row's sequence has reached, twice: so that tests know it again."""
        return np.full(2, self.held[self._rows[row]], np.float32)

    def step(self, feeds: Sequence[Feed], prefer_rows: bool, hidden: bool = False) -> list[npt.NDArray[np.float32]]:
        self._rows = [feed.sequence for feed in feeds] if hidden else []
        self.fed += [(self._key[feed.sequence], feed.next_input) for feed in feeds]
        slots = [feed.sequence for feed in feeds]
        assert len(slots) > 0 and slots == sorted(set(slots)), "llama.cpp splits a batch that is out of order"
        self.calls.append(("step", *(self._key[feed.sequence] for feed in feeds)))
        self.prefer_rows.append(prefer_rows)
        self._room(len(feeds))
        for feed in feeds:
            assert feed.position == self.held[feed.sequence]
            item = self._item(feed.sequence)
            if not self.strict:
                continue
            assert not isinstance(feed.next_input, Vector)
            shown = feed.next_input.ids[0] if not isinstance(feed.next_input, Token) else feed.next_input.id
            assert shown == (item[0] if isinstance(item, tuple) else item), "not the token of the step before"
        for feed in feeds:
            self._fail(feed.sequence, ahead=1)
        for feed in feeds:
            self.held[feed.sequence] += 1
            self._done[feed.sequence] += 1
        return [self._logits(feed.sequence) for feed in feeds]

    def forget(self, slot: int) -> None:
        self.calls.append(("forget", slot))
        self.held.pop(slot, None)

    def truncate(self, slot: int, length: int) -> bool:
        self.calls.append(("truncate", slot, length))
        assert length <= self.held[slot]
        if self.can_truncate:
            self.held[slot] = length
            self._done[slot] = 0  # what follows begins the same script
        return self.can_truncate

    def can_cut(self, slot: int, length: int) -> bool:
        return self.can_truncate

    def tidy(self, slot: int, length: int) -> None:
        assert self.held[slot] == length

    def copy(self, source: int, target: int) -> None:
        self.calls.append(("copy", source, target))
        assert target not in self.held, "copied over what a slot holds"
        self.held[target], self._key[target] = self.held[source], self._key[source]

    def clear(self) -> None:
        assert not self.held, "cleared under a running sequence"
        self.cleared += 1

    def _room(self, n: int) -> None:
        if sum(self.held.values()) + n > self._cells:
            raise ContextFull

    def _item(self, sequence: int, ahead: int = 0) -> Item:
        script, at = self._scripts[self._key[sequence]], self._done[sequence] + ahead
        return script[at] if at < len(script) else END

    def _fail(self, sequence: int, ahead: int = 0) -> None:
        item = self._item(sequence, ahead)
        if isinstance(item, Exception):
            raise item

    def _logits(self, sequence: int) -> npt.NDArray[np.float32]:
        item = self._item(sequence)
        if item is None:
            return np.full(N_VOCAB, np.nan, np.float32)
        logits = np.zeros(N_VOCAB, np.float32)
        logits[list(item) if isinstance(item, tuple) else item] = 30.0
        return logits


class Outcome(NamedTuple):
    """All that a sequence sent."""

    events: list[TokenEvent]
    progress: list[tuple[int, int]]
    error: SelarError | None
    result: Result


def request(
    prompt: Sequence[int],
    method: Method | None = None,
    *,
    pieces: Mapping[int, bytes] | None = None,
    tail: str = "",
    split: bool = True,
    max_tokens: int | None = None,
    stop: tuple[str, ...] = (),
    form: Format = GENERAL,
    tools: Sequence[Mapping[str, Any]] | None = None,
    keep_form: bool = True,
) -> Running:
    """A new sequence: greedy unless `method` says otherwise."""
    parts = Request(
        prompt=tuple(prompt),
        method=method or CoTGreedy(),
        sampling=SamplingConfig(greedy=True, seed=1),
        generation=GenerationConfig(max_tokens=max_tokens, stop=stop, keep_form=keep_form),
        prompt_tail=tail,
        split_thinking=split,
        form=form,
        tools=tools,
    )
    return Running(parts, ScriptedVocabulary(pieces))


def drive(loop: Scheduler, *sequences: Running, turns: int = 500) -> None:
    """Let `sequences` join and turn the loop until it has nothing to do."""
    loop.waiting.extend(sequences)
    for _ in range(turns):
        if loop.idle:
            return
        loop.step()
    raise AssertionError(f"still busy after {turns} turns")


def outcome(sequence: Running) -> Outcome:
    """What `sequence` sent, which must be in order, whole and consistent with its result."""
    messages = []
    while not sequence.messages.empty():
        messages.append(sequence.messages.get())
    assert sequence.finished
    results = [m for m in messages if isinstance(m, Result)]
    assert len(results) == 1
    assert messages[-1] is results[0]
    result = results[0]
    events = [m for m in messages if isinstance(m, TokenEvent)]
    errors = [m for m in messages if isinstance(m, SelarError)]
    assert len(errors) <= 1
    assert (result.finish_reason == "error") is bool(errors)
    assert "".join(event.text for event in events) == result.text
    assert "".join(event.thinking for event in events) == result.thinking
    assert [event.index for event in events] == list(range(len(events)))
    assert tuple(event.token for event in events) == result.tokens
    assert result.usage.completion_tokens == result.timings.tokens == len(events)
    assert result.usage.explored_steps == sum(event.explored for event in events)
    assert result.usage.prompt_tokens == len(sequence.request.prompt)
    read = [message.done for message in messages if isinstance(message, Prefilled)]
    assert result.usage.prompt_read == (read[-1] if read else result.usage.cached_tokens)
    assert result.usage.prompt_read == result.usage.prompt_tokens or not events
    entropies = [event.entropy for event in events if event.entropy is not None]
    mean = sum(entropies) / len(entropies) if entropies else None
    assert result.mean_entropy == mean
    progress = [(m.done, m.total) for m in messages if isinstance(m, Prefilled)]
    return Outcome(events, progress, errors[0] if errors else None, result)
