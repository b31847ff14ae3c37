"""A tiny model that has the control tokens of every family, and a script for what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from formats.examples import EXAMPLES, Example, text_of
from support.tiny_gguf import CONTROL_TOKENS

import selar_local as sl
from selar_local.formats import Format, format_of

__all__ = ["ANSWER", "END", "FAMILIES", "Family", "play"]

END = CONTROL_TOKENS[2]
ANSWER = "It is 3."

#: What families write before an answer without thinking.
_OPENINGS = {
    "harmony": "<|channel|>final<|message|>",
    "muse": " to=user<|message|>",
    "solar": "<|content|>",
    "functionary-3.2": "all\n",
    "kimi-k3": "<|open|>response<|sep|>",
    "hunyuan": "<answer>\n",
    "cohere": "<|START_TEXT|>",
}
_BODY = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}TAIL{% endif %}"
)


class Family(NamedTuple):
    """One family: a template that its format is found by, and what it writes."""

    example: Example

    @property
    def template(self) -> str:
        tail = "{{ " + json.dumps(self.example.tail, ensure_ascii=False) + " }}"
        return "{# " + self.example.template + " #}" + _BODY.replace("TAIL", tail)

    @property
    def form(self) -> Format:
        """Its format."""
        return format_of(self.template)

    @property
    def controls(self) -> tuple[str, ...]:
        """The control tokens of its model."""
        markers = {marker for marker in self.form.markers if not marker[0].isalpha()}
        more = {"<|calls|>", "<|flush|>"} if self.example.name == "solar" else set()  # else <|end|> ends a text
        return (*CONTROL_TOKENS, *sorted((markers | more) - {*CONTROL_TOKENS}))

    @property
    def thinks(self) -> bool:
        """Whether its example has a thinking."""
        return bool(self.example.thinking)

    @property
    def opening(self) -> str:
        """What it writes before its thinking."""
        return self.example.text[: self.example.text.index(self.example.thinking)] if self.thinks else ""

    @property
    def closing(self) -> str:
        """What closes its thinking and opens the answer."""
        return self.form.thinking.end if self.form.thinking else ""

    @property
    def calling(self) -> str:
        """Thinking, content and two calls."""
        return text_of(self.example)

    @property
    def answering(self) -> str:
        """Thinking and an answer."""
        if self.thinks:
            return f"{self.opening}so{self.closing}{ANSWER}"
        return _OPENINGS.get(self.example.name, "") + ANSWER


def _as_it_ends(example: Example) -> Example:
    """In gpt-oss a call ends the text: there is no second one, and no such token in a string."""
    if example.name != "harmony":
        return example
    return example._replace(marker="<call>", text=example.text.partition("<|call|>")[0])


FAMILIES = [Family(_as_it_ends(example)) for example in EXAMPLES]


def play(monkeypatch: pytest.MonkeyPatch, engine: sl.Engine, *texts: str) -> None:
    """Have the coming generations draw the tokens of these texts, one after the other."""
    with engine._worker.model() as model:
        scripts = [[*model.tokenize(text, special=True), model.token_of(END)] for text in texts]
    drawn: Iterator[Any] = (token for script in scripts for token in script)
    monkeypatch.setattr("selar_local.engine.sequence.draw", lambda distribution, number: next(drawn))
