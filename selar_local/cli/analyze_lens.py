"""``selar-local analyze lens``: do two trajectories live side by side in the layers after an exploration step?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selar_local.analysis.lens.config import LensConfig
from selar_local.analysis.questions import QUESTIONS
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, json_option, option
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find
from selar_local.cli.options import as_usage, build, build_sampling, config_options
from selar_local.cli.plot_option import plot_option, require_plot
from selar_local.cli.prompt import prompts_option, read_prompts
from selar_local.cli.streams import print_json
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.errors import OptionError, SelarError
from selar_local.llama.present import require_llama_cpp
from selar_local.methods import Selar

if TYPE_CHECKING:
    from selar_local.analysis.lens.measure import LensSamples
    from selar_local.analysis.lens.session import LensSession
    from selar_local.analysis.lens.summary import LensSummary


T = TypeVar("T")

_GLANCE = 0.2  # seconds: where waiting for a thread cannot be interrupted, Ctrl-C is seen as often


class Background:
    """One thread, for all that is done within a ``with`` block, so that Ctrl-C reaches the main one.

    While llama.cpp calls back into Python in the main thread, Python's signal handler may run within the callback, and
    what it raises there is lost.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="selar-local")
        self._stop = threading.Event()

    def do(self, work: Callable[[], T]) -> T:
        """The result of `work`, or its error. Ctrl-C: `stopped` becomes true, and goes on when the work has ended."""
        future = self._pool.submit(work)
        try:
            while not wait([future], _GLANCE).done:
                pass
        except BaseException:
            self._stop.set()
            wait([future])
            raise
        return future.result()

    def stopped(self) -> bool:
        """Whether the work should end."""
        return self._stop.is_set()

    def stoppable(self, report: Callable[[float], None]) -> Callable[[float], None]:
        """`report`, but InterruptedError once the work should end."""

        def show(share: float) -> None:
            if self.stopped():
                raise InterruptedError("interrupted")
            report(share)

        return show

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()


_SAMPLING = [field.name for field in fields(SamplingConfig) if field.name != "seed"]  # it has a default of its own here
_EXAMPLES = """\b
Examples:
  selar-local analyze lens model.gguf                  questions of our own, some minutes
  selar-local analyze lens model.gguf -p "A farmer has 3 pens of 12 sheep and sells 7. How many are left?"
  selar-local analyze lens model.gguf -f questions.txt --limit 50 -o lens.svg
  selar-local analyze lens model.gguf --tau 0.3 --k 5 --json > lens.json"""


@click.command("lens", cls=GroupedCommand, epilog=_EXAMPLES, short_help="The logit lens at exploration steps.")
@model_argument()
@option(
    "-p", "--prompt", "given", multiple=True, heading="Prompts", once=True, help="a prompt (may be given several times)"
)
@prompts_option("-f", "--file")
@option("--system", help="system message")
@option("--raw", is_flag=True, help="continue the prompts as they are, without the chat template")
@option("--thinking/--no-thinking", default=None, help="ask the chat template for thinking, where it knows it")
@config_options(
    ("What is looked at", LensConfig),
    ("Options of selar", Selar),
    ("Sampling", SamplingConfig, *_SAMPLING),
    ("Model and engine", EngineConfig),
)
@json_option
@plot_option
@option("-q", "--quiet", is_flag=True, help="the result alone: no notes, no progress")
def lens(model: str | None, as_json: bool, output: Path | None, quiet: bool, **values: Any) -> int:
    """Look into MODEL's layers at SeLaR's exploration steps, and compare what four inputs make of each step.

    Each step starts from the same KV cache four times: with SeLaR's own input (with the push), the plain mix (without
    it), the most probable token, and the second one. The final norm and the output matrix turn every layer's state
    into a distribution. The tables show how much the two mixes have in common with the two tokens. MODEL is as for
    `run` (default: the bundled one).
    """
    require_plot(output)
    display = Display(quiet=quiet)
    method = build(Selar, values)
    if method.contrast == 0:
        raise click.UsageError("--contrast must be above 0: without the push there is nothing to compare")
    sampling, _ = build_sampling(method, values)
    config = build(LensConfig, values)
    engine_config = build(EngineConfig, {**values, "model_sampling": False})
    if values["raw"] and values["system"] is not None:
        raise click.UsageError("--system has no place in a --raw prompt")
    prompts = _prompts(values["given"], values["prompts_file"])[: config.limit]
    path = find(model)
    found = _look(path, prompts, method, sampling, config, engine_config, values, display)
    if as_json:
        print_json(found.as_dict(config))
    else:
        from selar_local.cli.lens_table import self_check, sentences, tables

        lines = [*tables(found.summary, config.overlap_k), *sentences(found.summary), self_check(found.session.check)]
        click.echo("\n".join(lines))
    if output is not None:
        from selar_local.analysis.lens.plot import draw_lens

        draw_lens(output, found.summary, path.name, config.overlap_k)
        display.note(f"plot written to {output}")
    return 0


