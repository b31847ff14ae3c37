"""The variables of chat templates: which a request may set, and in what words the thinking is switched."""

from __future__ import annotations

import pytest

from selar_local.errors import OptionError, TemplateError
from selar_local.templates import ChatTemplate

HI = [{"role": "user", "content": "Hi"}]
SHOWN = "{{ enable_thinking }}|{{ reasoning_effort }}|{{ style }}"


def test_variables_are_those_that_a_template_reads_and_does_not_set():
    template = ChatTemplate("{% set a = 1 %}{{ a }}{{ b }}{% for m in messages %}{{ m.c }}{{ bos_token }}{% endfor %}")
    assert template.variables.names == ("b",)


def test_each_option_reaches_its_variable_and_unset_ones_stay_undefined():
    template = ChatTemplate(SHOWN)
    assert template.render(HI) == "||"
    assert template.render(HI, thinking=False, reasoning_effort="low", template_args={"style": 3}) == "False|low|3"
    assert template.render(HI, thinking=False, template_args={"enable_thinking": None}) == "None||"


@pytest.mark.parametrize(
    ("source", "off", "on"),
    [
        ("{{ enable_thinking }}", "False", "True"),
        ("{{ thinking }}", "False", "True"),
        ("{{ thinking_mode }}{# enabled, disabled #}", "disabled", "enabled"),
        ("{{ reasoning_effort }}{# no_think, low, high #}", "no_think", "high"),
        ("{{ thinking_budget }}", "0", ""),
    ],
)
def test_the_switch_has_the_words_of_the_template(source, off, on):
    template = ChatTemplate(source)
    assert template.variables.switch_thinking
    assert (template.render(HI, thinking=False), template.render(HI, thinking=True)) == (off, on)


def test_an_effort_of_its_own_wins_over_the_switch():
    template = ChatTemplate("{{ reasoning_effort }}{# no_think #}")
    assert template.render(HI, thinking=True, reasoning_effort="low") == "low"


@pytest.mark.parametrize("name", ["reasoning_effort", "thinking_effort", "reasoning_strength"])
def test_efforts_have_several_names(name):
    template = ChatTemplate(f"{{{{ {name} }}}}")
    assert template.variables.set_effort and template.render(HI, reasoning_effort="max") == "max"
    assert not ChatTemplate("{{ effort }}").variables.set_effort


def test_a_variable_that_is_never_read_is_an_error_that_names_it():
    with pytest.raises(OptionError, match=r"template_args has 'styl', which .* \(it reads: enable_thinking, .*style\)"):
        ChatTemplate(SHOWN).render(HI, template_args={"styl": 1})
    with pytest.raises(OptionError, match="it reads none"):
        ChatTemplate("x").render(HI, template_args={"style": 1})
    for name in ("messages", "tools", "add_generation_prompt"):
        with pytest.raises(OptionError, match=f"cannot set '{name}'"):
            ChatTemplate("{{ messages }}").render(HI, template_args={name: 1})


TRIMS = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}"


def test_a_final_message_is_continued_where_it_ends():
    messages = [*HI, {"role": "assistant", "content": "It is \n"}]
    template = ChatTemplate(TRIMS + "{% if add_generation_prompt %}<assistant>{% endif %}")
    assert template.render(messages, continue_final_message=True) == "<user>Hi</><assistant>It is \n"
    assert messages[1]["content"] == "It is \n"


@pytest.mark.parametrize("last", [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}])
def test_only_a_text_of_the_assistant_can_be_continued(last):
    with pytest.raises(TemplateError, match="continue_final_message needs"):
        ChatTemplate(TRIMS).render([*HI, last], continue_final_message=True)


def test_a_template_that_drops_the_last_message_cannot_continue_it():
    template = ChatTemplate("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    with pytest.raises(TemplateError, match="drops the message"):
        template.render([*HI, {"role": "assistant", "content": "x"}], continue_final_message=True)
