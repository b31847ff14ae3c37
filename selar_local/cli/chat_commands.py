"""The commands of the chat: names, arguments, and which lines with a slash at the beginning are commands."""

from __future__ import annotations

import re
import textwrap
from difflib import get_close_matches
from typing import NamedTuple

from selar_local.errors import OptionError
from selar_local.methods import METHODS


class Command(NamedTuple):
    """One command. takes: what its argument is, for completion: "method", "option", "file" or ""."""

    name: str
    argument: str
    help: str
    takes: str = ""


COMMANDS = (
    Command("help", "", "this list"),
    Command("file", "PATH [TEXT]", "send a file: with TEXT at once, else with your next message", "file"),
    Command("retry", "[METHOD]", "the last question again, with another seed (and with another method)", "method"),
    Command("undo", "", "forget the last question and its answer"),
    Command("clear", "", "forget the conversation"),
    Command("save", "PATH", "write the conversation and its settings to a file", "file"),
    Command("load", "PATH", "go on from a saved conversation", "file"),
    Command("context", "", "how much of the context is in use"),
    Command("method", "NAME", f"decode with this method: {', '.join(METHODS)}", "method"),
    Command("set", "NAME VALUE", "change an option, as in /set tau 0.4 (default: back to its default)", "option"),
    Command("show", "", "the options in force"),
    Command("system", "TEXT", "the system message (without TEXT: none)"),
    Command("bye", "", "leave (also Ctrl-D)"),
)
LEAVE = ("bye", "exit", "quit")
_NAMES = {command.name for command in COMMANDS} | {*LEAVE, "?"}
_COMMAND = re.compile(r"/(\S+)\s*(.*)", re.DOTALL)


def is_command(text: str) -> bool:
    """Whether the text begins with the name of a command."""
    found = _COMMAND.match(text)
    return found is not None and found[1] in _NAMES


def parse(text: str) -> tuple[str, str] | None:
    """The command's name and its argument, or None for a message to the model. Raises OptionError for neither.

    A message may begin with a slash where it cannot be meant as a command: no letter follows (`//`, `/*`, `/ `),
    there is a second slash (`/etc/fstab`), or it has several lines.
    """
    if not text.startswith("/"):
        return None
    found = _COMMAND.match(text)
    name, rest = (found[1], found[2].strip()) if found else ("", "")
    if is_command(text):
        return ("help" if name == "?" else name), rest
    message = text.strip() != "/" and (not name[:1].isalpha() or "/" in name)
    close = get_close_matches(name, _NAMES, 1)
    if message or (not close and ("/" in text[1:] or "\n" in text.strip())):
        return None
    meant = f", did you mean /{close[0]}?" if close else ";"
    raise OptionError(
        f'unknown command /{name}{meant} /help lists them (to send this text, put // before it or """ around it)'
    )


def help_text(keys: str) -> str:
    """What /help shows, at most 80 columns wide. keys: what the keys of the input do."""
    rows = [(f"/{command.name} {command.argument}".rstrip(), command.help) for command in COMMANDS]
    width = max(len(usage) for usage, _ in rows) + 2
    lines = [
        textwrap.fill(text, 80, initial_indent=usage.ljust(width), subsequent_indent=" " * width)
        for usage, text in rows
    ]
    return "\n".join([*lines, textwrap.fill(f"{keys} Ctrl-C stops an answer.", 80)])