def _prompts(given: tuple[str, ...], file: str | None) -> list[str]:
    prompts = [*given, *(read_prompts(file) if file is not None else [])]
    if any(not prompt.strip() for prompt in given):
        raise click.UsageError("a prompt is empty")
    return prompts or list(QUESTIONS)


@dataclass(frozen=True)
class _Found:
    """What was found, and the session (closed) it was found in. method: with its tau filled in."""

    session: LensSession
    method: Selar
    sampling: SamplingConfig
    samples: LensSamples
    summary: LensSummary
    texts: dict[int, str]

    def as_dict(self, config: LensConfig) -> dict[str, Any]:
        """As JSON types."""
        from selar_local.analysis.lens.summary import as_dict

        session, info, check = self.session, self.session.info, self.session.check
        sampling = {name: value for name, value in self.sampling.as_dict().items() if name != "seed"}
        return {
            "model": info.path,
            "architecture": info.architecture,
            "description": info.description,
            "output_matrix": {"type": session.head.matrix_type, "tied": session.head.tied},
            "self_check": {
                "max_abs_diff": check.max_abs_diff, "largest_logit": check.largest_logit, "relative": check.relative,
                "mass": check.mass,
            },
            "options": asdict(self.method),
            "sampling": sampling,
            **asdict(config),
            "prompts": self.samples.answers,
            "prompts_with_steps": self.summary.prompts,
            "tokens": self.samples.tokens,
            "steps": [
                {**asdict(step), "first_text": self.texts[step.first], "second_text": self.texts[step.second]}
                for step in self.samples.steps
            ],
            **as_dict(self.summary),
        }  # fmt: skip


def _look(
    path: Path,
    prompts: list[str],
    method: Selar,
    sampling: SamplingConfig,
    config: LensConfig,
    engine_config: EngineConfig,
    values: dict[str, Any],
    display: Display,
) -> _Found:
    require_llama_cpp()
    from selar_local.analysis.lens.measure import measure
    from selar_local.analysis.lens.session import LensSession
    from selar_local.analysis.lens.summary import summarise

    with Background() as background:
        with display.progress(f"loading {path.name}") as report:
            session = background.do(lambda: LensSession(path, engine_config, background.stoppable(report)))
        try:
            raw = _raw(session, values, display)
            display.note(
                f"looking into {session.n_layer} layers of {path.name}: {len(prompts)} prompts, "
                f"at most {config.max_tokens} tokens each"
            )
            with display.progress("looking") as report:
                samples = background.do(
                    lambda: measure(
                        session, prompts, method, sampling, config, on_progress=report, cancelled=background.stopped,
                        raw=raw, system=values["system"], thinking=values["thinking"],
                    )
                )  # fmt: skip
            texts = {token: session.piece(token) for step in samples.steps for token in (step.first, step.second)}
        except OptionError as error:
            raise as_usage(error, Selar.__dataclass_fields__) from None
        finally:
            background.do(session.close)
    for note in samples.notes:
        display.note(note)
    if not samples.steps:
        raise SelarError(
            f"none of the {samples.tokens:,} steps explored: lower --tau, or give more prompts or tokens (-n)"
        )
    return _Found(session, samples.method, sampling, samples, summarise(samples), texts)


def _raw(session: LensSession, values: dict[str, Any], display: Display) -> bool:
    if not session.known:
        display.note(f"the lens was not compared with architecture {session.info.architecture}; its self-check passed")
    if not values["raw"] and not session.info.chat_template and values["system"] is None:
        display.note("this model has no chat template: it continues the prompts as they are (--raw)")
        return True
    return bool(values["raw"])
