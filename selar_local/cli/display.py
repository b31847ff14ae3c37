"""What a person sees: streamed text with its exploration steps, thinking set apart, notes, statistics."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import IO, Any

import click

from selar_local.cli.grouped_help import NO_BREAK
from selar_local.cli.progress import bars_cleared, progress
from selar_local.cli.streams import is_terminal, one_line, printable
from selar_local.cli.word_wrap import WordWrap
from selar_local.cli.wording import counted
from selar_local.engine.events import Result, TokenEvent
from selar_local.formats import Call

_EXPLORED: dict[str, Any] = {"fg": "bright_magenta", "underline": True}
_DIM: dict[str, Any] = {"dim": True}
_CORE_WAIT = 0.25  # from so large a share on the statistics say that other programs slow the answer down


def use_color(stream: IO[str], no_color: bool) -> bool:
    """Colours only on a terminal, and never against ``--no-color`` or NO_COLOR."""
    return not no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(stream)


def _wrapped(text: str) -> str:
    """Statistics on lines that fit the terminal, broken between two of them."""
    width = shutil.get_terminal_size().columns
    joined = text.replace(" · ", "\0").replace(" ", NO_BREAK).replace("\0", f"{NO_BREAK}· ")
    return textwrap.fill(joined, width, subsequent_indent=" ", break_long_words=False).replace(NO_BREAK, " ")


def _wrap(stream: IO[str]) -> WordWrap | None:
    """What breaks the lines of a text on a terminal; None where the stream is none."""
    if not is_terminal(stream):
        return None
    return WordWrap(lambda: 0) if os.environ.get("TERM") == "dumb" else WordWrap()


def _shown(text: str, wrap: WordWrap | None, style: Callable[[str], str]) -> str:
    return style(text) if wrap is None else wrap.feed(printable(text), style)


class Display:
    """The answer goes to standard output, everything else to standard error."""

    def __init__(self, *, no_color: bool = False, quiet: bool = False) -> None:
        self._out, self._err = sys.stdout, sys.stderr
        self._color_out = use_color(self._out, no_color)
        self._color_err = use_color(self._err, no_color)
        self._quiet = quiet
        self._thinking_open = False
        self._at_line_start = True
        self._said_busy = False  # a chat says it once
        self._explored = False  # a step whose text still waits was one
        self._answer_wrap, self._thinking_wrap = _wrap(self._out), _wrap(self._err)

    @property
    def colors(self) -> bool:
        """Whether standard output shows colours."""
        return self._color_out

    def note(self, text: str) -> None:
        """A line for the person, on standard error."""
        if not self._quiet:
            self._say(self._dim(text) + "\n")

    def warn(self, text: str) -> None:
        """A line that is shown even with --quiet."""
        self._say(f"warning: {one_line(text)}\n")

    def error(self, text: str) -> None:
        """What went wrong, where the program goes on."""
        self._say(f"error: {one_line(text)}\n")

    def _say(self, text: str) -> None:
        with suppress(OSError, ValueError), bars_cleared(self._err):  # what nobody reads must not end the answer
            self._err.write(text)
            self._err.flush()

    def _dim(self, text: str) -> str:
        return self._paint(text, self._color_err, _DIM)

    @staticmethod
    def _paint(text: str, color: bool, style: dict[str, Any]) -> str:
        return click.style(text, **style) if color and text else text

    def styled(self, text: str, *, explored: bool = False, dim: bool = False, bold: bool = False) -> str:
        """`text` for standard output."""
        style = {**(_EXPLORED if explored else {}), **(_DIM if dim else {}), **({"bold": True} if bold else {})}
        return self._paint(text, self._color_out and bool(style), style)

    def legend(self) -> None:
        """One line that says what the colours mean."""
        if self._color_out and self._color_err and not self._quiet:
            sample = self._paint("like this", True, _EXPLORED)
            self._say(f"{self._dim('exploration steps are marked ')}{sample}\n")

    def token(self, event: TokenEvent) -> None:
        """One event: thinking to standard error (dimmed), the answer to standard output."""
        explored = event.explored or self._explored
        self._explored = event.explored and not event.text and not event.thinking
        if event.thinking and not self._quiet:
            self._think(event.thinking, explored)
        if event.text:
            self._answer(event.text, explored)

    def _answer(self, text: str, explored: bool) -> None:
        self._close_thinking("\n...done thinking.\n\n")
        colored = self._color_out and explored
        self._out.write(_shown(text, self._answer_wrap, lambda part: self._paint(part, colored, _EXPLORED)))
        self._out.flush()
        self._at_line_start = text.endswith("\n")

    def _think(self, text: str, explored: bool) -> None:
        if not self._thinking_open:
            self._thinking_open = True
            self._say(self._dim("Thinking...") + "\n")
        style = {**_EXPLORED, **_DIM} if explored else _DIM
        self._say(_shown(text, self._thinking_wrap, lambda part: self._paint(part, self._color_err, style)))

    def _close_thinking(self, mark: str) -> None:
        if self._thinking_open:
            self._thinking_open = False
            self._say(self._dim(mark))
            self._thinking_wrap = _wrap(self._err)

    def end_text(self, rest: str = "") -> None:
        """Bring the cursor to a new line after the answer. rest: text that still waited when it was stopped."""
        if rest:
            self._answer(rest, self._explored)
        self._explored = False
        self._close_thinking("\n")
        self._answer_wrap = _wrap(self._out)
        if not self._at_line_start:
            self._at_line_start = True
            self._out.write("\n")
            self._out.flush()

    def calls(self, calls: Sequence[Call]) -> None:
        """Calls of tools, each a line of JSON."""
        for name, arguments, _ in calls:
            line = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments}}}'
            line = line.replace("\r", " ").replace("\n", " ")  # between its parts: a string has none
            self._out.write((printable(line) if is_terminal(self._out) else line) + "\n")
        self._out.flush()

    def statistics(
        self, result: Result, entropy_unit: str = "normalised", calibrated: Mapping[str, float] | None = None
    ) -> None:
        """Speed, share of exploration steps, mean entropy, and why the text ended; on a terminal as wide as it is.

        calibrated: options that the model's calibration has filled in, with their values.
        """
        self.note(self.statistics_text(result, entropy_unit, calibrated, wrap=is_terminal(self._err)))
        if self._quiet and result.context_full:
            self.warn("the answer is cut off: the context is full (raise it with -c)")
        if (result.timings.core_wait or 0) >= _CORE_WAIT and not self._said_busy:
            self._said_busy = True
            self.note(
                f"other programs keep the cores busy: llama.cpp's threads waited for a core "
                f"{result.timings.core_wait:.0%} of the time; end them, or try fewer threads (-t)"
            )

    @classmethod
    def statistics_text(
        cls, result: Result, entropy_unit: str, calibrated: Mapping[str, float] | None = None, *, wrap: bool
    ) -> str:
        """The statistics in brackets. wrap: on lines that fit the terminal."""
        text = f"[{' · '.join(cls.figures(result, entropy_unit, calibrated))}]"
        return _wrapped(text) if wrap else text

    @classmethod
    def figures(
        cls, result: Result, entropy_unit: str = "normalised", calibrated: Mapping[str, float] | None = None
    ) -> list[str]:
        """The parts of the statistics."""
        usage, timings = result.usage, result.timings
        parts = [counted(usage.completion_tokens, "token")]
        if timings.decode_seconds > 0:
            parts.append(f"{timings.tokens_per_second:.1f} tokens/s")
        if result.mean_entropy is not None or usage.explored_steps:
            parts.append(f"{100 * usage.explored_share:.1f} % exploration steps")
        if result.mean_entropy is not None:
            unit = "" if entropy_unit == "normalised" else f" {entropy_unit}"
            parts.append(f"mean entropy {result.mean_entropy:.3f}{unit}")
        parts += [f"{name} {value:.4g} (calibrated)" for name, value in (calibrated or {}).items()]
        if usage.latent_steps:
            parts.append(f"{usage.latent_steps} latent steps")
        stopped = not usage.completion_tokens and usage.prompt_read < usage.prompt_tokens
        prompt = f"{usage.prompt_read} of {usage.prompt_tokens}" if stopped else f"{usage.prompt_tokens}"
        cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
        parts.append(f"prompt {prompt} tokens{cached} in {timings.prefill_seconds:.2f} s")
        parts.append(f"seed {result.seed}")
        return [*parts, cls.ending(result)]

    @staticmethod
    def ending(result: Result) -> str:
        """The finish reason, with its cause where that helps."""
        if result.context_full:
            return "length: the context is full (raise it with -c)"
        if result.finish_reason == "stop" and result.stop_string:
            return f"stop: {result.stop_string!r}"
        return result.finish_reason

    def progress(self, label: str) -> AbstractContextManager[Callable[[float], None]]:
        """A bar on standard error for what takes longer than half a second; nothing off a terminal."""
        return progress(self._err, label, hidden=self._quiet or not is_terminal(self._err))
