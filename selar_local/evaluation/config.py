"""What an evaluation asks for: the problems, the methods, the budget."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from selar_local.config import from_mapping, opt, require
from selar_local.errors import OptionError
from selar_local.methods import METHODS, Method, method_class
from selar_local.options import Options, shown

#: Most tokens of an answer, by task. What was cut off is reported.
BUDGETS = {"generated": 256, "gsm8k": 4096, "aime24": 16384, "aime25": 16384}
_BUDGET = 8192
_THINKING = 2048  # at least, for a model that thinks before it answers
#: The task that needs no download, unless a file brings other problems.
GENERATED_TASK = "generated"
#: Generated problems where no limit is given.
GENERATED = 40
#: Bits of a seed: as many as a JSON reader that knows only doubles keeps.
_SEED_BITS = 53
_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False, "none": None}


@dataclass(frozen=True)
class EvaluationConfig(Options):
    """The problems, the samples of each, and the budget: the same for every method."""

    task: str = opt(GENERATED_TASK, "problems to solve; generated: made on the spot, no download", "--task")
    data: str | None = opt(None, "take the problems from this file: JSON Lines with question and answer", "--data")
    limit: int | None = opt(None, "only so many problems (default: all; generated: 40)", "--limit", low=1)
    level: str | None = opt(None, "only problems of this level, or of several such as 1-3 (MATH)", "--level")
    samples: int = opt(1, "answers to each problem", "--samples", low=1, high=10_000)
    max_tokens: int | None = opt(
        None,
        "most tokens of an answer (default: generated 256, or 2048 where the model thinks; gsm8k 4096, aime 16384, "
        "others 8192)",
        "-n",
        "--max-tokens",
        low=1,
    )
    seed: int = opt(
        0, "what the seeds of all answers, and generated problems, are made of", "-s", "--seed", low=0, high=2**53 - 1
    )
    parallel: int = opt(8, "answers decoded together", "-np", "--parallel", low=1, high=256)
    last_number: bool | None = opt(
        None,
        "grade the last number, or letter, of an answer that has no box (default: on for generated problems and for a "
        "file without --task; off for published tasks, where only a box counts, as in the paper)",
        "--last-number/--no-last-number",
    )
    out: str | None = opt(None, "folder of the logs (default: one under selar-eval, named after the settings)", "--out")

    @property
    def name(self) -> str:
        """What the problems are called."""
        return name_of(self.task, self.data)

    @property
    def by_last_number(self) -> bool:
        """The grading rule: whether the last number of an answer without a box counts."""
        return grades_last_number(self.task, self.last_number)

    def check_together(self) -> None:
        levels_of(self.level)
        made = self.task == GENERATED_TASK and self.data is None
        require(self.level is None or not made, "level has no effect: generated problems have no levels")


def name_of(task: str, data: str | None) -> str:
    """What the problems are called: the task, or the file where they are somebody's own."""
    return task if data is None or task != GENERATED_TASK else Path(data).name


def grades_last_number(task: str, given: bool | None = None) -> bool:
    """Whether the last number of an answer without a box counts: as given, else by the task.

    Published tasks have the paper's rule, so that their figures can be compared: only a box is an answer.
    """
    return task == GENERATED_TASK if given is None else given


def levels_of(text: str | None) -> tuple[int, ...] | None:
    """``3`` or ``1-3`` or ``1,4`` as the levels. Raises OptionError."""
    if text is None:
        return None
    levels: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        try:
            first, last = int(low), int(high if dash else low)
        except ValueError:
            raise OptionError(f"level must be a number or a range such as 1-3, not {text!r}") from None
        require(0 <= first <= last <= 100, f"level must be a number or a range such as 1-3, not {text!r}")
        levels.update(range(first, last + 1))
    return tuple(sorted(levels))


def seed_of(base: int, problem: str, sample: int) -> int:
    """The seed of one answer: of the study's seed, the problem's id and the sample's number, whatever the method."""
    digest = hashlib.sha256(f"{base}\n{sample}\n{problem}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _SEED_BITS)


def defaults_of(method: str) -> dict[str, Any]:
    """The options of a method with their defaults, removed ones too; none for a method that is not ours."""
    if method not in METHODS:
        return {}
    cls = METHODS[method]
    return {**cls.removed_options, **{one.name: one.default for one in fields(cls) if one.default is not MISSING}}


@dataclass(frozen=True)
class MethodSpec:
    """One row of the study.

    given: the options of the method that are not its defaults. shared: which of them were given for all methods.
    """

    label: str
    method: Method
    given: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)


