"""Where the trace of ``run`` goes: a file of steps, a page to look at, or both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from selar_local.cli.display import Display
from selar_local.errors import SelarError
from selar_local.trace import TraceRecorder, TraceWriter


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


Output = TraceWriter | PageWriter


@contextlib.contextmanager
def trace_outputs(
    trace: str | None, page: str | None, prompt_file: str | None, display: Display
) -> Iterator[list[Output]]:
    """Opens the outputs of one generation that were asked for, before the model is loaded; none is fine, too.

    Raises SelarError where one cannot be written, or would overwrite the prompt, a model or the other.
    """
    prompt = ("the prompt", prompt_file)
    outputs: list[Output] = []
    with ExitStack() as opened:
        if page is not None:
            keep_inputs(Path(page), [prompt, ("the trace", trace)], "the trace page")
            outputs.append(opened.enter_context(contextlib.closing(PageWriter(Path(page), display))))
        if trace is not None:
            keep_inputs(Path(trace), [prompt, ("the trace page", page)], "the trace")
            outputs.append(opened.enter_context(TraceWriter(Path(trace), display.warn)))
        yield outputs
