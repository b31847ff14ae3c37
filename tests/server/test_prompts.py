"""Prompts without an answer: /tokenize, /detokenize, /apply-template; embeddings; aliases of the model."""

from __future__ import annotations

import pytest

from selar_local.server.app import create_app
from selar_local.server.config import ServerConfig

from .conftest import HELLO, Api

TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize("text", ["the end", "", " a\n\nb", "é 你 😀", "<|im_start|>user"])
def test_tokens_and_back(api, engine, text):
    tokens = api.post("/tokenize", content=text).json()["tokens"]
    special = api.post("/tokenize", content=text, add_special=True).json()["tokens"]
    assert special == list(engine.tokenize(text)) and special[len(special) - len(tokens) :] == tokens
    pieces = api.post("/tokenize", content=text, with_pieces=True).json()["tokens"]
    assert [piece["id"] for piece in pieces] == tokens
    back = api.post("/detokenize", tokens=tokens).json()["content"]
    assert back == text.replace("<|im_start|>", "")
    assert "".join(p["piece"] for p in pieces if isinstance(p["piece"], str)) in (back, "".join(back.split("😀")))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}), ("/tokenize", {"content": 7}), ("/tokenize", {"content": "a", "parse_special": False}),
        ("/tokenize", {"content": "a", "other": 1}), ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [10**6]}),
        ("/detokenize", {"tokens": "a"}), ("/apply-template", {}), ("/apply-template", {"messages": [{"role": "x"}]}),
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_a_400(api, path, body):
    assert api.post(path, **body).status_code == 400


def test_the_template_s_prompt_is_the_one_that_is_answered(api, engine):
    prompt = api.post("/apply-template", messages=HELLO, tools=[TOOL]).json()["prompt"]
    assert prompt == engine.render(HELLO, tools=[TOOL]) and "the end" in prompt
    counted = api.chat(tools=[TOOL]).json()["usage"]["prompt_tokens"]
    assert counted == len(api.post("/tokenize", content=prompt, add_special=True).json()["tokens"])
    begun = [*HELLO, {"role": "assistant", "content": "well"}]
    assert api.post("/apply-template", messages=begun, continue_final_message=True).json()["prompt"].endswith("well")


def test_embeddings_are_refused_by_name(api):
    response = api.post("/v1/embeddings", input="a")
    assert response.status_code == 404 and "embeddings" in response.json()["error"]["message"]


def test_aliases(engine):
    api = Api(create_app(engine, ServerConfig(aliases=("gpt-4o", "own"), strict_model_name=True)))
    names = [one["id"] for one in api.get("/v1/models").json()["data"]]
    assert names[1:] == ["gpt-4o", "own"]
    for name in names:
        assert api.chat(model=name).status_code == 200 and api.get(f"/v1/models/{name}").status_code == 200
    assert api.chat(model="another").status_code == 404
