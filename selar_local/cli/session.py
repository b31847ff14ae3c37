"""One call of ``selar-local run``: its settings, and what it does with each answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from selar_local.advice import advice
from selar_local.cli.display import Display
from selar_local.cli.option_sources import is_typed
from selar_local.cli.options import as_usage, flag_of, is_named, recommended_in_force, with_flag
from selar_local.cli.streams import print_json
from selar_local.cli.trace_outputs import Output, trace_outputs
from selar_local.cli.wording import NO_TEMPLATE
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.events import Result
from selar_local.engine.settings import default_method
from selar_local.errors import OptionError
from selar_local.methods import Method
from selar_local.options import shown

if TYPE_CHECKING:
    from selar_local.engine.stream import Stream


class Session:
    """The settings of one call of ``run``, and its answers."""

    def __init__(
        self,
        display: Display,
        method: Method,
        given: dict[str, Any],
        generation: GenerationConfig,
        values: dict[str, Any],
    ) -> None:
        """given: the sampling options that were given; the rest are the method's defaults."""
        self.display = display
        self.method = method
        self.given = given
        self.generation = generation
        self._method_named = is_named(method)
        self._noted: set[str] = set()
        self._recommended: Mapping[str, Any] = {}  # by the model file, once it is open
        self.used: Method | None = None  # the method of the last answer, a calibrated tau filled in
        self.system: str | None = values["system"]
        self.thinking: bool | None = values["thinking"]
        self.raw: bool = values["raw"]
        self.as_json: bool = values["as_json"]
        self._trace_path: str | None = values["trace_path"]
        self._page_path: str | None = values["page_path"]
        self._prompt_file: str | None = values["prompt_file"]
        if self.raw and not is_typed("system"):
            self.system = None  # a default is for prompts with a template
        if self.raw and self.system is not None:
            raise click.UsageError("--system has no place in a --raw prompt")
        if self._page_path is not None and self._page_path in ("-", self._trace_path):
            raise click.UsageError("--trace-html needs a file of its own")

    @property
    def traces(self) -> bool:
        """Whether the steps are to be kept."""
        return self._trace_path is not None or self._page_path is not None

    @property
    def sampling(self) -> SamplingConfig:
        """The sampling in force: it changes with the method where that has defaults of its own."""
        return self.method.sampling(self.given, self._recommended)

    def fit(self, engine: Any) -> None:
        """Where no method was named, take the one that this model is decoded with."""
        if not self._method_named and self.method.feeds_vectors and engine.info.no_vectors is not None:
            self.method = default_method(engine.info)
        self.begin_with(engine.info.sampling)

    def begin_with(self, recommended: Mapping[str, Any], *, silent: bool = False) -> None:
        """Begin with the sampling that the model file recommends, and say so."""
        self._recommended = recommended
        note = recommended_in_force(recommended, self.method, self.given)
        if note is not None and not self.as_json and not silent:
            self.display.note(note)

    def facts(self, result: Result, path: str) -> dict[str, Any]:
        """An answer as JSON has it, with the sampling in force."""
        sampling = {**self.sampling.as_dict(), "seed": result.seed}
        return {**as_dict(result, self.used or self.method, path), "sampling": sampling}

    def open_trace(self) -> AbstractContextManager[list[Output]]:
        """The trace and its page, before the model is loaded: a path that cannot be written is an error at once."""
        return trace_outputs(self._trace_path, self._page_path, self._prompt_file, self.display)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `Engine.stream` that every turn shares."""
        generation = self.generation
        return {
            "method": self.method, "thinking": self.thinking, **self.given,
            **{name: getattr(generation, name) for name in generation.__dataclass_fields__},
        }  # fmt: skip

    def answer_once(self, engine: Any, request: Mapping[str, Any], trace: Sequence[Output]) -> int:
        """One answer; the exit code. request: the prompt or the messages, and tools, for `BaseEngine.stream`."""
        raw = self.continues(engine, templated=request.keys() != {"prompt"} or self.system is not None)
        if not self.as_json and self.method.feeds_vectors:
            self.display.legend()
        result = self.show(engine, trace, **request, raw=raw, system=self.system)
        if self.as_json:
            message = {} if request.keys() == {"prompt"} else {"message": result.message()}
            print_json({**self.facts(result, engine.info.path), **message})
        else:
            self.display.calls(result.calls)
        if result.cut_call is not None:
            self.display.warn(f"the call of {result.cut_call.name} is cut off")
        if not self.as_json:
            self.report(result)
        for output in trace:
            with self.display.progress("writing the trace"):  # it may hash the model first
                output.close()
        return 130 if result.finish_reason == "cancelled" else 0

    def continues(self, engine: Any, *, templated: bool) -> bool:
        """Whether the prompt is continued as it is, without a chat template. templated: the request needs one."""
        if self.raw or engine.info.chat_template:
            return self.raw
        if templated:
            self.display.note(NO_TEMPLATE)
            return False
        self.display.note("this model has no chat template: the prompt is continued as it is (--raw)")
        return True

    @property
    def calibrated(self) -> dict[str, Any]:
        """Options that the model's calibration has filled in, with their values."""
        used = self.used or self.method
        names = (field.name for field in fields(used))
        return {name: getattr(used, name) for name in names if getattr(used, name) != getattr(self.method, name)}

    def report(self, result: Result) -> None:
        """The statistics of an answer, and advice on it where there is some."""
        self.display.statistics(result, self.method.entropy_unit, self.calibrated)
        if hint := self.hint(result):
            self.display.note(hint)

    def hint(self, result: Result) -> str | None:
        """Advice on an answer, where there is some."""
        return advice(self.used or self.method, result.usage, _as_flag)

    def _start(self, engine: Any, **request: Any) -> Any:
        """The stream. The error of an option that does not fit the model names the flag."""
        try:
            return engine.stream(**self.arguments(), **request)
        except OptionError as error:
            names = (*self.method.__dataclass_fields__, *GenerationConfig.__dataclass_fields__)
            raise as_usage(error, names) from None

    def _show_notes(self, notes: tuple[str, ...]) -> None:
        """Each note once: a chat asks for the same with every turn."""
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                self.display.note(with_flag(note, ("thinking", *GenerationConfig.__dataclass_fields__)))

    def show(
        self,
        engine: Any,
        trace: Sequence[Output] = (),
        start: Callable[..., Stream] | None = None,
        **request: Any,
    ) -> Result:
        """Stream one generation to the display (and the trace). Ctrl-C ends the answer, not the program.

        start: what begins it, where that is not the engine.
        """
        with ExitStack() as prefill:
            report = prefill.enter_context(self.display.progress("reading the prompt"))
            begin = start or partial(self._start, engine)
            stream = begin(**request, on_prefill=lambda done, total: report(done / total))
            self.used = stream.method
            self._show_notes(stream.notes)
            for output in trace:
                output.begin(engine.info.as_dict(), stream.method, self.sampling, stream.seed, stream.prompt)
            shown = 0
            try:
                for event in stream:
                    prefill.close()
                    for output in trace:
                        output.step(event)
                    if not self.as_json:
                        self.display.token(event)
                        shown += len(event.text)
            except KeyboardInterrupt:
                pass  # the partial text stays, the result says cancelled
            finally:
                stream.close()
                for output in trace:
                    output.end(stream.result, engine.token_bytes)
                if not self.as_json:
                    self.display.end_text(stream.result.text[shown:])
        result: Result = stream.result
        return result


def _as_flag(name: str, value: Any) -> str:
    return f"{flag_of(name)} {shown(value)}"


def as_dict(result: Result, method: Method, path: str) -> dict[str, Any]:
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
        "prompt_read": usage.prompt_read,
        "tokens": usage.completion_tokens,
        "explored_steps": usage.explored_steps,
        "latent_steps": usage.latent_steps,
        "mean_entropy": result.mean_entropy,
        "hint": advice(method, usage, _as_flag),
        "prefill_seconds": timings.prefill_seconds,
        "decode_seconds": timings.decode_seconds,
        "tokens_per_second": timings.tokens_per_second,
        "core_wait": timings.core_wait,
        "notes": list(result.notes),
    }
