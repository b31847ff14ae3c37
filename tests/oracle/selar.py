"""SeLaR over several texts that advance together, where the batch gate couples them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from .methods import Allowed, Filters, Selar, Step, Thinking, always, scope_after, selar_step
from .transformer import ModelInput, Transformer
from .weights import Array


def selar_batch_step(
    logits: Sequence[Array],
    rows: Array,
    filters: Filters,
    selar: Selar,
    uniforms: Sequence[float | None],
    *,
    end_ids: Collection[int] = (),
    allowed: Sequence[Allowed] | None = None,
    pasts: Sequence[Sequence[Step]] | None = None,
) -> list[Step]:
    """One step of each of several texts; under the batch gate one that explores makes all explore."""
    scopes = [always] * len(logits) if allowed is None else allowed
    earlier = [()] * len(logits) if pasts is None else pasts

    def steps(forced: bool) -> list[Step]:
        return [
            selar_step(own, rows, filters, selar, uniform, end_ids=end_ids, allowed=scope, forced=forced, past=past)
            for own, uniform, scope, past in zip(logits, uniforms, scopes, earlier, strict=True)
        ]

    alone = steps(forced=False)
    return steps(forced=True) if selar.batch_gate and any(step.explored for step in alone) else alone


def selar_batch(
    transformer: Transformer,
    prompts: Sequence[Sequence[int]],
    n_steps: int,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    settings: Selar | None = None,
    uniforms: Sequence[Sequence[float]] | None = None,
    thinking: Thinking | None = None,
) -> Iterator[dict[int, Step]]:
    """Advance several texts together; each step's outcome by the number of the text, without those that have ended."""
    filters, settings = filters or Filters(), settings or Selar()
    caches = [transformer.new_cache() for _ in prompts]
    inputs: list[Sequence[ModelInput]] = list(prompts)
    pasts: list[list[Step]] = [[] for _ in prompts]
    going: Sequence[int] = range(len(prompts))
    for number in range(n_steps):
        logits = [transformer.forward(inputs[i], caches[i]) for i in going]
        numbers = [None if uniforms is None else uniforms[i][number] for i in going]
        allowed = [scope_after([step.token for step in pasts[i]], settings, thinking) for i in going]
        outcomes = selar_batch_step(
            logits,
            transformer.rows,
            filters,
            settings,
            numbers,
            end_ids=end_ids,
            allowed=allowed,
            pasts=[pasts[i] for i in going],
        )
        steps = dict(zip(going, outcomes, strict=True))
        yield steps
        for i, step in steps.items():
            inputs[i] = [step.token if step.vector is None else step.vector]
            pasts[i].append(step)
        going = [i for i, step in steps.items() if step.token not in end_ids]
        if not going:
            return
