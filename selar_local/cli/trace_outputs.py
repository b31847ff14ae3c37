"""Where the trace of ``run`` goes: a file of steps, a page to look at, or both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from selar_local.cli.display import Display
from selar_local.errors import SelarError
from selar_local.trace import TraceRecorder, TraceWriter

__all__ = ["PageWriter", "TraceOutputs", "keep_inputs"]


def keep_inputs(target: Path, inputs: Iterable[tuple[str, str | Path | None]], what: str) -> None:
    """Raises SelarError where writing `target` would overwrite a model, or one of the inputs.

    inputs: what each is, and its path ("-" and None are no files). what: the target's name in the message.
    """
    try:
        for kind, path in inputs:
            if path not in (None, "-") and Path(str(path)).exists() and target.samefile(str(path)):
                raise SelarError(f"{what} {target} would overwrite {kind}")
        if not target.is_file():
            return
        with target.open("rb") as file:
            if file.read(4) == b"GGUF":
                raise SelarError(f"{what} {target} would overwrite a model")
    except OSError:
        return  # nothing is there, or it cannot be read: opening it for writing tells


class PageWriter(TraceRecorder):
    """Records the trace of one generation, and writes its page at the end, also after an interruption."""

    def __init__(self, path: Path, display: Display) -> None:
        """Raises SelarError when `path` cannot be written."""
        super().__init__()
        self._path = path
        self._display = display
        self._written = False
        self._new = not path.exists()
        try:
            with path.open("ab"):  # an earlier page stays until there is another
                pass
        except OSError as error:
            raise SelarError(f"cannot write the trace page {path}: {error.strerror}") from None

    def close(self) -> None:
        """Write the page, if the generation has begun. Idempotent; what goes wrong is a warning."""
        if self._written:
            return
        self._written = True
        trace = self.trace(self._path.stem)
        if trace is None:
            self._leave_nothing()
            return
        from selar_local.analysis.page import trace_page
        from selar_local.analysis.token_texts import token_texts

        try:
            self._path.write_bytes(trace_page([trace], token_texts([trace])))
            self._display.note(f"trace page written to {self._path}")
        except OSError as error:
            self._display.warn(f"the trace page {self._path} could not be written: {error.strerror}")

    def _leave_nothing(self) -> None:
        """Remove the empty file that showed that the page can be written."""
        with contextlib.suppress(OSError):
            if self._new and self._path.is_file() and not self._path.stat().st_size:
                self._path.unlink()


class TraceOutputs:
    """The outputs of one generation that were asked for; none is fine, too. Open it before the model is loaded."""

    def __init__(self, trace: str | None, page: str | None, prompt_file: str | None, display: Display) -> None:
        """Raises SelarError where one cannot be written, or would overwrite the prompt, a model or the other."""
        self._display = display
        self._writer: TraceWriter | None = None
        self._page: PageWriter | None = None
        self._open = ExitStack()
        prompt = ("the prompt", prompt_file)
        with ExitStack() as opened:  # what is open when another cannot be opened
            if page is not None:
                keep_inputs(Path(page), [prompt, ("the trace", trace)], "the trace page")
                self._page = PageWriter(Path(page), display)
                opened.callback(self._page.close)
            if trace is not None:
                keep_inputs(Path(trace), [prompt, ("the trace page", page)], "the trace")
                self._writer = TraceWriter(Path(trace), display.warn)
                opened.push(self._writer)
            self._open = opened.pop_all()

    def __bool__(self) -> bool:
        return self._writer is not None or self._page is not None

    def begin(self, *facts: Any) -> None:
        """See `TraceWriter.begin`."""
        for output in self._outputs():
            output.begin(*facts)

    def step(self, event: Any) -> None:
        """See `TraceWriter.step`."""
        for output in self._outputs():
            output.step(event)

    def end(self, result: Any, piece: Callable[[int], bytes]) -> None:
        """See `TraceWriter.end`."""
        for output in self._outputs():
            output.end(result, piece)

    def close(self) -> None:
        """Write the page, fill in the hash. Idempotent."""
        if self._page is not None:
            self._page.close()
        if self._writer is not None:
            with self._display.progress("hashing the model for the trace"):
                self._writer.close()

    def _outputs(self) -> list[TraceWriter | PageWriter]:
        return [output for output in (self._writer, self._page) if output is not None]

    def __enter__(self) -> TraceOutputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
