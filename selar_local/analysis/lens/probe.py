"""Where a run explores: the same step taken four ways from the same KV cache, with the states after every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from selar_local.config import EngineConfig
from selar_local.engine.events import TokenEvent
from selar_local.errors import UnsupportedModel
from selar_local.llama.inputs import Feed
from selar_local.llama.layer_states import LayerStates
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import Selar
from selar_local.methods.base import Mixture, Token
from selar_local.methods.entropy import renormalise
from selar_local.methods.selar import anchored, contrastive_weights


class Branches(NamedTuple):
    """What an exploration step can be fed: what SeLaR feeds, the same without the push, the two first candidates."""

    pushed: Mixture
    plain: Mixture
    first: int
    second: int
    entropy: float


@dataclass(frozen=True, slots=True)
class Branching:
    """The states an exploration step gives after each layer: (4, n_layer, n_embd) float32, in the order of `Branches`.

    index: of the step in its answer, the first token being 0.
    """

    branches: Branches
    index: int
    states: npt.NDArray[np.float32]


def _plain(event: TokenEvent, method: Selar) -> Mixture:
    """The mix without the push."""
    ids, probs = np.array([token for token, _ in event.top]), np.array([share for _, share in event.top])
    mix = contrastive_weights(ids, renormalise(probs, method.k), 0.0, method.repel)
    return anchored(mix, event.drawn, method.anchor)


class ProbedRuntime(LlamaRuntime):
    """A runtime that takes an exploration step all four ways. The method's own input comes last, and stays.

    So the run is, bit for bit, what it would have been without the probe.
    """

    def __init__(self, path: Path, config: EngineConfig, on_progress: Callable[[float], None] | None = None) -> None:
        """Raises the errors of `LlamaRuntime`, and UnsupportedModel where the KV cache cannot go back by a step."""
        super().__init__(path, replace(config, parallel=1), on_progress, watch_layers=True)
        self.found: list[Branching] = []
        self._coming: tuple[TokenEvent, Mixture] | None = None
        if self.no_vectors is not None:
            self.close()
            raise UnsupportedModel(f"there is no logit lens for this model: {self.no_vectors}")
        if not self.truncate(0, 0):
            self.close()
            raise UnsupportedModel(
                f"{path.name}: a recurrent or hybrid model cannot take a step back to take it another way: "
                "there is no logit lens for it"
            )

    @property
    def watcher(self) -> LayerStates:
        """What captures the states."""
        assert self.layers is not None
        return self.layers

    def begin(self) -> None:
        """A new answer begins: forget what was found in the last one."""
        self.found, self._coming = [], None

    def expect(self, event: TokenEvent, method: Selar) -> None:
        """The next step, if it comes, feeds the mix of this exploration step."""
        self._coming = event, _plain(event, method)

    def look(self, feed: Feed, prefer_rows: bool = True) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One step and its states after each layer: logits (a view, valid until the next call), (n_layer, n_embd)."""
        with self.watcher.capturing():
            (logits,) = super().step([feed], prefer_rows)
        return logits, self.watcher.states()[:, 0]

    def step(self, feeds: Sequence[Feed], prefer_rows: bool, hidden: bool = False) -> list[npt.NDArray[np.float32]]:
        """As `LlamaRuntime.step`. An exploration step is added to `found`."""
        coming, self._coming = self._coming, None
        if coming is None:
            return super().step(feeds, prefer_rows, hidden)
        (feed,), (event, plain) = feeds, coming
        (first, _), (second, _) = event.top[:2]
        states = []
        for other in (plain, Token(first), Token(second)):
            states.append(self.look(feed._replace(next_input=other), prefer_rows)[1])
            if not self.truncate(feed.sequence, feed.position):
                raise UnsupportedModel("the KV cache of this model cannot go back by a step")
        logits, own = self.look(feed, prefer_rows)
        assert isinstance(feed.next_input, Mixture)
        branches = Branches(feed.next_input, plain, first, second, event.entropy or 0.0)
        self.found.append(Branching(branches, event.index, np.stack([own, *states])))
        return [logits]
