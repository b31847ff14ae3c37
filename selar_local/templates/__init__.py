"""Chat templates: from messages to the text of a prompt."""

from __future__ import annotations

from selar_local.templates.template import ChatTemplate, template_text

__all__ = ["ChatTemplate", "template_text"]
