"""Model, context, embedding table and batch behind the few calls the decode loop needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selar_local.config import EngineConfig
from selar_local.errors import DecodeError, ModelFileError, UnsupportedModel
from selar_local.llama import library
from selar_local.llama.context import LlamaContext, State
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.fillers import Fillers
from selar_local.llama.forecast import forecast
from selar_local.llama.gguf_file import GgufFile, open_gguf
from selar_local.llama.injection_check import injection_difference
from selar_local.llama.input_batch import InputBatch
from selar_local.llama.inputs import Chunk, Feed, Filler
from selar_local.llama.layer_states import LayerStates
from selar_local.llama.model import LlamaModel
from selar_local.llama.placement import Placement, is_out_of_memory, placements
from selar_local.llama.probe import Probe
from selar_local.llama.rpc import connect
from selar_local.methods.base import Mixture, Token

logger = logging.getLogger("selar_local.llama")

_NOTHING = np.zeros(0, np.float32)


class LlamaRuntime:
    """One opened model, ready to decode up to ``config.parallel`` sequences. One thread at a time."""

    def __init__(
        self,
        path: Path,
        config: EngineConfig,
        on_progress: Callable[[float], None] | None = None,
        check_again: bool = False,
        watch_layers: bool = False,
    ) -> None:
        """watch_layers: make `layers`, which can capture the state after each layer; else it is None.

        Raises ModelNotFound, ModelFileError or UnsupportedModel; nothing stays open when it does.
        """
        self.gguf: GgufFile = open_gguf(path)
        #: Why the model takes token ids alone; None where it takes vectors. Then the check has a difference.
        self.no_vectors: str | None = None
        self.injection_max_abs_diff: float | None = None
        with Probe(self.gguf.path, self.gguf.architecture, library.binding_version, again=check_again) as probe:
            probe.survives("open", on_wait=lambda: on_progress and on_progress(0.0))
            self._context: LlamaContext | None = None
            self._open_where_it_fits(config, on_progress, probe, watch_layers)
            context = self.context
            try:
                self.batch = InputBatch(
                    context.n_batch, self.model.n_embd_inp, self.model.n_vocab, mrope=self.model.mrope
                )
                probe.survives("ids")
                try:
                    probe.survives("rows")
                    self.injection_max_abs_diff = injection_difference(
                        self.model, context, self.table, self.batch, config, check_again
                    )
                except UnsupportedModel as error:
                    self.no_vectors = str(error)
            except BaseException:
                self.close()
                raise
        self._hidden: list[npt.NDArray[np.float32]] = []
        self.capacity = context.n_ctx_seq
        self.fillers = Fillers(context, self.table, config.parallel)
        self.needs_checkpoints, self.exact_cut = context.needs_checkpoints, context.exact_cut
        self.batch_size, self.largest_batch = context.batch_size, context.n_batch
        self.most_scored = min(context.most_outputs, context.batch_size)
        # Where a row is its token to the bit, certain steps may be fed as rows as well: the graph is then reused.
        self.rows_are_exact = self.injection_max_abs_diff == 0.0

    def _open_where_it_fits(
        self, config: EngineConfig, on_progress: Callable[[float], None] | None, probe: Probe, watch_layers: bool
    ) -> None:
        """Open model and context; with fewer layers on the GPU where it has no memory for the ones planned."""
        library.start()
        connect(config.workers)
        tries = placements(self.gguf, config, partial(forecast, self.gguf, config))
        placement: Placement | None = next(tries)
        while placement is not None:
            try:
                self._open_at(placement, config, on_progress, probe, watch_layers)
                return
            except (ModelFileError, UnsupportedModel) as error:
                placement = next(tries, None) if is_out_of_memory(error) else None
                if placement is None:
                    raise
                logger.warning("%s; trying with less on the GPU", error)

    def _open_at(
        self,
        placement: Placement,
        config: EngineConfig,
        on_progress: Callable[[float], None] | None,
        probe: Probe,
        watch_layers: bool,
    ) -> None:
        self.model = LlamaModel(self.gguf, config, placement, on_progress)
        try:
            self.table = EmbeddingTable(self.gguf, self.model.n_embd_inp)
            if self.table.n_vocab < self.model.n_vocab:
                raise ModelFileError(f"{self.model.name}: the embedding matrix has fewer rows than the vocabulary")
            self.layers = LayerStates(self.model) if watch_layers else None
            probe.survives("context")
            self._context = LlamaContext(self.model, config, self.layers)
        except BaseException:
            self.close()
            raise

    @property
    def context(self) -> LlamaContext:
        """The open context; DecodeError once closed."""
        if self._context is None:
            raise DecodeError("the model is closed")
        return self._context

    def core_wait_meter(self) -> Callable[[], float | None]:
        """A function that gives the part of the decoding time from now on, 0 to 1, that a thread waited for a core."""
        return self.context.waiting.meter(self.model.threads)

    def prefill(
        self, chunks: Sequence[Chunk], cancelled: Callable[[], bool], hidden: bool = False
    ) -> list[npt.NDArray[np.float32] | None]:
        """Decode chunks of prompts, in the order of their sequences; the logits after each that ends its prompt.

        At most ``largest_batch`` tokens in all. llama.cpp computes chunks of one length together, others one by one.
        `cancelled` is asked while llama.cpp computes and may be called from its threads. hidden: keep the last
        position's hidden state (see `hidden_state`), of one chunk. Raises ContextFull, Aborted, DecodeError.
        """
        if hidden:
            (chunk,) = chunks
            return [self._prefill_keeping_state(chunk, cancelled)]
        ids: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        outputs: list[bool] = []
        ends: list[int] = []
        for sequence, position, tokens, last in chunks:
            n = len(tokens)
            ids += tokens
            positions += range(position, position + n)
            sequences += [sequence] * n
            outputs += [False] * (n - 1) + [last]
            ends.append(len(ids) - 1)
        batch = self.batch.of_tokens(ids, positions, sequences, outputs)
        with self.context.abortable(cancelled):
            self.context.decode(batch)
        for sequence, position, tokens, _ in chunks:
            if len(tokens) == self.batch_size:
                self.context.tidy(sequence, position + len(tokens))
        return [self.context.logits(end) if chunk.last else None for chunk, end in zip(chunks, ends, strict=True)]

    def score(self, chunk: Chunk, cancelled: Callable[[], bool]) -> list[npt.NDArray[np.float32]]:
        """Decode at most `most_scored` tokens of a prompt; the logits after each (views, valid until the next call)."""
        n = len(chunk.ids)
        positions = range(chunk.position, chunk.position + n)
        batch = self.batch.of_tokens(chunk.ids, positions, [chunk.sequence] * n, [True] * n)
        with self.context.abortable(cancelled):
            self.context.decode(batch)
        return [self.context.logits(i) for i in range(n)]

    def _prefill_keeping_state(self, chunk: Chunk, cancelled: Callable[[], bool]) -> npt.NDArray[np.float32]:
        """llama.cpp makes every token of a batch an output while it gives hidden states: the last one goes alone."""
        *before, final = chunk.ids
        if before:
            self.prefill([chunk._replace(ids=before, last=False)], cancelled)
        feed = Feed(chunk.sequence, chunk.position + len(before), Token(final))
        return self.step([feed], False, hidden=True)[0]

    def step(self, feeds: Sequence[Feed], prefer_rows: bool, hidden: bool = False) -> list[npt.NDArray[np.float32]]:
        """Decode one input of each sequence; their logits in the same order (views, valid until the next call).

        hidden: keep the hidden states too (see `hidden_state`). Plain tokens go in as ids, or as rows when
        `prefer_rows` or another sequence needs a row: all inputs of a batch are of one kind, and a kind that stays
        the same lets llama.cpp reuse its graph.
        """
        if hidden:
            with self.context.giving_hidden_states():
                return self._step(feeds, prefer_rows, hidden)
        return self._step(feeds, prefer_rows, hidden)

    def hidden_state(self, row: int) -> npt.NDArray[np.float32]:
        """The (n_embd,) float32 state, after the final norm, of a feed of the last call that was to keep them."""
        return self._hidden[row]

    def _step(self, feeds: Sequence[Feed], prefer_rows: bool, hidden: bool) -> list[npt.NDArray[np.float32]]:
        plain = all(isinstance(feed.next_input, Token) for feed in feeds)
        if plain and not (prefer_rows and self.rows_are_exact):
            return self._decode(feeds, self._token_batch, hidden)
        if plain or self.rows_are_exact or not any(isinstance(f.next_input, Token) for f in feeds):
            return self._decode(feeds, self._row_batch, hidden)
        return self._step_in_two(feeds, hidden)

    def _decode(
        self, feeds: Sequence[Feed], make: Callable[[Sequence[Feed | Filler]], object], hidden: bool
    ) -> list[npt.NDArray[np.float32]]:
        """Decode the batch that `make` makes of the feeds and fillers between them."""
        inputs = self.fillers.between(feeds)
        try:
            self.context.decode(make(inputs))
        finally:
            for one in inputs:
                if isinstance(one, Filler) and not self.context.truncate(one.sequence, one.position):
                    raise DecodeError(f"llama.cpp could not forget a filler of sequence {one.sequence}")
        logits, row_of = self.context.logits_of_all(len(inputs)), {one.sequence: i for i, one in enumerate(inputs)}
        rows = [row_of[feed.sequence] for feed in feeds]
        if hidden:
            self._hidden = [self.context.hidden_state(row) for row in rows]
        return [logits[row] for row in rows]

    def _step_in_two(self, feeds: Sequence[Feed], hidden: bool) -> list[npt.NDArray[np.float32]]:
        """Tokens as ids and mixtures as rows in two decodes: for devices where a row is not its token to the bit."""
        logits: list[npt.NDArray[np.float32]] = [_NOTHING] * len(feeds)
        states = list(logits)
        plain, rows = (
            [i for i, f in enumerate(feeds) if isinstance(f.next_input, Token) is kind] for kind in (True, False)
        )
        self._token_batch(
            [feeds[i] for i in plain]
        )  # refuses before anything is decoded; so do the rows, which are first
        for make, chosen in ((self._row_batch, rows), (self._token_batch, plain)):
            try:
                found = self._decode([feeds[i] for i in chosen], make, hidden)
            except Exception:
                if chosen is plain:  # the others are decoded again, each by itself
                    for i in rows:
                        self.context.truncate(feeds[i].sequence, feeds[i].position)
                raise
            for row, i in enumerate(chosen):
                logits[i] = found[row].copy()
                states[i] = self._hidden[row] if hidden else _NOTHING
        self._hidden = states
        return logits

    def _token_batch(self, inputs: Sequence[Feed | Filler]) -> object:
        chosen = [one.next_input if isinstance(one, Feed) else None for one in inputs]
        ids = [one.id if isinstance(one, Token) else self.fillers.token for one in chosen]
        return self.batch.of_tokens(ids, *_places(inputs))

    def _row_batch(self, inputs: Sequence[Feed | Filler]) -> object:
        for one, row in zip(inputs, self.batch.rows(len(inputs)), strict=True):
            chosen = one.next_input if isinstance(one, Feed) else None
            if chosen is None:
                self.table.row(self.fillers.token, row)
            elif isinstance(chosen, Token):
                self.table.row(chosen.id, row)
            elif isinstance(chosen, Mixture):
                self.table.mix(chosen.ids, chosen.weights, row)
            else:
                row[:] = 0
                row[: chosen.values.shape[0]] = chosen.values
        return self.batch.of_rows(len(inputs), *_places(inputs))

    def forget(self, slot: int) -> None:
        """Free the slot's KV cache."""
        self.context.forget(slot)

    def can_cut(self, slot: int, length: int) -> bool:
        """Whether the slot can go back to `length` positions without a saved state."""
        return self.context.can_cut(slot, length)

    def truncate(self, slot: int, length: int) -> bool:
        """Free the slot's KV cache from position `length` on.

        False, and nothing has changed, where the model keeps a running state that cannot go back.
        """
        return self.context.truncate(slot, length)

    def save(self, slot: int) -> State:
        """What the slot needs to come back to where it is, besides the KV cache that it can cut."""
        return self.context.save(slot)

    def tidy(self, slot: int, length: int) -> None:
        """Make no difference of whether the slot has come to this length by itself, or by `restore`."""
        self.context.tidy(slot, length)

    def restore(self, slot: int, state: State, length: int) -> bool:
        """Put the slot back to where it had `length` positions and was saved. False: it could not, and is of no use."""
        return self.context.restore(slot, state, length)

    def copy(self, source: int, target: int) -> None:
        """Make an empty slot hold what another one holds."""
        self.context.copy(source, target)

    def clear(self) -> None:
        """Free the KV cache of all sequences and wipe what was in it."""
        self.context.clear()

    def close(self) -> None:
        """Free context and model. Idempotent."""
        if self._context is not None:
            self._context.close()
            self._context = None
        self.model.close()


def _places(inputs: Sequence[Feed | Filler]) -> tuple[list[int], list[int], list[bool]]:
    """Positions, sequences, and which are outputs: all, as the kernels take four outputs at a time too."""
    return [i.position for i in inputs], [i.sequence for i in inputs], [True] * len(inputs)
