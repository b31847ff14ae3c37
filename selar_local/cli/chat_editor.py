"""The editor of the chat's turns, by prompt_toolkit: several lines, pastes, history, completion."""

from __future__ import annotations

import os
import select
import sys
from contextlib import AbstractContextManager
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.defaults import create_output

from selar_local.cli.chat_commands import is_command
from selar_local.cli.chat_completion import ChatCompleter
from selar_local.cli.chat_history import ChatHistory
from selar_local.cli.chat_input import CONTINUED, PROMPT, quotes_open
from selar_local.cli.keyboard import keys_wait, mark_pastes
from selar_local.engine.conversation import Conversation

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
