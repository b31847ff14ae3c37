"""--template-arg, --reasoning-effort and --thinking-budget on the command line."""

from __future__ import annotations

import json

import pytest

TEMPLATE = (
    "{{ style }}{% for m in messages %}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
SHORT = ("-n", "16", "-t", "1", "--seed", "1", "--json")


@pytest.fixture(scope="module")
def thinker(tiny):
    return tiny(chat_template=TEMPLATE, thinking_tokens=True)


@pytest.fixture(scope="module")
def plain(tiny):
    return tiny(chat_template="{% for m in messages %}{{ m.content }}\n{% endfor %}")


def test_variables_are_json_or_text(thinker, cli):
    def prompt_tokens(*options: str) -> int:
        done = cli("run", thinker, "Hi", *SHORT, *options)
        assert done.code == 0, done.err
        return json.loads(done.out)["prompt_tokens"]

    bare = prompt_tokens()
    assert prompt_tokens("--template-arg", "style=abc") == bare + 3
    assert prompt_tokens("--template-arg", "style=[1]") == bare + 3
    assert prompt_tokens("--template-arg", "enable_thinking=true") > bare
    assert prompt_tokens("--template-arg", "enable_thinking=false", "--template-arg", "style=") == bare


def test_a_budget_closes_the_thinking(thinker, cli):
    done = cli("run", thinker, "Hi", *SHORT, "--thinking", "--thinking-budget", "2")
    answer = json.loads(done.out)
    assert answer["thinking"] and answer["text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template-arg", "stile=1"], "--template-arg has 'stile', which the chat template never reads"),
        (["--template-arg", "style"], "'style' is not of the form NAME=VALUE"),
        (["--raw", "--template-arg", "style=1"], "--template-arg has no place in a raw prompt"),
        (["--reasoning-effort", "huge"], "--reasoning-effort must be one of none, minimal, low, medium, high"),
    ],
)
def test_what_cannot_be_set_is_wrong_usage(thinker, cli, options, message):
    done = cli("run", thinker, "Hi", *SHORT, *options)
    assert done.code == 2 and message in done.err and done.out == ""


def test_a_model_without_thinking(plain, cli):
    done = cli("run", plain, "Hi", *SHORT, "--reasoning-effort", "low")
    assert done.code == 0 and "--reasoning-effort has no effect: this model does not think" in done.err
    done = cli("run", plain, "Hi", *SHORT[:-1], "--thinking-budget", "5")
    assert done.code == 0 and "--thinking-budget has no effect: this model has no thinking tags" in done.err
