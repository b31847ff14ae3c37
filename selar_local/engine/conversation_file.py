"""Saved conversations: one JSON file with the turns and the settings."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selar_local._version import __version__
from selar_local.config import from_mapping, require
from selar_local.engine.history import ChatMessage, checked_messages
from selar_local.errors import ConversationFileError, OptionError
from selar_local.methods import Method, method_class

_TYPE = "conversation"
_VERSION = 1
_LARGEST = 1 << 28  # bytes; far more than any conversation has


@dataclass(frozen=True)
class SavedConversation:
    """What such a file has. `method` and `options` are None where the file does not name them."""

    messages: tuple[ChatMessage, ...]
    system: str | None = None
    method: Method | None = None
    thinking: bool | None = None
    options: Mapping[str, Any] | None = None
    model: str | None = None  # for people who read the file


def write(path: str | os.PathLike[str], saved: SavedConversation) -> None:
    """Write the file, by atomic replacement. Raises ConversationFileError."""
    record = {
        "type": _TYPE,
        "version": _VERSION,
        "selar_local": __version__,
        "model": saved.model,
        "system": saved.system,
        "method": None if saved.method is None else {"name": saved.method.name, "options": asdict(saved.method)},
        "thinking": saved.thinking,
        "options": saved.options,
        "messages": saved.messages,
    }
    target = Path(path)
    part: Path | None = None
    try:
        text = json.dumps(record, ensure_ascii=False, indent=2)
        handle, name = tempfile.mkstemp(prefix=".new-", dir=target.parent)  # readable by this user alone
        part = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text + "\n")
        part.replace(target)
    except (OSError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConversationFileError(f"cannot write {target}: {reason}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> SavedConversation:
    """Read the file. Raises ConversationFileError."""
    record = _record(Path(path))
    version = record.get("version", _VERSION)
    if version != _VERSION:
        raise ConversationFileError(f"{path} has version {version!r} of the format, this program reads {_VERSION}")
    try:
        system, thinking, options = (record.get(name) for name in ("system", "thinking", "options"))
        require(system is None or isinstance(system, str), "the system message is no text")
        require(thinking is None or isinstance(thinking, bool), "thinking is neither true nor false")
        require(options is None or isinstance(options, dict), "the options are no object")
        messages = checked_messages(record["messages"])
        return SavedConversation(messages, system, _method(record.get("method")), thinking, options)
    except OptionError as error:
        raise ConversationFileError(f"{path}: {error}") from None


def is_conversation(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a saved conversation."""
    try:
        return _record(Path(path)).get("type") == _TYPE
    except ConversationFileError:
        return False


def _record(path: Path) -> dict[str, Any]:
    record: Any = None
    try:
        if path.stat().st_size <= _LARGEST and not path.is_fifo():
            record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConversationFileError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        pass
    if not isinstance(record, dict) or not isinstance(record.get("messages"), list):
        raise ConversationFileError(f"{path} is no saved conversation")
    return record


def _method(value: Any) -> Method | None:
    if value is None:
        return None
    name, options = (value.get("name"), value.get("options", {})) if isinstance(value, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(options, dict):
        raise OptionError("the method is no object with a name and options")
    cls = method_class(name)
    return from_mapping(cls, {option: value for option, value in options.items() if option not in cls.removed_options})
