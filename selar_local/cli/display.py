"""What a person sees: streamed text with its exploration steps, progress, notes, statistics."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from selar_local.engine.events import Result, TokenEvent

__all__ = ["Display", "use_color"]

_EXPLORED: dict[str, Any] = {"fg": "bright_magenta", "underline": True}
_THINKING: dict[str, Any] = {"dim": True}


def use_color(stream: IO[str], no_color: bool) -> bool:
    """Colours only on a terminal, and never against ``--no-color`` or NO_COLOR."""
    return not no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


class Display:
    """The answer goes to standard output, everything else to standard error."""

    def __init__(self, *, no_color: bool = False, quiet: bool = False) -> None:
        self._out, self._err = sys.stdout, sys.stderr
        self._color_out = use_color(self._out, no_color)
        self._color_err = use_color(self._err, no_color)
        self._quiet = quiet
        self._thinking_open = False
        self._at_line_start = True

    @property
    def shows_exploration(self) -> bool:
        """Whether exploration steps are marked by colour."""
        return self._color_out

    def note(self, text: str) -> None:
        """A line for the person, on standard error."""
        if not self._quiet:
            self._err.write(self._paint(text, self._color_err, {"dim": True}) + "\n")
            self._err.flush()

    def warn(self, text: str) -> None:
        """A line that is shown even with --quiet."""
        self._err.write(f"warning: {text}\n")
        self._err.flush()

    def legend(self) -> None:
        """One line that says what the colours mean."""
        if self._color_out:
            sample = self._paint("like this", True, _EXPLORED)
            self.note(f"exploration steps are marked {sample}")

    @staticmethod
    def _paint(text: str, color: bool, style: dict[str, Any]) -> str:
        return click.style(text, **style) if color and text else text

    def token(self, event: TokenEvent) -> None:
        """One event: thinking to standard error (dimmed), the answer to standard output."""
        if event.thinking and not self._quiet:
            self._thinking_open = True
            style = {**_EXPLORED, **_THINKING} if event.explored else _THINKING
            self._err.write(self._paint(event.thinking, self._color_err, style))
            self._err.flush()
        if event.text:
            if self._thinking_open:
                self._err.write("\n\n")
                self._err.flush()
                self._thinking_open = False
            self._out.write(self._paint(event.text, self._color_out and event.explored, _EXPLORED))
            self._out.flush()
            self._at_line_start = event.text.endswith("\n")

    def end_text(self) -> None:
        """Bring the cursor to a new line after the answer."""
        if not self._at_line_start:
            self._out.write("\n")
            self._out.flush()
            self._at_line_start = True
        elif self._thinking_open:
            self._err.write("\n")
        self._thinking_open = False

    def statistics(self, result: Result) -> None:
        """Speed, share of exploration steps, mean entropy, and why the text ended."""
        usage, timings = result.usage, result.timings
        parts = [f"{usage.completion_tokens} tokens", f"{timings.tokens_per_second:.1f} tokens/s"]
        if result.mean_entropy is not None:
            parts.append(f"{100 * usage.explored_share:.1f} % exploration steps")
            parts.append(f"mean entropy {result.mean_entropy:.3f}")
        parts.append(f"prompt {usage.prompt_tokens} tokens in {timings.prefill_seconds:.2f} s")
        parts.append(f"seed {result.seed}")
        parts.append(self.ending(result))
        self.note(f"[{' · '.join(parts)}]")

    @staticmethod
    def ending(result: Result) -> str:
        """The finish reason, with its cause where that helps."""
        if result.context_full:
            return "length: the context is full (raise it with -c)"
        if result.finish_reason == "stop" and result.stop_string:
            return f"stop: {result.stop_string!r}"
        return result.finish_reason

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[float], None]]:
        """A bar on standard error for what takes longer than half a second; nothing off a terminal."""
        from tqdm import tqdm

        hidden = self._quiet or not self._err.isatty()
        layout = "{desc} {percentage:3.0f} %|{bar}| {elapsed}"
        with tqdm(
            total=1.0, desc=label, delay=0.5, leave=False, file=self._err, disable=hidden, bar_format=layout
        ) as bar:

            def report(share: float) -> None:
                bar.update(share - bar.n)

            yield report
