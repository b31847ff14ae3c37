"""A `llama_model`: opened from a checked file, with its vocabulary and the facts the rest needs."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from selar_local.config import EngineConfig
from selar_local.errors import ModelFileError, UnsupportedModel
from selar_local.llama import library
from selar_local.llama.deep_stack import on_deep_stack
from selar_local.llama.digit_runs import cut_digits
from selar_local.llama.gguf_file import GgufFile
from selar_local.llama.library import C
from selar_local.llama.machine import default_threads
from selar_local.llama.placement import CPU, Placement
from selar_local.llama.special_texts import SpecialTexts
from selar_local.llama.vocabulary import token_bytes

_TEMPLATE = "tokenizer.chat_template."
_MROPE_TYPES = (8, 40)
_SHORT_TEXT = 4096  # characters that are tokenised in one piece
_LOAD_MODES = {(True, False): -1, (False, False): 0, (False, True): 2, (True, True): 3}


class LlamaModel:
    """The weights and the vocabulary. Free with `close`, after every context on it."""

    def __init__(
        self,
        gguf: GgufFile,
        config: EngineConfig,
        placement: Placement = CPU,
        on_progress: Callable[[float], None] | None = None,
        *,
        weights: bool = True,
    ) -> None:
        """weights: False reads no weights, so that llama.cpp only plans.

        Raises ModelFileError when llama.cpp refuses the file, UnsupportedModel when it cannot generate.
        """
        library.start()
        self.gguf = gguf
        self.path: Path = gguf.path
        self.name = gguf.path.name
        self.threads = config.threads or default_threads()
        self.placement = placement
        self.repacks = library.repacking_is_safe() if config.repack is None else config.repack
        self.pointer: Any = self._open(config, on_progress, weights)
        self.vocab = C.llama_model_get_vocab(self.pointer)
        self.n_vocab = int(C.llama_vocab_n_tokens(self.vocab))
        self.n_embd = int(C.llama_model_n_embd(self.pointer))
        self.n_embd_inp = int(C.llama_model_n_embd_inp(self.pointer))
        self.n_ctx_train = int(C.llama_model_n_ctx_train(self.pointer))
        self.mrope = C.llama_model_rope_type(self.pointer) in _MROPE_TYPES
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._require_generator()

    def _open(self, config: EngineConfig, on_progress: Callable[[float], None] | None, weights: bool) -> Any:
        params = C.llama_model_default_params()
        self._alive = self.placement.apply(params)  # llama.cpp keeps addresses
        params.no_alloc = not weights
        params.load_mode = _LOAD_MODES[config.mmap and weights, config.mlock and weights]
        params.check_tensors = config.check_tensors
        params.use_extra_bufts = self.repacks
        interrupts: list[BaseException] = []

        def progress(share: float, _data: Any) -> bool:
            # An exception (Ctrl-C) cannot cross llama.cpp: stop the load, raise it afterwards.
            try:
                if on_progress is not None:
                    on_progress(share)
                return True
            except BaseException as error:
                interrupts.append(error)
                return False

        params.progress_callback = C.llama_progress_callback(progress)
        pointer = C.llama_model_load_from_file(os.fsencode(self.path), params)
        if interrupts:
            if pointer:
                C.llama_model_free(pointer)
            raise interrupts[0]
        if not pointer:
            said = library.recent_errors() or "no reason given"
            raise ModelFileError(f"{self.name}: llama.cpp cannot load it: {said}")
        return pointer

    def _require_generator(self) -> None:
        reason = None
        if C.llama_model_is_diffusion(self.pointer):
            reason = "is a diffusion model, it does not write from left to right"
        elif C.llama_model_has_encoder(self.pointer) or not C.llama_model_has_decoder(self.pointer):
            reason = "is an encoder model, it does not generate text from a prompt alone"
        elif self.n_vocab <= 0 or C.llama_vocab_type(self.vocab) == C.LLAMA_VOCAB_TYPE_NONE:
            reason = "has no tokenizer, so it cannot read or write text"
        elif self.gguf.metadata.get("tokenizer.ggml.pre") == "whitespace":
            # A tokenizer of embedding models: llama.cpp aborts at two spaces in a row.
            reason = "has a tokenizer of embedding models (whitespace)"
        if reason:
            self.close()
            raise UnsupportedModel(f"{self.name} {reason}")

    # -- vocabulary ---------------------------------------------------------------------------

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; `special`: the text of control tokens becomes those tokens. BOS is not added.

        Raises OptionError for a text with too many characters without a break.
        """
        return self._tokenize_to(text, special, sys.maxsize)

    def _tokenize_to(self, text: str, special: bool, most: int) -> list[int]:
        """The tokens; of those beyond `most` some may be missing."""
        return on_deep_stack(text, lambda: self._tokenize_pieces(text, special, most))

    def _tokenize_pieces(self, text: str, special: bool, most: int) -> list[int]:
        groups_digits = self.gguf.metadata.get("tokenizer.ggml.pre") == "superbpe"
        if len(text) <= _SHORT_TEXT and not groups_digits:
            return self._tokenize(text, special)
        tokens: list[int] = []
        for piece in (self._cut_out_first if special else self._cut_out_of_plain_text).pieces(text):
            for part in cut_digits(piece) if groups_digits else (piece,):
                tokens += self._tokenize(part, special)
                if len(tokens) > most:
                    return tokens
        return tokens

    def _tokenize(self, text: str, special: bool) -> list[int]:
        raw = text.encode("utf-8", errors="replace")
        room = len(raw) + 2
        while True:
            buffer = (C.llama_token * room)()
            count = C.llama_tokenize(self.vocab, raw, len(raw), buffer, room, False, special)
            if count >= 0:
                return list(buffer[:count])
            room = -count

    @cached_property
    def _cut_out_first(self) -> SpecialTexts:
        return self._special_texts(control=True)

    @cached_property
    def _cut_out_of_plain_text(self) -> SpecialTexts:
        return self._special_texts(control=False)

    def _special_texts(self, *, control: bool) -> SpecialTexts:
        """control: with the control tokens."""
        controls = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
        texts, strip = set[str](), set[str]()
        for token in range(self.n_vocab):
            attributes = C.llama_vocab_get_attr(self.vocab, token)
            kind = attributes & (controls | C.LLAMA_TOKEN_ATTR_USER_DEFINED)
            if kind and (control or not kind & controls):
                text = (C.llama_vocab_get_text(self.vocab, token) or b"").decode("utf-8", "replace")
                (strip if attributes & C.LLAMA_TOKEN_ATTR_RSTRIP else texts).add(text)
        return SpecialTexts(texts | strip, strip)

    @cached_property
    def control_texts(self) -> tuple[str, ...]:
        """The texts of the control tokens."""
        found = (token for token in range(self.n_vocab) if C.llama_vocab_is_control(self.vocab, token))
        return tuple(self.render(token, special=True).decode("utf-8", "replace") for token in found)

    @cached_property
    def longest_piece(self) -> int:
        """Bytes of the longest token: a text of n bytes has at least n / longest_piece tokens."""
        return max(len(C.llama_vocab_get_text(self.vocab, token) or b"") for token in range(self.n_vocab))

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text: no special tokens parsed or added."""
        return self.tokenize(text, special=False)

    def token_of(self, text: str) -> int | None:
        """The single token, special ones included, that spells `text`; None where there is none."""
        tokens = self.tokenize(text, special=True)
        if len(tokens) == 1 and self.render(tokens[0], special=True) == text.encode("utf-8", "replace"):
            return tokens[0]
        return None

    def prompt_tokens(self, *parts: str, most: int = sys.maxsize) -> list[int]:
        """Tokens of a whole prompt: special tokens parsed, BOS added where the file asks and it is not there.

        parts: of the prompt, in order. No special token reaches over the end of a part. most: of the tokens beyond so
        many some may be missing.
        """
        tokens: list[int] = []
        for part in parts:
            tokens += self._tokenize_to(part, True, most - len(tokens))
            if len(tokens) > most:
                break
        bos = int(C.llama_vocab_bos(self.vocab))
        if C.llama_vocab_get_add_bos(self.vocab) and bos >= 0 and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def piece(self, token: int) -> bytes:
        """The token's bytes; control tokens are b"". May be half a UTF-8 character."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self.render(token, special=False)
        return piece

    def vocabulary(self) -> tuple[list[bytes], list[int]]:
        """The bytes of all tokens, b"" for control tokens, and the tokens that end a text."""
        tokens = range(self.n_vocab)
        return [self.render(token, special=False) for token in tokens], [t for t in tokens if self.is_end(t)]

    def render(self, token: int, *, special: bool) -> bytes:
        """The token's bytes, control tokens by name when `special`."""
        return token_bytes(self.vocab, token, special=special)

    def show_as_text(self, texts: Iterable[str]) -> None:
        """Have `piece` render the control tokens that spell one of `texts`, such as ``<think>``."""
        for text in texts:
            tokens = self.tokenize(text, special=True)
            if len(tokens) == 1:
                self._pieces[tokens[0]] = text.encode()

    def is_end(self, token: int) -> bool:
        """Whether the token ends the generation: EOS, EOT and all the others the model declares."""
        ends = self._ends.get(token)
        if ends is None:
            ends = self._ends[token] = bool(C.llama_vocab_is_eog(self.vocab, token))
        return ends

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end a generation."""
        return tuple(token for token in range(self.n_vocab) if self.is_end(token))

    def special_text(self, which: str) -> str:
        """The text of the "bos" or "eos" token, "" where there is none."""
        token = int(getattr(C, f"llama_vocab_{which}")(self.vocab))
        return self.render(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def chat_template(self, name: str | None = None) -> str | None:
        """The Jinja source of the model's chat template, or of another one that it has under a name."""
        source = C.llama_model_chat_template(self.pointer, None if name is None else name.encode())
        return source.decode("utf-8", "replace") if source else None

    @property
    def template_names(self) -> list[str]:
        """The names of the model's other chat templates, such as ``tool_use``."""
        return sorted(key.removeprefix(_TEMPLATE) for key in self.gguf.metadata if key.startswith(_TEMPLATE))

    def description(self) -> str:
        """llama.cpp's own words for the model: architecture, size, quantisation."""
        buffer = ctypes.create_string_buffer(256)
        C.llama_model_desc(self.pointer, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def n_params(self) -> int:
        """Number of parameters."""
        return int(C.llama_model_n_params(self.pointer))

    def close(self) -> None:
        """Free the model. Idempotent."""
        if self.pointer:
            C.llama_model_free(self.pointer)
            self.pointer = None
