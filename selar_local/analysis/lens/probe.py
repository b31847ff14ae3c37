"""Where a run explores: the same step taken four ways from the same KV cache, with the states after every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from selar_local.config import EngineConfig
from selar_local.errors import UnsupportedModel
from selar_local.llama.layer_states import LayerStates
from selar_local.llama.runtime import Feed, LlamaRuntime
from selar_local.methods import Selar
from selar_local.methods.base import Decision, Mixture, Setting, Stepper, StepView, Token

__all__ = ["Branches", "Branching", "ProbedRuntime", "Watched"]


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


@dataclass(frozen=True, kw_only=True)
class Watched(Selar):
    """SeLaR that says before every exploration step what else could be fed. Its decisions are the method's own."""

    told: Callable[[Branches], None] = lambda branches: None

    @classmethod
    def like(cls, method: Selar, told: Callable[[Branches], None]) -> Watched:
        """`method`, watched."""
        return cls(**_options(method), told=told)

    @property
    def bare(self) -> Selar:
        """The method that is watched."""
        return Selar(**_options(self))

    def start(self, setting: Setting) -> Stepper:
        # It sees exploration steps only, so a limit on their share would count too few steps.
        plain = Selar(**{**_options(self), "contrast": 0.0, "max_share": 1.0})
        return _Watcher(super().start(setting), plain.start(setting), self.told)


def _options(method: Selar) -> dict[str, Any]:
    return {one.name: getattr(method, one.name) for one in fields(Selar)}


class _Watcher(Stepper):
    """SeLaR at work on one sequence, beside itself without the push."""

    def __init__(self, own: Stepper, plain: Stepper, told: Callable[[Branches], None]) -> None:
        self._own, self._plain, self._told = own, plain, told

    def __call__(self, view: StepView) -> Decision:
        decision = self._own(view)
        pushed = decision.next_input
        if isinstance(pushed, Mixture):
            plain = self._plain(view).next_input
            first, second = view.distribution.ids[:2].tolist()
            assert isinstance(plain, Mixture)  # the gate does not look at the push
            self._told(Branches(pushed, plain, first, second, float(decision.entropy or 0.0)))
        return decision


class ProbedRuntime(LlamaRuntime):
    """A runtime that takes an exploration step all four ways; what the method feeds comes last, and stays.

    So the run is, bit for bit, what it would have been without the probe.
    """

    def __init__(self, path: Path, config: EngineConfig, on_progress: Callable[[float], None] | None = None) -> None:
        """Errors are those of `LlamaRuntime`; UnsupportedModel too where the KV cache cannot go back by a step."""
        super().__init__(path, replace(config, parallel=1), on_progress, watch_layers=True)
        self.found: list[Branching] = []
        self._start = 0
        self._expected: Branches | None = None
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

    def begin(self, prompt_tokens: int) -> None:
        """A new answer begins after so many tokens: what was found in the last one is dropped."""
        self.found, self._start, self._expected = [], prompt_tokens, None

    def expect(self, branches: Branches) -> None:
        """The next step, if it comes, is an exploration step with these branches."""
        self._expected = branches

    def look(self, feed: Feed, prefer_rows: bool = True) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One step and its states after each layer: logits (a view, valid until the next call), (n_layer, n_embd)."""
        with self.watcher.capturing():
            (logits,) = super().step([feed], prefer_rows)
        return logits, self.watcher.states()[:, 0]

    def step(self, feeds: Sequence[Feed], prefer_rows: bool, hidden: bool = False) -> list[npt.NDArray[np.float32]]:
        """As `LlamaRuntime.step`, and note the branches of an exploration step in `found`."""
        branches, self._expected = self._expected, None
        if branches is None:
            return super().step(feeds, prefer_rows, hidden)
        (feed,) = feeds
        others = []
        for other in (branches.plain, Token(branches.first), Token(branches.second)):
            others.append(self.look(feed._replace(next_input=other), prefer_rows)[1])
            if not self.truncate(feed.sequence, feed.position):
                raise UnsupportedModel("the KV cache of this model cannot go back by a step")
        logits, states = self.look(feed, prefer_rows)
        self.found.append(Branching(branches, feed.position - self._start, np.stack([states, *others])))
        return [logits]
