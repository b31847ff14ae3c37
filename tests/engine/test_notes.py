"""Options that are accepted but have no effect say so: in streams and results, wherever the engine runs."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

import selar_local as sl
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.dialects import has_thinking_tags
from selar_local.engine.rendered_request import RenderedRequest, request_notes
from selar_local.formats import TAGS, format_of
from selar_local.methods import METHODS
from selar_local.templates import ChatTemplate

HEAD = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a: "
PLAIN = HEAD + "{% endif %}"
SWITCH = HEAD + "{% if enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
ALWAYS = HEAD + "<think>\n{% endif %}"
SELF_OPENED = HEAD + "{# the model writes <think> itself #}{% endif %}"

NO_SWITCH = "thinking has no effect: the chat template of this model has no switch for it"
STAYS_ON = "the thinking cannot be switched off: the chat template of this model has no switch for it"
RAW = "thinking has no effect on a raw prompt: no chat template is used"
NO_TAGS = "no step explores with scope thinking: this model has no thinking tags"
OVER = "no step explores with scope thinking: the prompt has ended the thinking"
COCONUT = "this model has no token <|start-latent|>: it was probably not trained for coconut, expect broken text"
GRAMMAR = "selar has no effect under a grammar or a JSON schema: no step explores there"
THINKS = {"method": sl.Selar(scope="thinking")}

CASES = [
    (PLAIN, {}, ()),
    (PLAIN, {"thinking": True}, (NO_SWITCH,)),
    (PLAIN, {"thinking": False}, ()),
    (PLAIN, THINKS, (NO_TAGS,)),
    (PLAIN, {**THINKS, "thinking": True}, (NO_SWITCH, NO_TAGS)),
    (PLAIN, {"raw": True}, ()),
    (PLAIN, {"raw": True, "thinking": True}, (RAW,)),
    (PLAIN, {"raw": True, "thinking": False}, (RAW,)),
    (PLAIN, {**THINKS, "raw": True}, (NO_TAGS,)),
    (PLAIN, {**THINKS, "raw": True, "prompt": "a <think>\n"}, ()),
    (PLAIN, {"method": "coconut"}, (COCONUT,)),
    (PLAIN, {"method": sl.Coconut(latent_steps=0)}, ()),
    (PLAIN, {"method": sl.Coconut(latent_start=5)}, ()),
    (PLAIN, {"method": "soft-thinking"}, ("every step is soft: this model has no thinking tags",)),
    (PLAIN, {"method": "cot", "grammar": 'root ::= "a"'}, ()),
    (PLAIN, {"grammar": 'root ::= "a"'}, (GRAMMAR,)),
    (PLAIN, {"json_schema": {"type": "boolean"}, "thinking": False}, (GRAMMAR,)),
    (SWITCH, {"thinking": True}, ()),
    (SWITCH, {"thinking": False}, ()),
    (SWITCH, {**THINKS, "thinking": True}, ()),
    (SWITCH, {**THINKS, "thinking": False}, (OVER,)),
    (SWITCH, {"method": "soft-thinking", "thinking": False}, ("no step is soft: the prompt has ended the thinking",)),
    (ALWAYS, {"thinking": True}, ()),
    (ALWAYS, {"thinking": False}, (STAYS_ON,)),
    (ALWAYS, THINKS, ()),
    (SELF_OPENED, {"thinking": True}, (NO_SWITCH,)),
    (SELF_OPENED, {"thinking": False}, (STAYS_ON,)),
    (SELF_OPENED, THINKS, ()),
    (None, {"thinking": True}, (NO_SWITCH,)),
]


@pytest.fixture(scope="module")
def engines(tiny):
    opened = {}
    yield lambda template: opened.setdefault(
        template, sl.load(tiny(**{} if template is None else {"chat_template": template}), threads=1)
    )
    for engine in opened.values():
        engine.close()


@pytest.mark.parametrize(("template", "options", "expected"), CASES)
def test_what_has_no_effect_is_said(engines, template, options, expected):
    engine = engines(template)
    stream = engine.stream(**{"prompt": "Why?", "max_tokens": 2, "seed": 1, **options})
    assert stream.notes == expected
    list(stream)
    assert stream.result.notes == expected


def test_a_process_of_its_own_says_it_too(tiny):
    with sl.load(tiny(chat_template=PLAIN), threads=1, isolated=True) as engine:
        stream = engine.stream("Why?", thinking=True, **THINKS, max_tokens=2)
        assert stream.notes == (NO_SWITCH, NO_TAGS)
        assert engine.generate("Why?", thinking=True, max_tokens=2).notes == (NO_SWITCH,)
        assert engine.generate("Why?", max_tokens=2).notes == ()


def test_tags_in_the_vocabulary_count(tiny):
    path: Path = tiny(chat_template=PLAIN, thinking_tokens=True)
    with sl.load(path, threads=1) as engine:
        assert engine.stream("Why?", **THINKS, max_tokens=0).notes == ()


class Words:
    """Tokens by their texts."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def token_of(self, text: str) -> int | None:
        return self._texts.index(text) if text in self._texts else None


@pytest.mark.parametrize("pair", TAGS)
def test_every_pair_of_tags_is_known(pair):
    assert has_thinking_tags(format_of(""), Words(*pair)) and has_thinking_tags(format_of(f"x {pair[1]} y"), Words())
    assert not has_thinking_tags(format_of("thinking <b>"), Words(pair[0]))
    assert not has_thinking_tags(format_of(""), Words())


TAILS = ["a: ", "<think>\n", "<think>\n\n</think>\n\n"]


@pytest.mark.parametrize("method", [cls() for cls in METHODS.values()] + [sl.Selar(scope="thinking")], ids=repr)
def test_notes_are_few_plain_sentences(method):
    words = Words("<|start-latent|>")
    for thinking, switch, tags, bound, tail in product(
        (None, True, False), (None, True, False), (True, False), (True, False), TAILS
    ):
        rendered = RenderedRequest(tail, method, SamplingConfig(), GenerationConfig(), thinking, switch)
        notes = list(request_notes(rendered, words, has_tags=tags, constrained=bound))
        assert len(notes) == len(set(notes)) <= 2
        assert all(note and "\n" not in note and len(note) < 120 and not note.endswith(".") for note in notes)
        if thinking is None and tags and not bound and tail == "a: ":
            assert notes == []
        if switch is False and thinking and tail != "<think>\n":
            assert notes[0] == NO_SWITCH


def test_the_templates_of_these_tests_are_what_they_seem():
    known = {
        template: ChatTemplate(template).variables.switch_thinking for template in (PLAIN, SWITCH, ALWAYS, SELF_OPENED)
    }
    assert known == {PLAIN: False, SWITCH: True, ALWAYS: False, SELF_OPENED: False}