def methods_of(
    text: str,
    shared: Mapping[str, Any] | None = None,
    sweep: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> list[MethodSpec]:
    """The methods of ``cot,selar,selar:contrast=0;symbol_guard=off``, in this order.

    shared: options for every method that has them and does not set them itself. sweep: such as ``tau=0.3,0.4``; each
    method with that option, which it must not set itself, becomes one for each value. defaults: the same as shared, but
    they give way to a sweep. Raises OptionError, also for a shared option (but no default) that no method would get.
    """
    shared = shared or {}
    rows = [_one(word.strip()) for word in text.split(",") if word.strip()]
    require(bool(rows), "methods is empty")
    for name in shared:
        having = [own for method, own in rows if name in _fields(method)]
        require(bool(having), f"{name} is no option of {', '.join(dict.fromkeys(method for method, _ in rows))}")
        require(any(name not in own for own in having), f"{name} has no effect: every method with it sets its own")
    if sweep is not None:
        rows = _swept(rows, sweep, shared)
    specs = []
    for name, own in rows:
        others = {**(defaults or {}), **shared}
        fitting = {key: value for key, value in others.items() if key in _fields(name) and key not in own}
        given = fitting | own
        label = " ".join([name, *(f"{key}={shown(value)}" for key, value in own.items())])
        specs.append(MethodSpec(label, from_mapping(method_class(name), given), given, fitting))
    labels = [spec.label for spec in specs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    require(not twice, f"methods names {', '.join(twice)} more than once")
    return specs


def _one(word: str) -> tuple[str, dict[str, Any]]:
    """The method's name and its own options."""
    name, _, rest = word.partition(":")
    method_class(name)
    options = {}
    for part in filter(None, (piece.strip() for piece in rest.split(";"))):
        key, sign, value = part.partition("=")
        key = key.strip().replace("-", "_")
        require(bool(sign), f"methods: {part!r} should be an option and its value, such as tau=0.3")
        if key not in _fields(name):
            known = ", ".join(sorted(_fields(name))) or "none"
            raise OptionError(f"methods: {key} is no option of {name} (known: {known})")
        options[key] = _value(value.strip())
    return name, options


def _swept(
    rows: Iterable[tuple[str, dict[str, Any]]], sweep: str, shared: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    key, sign, values = sweep.partition("=")
    key = key.strip().replace("-", "_")
    points = [_value(value.strip()) for value in values.split(",") if value.strip()]
    require(bool(sign) and bool(points), f"sweep must be such as tau=0.3,0.4, not {sweep!r}")
    require(len(set(map(shown, points))) == len(points), f"sweep names a value of {key} more than once: {values}")
    require(key not in shared, f"{key} is given and swept: choose one of the two")
    swept: list[tuple[str, dict[str, Any]]] = []
    applied = False
    for name, own in rows:
        if key not in _fields(name) or key in own:
            swept.append((name, own))
        else:
            applied = True
            swept += [(name, {**own, key: point}) for point in points]
    require(applied, f"sweep: no method takes a value of {key} from it: {', '.join(name for name, _ in rows)}")
    return swept


def _fields(name: str) -> set[str]:
    return {one.name for one in fields(METHODS[name])}


def _value(text: str) -> Any:
    """A number, on or off, none, or a text; the method refuses what does not fit."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def with_defaults(config: EvaluationConfig, *, thinks: bool = False) -> EvaluationConfig:
    """The configuration with the task's budget, and its number of problems, where none were given.

    thinks: the model thinks before it answers.
    """
    generated, of_a_file = config.task == GENERATED_TASK and config.data is None, config.name != config.task
    limit = GENERATED if config.limit is None and generated else config.limit
    budget = _BUDGET if of_a_file else BUDGETS.get(config.task, _BUDGET)
    return replace(config, max_tokens=config.max_tokens or max(budget, _THINKING * thinks), limit=limit)
