"""Which chat template a model gets: its own, the one it has for tools, one by name, one of a file."""

from __future__ import annotations

import pytest

import selar_local as sl
from selar_local.errors import TemplateError

HI = [{"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
OWN = "own:{% for m in messages %}{{ m.content }}{% endfor %}"
NAMED = {
    "tokenizer.chat_template.tool_use": OWN.replace("own:", "tools:{{ tools[0].function.name }}<think>"),
    "tokenizer.chat_template.rag": OWN.replace("own", "rag"),
}


@pytest.fixture(scope="module")
def model(tiny):
    return tiny(chat_template=OWN, metadata=NAMED)


def test_tools_have_a_template_of_their_own(model):
    with sl.load(model, threads=1) as engine:
        assert engine.render(HI) == engine.render(HI, tools=[]) == "own:Hi"
        assert engine.render(HI, tools=TOOLS) == "tools:add<think>Hi"
        assert engine.stream("Hi", tools=TOOLS, max_tokens=0).prompt == engine.tokenize("tools:add<think>Hi")
        # Its family thinks, the other one does not.
        assert engine.generate("Hi", tools=TOOLS, thinking_budget=1, max_tokens=1).notes == ()
        assert engine.generate("Hi", thinking_budget=1, max_tokens=1).notes != ()


def test_one_is_chosen_by_name_by_file_or_as_text(model, tmp_path):
    file = tmp_path / "my.jinja"
    file.write_text("file:{{ messages[0].content }}", encoding="utf-8")
    for chosen, text in ((str(file), "file:Hi"), ("rag", "rag:Hi"), ("text:{{ messages[0].content }}", "text:Hi")):
        with sl.load(model, threads=1, chat_template=chosen) as engine:
            assert engine.render(HI) == text
            assert "add" in engine.render(HI, tools=TOOLS)  # in the system message: none of them shows tools


def test_a_model_without_one_gets_the_chosen_one(tiny, tmp_path):
    with sl.load(tiny(), threads=1, chat_template="{{ messages[0].content }}", isolated=True) as engine:
        assert engine.info.chat_template and engine.render(HI) == "Hi"


def test_what_is_no_template_says_so(model, tmp_path):
    with pytest.raises(TemplateError, match=r"cannot read the chat template nix: .*templates named rag, tool_use"):
        sl.load(model, threads=1, chat_template="nix")
    binary = tmp_path / "x"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateError, match="is not UTF-8 text"):
        sl.load(model, threads=1, chat_template=str(binary))
    with pytest.raises(TemplateError, match="does not parse"):
        sl.load(model, threads=1, chat_template="{% if %}")
