"""``selar-local calibrate``: a threshold from the model's own entropies, kept for ``--tau auto``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from selar_local.analysis.calibrate import CalibrationConfig, Samples, calibration_of, collect
from selar_local.analysis.questions import QUESTIONS
from selar_local.analysis.valley import certain_entropy
from selar_local.calibration import Calibration, find, keep
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, json_option, option
from selar_local.cli.histogram import bin_counts, entropy_histogram
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find as find_model
from selar_local.cli.opening import open_engine
from selar_local.cli.options import build, build_sampling, config_options
from selar_local.cli.prompt import prompts_option, read_prompts
from selar_local.cli.streams import print_json
from selar_local.cli.wording import valley_words
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.methods import Selar

_TOGETHER = 4  # answers decoded at a time
_EXAMPLES = """\b
Examples:
  selar-local calibrate model.gguf                     some minutes; then: run model.gguf --tau auto
  selar-local calibrate model.gguf --prompts mine.txt --limit 50 -n 512
  selar-local calibrate model.gguf --k 5 --gate-on full --json"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES)
@model_argument()
@prompts_option("--prompts", heading="Prompts and length")
@config_options(
    ("Prompts and length", CalibrationConfig),
    ("What it holds for", Selar, "k", "gate_on"),
    ("What it holds for", SamplingConfig, "temperature", "top_k", "top_p", "min_p"),
    ("Model and engine", EngineConfig),
)
@json_option
@option("-q", "--quiet", is_flag=True, help="the result alone: no notes, no progress")
def calibrate(model: str | None, prompts_file: str | None, as_json: bool, quiet: bool, **values: Any) -> int:
    """Let MODEL answer questions with ordinary sampling, and find the valley in the histogram of its entropies.

    The valley lies between the steps where the model is sure and those where it is torn. The result is kept for this
    file and these settings; `run --tau auto` uses it. Up to four answers share the context (-c) at a time.
    """
    display = Display(quiet=quiet)
    method = build(Selar, values)
    sampling, _ = build_sampling(method, values)
    config = build(CalibrationConfig, values)
    prompts = (read_prompts(prompts_file) if prompts_file is not None else list(QUESTIONS))[: config.limit]
    engine_config = _shared(build(EngineConfig, {**values, "model_sampling": False}), min(_TOGETHER, len(prompts)))
    path = find_model(model)
    with open_engine(path, engine_config, display) as engine:
        display.note(f"asking {path.name} {len(prompts)} questions, at most {config.max_tokens} tokens each")
        with display.progress("asking") as report:
            samples = collect(engine, prompts, k=method.k, sampling=sampling, config=config, on_progress=report)
        opened = Path(engine.info.path)
    found = calibration_of(samples, k=method.k, gate_on=method.gate_on, sampling=sampling)
    kept = _kept(opened, found, sampling, display)
    if as_json:
        print_json(_as_dict(opened, found, kept, samples, config))
    else:
        click.echo("\n".join([*_picture(samples, found), "", *_sentences(found)]))
        if kept and found.tau is not None:
            display.note(f"kept for {path.name} and these settings: selar-local run --tau auto uses it")
    return 0


def _shared(config: EngineConfig, answers: int) -> EngineConfig:
    """The engine for several answers at a time that share the context, as llama.cpp's own programs do it."""
    size = max(config.ctx_size // answers, 1) if config.ctx_size else 0
    return replace(config, ctx_size=size, parallel=answers)


def _kept(path: Path, found: Calibration, sampling: SamplingConfig, display: Display) -> bool:
    """Keep the result for `--tau auto`, unless a larger sample showed a threshold where this one shows none."""

    def there() -> Calibration | None:
        return find(path, k=found.k, gate_on=found.gate_on, sampling=sampling)

    before = there()
    if found.tau is None and before is not None and before.tau is not None and before.steps > found.steps:
        display.note(f"the earlier tau {before.tau:.2f}, of {before.steps:,} steps, stays in use")
        return False
    keep(path, found)
    if there() == found:
        return True
    display.warn("the result could not be kept: the cache folder cannot be written (SELAR_LOCAL_CACHE names one)")
    return False


def _picture(samples: Samples, found: Calibration) -> list[str]:
    """The histogram of the unfiltered entropies, in which the valley is looked for."""
    return entropy_histogram(
        samples.full, [] if found.valley is None else [(found.valley, f"valley {found.valley:.2f}")]
    )


def _sentences(found: Calibration) -> list[str]:
    floor = certain_entropy(found.k)
    lines = [f"{found.steps:,} steps of {found.prompts} answers, {found.torn:,} of them above {floor:.2f}"]
    if found.valley is not None:
        valley = valley_words(found.valley, found.low, found.high, found.depth)
        lines.append(f"{valley}; {_p_value(found)}")
    if found.tau is None or found.explored is None:
        p_value = f" ({_p_value(found)})" if found.valley is None and found.p_value is not None else ""
        return [*lines, f"no threshold: {found.reason}{p_value}; ask more (-n, --prompts) or choose a number for --tau"]
    of = "" if found.gate_on == "full" else " of the filtered entropies"
    return [*lines, f"tau {found.tau:.2f}{of}: {100 * found.explored:.1f} % of steps would explore (guard aside)"]


def _p_value(found: Calibration) -> str:
    p = found.p_value
    return "" if p is None else "p < 0.0001" if p < 0.0001 else f"p {p:.2g}"


def _as_dict(path: Path, found: Calibration, kept: bool, samples: Samples, config: CalibrationConfig) -> dict[str, Any]:
    return {
        "model": str(path),
        **found.as_dict(),
        "seed": config.seed,
        "max_tokens": config.max_tokens,
        "histogram": {"full": bin_counts(samples.full), "filtered": bin_counts(samples.filtered)},
        "kept": kept,
    }
