"""Who answers a study's problems: the engine in this process, or servers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from selar_local.config import EngineConfig
from selar_local.errors import PromptTooLong
from selar_local.evaluation import facts
from selar_local.evaluation.config import MethodSpec
from selar_local.evaluation.plan import Evaluation, Observer
from selar_local.evaluation.problems import prompt_of
from selar_local.evaluation.servers import Servers

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine


@contextlib.contextmanager
def opened(
    evaluation: Evaluation,
    missing: Sequence[MethodSpec],
    open_engine: Callable[[EngineConfig], AbstractContextManager[Engine]],
    observer: Observer,
) -> Iterator[dict[str, Any]]:
    """Within, the model can be asked; what logs record of who answers."""
    model = evaluation.model
    if isinstance(model, Servers):
        with model.in_use():
            yield {**facts.programs(), "servers": model.records()}
        for server, reason in model.lost.items():
            observer.note(f"{server.host} was lost: {reason}; the others answered in its place")
        return
    from selar_local.evaluation.generation import shared_engines

    config = replace(evaluation.engine, model_sampling=False)  # as the provider's engines
    with open_engine(config) as engine, shared_engines().lend(engine, model):
        for note in _request_notes(engine, evaluation, missing):
            observer.note(note)
        yield {**facts.environment(), "threads": engine.info.threads}


def _request_notes(engine: Engine, evaluation: Evaluation, specs: Sequence[MethodSpec]) -> list[str]:
    """The engine's notes on each method's request for the first problem; with the methods' labels, unless all have it.

    Raises what making a request raises, such as NotCalibrated.
    """
    asked = prompt_of(evaluation.problems[0])
    prompt: dict[str, Any] = {"messages": [{"role": "user", "content": asked}]}
    if not engine.info.chat_template:
        prompt = {"prompt": asked, "raw": True}  # as the provider asks a base model
    labels: dict[str, list[str]] = {}
    for spec in specs:
        with contextlib.suppress(PromptTooLong):  # the answer records it
            request = engine.request(
                **prompt, method=spec.method, thinking=evaluation.thinking, **evaluation.sampling
            )  # fmt: skip
            for note in request.notes:
                labels.setdefault(note, []).append(spec.label)
    return [note if len(own) == len(specs) else f"{', '.join(own)}: {note}" for note, own in labels.items()]


def inspect_model(evaluation: Evaluation) -> tuple[str, dict[str, Any]]:
    """What Inspect calls it, and its arguments."""
    arguments: dict[str, Any] = {} if evaluation.thinking is None else {"thinking": evaluation.thinking}
    if isinstance(evaluation.model, Servers):
        return f"selar-servers/{evaluation.model.all[0].model}", arguments
    default = EngineConfig()
    for one in fields(EngineConfig):
        value = getattr(evaluation.engine, one.name)
        if value != getattr(default, one.name):
            arguments[one.name] = value
    return f"selar/{evaluation.model.resolve()}", arguments
