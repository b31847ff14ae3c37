"""Chat templates: from messages to the text of a prompt."""

from __future__ import annotations

from selar_local.templates.files import template_text
from selar_local.templates.template import ChatTemplate

__all__ = ["ChatTemplate", "template_text"]
