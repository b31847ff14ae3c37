"""What Tab offers in the chat: commands, methods, options and their values, files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from selar_local.cli.chat_commands import COMMANDS
from selar_local.cli.chat_input import Completion
from selar_local.cli.chat_options import find_option, options_of
from selar_local.engine.conversation import Conversation
from selar_local.errors import OptionError
from selar_local.methods import METHODS

__all__ = ["completions"]

_MOST = 200  # names of one folder


def completions(conversation: Conversation, text: str) -> Iterator[Completion]:
    """What may follow `text`, which begins with a slash."""
    name, space, rest = text[1:].partition(" ")
    if not space:
        yield from _starting(name, {command.name: command.help for command in COMMANDS})
        return
    takes = next((command.takes for command in COMMANDS if command.name == name), "")
    rest = rest.lstrip()
    if takes == "method":
        yield from _starting(rest, {name: cls.summary for name, cls in METHODS.items()})
    elif takes == "option":
        yield from _options(conversation, rest)
    elif takes == "file":
        yield from _files(rest)


def _starting(begun: str, words: dict[str, str]) -> Iterator[Completion]:
    for word, meaning in words.items():
        if word.startswith(begun):
            yield len(begun), word, meaning


def _options(conversation: Conversation, text: str) -> Iterator[Completion]:
    """An option's name, or a value of it."""
    name, space, value = text.partition(" ")
    if not space:
        begun = name.lstrip("-").replace("-", "_")
        for found in options_of(conversation):
            if found.option.name.startswith(begun):
                yield len(begun), found.option.name, found.option.help
        return
    try:
        found = find_option(conversation, name)
    except OptionError:
        return
    yield from _starting(value.lstrip(), {**dict.fromkeys(found.values, ""), "default": found.option.default_text})


def _files(text: str) -> Iterator[Completion]:
    """Files and folders whose path begins like this."""
    folder, begun = os.path.split(text)
    try:
        found = sorted(Path(folder or ".").expanduser().iterdir())
        for path in [path for path in found if path.name.startswith(begun)][:_MOST]:
            if begun or not path.name.startswith("."):
                yield len(begun), path.name + (os.sep if path.is_dir() else ""), ""
    except (OSError, RuntimeError, ValueError):  # RuntimeError: ~nobody
        return
