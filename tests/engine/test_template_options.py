"""Options of the chat template: variables, effort, and an answer whose beginning is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import selar_local as sl
from selar_local.errors import OptionError

TEMPLATE = (
    "{{ style }}{% if reasoning_effort %}effort {{ reasoning_effort }}. {% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
HI = [{"role": "user", "content": "Hi"}]
END = "<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def engine(tiny) -> Iterator[sl.Engine]:
    with sl.load(tiny(chat_template=TEMPLATE, thinking_tokens=True), threads=1) as opened:
        yield opened


def prompt_of(engine: sl.Engine, **options) -> tuple[int, ...]:
    return engine.stream("Hi", max_tokens=0, **options).prompt


@pytest.mark.parametrize(
    ("options", "head", "tail"),
    [
        ({"template_args": {"style": "s", "enable_thinking": True}}, "s", "<think>\n"),
        ({"template_args": {"thinking": True}}, "", "<think>\n"),  # on a template that calls it otherwise
        ({"reasoning_effort": "low"}, "effort low. ", ""),
        ({"reasoning_effort": "none"}, "", ""),
        ({"thinking": True, "template_args": {"enable_thinking": True}}, "", "<think>\n"),
    ],
)
def test_the_prompt_has_them(engine, options, head, tail):
    text = f"{head}<|im_start|>user\nHi{END}{tail}"
    assert engine.render(HI, **options) == text
    assert prompt_of(engine, **options) == engine.tokenize(text)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"template_args": {"stile": 1}}, "template_args has 'stile', which the chat template never reads"),
        (
            {"template_args": {"enable_thinking": True}, "thinking": False},
            "template_args has enable_thinking True",
        ),
        ({"template_args": "style"}, "template_args must be an object"),
        ({"raw": True, "template_args": {"style": 1}}, "template_args has no place in a raw prompt"),
        ({"raw": True, "reasoning_effort": "low"}, "reasoning_effort has no place in a raw prompt"),
    ],
)
def test_what_cannot_be_set_is_an_error(engine, options, error):
    with pytest.raises(OptionError, match=error):
        prompt_of(engine, **options)


def continued(engine: sl.Engine, begun: str, **options):
    messages = [*HI, {"role": "assistant", "content": begun}]
    return engine.stream(messages=messages, continue_final_message=True, max_tokens=12, seed=1, **options)


def test_an_answer_is_continued_and_its_beginning_is_not_repeated(engine):
    stream = continued(engine, "It is ")
    text = f"<|im_start|>user\nHi{END}It is "
    assert stream.prompt == engine.tokenize(text)
    list(stream)
    assert stream.result.text == engine.generate(text, raw=True, max_tokens=12, seed=1).text


@pytest.mark.parametrize(("begun", "thinks"), [("<think>\nSo", True), ("<think>so</think>It", False), ("It", False)])
def test_a_thinking_that_the_beginning_has_opened_is_open(engine, begun, thinks):
    events = list(stream := continued(engine, begun, method=sl.Selar(tau=0, scope="thinking", symbol_guard=False)))
    assert any(event.explored for event in events) is thinks
    assert bool(stream.result.thinking) is thinks and bool(stream.result.text) is not thinks


def test_a_conversation_keeps_them(engine):
    talk = sl.Conversation(engine, reasoning_effort="low", template_args={"style": "s"}, max_tokens=2)
    stream = talk.stream("Hi")
    list(stream)
    assert stream.prompt == engine.tokenize(f"seffort low. <|im_start|>user\nHi{END}")
    answer = talk.messages[-1]["content"]
    used = engine.tokenize(f"seffort low. <|im_start|>user\nHi{END}{answer}<|im_end|>\n")
    assert talk.context.used == len(used)


def test_a_process_of_its_own_takes_them(tiny):
    with sl.load(tiny(chat_template=TEMPLATE, thinking_tokens=True), threads=1, isolated=True) as engine:
        assert "seffort low" in engine.render(HI, template_args={"style": "s"}, reasoning_effort="low")
        assert continued(engine, "It is ").prompt[-1:] == engine.tokenize(" ")
