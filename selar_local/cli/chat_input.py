"""Where the turns of a chat come from: an editor on the terminal, plain lines where there can be none."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import click

from selar_local.cli.keyboard import Interrupts, can_edit

if TYPE_CHECKING:
    from selar_local.engine.conversation import Conversation

PROMPT, CONTINUED = ">>> ", "... "
_QUOTES = '"""'


class Reader(Protocol):
    """Reads one turn after the other."""

    keys: str  # what they do, for /help

    def visit(self) -> AbstractContextManager[None]:
        """A ``with`` block around all turns of a chat."""

    def read(self) -> str:
        """The next turn as it was typed. Raises EOFError at the end, KeyboardInterrupt for Ctrl-C."""


class PlainLines:
    """Lines by `input`, with readline's editing where Python has it."""

    keys = f"Enter sends. A text between {_QUOTES} may have several lines. Ctrl-D leaves."

    def __init__(self, interrupts: Interrupts) -> None:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        self._interrupts = interrupts

    def visit(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def read(self) -> str:
        try:
            with self._interrupts.stoppable():
                text = input(PROMPT)
                while quotes_open(text):
                    text += "\n" + input(CONTINUED)
                return text
        except (EOFError, KeyboardInterrupt):
            click.echo()  # leave the line of the prompt
            raise


def open_reader(interrupts: Interrupts, conversation: Conversation, *, history: bool, colors: bool) -> Reader:
    """The editor, or `PlainLines` where the terminal has no cursor to move.

    conversation: Tab completes its options. history: whether what is typed is kept in a file.
    """
    if not can_edit():
        return PlainLines(interrupts)
    from selar_local.cli.chat_editor import Editor, NoTerminal

    try:
        return Editor(conversation, history=history, colors=colors)
    except NoTerminal:
        return PlainLines(interrupts)


def quotes_open(text: str) -> bool:
    """Whether the text begins with three double quotes that are not closed yet."""
    return text.startswith(_QUOTES) and text.count(_QUOTES) % 2 == 1


def unquoted(text: str) -> tuple[str, bool]:
    """The text without three double quotes around it, and whether there were some."""
    if len(text) >= 6 and text.startswith(_QUOTES) and text.endswith(_QUOTES) and text.count(_QUOTES) == 2:
        return text[3:-3].strip("\n"), True
    return text, False
