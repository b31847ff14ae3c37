"""Coconut written from its definition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from .methods import LatentStep
from .transformer import Cache, ModelInput, Raw, Transformer
from .weights import Array


@dataclass(frozen=True)
class Latents:
    """What stands before the first token of the text."""

    logits: Array  # of the first token
    fed: tuple[Array, ...]  # input of each latent position, as it enters the first layer
    hidden: tuple[Array, ...]  # its hidden state after the final norm


def latent_step(hidden: Array, transformer: Transformer, cache: Cache) -> tuple[Array, Array]:
    """Feed one position the hidden state before it: its own logits and hidden state."""
    return transformer.forward_with_hidden([Raw(hidden)], cache)


def think(
    transformer: Transformer,
    prompt: Sequence[int],
    n_latent: int,
    cache: Cache,
    *,
    start: int | None = None,
    end: int | None = None,
) -> Latents:
    """Feed the prompt, the start marker, `n_latent` latent positions and the end marker; None: no such marker."""
    opening = [*prompt] if start is None else [*prompt, start]
    logits, hidden = transformer.forward_with_hidden(opening, cache)
    states = [hidden]
    for _ in range(n_latent):
        logits, hidden = latent_step(states[-1], transformer, cache)
        states.append(hidden)
    if end is not None:
        logits = transformer.forward([end], cache)
    return Latents(logits, tuple(states[:-1]), tuple(states[1:]))


def coconut_step(logits: Array) -> LatentStep:
    """The most probable token, fed as it is."""
    return LatentStep(int(logits.argmax()), None, False, "normal", None, None, None, logits)


def coconut(
    transformer: Transformer,
    prompt: Sequence[int],
    n_latent: int,
    n_steps: int,
    *,
    start: int | None = None,
    end: int | None = None,
    end_ids: Collection[int] = (),
) -> Iterator[LatentStep]:
    """Greedy text of at most `n_steps` tokens after the latent positions. A token of `end_ids` ends it."""
    cache = transformer.new_cache()
    logits = think(transformer, prompt, n_latent, cache, start=start, end=end).logits
    for _ in range(n_steps):
        step = coconut_step(logits)
        yield step
        if step.token in end_ids:
            return
        inputs: list[ModelInput] = [step.token]
        logits = transformer.forward(inputs, cache)
