"""``selar-local eval``: methods compared on the same problems, seeds and budget."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selar_local.cli.display import Display
from selar_local.cli.eval_servers import servers_of, url_options
from selar_local.cli.grouped_help import NO_BREAK, GroupedCommand, json_option, option
from selar_local.cli.interrupt import importing
from selar_local.cli.method_specs import methods_option, specs_of
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find, open_engine
from selar_local.cli.option_sources import defaults_in_use, is_typed
from selar_local.cli.options import build, build_sampling, config_options, method_options
from selar_local.cli.streams import is_terminal, print_json
from selar_local.cli.wording import counted
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig
from selar_local.errors import UnsupportedModel
from selar_local.evaluation.config import EvaluationConfig, MethodSpec, levels_of, with_defaults
from selar_local.evaluation.problems import TASKS, load_problems, prompt_of
from selar_local.methods import CoT
from selar_local.options import described

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.evaluation.plan import Evaluation, Observer
    from selar_local.evaluation.problems import Problem
    from selar_local.evaluation.records import Study
    from selar_local.evaluation.servers import Servers

_BASELINE = CoT.name
_SAMPLING = "Sampling"
_EXAMPLES = """\b
Examples:
  selar-local eval                                                 the bundled model, generated problems
  selar-local eval model.gguf --task gsm8k --limit 200 --parallel 16
  selar-local eval model.gguf --methods "cot,selar,selar:contrast=0,selar:tau=0;symbol_guard=off"
  selar-local eval model.gguf --sweep tau=0.3,0.4,0.5,0.6,0.7 --samples 4 --out sweep --json"""


@click.command("eval", cls=GroupedCommand, epilog=_EXAMPLES)
@model_argument()
@config_options(("Problems and budget", EvaluationConfig))
@option("--thinking/--no-thinking", default=None, heading="Prompt", help="ask the chat template for thinking")
@methods_option
@option("--sweep", once=True, help="each method that has the option runs once for each value, such as tau=0.3,0.4")
@option("--baseline", once=True, help=f"the method that the others are compared with [default:{NO_BREAK}{_BASELINE}]")
@option("--regrade", is_flag=True, once=True, help="grade the kept answers again")
@config_options(
    (_SAMPLING, SamplingConfig, "temperature", "top_k", "top_p", "min_p", "greedy"),
    (_SAMPLING, GenerationConfig, "stop"),
)
@json_option
@option("-q", "--quiet", is_flag=True, help="print only the result: no notes, no progress")
@config_options(("Model and engine", EngineConfig))
@url_options
@method_options
def evaluation_command(
    model: str | None,
    methods: str,
    sweep: str | None,
    baseline: str | None,
    regrade: bool,
    as_json: bool,
    quiet: bool,
    url: str | None,
    api_key: str | None,
    **values: Any,
) -> int:
    """Let MODEL solve problems by several methods, and compare them: same problems, same seeds, same budget.

    Every answer is kept in Inspect's logs. The same command again goes on where it broke off; options of a method,
    such as --tau, go to every method that has them. MODEL is as for `run` (default: the bundled one). With --url,
    running servers share the problems; the problems of one that dies go to the others.
    """
    # What is wrong with the command line is said before Inspect is imported, which takes seconds.
    specs = specs_of(methods, values, sweep)
    labels = [spec.label for spec in specs]
    if baseline is not None and baseline not in labels:
        raise click.UsageError(f"--baseline {baseline} is none of the methods: {', '.join(labels)}")
    given, engine = _configs(values)
    problems = None if given.data is None else _problems(given)
    with importing():
        from selar_local.evaluation.plan import default_folder
        from selar_local.evaluation.runner import require_extra
        from selar_local.evaluation.wording import duration
    require_extra()
    display = Display(quiet=quiet)
    source = find(model) if url is None else servers_of(url, api_key, model, given, specs, values)
    plan = _plan(source, specs, given, engine, problems, values)
    with importing():  # takes seconds
        import inspect_ai  # noqa: F401
        import math_verify  # noqa: F401
    folder = default_folder(plan) if plan.config.out is None else Path(plan.config.out)
    started = time.monotonic()
    with _bar(display, quiet) as observer:
        for note in _notes(plan, folder):
            display.note(note)
        logs = _evaluate(plan, folder, display, observer, regrade)
    display.note(f"done in {duration(time.monotonic() - started)}; selar-local report {folder} makes the report")
    study = _study(logs, labels)
    if not plan.config.by_last_number:
        _note_missing_boxes(study, display)
    _show(study, baseline, as_json)
    return 0


def _configs(values: dict[str, Any]) -> tuple[EvaluationConfig, EngineConfig]:
    """The problems and the engine as given. Raises UsageError."""
    given = build(EvaluationConfig, values)
    if given.task not in TASKS:
        raise click.UsageError(f"--task must be one of {', '.join(TASKS)}, not {given.task}")
    return given, build(EngineConfig, values)


def _problems(config: EvaluationConfig) -> list[Problem]:
    return load_problems(config.task, config.data, config.limit, config.seed, levels_of(config.level))


def _plan(
    source: Path | Servers,
    specs: tuple[MethodSpec, ...],
    given: EvaluationConfig,
    engine: EngineConfig,
    problems: list[Problem] | None,
    values: dict[str, Any],
) -> Evaluation:
    """The study. problems: None where they are still to be loaded, or made."""
    from selar_local.engine.file_facts import thinks
    from selar_local.evaluation.facts import context_for
    from selar_local.evaluation.plan import Evaluation

    thinking = thinks(source, engine.chat_template) if isinstance(source, Path) else source.thinks
    config = with_defaults(given, thinks=thinking)
    if problems is None:
        problems = _problems(config)
    engine = replace(engine, parallel=min(config.parallel, len(problems) * config.samples))
    if values.get("ctx_size") is None and isinstance(source, Path):
        engine = replace(
            engine, ctx_size=context_for(source, [prompt_of(one) for one in problems], config.max_tokens or 0)
        )
    return Evaluation(
        config=config,
        specs=specs,
        problems=tuple(problems),
        model=source,
        engine=engine,
        sampling=_sampling(specs[0], values),
        stop=tuple(values.get("stop") or ()),
        thinking=values.get("thinking"),
    )


def _sampling(spec: MethodSpec, values: dict[str, Any]) -> dict[str, Any]:
    """What was given of the sampling. `--seed` is the study's, of which every answer's own is made."""
    return build_sampling(spec.method, {name: value for name, value in values.items() if name != "seed"})[1]


@contextlib.contextmanager
def _bar(display: Display, quiet: bool) -> Iterator[Observer]:
    from selar_local.cli.answer_bar import AnswerBar
    from selar_local.evaluation.plan import Observer

    with AnswerBar(sys.stderr, hidden=quiet or not is_terminal(sys.stderr)) as bar:
        yield Observer(display.note, bar.begin, bar.end)


def _evaluate(plan: Evaluation, folder: Path, display: Display, observer: Observer, regrade: bool) -> list[Path]:
    from selar_local.evaluation.runner import evaluate

    def opened(config: EngineConfig) -> Engine:
        assert isinstance(plan.model, Path)
        return open_engine(plan.model, config, display)

    try:
        return evaluate(plan, folder, opened, observer, regrade=regrade)
    except UnsupportedModel:
        fitting = _without_vectors(plan)
        if fitting is None:
            raise
        return _evaluate(fitting, folder, display, observer, regrade)
    except KeyboardInterrupt:
        display.note(f"what is finished is kept in {folder}: the same command goes on from there")
        raise


def _without_vectors(plan: Evaluation) -> Evaluation | None:
    """The study without the methods that feed vectors; None where there are none, or where methods were named."""
    fitting = tuple(spec for spec in plan.specs if not spec.method.feeds_vectors)
    options = {one.name for spec in plan.specs for one in described(type(spec.method)) if one.flags}
    named = any(is_typed(name) for name in ("methods", "sweep", "baseline", *options))
    return None if named or fitting == plan.specs else replace(plan, specs=fitting)


def _study(logs: list[Path], labels: list[str]) -> Study:
    """The study with its methods in the order of the command line."""
    from selar_local.evaluation.logs import read_studies

    (study,) = read_studies(logs)
    return replace(study, runs=tuple(sorted(study.runs, key=lambda run: labels.index(run.label))))


def _notes(plan: Evaluation, folder: Path) -> list[str]:
    """What is about to run, and what a person should know about it."""
    config = plan.config
    notes = [
        f"{counted(len(plan.problems), 'problem')} of {config.name}, {counted(config.samples, 'answer')} each, "
        f"{counted(len(plan.specs), 'method')}, at most {config.max_tokens} tokens an answer; logs in {folder}"
    ]
    if defaults := defaults_in_use():
        notes.append(f"defaults of yours: {', '.join(defaults)}")
    room, budget = plan.engine.ctx_size, config.max_tokens or 0
    if room and room <= budget:
        notes.append(f"the context of {room} tokens, prompt included, ends answers before {budget} tokens do")
    if config.by_last_number:
        notes.append(
            "a last number counts as the answer where there is no \\boxed{} (--no-last-number: only a box counts)"
        )
    return [*notes, *_greedy(plan)]


def _greedy(plan: Evaluation) -> list[str]:
    """Methods that draw nothing at random answer alike every time."""
    greedy = plan.sampling.get("greedy", False)
    labels = [
        spec.label
        for spec in plan.specs
        if (greedy or spec.method.greedy) and getattr(spec.method, "noise", "none") == "none"
    ]
    if not labels or plan.config.samples == 1:
        return []
    return [f"{', '.join(labels)}: no token is drawn at random, so --samples repeats the same answer"]


def _note_missing_boxes(study: Study, display: Display) -> None:
    """Small models seldom put their answer into a box: the note names the other rule."""
    answers = [answer for run in study.runs for answer in run.answers]
    without = sum(answer.given is None for answer in answers)
    if 2 * without > len(answers):
        display.note(
            f"{without} of {len(answers)} answers have no \\boxed{{}}, so they count as wrong, as in the paper; "
            "the same command with --last-number grades their last number"
        )


def _show(study: Study, baseline: str | None, as_json: bool) -> None:
    from selar_local.evaluation.summary import as_dict, legend, sentences, slips, summarise, table

    labels = [run.label for run in study.runs]
    summary = summarise(study, baseline or (_BASELINE if _BASELINE in labels else labels[0]))
    if as_json:
        print_json(as_dict(summary))
    else:
        click.echo("\n".join([*table(summary), *legend(summary), "", *sentences(summary), *slips(summary)]))
