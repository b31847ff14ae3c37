"""Step records as JSON Lines: one ``run`` line, one ``step`` line a generated token, one ``end`` line."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from selar_local._version import __version__
from selar_local.cache import sha256_of
from selar_local.config import SamplingConfig
from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import SelarError
from selar_local.methods import Method

__all__ = ["Pieces", "SeenTokens", "TraceWriter", "end_record", "read_trace", "run_record", "step_record"]

#: What gives the bytes of a token, such as `Engine.token_bytes`.
Pieces = Callable[[int], bytes]
Record = dict[str, Any]

_HASH_FIELD = '"sha256":null'
_HASH_WIDTH = 66  # a quoted SHA-256
_FLUSH_SECONDS = 0.2  # a write to the disk at every step takes time from it; so much is lost where a run is killed
_PAUSE = 0.1  # seconds between two blocks of the file that are hashed while tokens are generated


def run_record(
    model: Record, method: Method, sampling: SamplingConfig, seed: int, prompt_tokens: tuple[int, ...]
) -> Record:
    """The first record. model: the facts of `ModelInfo`, path included."""
    unit = method.entropy_unit
    return {
        "type": "run",
        "version": __version__,
        "model": {
            "path": model["path"],
            "sha256": None,
            **{k: v for k, v in model.items() if k != "path"},
        },
        "method": method.name,
        "options": asdict(method),
        **({} if unit == "normalised" else {"entropy_unit": unit}),
        "sampling": {**asdict(sampling), "seed": seed},
        "prompt_tokens": list(prompt_tokens),
    }


def step_record(event: TokenEvent) -> Record:
    """The record of one step."""
    record: Record = {
        "type": "step",
        "i": event.index,
        "token": event.token,
        "text": event.thinking + event.text,
        "entropy": event.entropy,
        "explored": event.explored,
        "top": event.top,
    }
    if event.mode is not None:
        record["mode"] = event.mode
    return record


def end_record(result: Result, pieces: Mapping[int, bytes] | None = None) -> Record:
    """The last record. pieces: of the tokens in the trace, kept as text, or as numbers where they are no UTF-8."""
    latent = result.usage.latent_steps
    record: Record = {
        "type": "end",
        "finish_reason": result.finish_reason,
        "tokens": result.usage.completion_tokens,
        "explored_steps": result.usage.explored_steps,
        **({"latent_steps": latent} if latent else {}),
        "prefill_seconds": round(result.timings.prefill_seconds, 6),
        "decode_seconds": round(result.timings.decode_seconds, 6),
    }
    if pieces is not None:
        record["pieces"] = {str(token): _spelled(piece) for token, piece in pieces.items() if piece}
    return record


def _spelled(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


class SeenTokens:
    """The ids that occur in a trace."""

    def __init__(self) -> None:
        self._ids: set[int] = set()

    def of_prompt(self, tokens: Iterable[int]) -> None:
        """Those of a prompt."""
        self._ids.update(tokens)

    def of_step(self, event: TokenEvent) -> None:
        """Those of a step: its token, and the candidates."""
        self._ids.add(event.token)
        for token, _ in event.top:
            self._ids.add(token)

    def pieces(self, piece: Pieces | None) -> dict[int, bytes] | None:
        """Their bytes, in the order of ids; None where nobody tells them (any more)."""
        if piece is None:
            return None
        try:
            return {token: piece(token) for token in sorted(self._ids)}
        except SelarError:  # the engine has failed: the trace ends without them
            return None


class TraceWriter:
    """Writes the trace of one generation.

    Lines go out as the steps happen. The model file's hash may take a while: its place in the first line is
    kept free (``null`` and spaces) and filled at the end, so it never delays a token. A disk that fills up
    ends the trace, not the generation: `warn` is told once.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Raises SelarError when `path` cannot be written."""
        self._path = path
        self._warn = warn
        self._stop_hashing = threading.Event()
        self._idle = threading.Event()  # set: no more tokens are generated
        self._tokens = SeenTokens()
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
        self,
        model: dict[str, Any],
        method: Method,
        sampling: SamplingConfig,
        seed: int,
        prompt_tokens: tuple[int, ...],
    ) -> None:
        """Write the ``run`` line. model: the facts of `ModelInfo`, path included."""
        self._model_path = Path(model["path"])
        self._tokens.of_prompt(prompt_tokens)
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
        self._tokens.of_step(event)
        self._write(_dumps(step_record(event)))

    def end(self, result: Result, piece: Pieces | None = None) -> None:
        """Write the ``end`` line. piece: what gives the bytes of a token: those in the trace are then kept in it."""
        self._idle.set()
        self._flushed = 0.0  # this line goes out at once, with what is kept back
        self._write(_dumps(end_record(result, self._tokens.pieces(piece))))

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
        """Asked between two blocks: waits while tokens are generated, whose threads need the processors."""
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
            with contextlib.suppress(OSError):  # what it could not write, it cannot flush either
                file.close()


def _dumps(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _encoded(line: str) -> bytes:
    # A file name that is no UTF-8 has lone surrogates; written as \\udc80 they are JSON again.
    return line.encode("utf-8", "backslashreplace")


def read_trace(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]:
    """The run record, the step records and the end record (None when the run was cut off).

    Raises SelarError when the file is not a trace.
    """
    run: dict[str, Any] | None = None
    steps: list[dict[str, Any]] = []
    end: dict[str, Any] | None = None
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    if run is None or line.endswith("\n"):
                        raise
                    break  # cut off within a line, as on a full disk
                kind = record["type"]
                if kind == "run":
                    run = record
                elif kind == "step":
                    steps.append(record)
                elif kind == "end":
                    end = record
    except OSError as error:
        raise SelarError(f"cannot read the trace {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SelarError(f"{path} is not a trace of selar-local") from None
    if run is None:
        raise SelarError(f"{path} is not a trace of selar-local: it has no run line")
    return run, steps, end
