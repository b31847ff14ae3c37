"""The editor of the chat's turns, by prompt_toolkit: several lines, pastes, history, completion."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Iterable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer
from prompt_toolkit.completion import Completion as Shown
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.defaults import create_output

from selar_local.cli.chat_history import ChatHistory
from selar_local.cli.chat_input import CONTINUED, PROMPT, Completion, quotes_open
from selar_local.cli.keyboard import paste_stays_whole

__all__ = ["Editor", "NoTerminal"]

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

    def __init__(self, complete: Callable[[str], Iterable[Completion]], *, history: bool, colors: bool) -> None:
        """Raises NoTerminal."""
        self._typed_ahead = False  # the first keys were typed before the prompt appeared
        self._left_over = False  # some of them are still there
        self._session: PromptSession[str] = PromptSession(
            [("fg:ansidefault", PROMPT)],  # a space without a style would not be written
            multiline=True,
            prompt_continuation=CONTINUED,
            key_bindings=self._bindings(),
            history=ChatHistory() if history else DummyHistory(),
            completer=_Commands(complete),
            complete_while_typing=Condition(lambda: self._session.default_buffer.text.startswith("/")),
            enable_open_in_editor=True,
            enable_suspend=True,
            color_depth=None if colors else ColorDepth.DEPTH_1_BIT,
            output=_screen(),
        )

    def read(self) -> str:
        """See `Reader`."""
        self._typed_ahead = self._left_over or _keys_wait()
        try:
            return self._session.prompt()
        finally:
            paste_stays_whole()  # the prompt has switched that off

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

        return bindings

    def _enter(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None  # it takes the completion
            return
        # Keys that came together with this one: nobody types so fast, it is a paste that the terminal did not mark.
        more = bool(event.key_processor.input_queue) or _keys_wait()
        if quotes_open(buffer.text) or (more and not self._typed_ahead):
            buffer.newline(copy_margin=False)
            return
        self._left_over = more
        buffer.validate_and_handle()


class _Commands(Completer):
    """Completes lines that begin with a slash."""

    def __init__(self, complete: Callable[[str], Iterable[Completion]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Shown]:
        text = document.text_before_cursor
        if text.startswith("/") and "\n" not in document.text:
            for length, completion, meaning in self._complete(text):
                yield Shown(completion, start_position=-length, display_meta=meaning)


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
