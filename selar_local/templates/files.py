"""Where a chat template comes from that is not the model's own: a file, or a text."""

from __future__ import annotations

from pathlib import Path

from selar_local.errors import TemplateError

_MOST = 1 << 20  # bytes


def template_text(given: str) -> str:
    """The template that `given` is (a Jinja text), or that the file of this name has. Raises TemplateError."""
    if "{{" in given or "{%" in given:
        return given
    path = Path(given)
    try:
        if path.is_file() and path.stat().st_size > _MOST:
            raise TemplateError(f"{given} is too long for a chat template")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TemplateError(f"the chat template {given} is not UTF-8 text") from None
    except OSError as error:
        raise TemplateError(f"cannot read the chat template {given}: {error.strerror}") from None
