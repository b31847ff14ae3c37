"""What Tab offers in the chat: commands, methods, options and their values, files."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from selar_local.cli.chat_commands import COMMANDS
from selar_local.cli.chat_options import find_option, options_of
from selar_local.cli.completion import paths
from selar_local.engine.conversation import Conversation
from selar_local.errors import OptionError
from selar_local.methods import METHODS

_MOST = 200  # names of one folder


class ChatCompleter(Completer):
    """Completes a line that begins with a slash."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What may follow the text before the cursor (prompt_toolkit's hook)."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in document.text:
            return
        name, space, rest = text[1:].partition(" ")
        rest = rest.lstrip()
        takes = next((command.takes for command in COMMANDS if command.name == name), "")
        if not space:
            yield from _starting(name, {command.name: command.help for command in COMMANDS})
        elif takes == "method":
            yield from _starting(rest, {name: cls.summary for name, cls in METHODS.items()})
        elif takes == "option":
            yield from _options(self._conversation, rest)
        elif takes == "file":
            yield from _files(rest)


def _starting(begun: str, words: dict[str, str]) -> Iterator[Completion]:
    for word, meaning in words.items():
        if word.startswith(begun):
            yield Completion(word, -len(begun), display_meta=meaning)


def _options(conversation: Conversation, text: str) -> Iterator[Completion]:
    """An option's name, or a value of it."""
    name, space, value = text.partition(" ")
    if not space:
        begun = name.lstrip("-").replace("-", "_")
        yield from _starting(begun, {found.option.name: found.option.help for found in options_of(conversation)})
        return
    try:
        found = find_option(conversation, name)
    except OptionError:
        return
    yield from _starting(value.lstrip(), {**dict.fromkeys(found.values, ""), "default": found.option.default_text})


def _files(text: str) -> Iterator[Completion]:
    """Files and folders whose path begins like this."""
    begun = len(os.path.split(text)[1])
    for path in paths(text)[:_MOST]:
        yield Completion(path[len(text) - begun :], -begun)
