"""Fields of a chat request about its template and its thinking: what they do, and what is refused."""

from __future__ import annotations

import pytest

import selar_local as sl
from selar_local.config import GenerationConfig
from selar_local.server.app import create_app
from selar_local.server.config import Defaults

from .conftest import HELLO, Api

TEMPLATE = (
    "{{ style }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
NO_EFFORT = "the chat template knows no effort: minimal is at most 256 tokens of thinking here"


@pytest.fixture(scope="module")
def model_engine(tiny):
    with sl.load(tiny(chat_template=TEMPLATE, thinking_tokens=True), threads=1) as opened:
        yield opened


def message_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


ON = [
    {"selar": {"thinking": True}},
    {"enable_thinking": True},
    {"chat_template_kwargs": {"enable_thinking": True}},
    {"chat_template_kwargs": {"thinking": True}},
    {"chat_template_kwargs": {"thinking": True}, "enable_thinking": True},
]


@pytest.mark.parametrize("body", ON)
@pytest.mark.parametrize("default", [None, False])
def test_the_thinking_is_switched_in_many_words(model_engine, body, default):
    generation = GenerationConfig(template_args={"enable_thinking": default})
    served = Api(create_app(model_engine, None, Defaults(thinking=default, generation=generation)))
    assert message_of(served.chat(**body)).get("reasoning_content")
    assert not message_of(served.chat(reasoning_effort="none")).get("reasoning_content")


def test_defaults_of_the_server(model_engine):
    generation = GenerationConfig(template_args={"style": "s"}, thinking_budget=2)
    served = Api(create_app(model_engine, None, Defaults(thinking=True, generation=generation)))
    plain = Api(create_app(model_engine))
    closing = len(model_engine.tokenize("\n</think>\n\n"))
    usage = served.chat(max_tokens=16).json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 2 + closing
    body = {"chat_template_kwargs": {"style": "s"}, "enable_thinking": True, "thinking_budget": 2, "max_tokens": 16}
    assert message_of(plain.chat(**body)) == message_of(served.chat(max_tokens=16))
    assert message_of(served.chat(thinking_budget=-1)) != message_of(served.chat())


@pytest.mark.parametrize(
    ("body", "param", "part"),
    [
        ({"chat_template_kwargs": {"stile": 1}}, "chat_template_kwargs", "'stile'"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs", "'messages'"),
        ({"enable_thinking": True, "selar": {"thinking": False}}, "selar.thinking", "different things"),
        ({"enable_thinking": True, "response_format": {"type": "json_object"}}, "enable_thinking", "exclude"),
        (
            {"chat_template_kwargs": {"thinking": True}, "response_format": {"type": "json_object"}},
            "chat_template_kwargs.thinking",
            "exclude",
        ),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "one of none, minimal"),
        ({"thinking_budget": -2}, "thinking_budget", "greater than"),
        ({"add_generation_prompt": False, "continue_final_message": False}, "add_generation_prompt", "opposite"),
        ({"add_generation_prompt": False}, "messages", "last message of the assistant"),
        ({"continue_final_message": True}, "messages", "last message of the assistant"),
    ],
)
def test_what_is_refused(model_engine, body, param, part):
    error = Api(create_app(model_engine)).chat(**body)
    assert error.status_code == 400 and error.json()["error"]["param"] == param, error.text
    assert part in error.json()["error"]["message"]


def test_notes_are_always_there(model_engine):
    served = Api(create_app(model_engine))
    choice = served.chat(reasoning_effort="minimal").json()["choices"][0]
    assert choice["selar"] == {"notes": [NO_EFFORT]}
    assert '"notes":["the chat template knows no effort' in served.chat(reasoning_effort="minimal", stream=True).text
    assert "selar" not in served.chat().json()["choices"][0]


def test_a_final_message_is_continued(model_engine):
    messages = [*HELLO, {"role": "assistant", "content": "It is "}]
    api = Api(create_app(model_engine))
    expected = model_engine.generate(messages=messages, continue_final_message=True, max_tokens=8, seed=1)
    for options in ({}, {"continue_final_message": True, "add_generation_prompt": False}):
        answer = message_of(api.chat(messages, **options))
        assert answer["content"] == expected.text and not answer["content"].startswith("It is")


def test_a_final_message_can_be_left_as_it_is(model_engine):
    """The model then gets a turn of its own; also where the last message is a call, or empty."""
    api = Api(create_app(model_engine))
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for last, options in (
        ({"content": "It is "}, {"continue_final_message": False}),
        ({"content": "It is "}, {"add_generation_prompt": True}),
        ({"content": "It is ", "tool_calls": [call]}, {}),
        ({"content": None}, {}),
    ):
        messages = [*HELLO, {"role": "assistant", **last}]
        prompt = api.post("/apply-template", messages=messages, **options).json()["prompt"]
        assert prompt.endswith("assistant\n") and prompt.count("assistant\n") == 2
