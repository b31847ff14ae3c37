"""The interactive chat of ``selar-local run``: history, commands, Ctrl-C stops the answer and not the program."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, fields, replace
from typing import Any

import click

from selar_local.cli.options import parse_value, shown
from selar_local.cli.run import Session
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig
from selar_local.errors import OptionError, PromptTooLong, SelarError
from selar_local.methods import METHODS, method_class

__all__ = ["chat"]

_HELP = """\
/help              this list
/clear             forget the conversation
/method NAME       one of: {methods}
/set NAME VALUE    an option of the method or of the sampling, as in /set tau 0.4 (default: its default)
/show              the options in force
/system TEXT       the system message (none: /system)
/bye               leave (also Ctrl-D)
Ctrl-C stops an answer. A line that begins with three double quotes opens a text of several lines,
which they also end."""


def chat(engine: Any, session: Session) -> int:
    """Talk until the person leaves. Returns the exit code."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (line editing and history for input())
    display = session.display
    display.note(f"{engine.info.name} · {session.method.name} · /help for commands")
    if not engine.info.chat_template:
        display.note("this model has no chat template: ChatML is assumed, a base model may not answer to it")
    if session.method.feeds_vectors:
        display.legend()
    return _Conversation(engine, session).run()


class _Conversation:
    def __init__(self, engine: Any, session: Session) -> None:
        self._engine = engine
        self._session = session
        self._history: list[dict[str, str]] = []

    def run(self) -> int:
        display = self._session.display
        while True:
            try:
                line = _read_turn()
            except EOFError:
                click.echo()
                return 0
            except KeyboardInterrupt:
                click.echo()
                display.note("/bye or Ctrl-D leaves")
                continue
            if line.strip() in ("/bye", "/exit", "/quit"):
                return 0
            try:
                self._turn(line)
            except PromptTooLong as error:
                display.error(f"{error}; /clear forgets the conversation")
            except SelarError as error:
                display.error(str(error))
            except KeyboardInterrupt:  # the second one, while the first was being obeyed
                display.end_text()
                display.note("stopped; this turn is not kept")

    def _turn(self, line: str) -> None:
        if not line.strip():
            return
        if line.startswith("/"):
            self._command(*line[1:].split(maxsplit=1))
            return
        messages = [*self._history, {"role": "user", "content": line}]
        if self._session.system is not None:
            messages.insert(0, {"role": "system", "content": self._session.system})
        result = self._session.show(self._engine, messages=messages)
        self._session.report(result)
        if result.finish_reason == "cancelled" and not result.text:
            return  # stopped before the answer began
        # What was said stays said, also when it was stopped; the thinking before it does not.
        self._history += [{"role": "user", "content": line}, {"role": "assistant", "content": result.text}]

    def _command(self, name: str = "", rest: str = "") -> None:
        handler = getattr(self, f"_do_{name.replace('?', 'help')}", None)
        if handler is None:
            raise OptionError(f"unknown command /{name}: /help lists them")
        handler(rest.strip())

    def _do_help(self, _rest: str) -> None:
        self._session.display.note(_HELP.format(methods=", ".join(METHODS)))

    def _do_clear(self, _rest: str) -> None:
        self._history.clear()
        self._session.display.note("the conversation is forgotten")

    def _do_system(self, rest: str) -> None:
        self._session.system = rest or None
        self._session.display.note("system message set" if rest else "no system message")

    def _do_method(self, rest: str) -> None:
        if rest:
            method = method_class(rest)()
            method.sampling(self._session.given)
            self._session.method = method
        self._session.display.note(f"method {self._session.method.name}: {_describe(asdict(self._session.method))}")

    def _do_show(self, _rest: str) -> None:
        session = self._session
        self._do_method("")
        session.display.note(f"sampling: {_describe(asdict(session.sampling))}")
        session.display.note(f"length: {_describe(asdict(session.generation))}")
        session.display.note(f"system message: {session.system or 'none'}")

    def _do_set(self, rest: str) -> None:
        name, _, value = rest.replace("=", " ", 1).partition(" ")
        name, value = name.strip().lstrip("-").replace("-", "_"), value.strip()
        session = self._session
        parts = {part: getattr(session, part) for part in ("method", "sampling", "generation")}
        if not name:
            raise OptionError("use it as in: /set tau 0.4")
        for part, current in parts.items():
            if name not in {f.name for f in fields(current)}:
                continue
            if value and part == "sampling":
                self._set_sampling(name, value)
            elif value:
                setattr(session, part, replace(current, **{name: parse_value(type(current), name, value)}))
            session.display.note(f"{name} = {shown(getattr(getattr(session, part), name))}")
            return
        if name in {f.name for f in fields(EngineConfig)}:
            raise OptionError(f"{name} is fixed when the model is loaded")
        classes = (type(session.method), SamplingConfig, GenerationConfig)
        known = ", ".join(f.name for cls in classes for f in fields(cls))
        raise OptionError(f"no option {name!r} with method {session.method.name} (there are: {known})")

    def _set_sampling(self, name: str, text: str) -> None:
        given = {key: value for key, value in self._session.given.items() if key != name}
        if text.lower() not in ("none", "default"):
            given[name] = parse_value(SamplingConfig, name, text)
        self._session.method.sampling(given)
        self._session.given = given


def _describe(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in options.items()) or "no options"


def _read_turn() -> str:
    line = input(">>> ")
    if not line.startswith('"""'):
        return line
    lines = [line[3:]]
    while not lines[-1].endswith('"""') or (len(lines) == 1 and lines[0] == ""):
        lines.append(input("... "))
    lines[-1] = lines[-1].removesuffix('"""')
    return "\n".join(lines)
