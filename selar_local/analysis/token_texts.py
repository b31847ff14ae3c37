"""The texts of the tokens in traces: from the trace itself, else from the vocabulary of its model's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selar_local.errors import ModelFileError, SelarError
from selar_local.llama.present import require_llama_cpp
from selar_local.trace import Trace

if TYPE_CHECKING:
    from selar_local.llama.vocabulary import Vocabulary


class Piece(NamedTuple):
    """The text of a token. kind: "text"; "bytes": part of a character, in hexadecimal digits; "control": a name."""

    kind: str
    text: str


#: By token id, as far as known.
Pieces = Mapping[int, Piece]


class TokenTexts(NamedTuple):
    """pieces: of each trace, in order. notes: sentences on what is missing."""

    pieces: tuple[Pieces, ...]
    notes: tuple[str, ...]


def token_texts(traces: Sequence[Trace], model: Path | None = None) -> TokenTexts:
    """The texts of all tokens that occur in `traces`: prompts, steps, candidates, rows that were fed.

    model: the file to read the vocabulary from, for all of them; None: the one that each trace names, if it is there.
    Raises ModelNotFound, ModelFileError or SelarError for a given `model` that does not fit.
    """
    wanted = [_tokens(trace) for trace in traces]
    files = [model or _file(trace) for trace in traces]
    every = set().union(*wanted)
    vocabularies = {path: _vocabulary(path, every, given=model is not None) for path in set(files) if path is not None}
    pieces: list[Pieces] = []
    notes: list[str] = []
    for trace, tokens, path in zip(traces, wanted, files, strict=True):
        own, vocabulary = _own(trace), None if path is None else vocabularies[path]
        n_vocab = trace.model.get("n_vocab")
        if vocabulary is not None and isinstance(n_vocab, int) and n_vocab != vocabulary.n_vocab:
            if model is not None:
                raise ModelFileError(
                    f"{model.name} is not the model of {trace.name}: "
                    f"it has {vocabulary.n_vocab} tokens instead of {n_vocab}"
                )
            vocabulary = None
        if vocabulary is None and not own and tokens:
            notes.append(_missing(trace))
        read = {} if vocabulary is None else {token: _piece(*text) for token, text in vocabulary.tokens.items()}
        pieces.append({token: piece for token, piece in (read | own).items() if token in tokens})
    return TokenTexts(tuple(pieces), tuple(notes))


def _vocabulary(path: Path, tokens: set[int], *, given: bool) -> Vocabulary | None:
    """The tokens in a file; None where it cannot be read, unless it was `given`."""
    try:
        require_llama_cpp()
        from selar_local.llama.vocabulary import read_vocabulary

        return read_vocabulary(path, tokens)
    except SelarError:
        if given:
            raise
        return None


def _tokens(trace: Trace) -> set[int]:
    """Every token id that occurs."""
    tokens = set(trace.prompt)
    for step in trace.steps:
        tokens |= {step.token, step.drawn, *dict(step.top), *dict(step.fed or ())}
    return tokens


def _own(trace: Trace) -> dict[int, Piece]:
    """The texts in the trace's end record."""
    kept = (trace.end or {}).get("pieces")
    found: dict[int, Piece] = {}
    for token, text in kept.items() if isinstance(kept, dict) else ():
        if not (token.isascii() and token.isdigit()):
            continue
        if isinstance(text, str):
            found[int(token)] = Piece("text", text)
        elif isinstance(text, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in text):
            found[int(token)] = _piece(bytes(text), False)
    return found


def _piece(data: bytes, control: bool) -> Piece:
    try:
        return Piece("control" if control else "text", data.decode())
    except UnicodeDecodeError:
        return Piece("bytes", data.hex(" ").upper())


def _file(trace: Trace) -> Path | None:
    """The model's file, if it is where the trace says."""
    path = trace.model.get("path")
    try:
        return Path(path) if isinstance(path, str) and path and Path(path).is_file() else None
    except (OSError, ValueError):
        return None


def _missing(trace: Trace) -> str:
    path = trace.model.get("path")
    where = f" ({path})" if isinstance(path, str) and path else ""
    return (
        f"{trace.name}: its model{where} is not there: candidates are shown by their ids; --model names another place"
    )
