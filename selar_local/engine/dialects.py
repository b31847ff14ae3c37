"""How one talks to a model: its chat template, and the format of what it writes."""

from __future__ import annotations

from functools import cached_property

from selar_local.engine.request_options import Tools
from selar_local.engine.thinking_budget import closing_text
from selar_local.errors import TemplateError
from selar_local.formats import GENERAL, HERMES, TAGS, Format, format_of
from selar_local.llama.model import LlamaModel
from selar_local.methods.base import NamedTokens
from selar_local.methods.think_tokens import own_think_tokens
from selar_local.templates import ChatTemplate, template_text

_WITH_TOOLS = "tool_use"


class Dialect:
    """One template.

    source: None where the model has none: ChatML is assumed. thinks: the model has a thinking. closing: the tokens that
    close it.
    """

    def __init__(self, source: str | None, model: LlamaModel) -> None:
        self.source = source
        self.form = format_of(source or "")
        self.thinks = has_thinking_tags(self.form, model)
        self.closing = tuple(model.tokenize(closing_text(self.form, model), special=True))
        self._special_texts = {"bos_token": model.special_text("bos"), "eos_token": model.special_text("eos")}

    @cached_property
    def template(self) -> ChatTemplate:
        """The template, parsed when it is first used: raw prompts need none. Raises TemplateError."""
        return ChatTemplate.chatml() if self.source is None else ChatTemplate(self.source, **self._special_texts)

    def tools_in_text(self, tools: Tools | None) -> bool:
        """Whether these tools stand in the system message, since the template cannot show them."""
        return bool(tools) and not self.template.shows_tools

    def form_for(self, tools: Tools | None) -> Format:
        """The format that is read. A model of an unknown family that got tools most often writes Hermes' calls."""
        unknown = self.form.name == GENERAL.name
        return HERMES if tools and (unknown or self.tools_in_text(tools)) else self.form


class Dialects:
    """The model's own template and the one it has for tools, which most have not; or the one that was chosen."""

    def __init__(self, model: LlamaModel, chosen: str | None = None) -> None:
        """chosen: the name of one of the model's templates, a file, or a Jinja text. Raises TemplateError."""
        if chosen is None:
            self.plain = Dialect(model.chat_template(), model)
            source = model.chat_template(_WITH_TOOLS)
        else:
            self.plain = Dialect(_chosen(model, chosen), model)
            self.plain.template  # noqa: B018 - one that was given is parsed at once
            source = None
        self._with_tools = self.plain if source is None else Dialect(source, model)

    def of(self, tools: Tools | None) -> Dialect:
        """The one for a request with these tools."""
        return self._with_tools if tools else self.plain

    @property
    def markers(self) -> set[str]:
        """The texts that the formats must get as text."""
        tags = {tag for pair in TAGS for tag in pair}
        return {*tags, *self.plain.form.markers, *self._with_tools.form.markers}


def _chosen(model: LlamaModel, chosen: str) -> str:
    named = model.chat_template(chosen) if chosen.isidentifier() else None
    if named is not None:
        return named
    try:
        return template_text(chosen)
    except TemplateError as error:
        names = model.template_names
        own = f" (the model has templates named {', '.join(names)})" if names else ""
        raise TemplateError(f"{error}{own}") from None


def has_thinking_tags(form: Format, vocabulary: NamedTokens) -> bool:
    """Whether the model's format or its vocabulary has tags around a thinking."""
    return form.thinking is not None or own_think_tokens(vocabulary) is not None
