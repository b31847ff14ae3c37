"""Writes traces: step by step into a file, or into memory."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

from selar_local.cache import sha256_of
from selar_local.config import SamplingConfig
from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import SelarError
from selar_local.methods import Method
from selar_local.trace.records import Record, end_record, run_record, step_record, tokens_in
from selar_local.trace.trace import Trace, trace_of

#: Gives the bytes of a token, such as `Engine.token_bytes`.
BytesOf = Callable[[int], bytes]

_HASH_FIELD = '"sha256":null'
_HASH_WIDTH = 66  # a quoted SHA-256
_FLUSH_SECONDS = 0.2  # a write to the disk at every step would slow it down; a killed run loses this much
_PAUSE = 0.1  # seconds between two blocks of the model's file that are hashed while tokens are generated


class TraceRecorder:
    """Keeps the trace of one generation in memory."""

    def __init__(self) -> None:
        self._run: Record | None = None
        self._events: list[TokenEvent] = []
        self._end: Record | None = None

    def begin(
        self, model: Record, method: Method, sampling: SamplingConfig, seed: int, prompt_tokens: tuple[int, ...]
    ) -> None:
        """Keep the facts of the run. model: the facts of `ModelInfo`, path included."""
        self._run = run_record(model, method, sampling, seed, prompt_tokens)

    def step(self, event: TokenEvent) -> None:
        """Keep one step."""
        self._events.append(event)

    def end(self, result: Result, bytes_of: BytesOf | None = None) -> None:
        """Keep how it ended, and with `bytes_of` the texts of its tokens."""
        tokens = {token for event in self._events for token in tokens_in(event)}
        tokens.update(self._run["prompt_tokens"] if self._run else ())
        self._end = end_record(result, _pieces(tokens, bytes_of))

    def trace(self, name: str) -> Trace | None:
        """The trace so far; None before `begin`."""
        return None if self._run is None else trace_of(name, self._run, map(step_record, self._events), self._end)


class TraceWriter:
    """Writes the trace of one generation into a file, with the calls of `TraceRecorder`.

    Lines go out as the steps happen. The hash of the model's file may take a while: the first line has room for it
    (``null`` and spaces), and `close` fills it in, so it never delays a token. A full disk ends the trace, not the
    generation, and calls `warn` once.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Raises SelarError when `path` cannot be written."""
        self._path = path
        self._warn = warn
        self._stop_hashing = threading.Event()
        self._idle = threading.Event()  # set: no more tokens are generated
        self._tokens: set[int] = set()
        self._flushed = 0.0
        self._hash: str | None = None
        self._hasher: threading.Thread | None = None
        self._hash_offset: int | None = None
        self._model_path = Path()
        self._steps = 0
        try:
            self._file: IO[bytes] | None = path.open("wb")
        except OSError as error:
            raise SelarError(f"cannot write the trace {path}: {error.strerror}") from None

    def begin(
        self, model: Record, method: Method, sampling: SamplingConfig, seed: int, prompt_tokens: tuple[int, ...]
    ) -> None:
        """Write the ``run`` line. model: the facts of `ModelInfo`, path included."""
        self._model_path = Path(model["path"])
        self._tokens.update(prompt_tokens)
        line = _dumps(run_record(model, method, sampling, seed, prompt_tokens))
        before, _, after = line.partition(_HASH_FIELD)
        self._hash_offset = len(_encoded(before + '"sha256":'))
        self._write(before + _HASH_FIELD + " " * (_HASH_WIDTH - len("null")) + after)

    def step(self, event: TokenEvent) -> None:
        """Write one step. The hash of the file begins in the background with the first of them."""
        self._steps += 1
        if self._hasher is None:
            self._hasher = threading.Thread(target=self._compute_hash, name="selar-local hash", daemon=True)
            self._hasher.start()
        self._tokens.update(tokens_in(event))
        self._write(_dumps(step_record(event)))

    def end(self, result: Result, bytes_of: BytesOf | None = None) -> None:
        """Write the ``end`` line, with `bytes_of` the texts of all tokens in the trace too."""
        self._idle.set()
        self._flushed = 0.0  # this line goes out at once, with those that wait
        self._write(_dumps(end_record(result, _pieces(self._tokens, bytes_of))))

    def close(self) -> None:
        """Fill in the hash and close the file. Idempotent."""
        self._idle.set()
        if self._hasher is not None:
            self._hasher.join()
        if self._file is not None:
            try:
                if self._hash and self._hash_offset is not None and self._file.seekable():
                    self._file.seek(self._hash_offset)
                    self._file.write(f'"{self._hash}"'.encode())
                self._file.close()
            except OSError as error:
                self._give_up(error)
            self._file = None

    def abort(self) -> None:
        """Close at once, without waiting for the hash."""
        self._stop_hashing.set()
        self.close()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abort()

    def _hashing_is_over(self) -> bool:
        """`sha256_of` calls it between two blocks. It waits while tokens are generated: they need the processors."""
        if not self._stop_hashing.is_set():
            self._idle.wait(_PAUSE)
        return self._stop_hashing.is_set()

    def _compute_hash(self) -> None:
        try:
            self._hash = sha256_of(self._model_path, cancelled=self._hashing_is_over)
        except (OSError, SelarError):
            self._hash = None

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(_encoded(line + "\n"))
            if (now := time.monotonic()) - self._flushed >= _FLUSH_SECONDS:
                self._file.flush()
                self._flushed = now
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._warn(f"the trace {self._path} ends after {self._steps} steps: {error.strerror}")
            with contextlib.suppress(OSError):  # closing flushes, which fails again
                file.close()


def _pieces(tokens: Iterable[int], bytes_of: BytesOf | None) -> dict[int, bytes] | None:
    """The bytes of the tokens, in the order of ids; None where the engine gives none (any more)."""
    if bytes_of is None:
        return None
    try:
        return {token: bytes_of(token) for token in sorted(tokens)}
    except SelarError:  # the engine has failed: the trace ends without them
        return None


def _dumps(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _encoded(line: str) -> bytes:
    # A file name that is not UTF-8 has lone surrogates; written as \\udc80 they are JSON again.
    return line.encode("utf-8", "backslashreplace")
