"""What the engine has to say about the requests of a study, such as a method that this model was not made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from selar_local.errors import PromptTooLong
from selar_local.evaluation.problems import prompt_of

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.evaluation.config import MethodSpec
    from selar_local.evaluation.runner import Evaluation

__all__ = ["request_notes"]


def request_notes(engine: Engine, evaluation: Evaluation, specs: Sequence[MethodSpec]) -> list[str]:
    """The notes on each method's request for the first problem; with the methods' labels, unless all have the note.

    Raises what making a request raises, such as NotCalibrated.
    """
    asked = prompt_of(evaluation.problems[0])
    prompt: dict[str, Any] = {"messages": [{"role": "user", "content": asked}]}
    if not engine.info.chat_template:
        prompt = {"prompt": asked, "raw": True}  # as the provider asks a base model
    labels: dict[str, list[str]] = {}
    for spec in specs:
        try:
            request = engine.request(
                **prompt, method=spec.method, thinking=evaluation.thinking, **evaluation.sampling
            )  # fmt: skip
        except PromptTooLong:  # the answer records it
            continue
        for note in request.notes:
            labels.setdefault(note, []).append(spec.label)
    return [note if len(own) == len(specs) else f"{', '.join(own)}: {note}" for note, own in labels.items()]
