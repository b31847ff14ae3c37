"""The problems of an evaluation: from the hub, from a file, or generated on the spot."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from selar_local.errors import MissingExtra, OptionError, SelarError
from selar_local.evaluation.config import GENERATED
from selar_local.install_hint import pip_install

_MATH_REQUEST = r"Please reason step by step, and put your final answer within \boxed{}."
_LETTER_REQUEST = r"Please reason step by step, and put only the letter of the correct choice within \boxed{}."
_MOST_CHOICES = 26
_LISTED = 3  # damaged lines that an error names


class DataError(SelarError):
    """Problems cannot be read: the file is damaged, or the hub does not give them."""


@dataclass(frozen=True)
class Problem:
    """One problem.

    id: the same in any order and with any limit. answer: LaTeX or plain text, for kind "letter" the letter. choices:
    in the order of their letters. level, subject: where the data set has them.
    """

    id: str
    question: str
    answer: str
    kind: Literal["math", "letter"] = "math"
    choices: tuple[str, ...] = ()
    level: int | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))  # JSON knows lists only


@dataclass(frozen=True)
class TaskSpec:
    """A task and where its problems are. dataset, config, split: on the hub, empty for what is generated.

    problem: from a row of the data set. shuffled: the order of the choices is drawn.
    """

    name: str
    title: str
    kind: Literal["math", "letter"] = "math"
    dataset: str = ""
    config: str | None = None
    split: str = "test"
    gated: bool = False
    shuffled: bool = False
    problem: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict


def _columns(question: str, answer: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    def problem(row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"question": row[question], "answer": row[answer], **{k: row.get(k) for k in ("level", "subject")}}

    return problem


def _gpqa(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The right choice comes first; it is shuffled afterwards."""
    choices = [str(row[name]).strip() for name in ("Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3)))]
    return {
        "question": row["Question"], "answer": "A", "choices": choices, "subject": row.get("High-level domain"),
    }  # fmt: skip


#: The tasks by name. Data sets and columns as they are on the Hugging Face hub.
TASKS: Mapping[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("generated", "arithmetic and word problems made by reasoning-gym"),
        TaskSpec("gsm8k", "GSM8K", dataset="openai/gsm8k", config="main", problem=_columns("question", "answer")),
        TaskSpec("math500", "MATH-500", dataset="HuggingFaceH4/MATH-500", problem=_columns("problem", "answer")),
        TaskSpec(
            "gpqa-diamond", "GPQA diamond", kind="letter", dataset="Idavidrein/gpqa", config="gpqa_diamond",
            split="train", gated=True, shuffled=True, problem=_gpqa,
        ),
        TaskSpec(
            "aime24", "AIME 2024", dataset="HuggingFaceH4/aime_2024", split="train",
            problem=_columns("problem", "answer"),
        ),
        TaskSpec("aime25", "AIME 2025", dataset="math-ai/aime25", problem=_columns("problem", "answer")),
    )
}  # fmt: skip


def prompt_of(problem: Problem) -> str:
    r"""What the user says, as in the paper: the question and the request for steps and a final `\boxed{}`."""
    if problem.kind == "math":
        return f"{problem.question}\n{_MATH_REQUEST}"
    listed = "\n".join(f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(problem.choices))
    return f"{problem.question}\n{listed}\n{_LETTER_REQUEST}"


def load_problems(
    task: str,
    data: Path | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    levels: tuple[int, ...] | None = None,
) -> list[Problem]:
    """The problems of a task, in the data's order.

    data: a JSON Lines file instead of the hub or the generator. limit: the first so many, after the choice of levels
    (generated: 40 by default). seed: of generated problems, and of the order of the choices, which does not depend on
    the limit. Raises OptionError for an unknown task, DataError where there are no such problems, MissingExtra.
    """
    if task not in TASKS:
        raise OptionError(f"unknown task {task!r} (known: {', '.join(TASKS)})")
    spec = TASKS[task]
    if data is not None:
        problems = read_problems(Path(data), spec)
    elif spec.dataset:
        problems = _from_hub(spec)
    else:
        from selar_local.evaluation.generated import generated_problems

        problems = generated_problems(GENERATED if limit is None else limit, seed)
    if spec.shuffled:
        problems = [_shuffled(problem, seed) for problem in problems]
    source = str(data) if data is not None else task
    if levels is not None:
        if all(problem.level is None for problem in problems):
            raise DataError(f"{source}: the problems have no levels")
        problems = [problem for problem in problems if problem.level in levels]
    if not problems:
        raise DataError(f"{source}: no problems" + ("" if levels is None else " of this level"))
    return problems[:limit]


def read_problems(path: Path, spec: TaskSpec = TASKS["generated"]) -> list[Problem]:
    """The problems of a JSON Lines file: `question` and `answer`, and perhaps `id`, `level`, `subject`, `choices`.

    With choices the answer is a letter, the text of a choice, or (a JSON number) its index from 0. Raises DataError
    that names the damaged lines by their number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"cannot read {path}: {reason}") from error
    problems, faults = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            problems.append(_problem(_object(line), spec.kind))
        except DataError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        more = f", and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise DataError(f"{path}: {'; '.join(faults[:_LISTED])}{more}")
    return _unique(problems)


def _object(line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON") from error
    if not isinstance(row, dict):
        raise DataError("not an object")
    return row


def _problem(row: Mapping[str, Any], kind: Literal["math", "letter"] = "math") -> Problem:
    """Check a row. The id is empty where the row has none."""
    question, level = row.get("question"), row.get("level")
    if not isinstance(question, str) or not question.strip():
        raise DataError("no question" if question in (None, "") else "the question must be a text")
    if isinstance(level, str) and level.removeprefix("Level ").isdecimal():
        level = int(level.removeprefix("Level "))
    if not (level is None or (isinstance(level, int) and not isinstance(level, bool))):
        raise DataError(f"the level must be a whole number, not {level!r}")
    name, subject = row.get("id"), row.get("subject")
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        raise DataError("the id must be a text or a whole number")
    if not isinstance(subject, str | None):
        raise DataError("the subject must be a text")
    choices = _choices(row.get("choices"))
    if kind == "letter" and not choices:
        raise DataError("no choices")
    answer = _letter(row.get("answer"), choices) if choices else _answer(row.get("answer"))
    kind = "letter" if choices else "math"
    return Problem("" if name is None else str(name).strip(), question.strip(), answer, kind, choices, level, subject)


def _choices(choices: Any) -> tuple[str, ...]:
    if choices is None:
        return ()
    if not isinstance(choices, list) or not 2 <= len(choices) <= _MOST_CHOICES:
        raise DataError(f"choices must be a list of 2 to {_MOST_CHOICES}")
    return tuple(_text(choice, "a choice") for choice in choices)


def _text(value: Any, what: str) -> str:
    """A text or a number as a text that is not empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"no {what.rpartition(' ')[2]}" if value is None else f"{what} must be a text or a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{what} must be a finite number")
    if not str(value).strip():
        raise DataError(f"{what} is empty")
    return str(value).strip()


