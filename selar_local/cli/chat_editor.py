"""The editor of the chat's turns, by prompt_toolkit: several lines, pastes, history, completion."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.defaults import create_output

from selar_local.cache import cache_dir
from selar_local.cli.chat_commands import COMMANDS, is_command
from selar_local.cli.chat_input import CONTINUED, PROMPT, quotes_open
from selar_local.cli.chat_options import find_option, options_of
from selar_local.cli.completion import paths
from selar_local.cli.keyboard import keys_wait, mark_pastes
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


_LARGEST = 1 << 20  # bytes; a larger file loses its older half
_ENTRY = b"\n# "  # every entry begins so


def history_file() -> Path:
    """Where it is. Raises RuntimeError for a user without a home."""
    return cache_dir() / "chat-history"


class ChatHistory(FileHistory):
    """A history that never fails a chat: where the file cannot be read or written, it remembers this chat alone."""

    def __init__(self) -> None:
        try:
            path = history_file()
        except RuntimeError:
            super().__init__(os.devnull)
        else:
            super().__init__(path)
            self._prepare(path)

    @staticmethod
    def _prepare(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            if path.stat().st_size > _LARGEST:
                data = path.read_bytes()
                start = data.find(_ENTRY, len(data) // 2)
                path.write_bytes(data[start:] if start >= 0 else b"")

    def load_history_strings(self) -> Iterable[str]:
        with contextlib.suppress(OSError):
            return super().load_history_strings()
        return ()

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):
            super().store_string(string)


_STYLE = "fg:ansidefault"  # spaces without a style are not written at the end of a line

if sys.platform == "win32":
    from prompt_toolkit.output.win32 import NoConsoleScreenBufferError as NoTerminal
else:

    class NoTerminal(Exception):
        """There is no terminal to edit on."""


class Editor:
    """Reads turns. Enter sends; a paste of several lines is one turn, whether or not the terminal marks pastes."""

    keys = (
        "Enter sends; Alt+Enter, or Esc and then Enter, begins a new line. Tab completes, Up and Ctrl-R find earlier "
        'turns, Ctrl-X Ctrl-E opens your editor, Ctrl-D leaves. A text between """ is sent as it is.'
    )

    def __init__(self, conversation: Conversation, *, history: bool, colors: bool) -> None:
        """Raises NoTerminal."""
        self._typed_ahead = False  # the first keys were typed before the prompt appeared
        self._left_over = False  # some of them are still there
        self._session: PromptSession[str] = PromptSession(
            [(_STYLE, PROMPT)],
            multiline=True,
            prompt_continuation=[(_STYLE, CONTINUED)],
            key_bindings=self._bindings(),
            history=ChatHistory() if history else InMemoryHistory(),
            completer=ChatCompleter(conversation),
            complete_while_typing=Condition(lambda: self._session.default_buffer.text.startswith("/")),
            input_processors=[TabsProcessor(char1=" ", char2=" ")],
            enable_open_in_editor=True,
            enable_suspend=True,
            color_depth=None if colors else ColorDepth.DEPTH_1_BIT,
            output=_screen(),
        )

    def visit(self) -> AbstractContextManager[None]:
        """See `Reader`."""
        return keys_wait()

    def read(self) -> str:
        """See `Reader`."""
        self._typed_ahead, self._left_over = self._left_over or _keys_wait(), False
        try:
            # The key Ctrl-C is no signal here. A real signal would make prompt_toolkit print a traceback where it comes
            # at the end of a prompt; `Interrupts` ignores it.
            text = self._session.prompt(handle_sigint=False)
            # Bytes that are no UTF-8 come as surrogates, which no model reads.
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        finally:
            mark_pastes()  # the prompt has switched that off

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)

        # Ctrl-J is what Enter is to a terminal that is not in raw mode: keys typed ahead of the prompt have it.
        @bindings.add("enter", filter=typing)
        @bindings.add("c-j", filter=typing)
        def _enter(event: KeyPressEvent) -> None:
            self._enter(event)

        @bindings.add("escape", "enter", filter=typing)
        @bindings.add("escape", "c-j", filter=typing)
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @bindings.add("tab", filter=typing)
        def _tab(event: KeyPressEvent) -> None:
            self._tab(event.current_buffer)

        return bindings

    def _enter(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None  # it takes the completion
            return
        # Keys that came together with this one: nobody types so fast, it is a paste that the terminal did not mark.
        more = bool(event.key_processor.input_queue) or _keys_wait()
        pasted = more and not self._typed_ahead and not is_command(buffer.text)
        if pasted or quotes_open(buffer.text):
            buffer.newline(copy_margin=False)
            return
        self._left_over = more
        buffer.validate_and_handle()

    def _tab(self, buffer: Buffer) -> None:
        """Insert what all completions begin with; show them where there are several."""
        if buffer.complete_state is not None and len(buffer.complete_state.completions) > 1:
            buffer.complete_next()
            return
        found = list(buffer.completer.get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        common = os.path.commonprefix([one.text[-one.start_position :] for one in found])  # noqa: RUF071 - of letters
        buffer.insert_text(common)
        if len(found) > 1 and not common:
            buffer.start_completion()


def _screen() -> Output:
    """The terminal without questions about the cursor's place, which some do not answer and others answer late."""
    screen: Any = create_output(sys.stdout)
    if hasattr(screen, "enable_cpr"):
        screen.enable_cpr = False
    return screen  # type: ignore[no-any-return]


def _keys_wait() -> bool:
    """Whether there are keys to read (never on Windows, where prompt_toolkit knows pastes by itself)."""
    if sys.platform == "win32":
        return False
    return bool(select.select([sys.stdin], [], [], 0)[0])
