"""``selar-local run``: one answer, or a chat."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from selar_local.catalog import resolve
from selar_local.cli.display import Display
from selar_local.cli.options import build_method, chosen, config_options, method_options
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig
from selar_local.engine.events import Result
from selar_local.errors import SelarError
from selar_local.methods import Method
from selar_local.trace import TraceWriter

__all__ = ["run"]


@click.command()
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option("-p", "--prompt", "prompt_option", help="the prompt")
@click.option(
    "-f",
    "--file",
    "prompt_file",
    type=click.Path(dir_okay=False),
    help="read the prompt from a file (-: stdin)",
)
@click.option("--system", help="system message")
@click.option("--raw", is_flag=True, help="continue the prompt as it is, without the chat template")
@click.option("--thinking/--no-thinking", default=None, help="ask the chat template for thinking, where it knows it")
@method_options
@config_options(SamplingConfig, GenerationConfig, EngineConfig)
@click.option("--trace", "trace_path", type=click.Path(), help="write every step to this file (JSON Lines)")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of the text")
@click.option("--no-color", is_flag=True, help="no colours (also: NO_COLOR)")
@click.option("-q", "--quiet", is_flag=True, help="no notes, progress or statistics")
def run(model: str | None, prompt: str | None, method: str, **values: Any) -> int:
    """Generate with MODEL: a GGUF file, hf:owner/repo[:file-or-quant], or a bundled name.

    PROMPT may also come by -p, -f or standard input. Without one, on a terminal, a chat begins.
    """
    display = Display(no_color=values["no_color"], quiet=values["quiet"])
    chosen_method = build_method(method, values)
    sampling = SamplingConfig(**chosen(SamplingConfig, values))
    generation = GenerationConfig(**chosen(GenerationConfig, values))
    config = EngineConfig(**chosen(EngineConfig, values))
    text = _prompt(prompt, values)
    session = Session(display, chosen_method, sampling, generation, values)
    with session.open_trace() as trace, session.open_engine(model, config) as engine:
        if text is None:
            from selar_local.cli.chat import chat

            return chat(engine, session)
        return session.answer_once(engine, text, trace)


def _prompt(argument: str | None, values: dict[str, Any]) -> str | None:
    """The prompt, or None for a chat. More than one source is a usage error."""
    sources = {"PROMPT": argument, "-p": values["prompt_option"], "-f": values["prompt_file"]}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"the prompt comes from {' and '.join(given)}: give it once")
    if values["prompt_file"] is not None:
        return _read(values["prompt_file"])
    if given:
        return argument if argument is not None else str(values["prompt_option"])
    if not sys.stdin.isatty():
        return _read("-")
    if values["as_json"] or values["trace_path"] or values["raw"] or not sys.stdout.isatty():
        raise click.UsageError("no prompt: give one as an argument, by -p, by -f or on standard input")
    return None


def _read(path: str) -> str:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise SelarError(f"cannot read the prompt from {path}: {error.strerror}") from None
    text = data.decode("utf-8", errors="replace")
    # The newline that editors and `echo` add is not part of the question.
    return text.removesuffix("\n").removesuffix("\r")


class Session:
    """What one call of ``run`` was asked for."""

    def __init__(
        self,
        display: Display,
        method: Method,
        sampling: SamplingConfig,
        generation: GenerationConfig,
        values: dict[str, Any],
    ) -> None:
        self.display = display
        self.method = method
        self.sampling = sampling
        self.generation = generation
        self.system: str | None = values["system"]
        self.thinking: bool | None = values["thinking"]
        self.raw: bool = values["raw"]
        self.as_json: bool = values["as_json"]
        self._trace_path: str | None = values["trace_path"]
        if self.raw and self.system is not None:
            raise click.UsageError("--system has no place in a --raw prompt")

    def open_trace(self) -> Any:
        """The trace writer, before the model is loaded: a path that cannot be written is told at once."""
        return TraceWriter(Path(self._trace_path), self.display.warn) if self._trace_path else nullcontext()

    def open_engine(self, model: str | None, config: EngineConfig) -> Any:
        """The engine, with progress while it loads."""
        from selar_local.engine.engine import Engine

        path = resolve(model, progress=sys.stderr.isatty())
        with self.display.progress(f"loading {path.name}") as report:
            return Engine(path, config, on_progress=report)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `Engine.stream` that every turn shares."""
        sampling, generation = self.sampling, self.generation
        return {
            "method": self.method, "thinking": self.thinking,
            **{name: getattr(sampling, name) for name in sampling.__dataclass_fields__},
            "max_tokens": generation.max_tokens, "stop": generation.stop,
        }  # fmt: skip

    def answer_once(self, engine: Any, text: str, trace: TraceWriter | None) -> int:
        """One answer to `text`; the exit code."""
        raw = self.raw
        if not raw and not engine.info.chat_template and self.system is None:
            self.display.note("this model has no chat template: the prompt is continued as it is (--raw)")
            raw = True
        if not self.as_json and self.method.feeds_vectors:
            self.display.legend()
        result = self.show(engine, trace, prompt=text, raw=raw, system=self.system)
        if self.as_json:
            click.echo(json.dumps(_as_dict(result, self.method, engine.info.path), ensure_ascii=False))
        else:
            self.display.statistics(result)
        return 130 if result.finish_reason == "cancelled" else 0

    def show(self, engine: Any, trace: TraceWriter | None = None, **request: Any) -> Result:
        """Stream one generation to the display (and the trace). Ctrl-C ends the answer, not the program."""
        with ExitStack() as prefill:
            report = prefill.enter_context(self.display.progress("reading the prompt"))
            stream = engine.stream(**self.arguments(), **request, on_prefill=lambda done, total: report(done / total))
            if trace:
                trace.begin(engine.info.as_dict(), self.method, self.sampling, stream.seed, stream.prompt)
            try:
                for event in stream:
                    prefill.close()
                    if trace:
                        trace.step(event)
                    if not self.as_json:
                        self.display.token(event)
            except KeyboardInterrupt:
                pass  # the partial text stays, the result says cancelled
            finally:
                stream.close()
                if not self.as_json:
                    self.display.end_text()
                if trace:
                    trace.end(stream.result)
        result: Result = stream.result
        return result


def _as_dict(result: Result, method: Method, path: str) -> dict[str, Any]:
    usage, timings = result.usage, result.timings
    return {
        "text": result.text,
        "thinking": result.thinking,
        "finish_reason": result.finish_reason,
        "context_full": result.context_full,
        "stop_string": result.stop_string,
        "model": path,
        "method": method.name,
        "options": asdict(method),
        "seed": result.seed,
        "prompt_tokens": usage.prompt_tokens,
        "tokens": usage.completion_tokens,
        "explored_steps": usage.explored_steps,
        "mean_entropy": result.mean_entropy,
        "prefill_seconds": timings.prefill_seconds,
        "decode_seconds": timings.decode_seconds,
        "tokens_per_second": timings.tokens_per_second,
    }
