"""What a text may be: a JSON schema, followed by llguidance."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from selar_local.errors import DecodeError, OptionError
from selar_local.llama.schema_checks import check_schema

if TYPE_CHECKING:
    from llguidance import LLMatcher

_MAX_CHARACTERS = 1 << 18
_COMPILED = 8  # schemas whose compiled form is kept, with the lexer's states that answers have met
_LEXER_STATES = 100_000  # some 150 MB
_OPTIONS = {
    # One space, or a line break and its indentation: a model cannot write white space for ever.
    "whitespace_pattern": r" |\n[ \t]{0,20}",
    # Without \u: else an additional property could spell the name of another one.
    "json_allowed_escapes": 'nrbtf\\"',
}
_PLACES = re.compile(
    r'^at \d+\(\d+\): |failed to compile JSON schema: |failed to parse "%json": |(?<=regex parse error:)(?s:.*)error:'
)
_UNKNOWN = re.compile(r"Unimplemented keys: \[(.*)\]")
#: How llguidance's messages begin that do not name the keyword, and what stands for them or before them.
_NAMED: tuple[tuple[str, str, bool], ...] = (
    ("NoExtension", "no text that can be written fits it", False),
    ("oneOf", "oneOf is supported where its schemas exclude each other, by type or by a constant in them", False),
    ("regex parse error", "pattern: ", True),
    ("Unable to determine if regex", "pattern is too large", False),
    ("Failed to generate regex for", "minimum, maximum: ", True),
    ("Resource", "$ref: ", True),
    ("Pointer", "$ref: ", True),
    ("Invalid type", "type: ", True),
)

#: The numbers that a byte of a bitmask adds to eight logits.
_ADDED = np.where(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 0, -np.inf).astype(
    np.float32
)


class SchemaCompiler:
    """Makes the grammars of schemas for one vocabulary. Thread-safe; llama.cpp is not asked."""

    def __init__(self, pieces: Sequence[bytes], ends: Sequence[int]) -> None:
        """pieces: the bytes of each token, b"" for control tokens. ends: the tokens that end a text.

        Takes a second for a vocabulary of 152,000. Raises OptionError where no token ends a text.
        """
        from llguidance import LLParserLimits, LLTokenizer, TokenizerWrapper

        if not ends:
            raise OptionError("json_schema needs a model with a token that ends the text")
        self._n_vocab = len(pieces)
        self._tokenizer = LLTokenizer(
            TokenizerWrapper(_Vocabulary(pieces, ends)), eos_token=list(ends), slices=LLTokenizer.json_slices()
        )
        self._limits = LLParserLimits(max_lexer_states=_LEXER_STATES, verbose_errors=False)
        self._compiled = lru_cache(_COMPILED)(self._compile)

    def grammar(self, schema: Any) -> SchemaGrammar:
        """The grammar of a JSON schema, an object or its text.

        Raises OptionError for a schema that cannot be kept to, and names the keyword.
        """
        return SchemaGrammar(self._compiled(_text_of(schema)).deep_copy(), self._n_vocab)

    def _compile(self, text: str) -> LLMatcher:
        from llguidance import LLMatcher

        # The model decides on its tokens where the text is certain: nothing is tokenised.
        source = f'%llguidance {{"no_forcing": true}}\nstart: %json {text}'
        matcher = LLMatcher(self._tokenizer, source, log_level=0, limits=self._limits)
        matcher.compute_bitmask()  # a schema that allows no text at all fails here
        problem = matcher.get_error() or "; ".join(matcher.get_grammar_warnings())
        if problem:
            raise OptionError(f"json_schema: {_reason(problem)}")
        return matcher


class SchemaGrammar:
    """A JSON schema at one place of one text. One thread at a time."""

    def __init__(self, matcher: LLMatcher, n_vocab: int) -> None:
        self._matcher = matcher
        self._masked = np.empty((-(-n_vocab // 32) * 4, 8), np.float32)

    def mask(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The logits with -inf for every token that the schema does not allow next; valid until the next call.

        Raises DecodeError where no token is allowed.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8, len(self._masked))
        if self._matcher.is_error() or not bits.any():
            raise DecodeError(f"the schema allows no token here: {_reason(self._matcher.get_error())}")
        np.take(_ADDED, bits, axis=0, out=self._masked, mode="clip")
        masked = self._masked.reshape(-1)[: len(logits)]
        return np.add(masked, logits, out=masked)

    def accept(self, token: int) -> None:
        """`token`, one that `mask` allowed, comes next."""
        if not self._matcher.consume_token(token):
            raise DecodeError(f"the schema does not allow the drawn token: {_reason(self._matcher.get_error())}")


class _Vocabulary:
    """The vocabulary as llguidance takes it from Python."""

    bos_token_id = None

    def __init__(self, pieces: Sequence[bytes], ends: Sequence[int]) -> None:
        self.eos_token_id = ends[0]
        self.special_token_ids = list({*ends, *(token for token, piece in enumerate(pieces) if not piece)})
        self.tokens = pieces

    def __call__(self, text: str | bytes) -> list[int]:
        raise DecodeError("a schema needs no text as tokens: see `no_forcing`")


def _text_of(schema: Any) -> str:
    """The schema as JSON text, with llguidance's options."""
    try:
        given = json.loads(schema) if isinstance(schema, str) else schema
        if not isinstance(given, (dict, bool)):
            raise OptionError("json_schema must be a JSON object")
        check_schema(given)
        text = json.dumps({**given, "x-guidance": _OPTIONS} if isinstance(given, dict) else given, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"json_schema is not JSON (give the schema itself, not a file): {error}") from error
    if len(text) > _MAX_CHARACTERS:
        raise OptionError(f"json_schema is longer than {_MAX_CHARACTERS} characters")
    return text


def _reason(message: str) -> str:
    """llguidance's message in one line, with the keyword, without the place in its own grammar."""
    text = " ".join(_PLACES.sub("", message.partition("\n   1 | ")[0]).split())
    unknown = _UNKNOWN.search(text)
    if unknown:
        return f"not supported: {unknown[1].replace(chr(34), '')}"
    for start, words, goes_on in _NAMED:
        if text.startswith(start):
            text = words + text if goes_on else words
    return text[:300]
