"""The evaluation as Inspect tasks: ``inspect eval selar_local/gsm8k --model selar/model.gguf -M method=cot``.

They work with any of Inspect's models; what only our provider reports is then missing from the answers. This module
needs Inspect.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ContentReasoning, ModelOutput
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from selar_local.evaluation.config import grades_last_number, levels_of, name_of, seed_of
from selar_local.evaluation.grading import grade
from selar_local.evaluation.problems import TASKS, Problem, load_problems, prompt_of
from selar_local.evaluation.slips import count_slips, is_repetitive


@task
def problems(
    task: str = "generated",
    data: str | None = None,
    limit: int | None = None,
    level: str | int | None = None,
    seed: int = 0,
    samples: int = 1,
    last_number: bool | None = None,
) -> Task:
    """The problems of a task of `selar-local eval`, each answered `samples` times.

    data: a JSON Lines file with `question` and `answer`. seed: what the seeds of the answers, and generated problems,
    are made of. last_number: see `graded`; None: on for generated problems and a file without a task, else off.
    """
    name = name_of(task, data)
    chosen = load_problems(task, data, limit, seed, levels_of(None if level is None else str(level)))
    return Task(
        dataset=MemoryDataset([_sample(problem) for problem in chosen], name=name),
        solver=answer(seed),
        scorer=graded(grades_last_number(task, last_number)),
        epochs=Epochs(samples, "mean"),
        name=re.sub(r"\W+", "_", name),
        metadata={"task": name},
    )


def _register(name: str) -> None:
    """One of our tasks by its own name, such as ``selar_local/gsm8k``."""

    @task(name=re.sub(r"\W", "_", name))
    def of_this_name(
        limit: int | None = None, level: str | int | None = None, seed: int = 0, samples: int = 1
    ) -> Task:  # fmt: skip
        return problems(name, None, limit, level, seed, samples)


for _name in TASKS:
    _register(_name)


def _sample(problem: Problem) -> Sample:
    """The prompt; the problem itself goes along, so that a log can be graded again without its data."""
    return Sample(id=problem.id, input=prompt_of(problem), target=problem.answer, metadata={"problem": asdict(problem)})


@solver
def answer(seed: int = 0) -> Solver:
    """One answer, with a seed of its own that does not depend on the method."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, seed=seed_of(seed, str(state.sample_id), state.epoch))

    return solve


@scorer(metrics=[accuracy(), stderr()])
def graded(last_number: bool = False) -> Scorer:
    """Right or wrong, by math-verify or the letter; also whether the answer repeats itself at its end, and its slips.

    last_number: where an answer has no box, its last number, or the last letter it names, counts.
    """

    async def score(state: TaskState, target: Target) -> Score:
        return await asyncio.to_thread(_graded, state.output, Problem(**state.metadata["problem"]), last_number)

    return score


def _graded(output: ModelOutput, problem: Problem, last_number: bool) -> Score:
    """The score of an answer; what was thought before it does not count.

    The score's answer is what was graded, None where none was found; its explanation says why.
    """
    closed = bool((output.metadata or {}).get("thinking_closed", True))
    found = grade(output.completion, problem, thinking_closed=closed, fallback=last_number)
    text = thinking_of(output) + output.completion
    return Score(
        value=CORRECT if found.correct else INCORRECT,
        answer=found.given,
        explanation=found.reason,
        metadata={"repetitive": is_repetitive(text), **asdict(count_slips(text, problem.question))},
    )


def thinking_of(output: ModelOutput) -> str:
    """What the model thought before its answer."""
    content = output.choices[0].message.content if output.choices else ""
    parts = [] if isinstance(content, str) else content
    return "".join(part.reasoning for part in parts if isinstance(part, ContentReasoning))
