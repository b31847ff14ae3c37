"""What was typed in earlier chats: a file that only its user can read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory

from selar_local.cache import cache_dir

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
