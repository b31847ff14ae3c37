"""``selar-local compare``: one prompt under several methods, side by side."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from wcwidth import wcwidth

from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, json_option, option
from selar_local.cli.method_specs import methods_option, specs_of
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find, open_engine
from selar_local.cli.option_sources import is_typed
from selar_local.cli.options import build, build_sampling, config_options, method_options, model_sampling_option
from selar_local.cli.prompt import joined, prompt_options, read_prompt, text_beside
from selar_local.cli.session import Session
from selar_local.cli.streams import is_terminal, print_json, printable
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig

if TYPE_CHECKING:
    from selar_local.engine.events import Result
    from selar_local.methods import Method


_GAP = "  "
_TAB = "    "

Style = str
Line = list["_Cell"]


class Piece(NamedTuple):
    """A part of a text, and the name of its style."""

    text: str
    style: Style = ""


class _Cell(NamedTuple):
    character: str
    style: Style
    width: int


def wrapped(pieces: Iterable[Piece], width: int) -> list[Line]:
    """The lines of a text, none wider than `width` cells of the terminal; broken at spaces where there are some."""
    lines: list[Line] = [[]]
    for piece in pieces:
        for character in piece.text.replace("\t", _TAB):
            if character == "\n":
                lines.append([])
                continue
            lines[-1].append(_Cell(character, piece.style, max(wcwidth(character), 0)))
            while _width(lines[-1]) > width and len(lines[-1]) > 1:
                lines[-1:] = _broken(lines[-1])
    return lines


def _broken(line: Line) -> list[Line]:
    """A line that is one character too long, in two: at its last space, if there is one after its first character."""
    spaces = [place for place, cell in enumerate(line) if cell.character == " " and place > 0]
    if not spaces:
        return [line[:-1], line[-1:]]
    return [line[: spaces[-1]], line[spaces[-1] + 1 :]]


def _width(line: Line) -> int:
    return sum(cell.width for cell in line)


def side_by_side(texts: Sequence[Sequence[Piece]], width: int, paint: Callable[[str, Style], str]) -> list[str]:
    """The texts in columns of equal width, `width` cells in all. paint: makes a run of text and its style visible."""
    column = (width - len(_GAP) * (len(texts) - 1)) // len(texts)
    rows = zip_longest(*(wrapped(text, column) for text in texts), fillvalue=[])
    return [_GAP.join(_painted(line, column, paint) for line in row).rstrip() for row in rows]


def _painted(line: Line, column: int, paint: Callable[[str, Style], str]) -> str:
    runs = groupby(line, key=lambda cell: cell.style)
    text = "".join(paint("".join(cell.character for cell in run), style) for style, run in runs)
    return text + " " * (column - _width(line))


_SAMPLING = "Sampling and length"
_NARROWEST = 36  # cells of a column
_EXAMPLES = """\b
Examples:
  selar-local compare model.gguf "Why is the sky blue?"
  selar-local compare model.gguf "Why is the sky blue?" --methods "cot,selar:tau=0.7,selar:anchor=0.5"
  selar-local compare model.gguf "Why is the sky blue?" -n 200 --seed 1 --json"""


class _Answer(NamedTuple):
    """What a method made of the prompt. method: with what depends on the model filled in. pieces: where collected."""

    label: str
    method: Method
    result: Result
    calibrated: dict[str, Any]
    pieces: list[Piece]


class _OneAfterAnother(Display):
    """Writes an answer while it comes, its label above it and its statistics below."""

    def begin(self, label: str) -> AbstractContextManager[Any]:
        """The answer comes within the block."""
        click.echo(self.styled(label, bold=True))
        return nullcontext()

    def finish(self, answer: _Answer) -> None:
        """The answer has ended."""
        if not self._quiet:
            unit = answer.method.entropy_unit
            text = self.statistics_text(answer.result, unit, answer.calibrated, wrap=is_terminal(sys.stdout))
            click.echo(self.styled(text, dim=True))
        click.echo()


class _Collector(Display):
    """Keeps the text with its styles instead of writing it."""

    def __init__(self, **look: Any) -> None:
        super().__init__(**look)
        self.pieces: list[Piece] = []

    def begin(self, label: str) -> AbstractContextManager[Any]:
        return super().progress(label)

    def finish(self, answer: _Answer) -> None:
        pass

    def progress(self, label: str) -> AbstractContextManager[Callable[[float], None]]:
        return nullcontext(lambda share: None)  # the bar of `begin` is there already

    def end_text(self, rest: str = "") -> None:
        if rest:
            self._answer(rest, self._explored)
        self._explored = False

    def _answer(self, text: str, explored: bool) -> None:
        if self._thinking_open:
            self._thinking_open = False
            self.pieces.append(Piece("\n\n"))
        self.pieces.append(Piece(printable(text), "explored" if explored else ""))

    def _think(self, text: str, explored: bool) -> None:
        self._thinking_open = True
        self.pieces.append(Piece(printable(text), "explored dim" if explored else "dim"))


@click.command("compare", cls=GroupedCommand, epilog=_EXAMPLES)
@model_argument()
@click.argument("prompt", required=False)
@prompt_options
@methods_option
@config_options((_SAMPLING, GenerationConfig), (_SAMPLING, SamplingConfig))
@json_option
@option("--no-color", is_flag=True, help="no colours (also: the variable NO_COLOR)")
@option("-q", "--quiet", is_flag=True, help="the answers alone: no notes, thinking, progress or statistics")
@config_options(("Model and engine", EngineConfig))
@method_options
@model_sampling_option
def compare(model: str | None, prompt: str | None, methods: str, **values: Any) -> int:
    """Let MODEL answer PROMPT by several methods, one after the other, from the same seed.

    On a wide terminal the answers stand side by side. Each answer is what `run` gives with this method and seed.
    Options of a method, such as --tau, go to every method that has them. MODEL and PROMPT are as for `run`.
    """
    specs = specs_of(methods, values)
    generation = build(GenerationConfig, values)
    config = build(EngineConfig, values)
    given = build_sampling(specs[0].method, values)[1]
    if given.get("seed") is None:
        given["seed"] = secrets.randbits(32)
    width = 0 if values["as_json"] else _room(len(specs))
    view = _Collector if width or values["as_json"] else _OneAfterAnother
    sessions = {
        spec.label: Session(
            view(no_color=values["no_color"], quiet=values["quiet"]),
            spec.method, given, generation, {**values, "trace_path": None, "page_path": None},
        )
        for spec in specs
    }  # fmt: skip
    display = sessions[specs[0].label].display
    beside = text_beside(prompt, values)
    path = find(model)
    text = read_prompt(prompt, values["prompt_option"], values["prompt_file"], needed=True, raw=values["raw"]) or ""
    with open_engine(path, config, display) as engine:
        if beside is not None:
            text = joined(beside.wait(display.warn), text)
        if engine.info.no_vectors is not None and not is_typed("methods"):
            sessions = {label: one for label, one in sessions.items() if not one.method.feeds_vectors}
        for number, session in enumerate(sessions.values()):
            session.begin_with(engine.info.sampling, silent=number > 0)
        answers = _answers(engine, text, sessions)
        if values["as_json"]:
            parts = [{"label": one.label, **sessions[one.label].facts(one.result, engine.info.path)} for one in answers]
            print_json({"model": engine.info.path, "seed": given["seed"], "answers": parts})
    if width:
        click.echo("\n".join(_table(answers, width, display, quiet=values["quiet"])))
    for answer in answers:
        hint = sessions[answer.label].hint(answer.result)
        if hint and not values["as_json"]:
            display.note(f"{answer.label}: {hint}")
    return 130 if answers[-1].result.finish_reason == "cancelled" else 0


def _answers(engine: Any, text: str, sessions: Mapping[str, Session]) -> list[_Answer]:
    """The answers, one after the other. Ctrl-C ends the one that comes, and the list."""
    first = next(iter(sessions.values()))
    raw = first.continues(engine, templated=first.system is not None)
    if not first.as_json and any(session.method.feeds_vectors for session in sessions.values()):
        first.display.legend()
    answers: list[_Answer] = []
    for label, session in sessions.items():
        view: Any = session.display
        with view.begin(label):
            result = session.show(engine, prompt=text, raw=raw, system=session.system)
        pieces = getattr(view, "pieces", [])
        answers.append(_Answer(label, session.used or session.method, result, session.calibrated, pieces))
        view.finish(answers[-1])
        if result.finish_reason == "cancelled":
            break
    return answers


def _room(columns: int) -> int:
    """The width of a terminal on which the answers stand side by side; 0 where they do not."""
    width = shutil.get_terminal_size().columns
    return width if is_terminal(sys.stdout) and width >= columns * _NARROWEST else 0


def _table(answers: list[_Answer], width: int, display: Display, *, quiet: bool) -> list[str]:
    """The labels, the texts and the statistics, each in columns."""

    def paint(text: str, style: str) -> str:
        return display.styled(text, explored="explored" in style, dim="dim" in style, bold=style == "label")

    def columns(texts: list[list[Piece]]) -> list[str]:
        return side_by_side(texts, width, paint)

    rows = [*columns([[Piece(one.label, "label")] for one in answers]), "", *columns([one.pieces for one in answers])]
    if quiet:
        return rows
    figures = [" · ".join(display.figures(one.result, one.method.entropy_unit, one.calibrated)) for one in answers]
    return [*rows, "", *columns([[Piece(text, "dim")] for text in figures])]