def _answer(answer: Any) -> str:
    """GSM8K has its reasoning before the answer, and commas in it."""
    text = _text(answer, "the answer")
    if "####" not in text:
        return text
    return _text(text.rsplit("####", 1)[1].replace(",", ""), "the answer after ####")


def _letter(answer: Any, choices: tuple[str, ...]) -> str:
    """The letter that an answer means: a letter, a choice's text, or an index."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(choices):
            raise DataError(f"the answer {answer} is no index of {len(choices)} choices")
        return chr(ord("A") + answer)
    text = _text(answer, "the answer")
    if choices.count(text) == 1:
        return chr(ord("A") + choices.index(text))
    letter = text.strip("() .").upper()
    if len(letter) == 1 and 0 <= ord(letter) - ord("A") < len(choices):
        return letter
    raise DataError(f"the answer is neither a letter up to {chr(ord('A') + len(choices) - 1)} nor one of the choices")


def _unique(problems: Iterable[Problem]) -> list[Problem]:
    """With an id each: a hash of what is asked where there is none; what comes twice gets a suffix."""
    seen: dict[str, int] = {}
    named = []
    taken = set()
    for problem in problems:
        asked = json.dumps([" ".join(problem.question.split()), *sorted(problem.choices)], ensure_ascii=False)
        name = problem.id or hashlib.sha256(asked.encode()).hexdigest()[:12]
        unique = name
        while unique in taken:
            seen[name] = seen.get(name, 1) + 1
            unique = f"{name}-{seen[name]}"
        taken.add(unique)
        named.append(replace(problem, id=unique))
    return named


def _shuffled(problem: Problem, seed: int) -> Problem:
    """The choices in an order that depends on the seed and on the problem alone."""
    order = list(range(len(problem.choices)))
    random.Random(f"{seed} {problem.id}").shuffle(order)
    answer = order.index(ord(problem.answer) - ord("A"))
    return replace(problem, choices=tuple(problem.choices[i] for i in order), answer=chr(ord("A") + answer))


def _from_hub(spec: TaskSpec) -> list[Problem]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(
            f"{spec.title} comes from the hub, which needs the package datasets; give --data FILE.jsonl, or install it "
            f"with: {pip_install('datasets')}"
        ) from error
    try:
        rows = list(datasets.load_dataset(spec.dataset, spec.config, split=spec.split))
    except Exception as error:
        raise DataError(_hub_message(spec, error)) from error
    try:
        return _unique(_problem(spec.problem(row), spec.kind) for row in rows)
    except (KeyError, DataError) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{spec.dataset} has changed on the hub: {what}; give --data FILE.jsonl") from error


def _hub_message(spec: TaskSpec, error: BaseException) -> str:
    """One line: not allowed, or not reached, or else."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = " ".join(f"{type(one).__name__} {one}" for one in chain)
    if spec.gated and any(word in text for word in ("Gated", "gated", "401", "403", "DatasetNotFound")):
        return (
            f"{spec.title} is given out only to who accepts its terms at https://huggingface.co/datasets/{spec.dataset}"
            " and then logs in with: hf auth login"
        )
    if any(word in text for word in ("ConnectionError", "Offline", "ConnectTimeout", "MaxRetryError", "resolve")):
        return f"cannot reach the hub for {spec.dataset}: go online, or give --data FILE.jsonl"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"cannot load {spec.dataset} from the hub: {first}"
