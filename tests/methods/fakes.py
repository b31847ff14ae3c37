"""Stand-ins for a model: its vocabulary, its logits, and whole generations made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.events import Result, TokenEvent
from selar_local.engine.request import Request
from selar_local.engine.sequence import Sequence as Running
from selar_local.errors import SelarError
from selar_local.methods.base import Decision, Method, Mixture, NextInput, Setting, Stepper, StepView, Token, Vector
from selar_local.methods.distribution import filtered_distribution

Logits = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Model = Callable[[NextInput], tuple[Logits, npt.NDArray[np.float32]]]

#: Nothing is filtered, and probabilities are those that `logits_of` was given.
ALL = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
N_ASCII = 128


class Words:
    """A vocabulary of the ASCII characters, each with its code as id, and of `words`, with ids from 128 on.

    Plain text is encoded by the longest words that fit; those in angle brackets are special, never found in plain
    text. `ends`: words that end the generation.
    """

    def __init__(self, *words: str, ends: Sequence[str] = ()) -> None:
        self.words = [*map(chr, range(N_ASCII)), *words, *ends]
        self.n_vocab = len(self.words)
        self._ids = {word: token for token, word in enumerate(self.words)}
        special = {word for word in self.words if len(word) > 1 and word[0] == "<" and word[-1] == ">"}
        self._plain = {word: token for word, token in self._ids.items() if word not in special}
        self._longest = max(map(len, self._plain))
        self._ends = frozenset(self._ids[word] for word in ends)

    def __getitem__(self, word: str) -> int:
        return self._ids[word]

    def encode(self, text: str) -> list[int]:
        ids = []
        while text:
            length = next(n for n in range(self._longest, 0, -1) if text[:n] in self._plain)
            ids.append(self._plain[text[:length]])
            text = text[length:]
        return ids

    def token_of(self, text: str) -> int | None:
        return self._ids.get(text)

    def piece(self, token: int) -> bytes:
        return self.words[token].encode()

    def is_end(self, token: int) -> bool:
        return token in self._ends


def logits_of(shares: Mapping[int, float], n_vocab: int) -> Logits:
    """Logits of the tokens with these probabilities (they need not sum to 1); -inf for all others."""
    logits = np.full(n_vocab, -np.inf, np.float32)
    for token, share in shares.items():
        logits[token] = np.log(share)
    return logits


def entropy_of(logits: Logits, temperature: float = 1.0) -> float:
    """The entropy in nats of the whole softmax, in float64 from the definition."""
    wide = logits.astype(np.float64) / temperature
    p = np.exp(wide - wide.max())
    p /= p.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def view(
    logits: Logits,
    token: int | None = None,
    sampling: SamplingConfig = ALL,
    n: int = 3,
    thinking: bool = True,
    thinking_after: Callable[[int], bool] | None = None,
    hidden: npt.NDArray[np.float32] | None = None,
) -> StepView:
    """What a method sees of these logits. token: the drawn one, else the most probable. n: candidates listed."""
    distribution = filtered_distribution(logits, sampling, n)
    chosen = int(distribution.ids[0]) if token is None else token
    return StepView(logits, distribution, chosen, sampling.temperature, thinking, thinking_after, hidden)


def start(method: Method, vocabulary: Words, sampling: SamplingConfig = ALL, **setting: object) -> Stepper:
    """A stepper for a sequence of 100 tokens at most, or as `setting` says."""
    return method.start(Setting(**{"vocabulary": vocabulary, "sampling": sampling, "max_tokens": 100, **setting}))


def mixture(decision: Decision) -> Mixture:
    """The decision's next input, which must be a mixture."""
    assert isinstance(decision.next_input, Mixture)
    assert decision.explored
    assert decision.next_input.ids.shape == decision.next_input.weights.shape
    return decision.next_input


def shares(decision: Decision) -> dict[int, float]:
    """The weights of the decision's mixture by id."""
    ids, weights = mixture(decision)
    assert len(set(ids.tolist())) == len(ids)
    return dict(zip(ids.tolist(), weights.tolist(), strict=True))


# -- whole generations -------------------------------------------------------------------------


class Generation(NamedTuple):
    """What a generation reported, and every input that was fed after the prompt."""

    events: list[TokenEvent]
    result: Result
    inputs: list[NextInput]

    @property
    def tokens(self) -> list[int]:
        return [event.token for event in self.events]


def scripted(script: Sequence[Logits]) -> Model:
    """A model that gives these logits one after the other, then the last ones, whatever it is fed.

    The hidden state tells which call it was.
    """
    calls = iter(range(1_000_000))

    def model(_: NextInput) -> tuple[Logits, npt.NDArray[np.float32]]:
        call = next(calls)
        return script[min(call, len(script) - 1)], np.full(2, call, np.float32)

    return model


def linear(n_vocab: int, seed: int = 11, begin: bytes = b"", width: int = 16) -> Model:
    """A random model that sees the last input only; its hidden state is that input, squeezed.

    begin: tokens, by byte, that it is made to say first.
    """
    random = np.random.default_rng(seed)
    rows, weights = random.standard_normal((n_vocab, width)), random.standard_normal((width, n_vocab))
    forced = iter(begin)

    def model(chosen: NextInput) -> tuple[Logits, npt.NDArray[np.float32]]:
        if isinstance(chosen, Token):
            state = rows[chosen.id]
        elif isinstance(chosen, Mixture):
            state = chosen.weights @ rows[chosen.ids]
        else:
            state = 2.0 * chosen.values
        logits = (0.5 * state @ weights).astype(np.float32)
        if (token := next(forced, None)) is not None:
            logits = logits_of({token: 1.0}, n_vocab)
        return logits, np.tanh(state).astype(np.float32)

    return model


def generate(
    method: Method,
    model: Model,
    vocabulary: Words,
    max_tokens: int = 40,
    prompt_tail: str = "",
    error: type[SelarError] | None = None,
    **sampling: object,
) -> Generation:
    """A whole generation by the engine's own `Sequence`. error: the kind that ends it."""
    given = method.sampling({"seed": 3, "temperature": 1.0, **sampling})
    request = Request((5,), method, given, GenerationConfig(max_tokens=max_tokens), prompt_tail)
    sequence = Running(request, vocabulary)
    inputs: list[NextInput] = []
    chosen: NextInput = Token(5)
    while not sequence.finished:
        logits, hidden = model(chosen)
        try:
            sequence.step(logits, 10_000, hidden if sequence.wants_hidden else None)
        except SelarError as failure:
            assert error is not None and isinstance(failure, error)
            sequence.finish("error", failure)
        if not sequence.finished:
            assert sequence.next_input is not None
            chosen = sequence.next_input
            assert isinstance(chosen, Token) or method.feeds_vectors
            assert not isinstance(chosen, Vector) or chosen.values.dtype == np.float32
            inputs.append(chosen)
    messages = [sequence.messages.get() for _ in range(sequence.messages.qsize())]
    result = messages[-1]
    assert isinstance(result, Result)
    return Generation([message for message in messages if isinstance(message, TokenEvent)], result, inputs)
