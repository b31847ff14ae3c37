"""The chat of ``selar-local run``: it reads turns, obeys commands and shows answers; `Conversation` does the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from selar_local.cli.chat_commands import LEAVE, help_text, parse
from selar_local.cli.chat_files import AttachedFile, read_file, split_path, unquoted_path, with_files
from selar_local.cli.chat_input import Reader, open_reader, unquoted
from selar_local.cli.chat_options import describe, set_option
from selar_local.cli.keyboard import Interrupts
from selar_local.cli.session import Session
from selar_local.cli.wording import NO_TEMPLATE, counted
from selar_local.config import ChatConfig
from selar_local.engine.conversation import Conversation
from selar_local.engine.conversation_file import is_conversation
from selar_local.engine.settings import as_method
from selar_local.engine.stream import Stream
from selar_local.errors import OptionError, PromptTooLong, SelarError
from selar_local.methods import Method


def chat(engine: Any, session: Session, config: ChatConfig) -> int:
    """Talk until the person leaves. Returns the exit code."""
    display = session.display
    generation = {f.name: getattr(session.generation, f.name) for f in fields(session.generation)}
    given = {name: value for name, value in generation.items() if value not in (None, ())}
    conversation = Conversation(
        engine, system=session.system, method=session.method, thinking=session.thinking, overflow=config.overflow,
        **session.given, **given,
    )  # fmt: skip
    with Interrupts() as interrupts:
        reader = open_reader(interrupts, conversation, history=config.history, colors=display.colors)
        display.note(f"{engine.info.name} · {session.method.name} · /help for commands and keys")
        if not engine.info.chat_template:
            display.note(NO_TEMPLATE)
        if session.method.feeds_vectors:
            display.legend()
        with reader.visit():
            return Chat(conversation, session, reader, interrupts).run()


class Chat:
    """One visit: turns and commands until the person leaves."""

    def __init__(self, conversation: Conversation, session: Session, reader: Reader, interrupts: Interrupts) -> None:
        self._conversation = conversation
        self._session = session
        self._display = session.display
        self._reader = reader
        self._interrupts = interrupts
        self._files: list[AttachedFile] = []  # they go with the next message

    def run(self) -> int:
        """Returns the exit code."""
        display = self._display
        while True:
            try:
                text = self._reader.read()
            except EOFError:
                return 0
            except KeyboardInterrupt:
                display.note("/bye or Ctrl-D leaves")
                continue
            try:
                with self._interrupts.stoppable():
                    if self._leaves(text):
                        return 0
            except SelarError as error:
                display.error(str(error))
            except KeyboardInterrupt:  # the second one, while the first was being obeyed
                display.end_text()
                display.note(f"stopped{self._not_kept()}")

    def _leaves(self, typed: str) -> bool:
        """Take what was typed. True: the person wants to leave."""
        text, quoted = unquoted(typed.rstrip())
        if not text.strip():
            return False
        command = None if quoted else parse(text)
        if command is None:
            self._say(text)
            return False
        name, argument = command
        if name in LEAVE:
            return True
        getattr(self, f"_do_{name}")(argument)
        return False

    # -- answers ---------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        files, self._files = self._files, []
        self._answer(partial(self._conversation.stream, with_files(files, text)), self._conversation.method)

    def _answer(self, start: Callable[..., Stream], method: Method) -> None:
        """Show the answer of a turn that `start` begins, and what it cost."""
        conversation, session, display = self._conversation, self._session, self._display
        dropped, session.method = conversation.dropped, method
        try:
            result = session.show(conversation.engine, start=start)
        except PromptTooLong as error:
            raise PromptTooLong(f"{error}{self._way_out()}") from None
        session.report(result)
        display.note(f"[{self._meter()}]")
        if not_kept := self._not_kept():
            display.note(f"stopped before the answer{not_kept}")
        if (more := conversation.dropped - dropped) > 0:
            turns = "the oldest turn is" if more == 1 else f"the {more} oldest turns are"
            display.note(f"the context was full: {turns} no longer sent to the model (raise it with -c)")

    def _not_kept(self) -> str:
        return "; this turn is not kept (/retry asks it again)" if self._conversation.unanswered is not None else ""

    def _way_out(self) -> str:
        """What helps where a prompt is too long because of the turns before it."""
        if self._conversation.overflow == "drop" or not self._conversation.turns:
            return ""
        return "; /clear forgets the conversation, /set overflow drop leaves out the oldest turns"

    def _meter(self) -> str:
        used, size = self._conversation.context
        return f"context {used} of {size} tokens, {100 * used / size:.0f} %"

    # -- commands --------------------------------------------------------------------------------

    def _do_help(self, _: str) -> None:
        self._display.note(help_text(self._reader.keys))

    def _do_file(self, argument: str) -> None:
        if not argument:
            names = ", ".join(file.name for file in self._files)
            self._display.note(f"with the next message: {names}" if names else "use it as in: /file notes.txt")
            return
        path, text = split_path(argument)
        engine = self._conversation.engine
        file = read_file(path, engine.info.ctx_size)
        tokens = len(engine.tokenize(file.text))
        if tokens >= engine.info.ctx_size:
            raise SelarError(f"{path} has {tokens} tokens, the context has {engine.info.ctx_size}")
        self._files.append(file)
        if text:
            self._say(text)
        else:
            self._display.note(f"{file.name}, {tokens} tokens, goes with your next message (/clear forgets it)")

    def _do_retry(self, name: str) -> None:
        conversation = self._conversation
        method = as_method(name) if name else conversation.method
        if conversation.sampling.greedy or conversation.sampling.temperature == 0 or method.greedy:
            self._display.note("greedy sampling: every seed gives the same answer")
        self._answer(partial(conversation.retry, method=method), method)

    def _do_undo(self, _: str) -> None:
        question = self._conversation.undo()
        if question is None:
            raise OptionError("there is no question to forget")
        self._display.note(f"forgotten: {' '.join(question.split())[:60]}")

    def _do_clear(self, _: str) -> None:
        self._conversation.clear()
        self._files.clear()
        self._display.note("the conversation is forgotten")

    def _do_save(self, argument: str) -> None:
        path = unquoted_path(argument)
        if path.exists() and not is_conversation(path):
            raise SelarError(f"{path} is there already, and it is no saved conversation: choose another name")
        self._conversation.save(path)
        self._display.note(f"saved: {path}, {counted(self._conversation.turns, 'turn')}")

    def _do_load(self, argument: str) -> None:
        path = unquoted_path(argument)
        self._conversation.load(path)
        self._display.note(f"loaded: {path}, {counted(self._conversation.turns, 'turn')}")
        self._do_show("")

    def _do_context(self, _: str) -> None:
        conversation = self._conversation
        dropped = f", the oldest {conversation.dropped} no longer sent" if conversation.dropped else ""
        self._display.note(f"{self._meter()}; {counted(conversation.turns, 'turn')}{dropped}")

    def _do_method(self, name: str) -> None:
        if name:
            self._conversation.method = as_method(name)
        self._display.note(describe(self._conversation)[0])

    def _do_set(self, argument: str) -> None:
        self._display.note(set_option(self._conversation, argument))

    def _do_show(self, _: str) -> None:
        for line in describe(self._conversation):
            self._display.note(line)

    def _do_system(self, text: str) -> None:
        self._conversation.system = text or None
        self._display.note("system message set" if text else "no system message")
