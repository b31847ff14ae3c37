"""Long texts are cut before special tokens: the tokens stay the same, and the time grows with the length alone."""

from __future__ import annotations

import pytest
from gguf import TokenType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_gguf import tiny_vocabulary

from selar_local.config import EngineConfig
from selar_local.llama import special_texts
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.model import LlamaModel
from selar_local.llama.special_texts import SpecialTexts

CONTROLS = ("<s>", "</s>", "<unk>", "<mask>", "<|end|>", "<|end|><x>", "<x>y")
DEFINED = ("\n", "\n\n", "  ", "   ", "<e")
ODD = ("<|endo", "|>", ">", " ", "a", "é", "the end", "x", "y")


def with_specials(**metadata):
    """Metadata of a tiny model whose last words are special tokens."""
    words = tiny_vocabulary(thinking_tokens=True)
    tokens, types = list(words.tokens), list(words.types)
    for at, text in enumerate((*CONTROLS, *DEFINED), types.index(TokenType.CONTROL) - len(CONTROLS) - len(DEFINED)):
        tokens[at], types[at] = text, int(TokenType.CONTROL if text in CONTROLS else TokenType.USER_DEFINED)
    return {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types, **metadata}


@pytest.fixture(scope="module", params=[{}, {"general.name": "phi-3"}, {"tokenizer.ggml.pre": "jina-v2-code"}])
def model(request, tiny):
    """llama.cpp gives some tokens the white space after them by the second, before them by the third."""
    path = tiny(metadata=with_specials(**request.param), thinking_tokens=True)
    opened = LlamaModel(open_gguf(path), EngineConfig(threads=1))
    assert bool(opened._cut_out_first._strips_right) == ("general.name" in request.param)
    yield opened
    opened.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), special=st.booleans())
def test_the_tokens_of_the_pieces_are_those_of_the_text(model, monkeypatch, data, special):
    monkeypatch.setattr(special_texts, "_PIECE", 4)
    texts = model._cut_out_first if special else model._cut_out_of_plain_text
    parts = st.sampled_from([*ODD, *sorted(texts._texts), *sorted(t[:-1] for t in texts._texts)])
    text = "".join(data.draw(st.lists(parts, max_size=60)))
    pieces = list(texts.pieces(text))
    assert "".join(pieces) == text
    tokens = [token for piece in pieces for token in model._tokenize(piece, special)]
    assert tokens == model._tokenize(text, special)


def test_where_a_text_is_cut(monkeypatch):
    monkeypatch.setattr(special_texts, "_PIECE", 1)

    def cut(text, *texts, strips=()):
        return list(SpecialTexts(texts, strips).pieces(text))

    assert cut("a<e>b<e><e>c", "<e>") == ["a", "<e>b", "<e>", "<e>c"]
    assert cut("a <e>", "<e>") == ["a <e>"]  # the space may be the token's
    assert cut("a\n\n\nb\nc", "\n", "\n\n") == ["a", "\n\n\nb", "\nc"]
    assert cut("a<e>x>b", "<e>", "<e>x>") == ["a", "<e>x>b"]
    assert cut("ab<e>", "<e>", "b<") == ["ab<e>"]  # "b<" may be found first
    assert cut("a<e>xyz", "<e>", ">xyz") == ["a<e>xyz"]
    assert cut("a<e>\n\nb", "<e>", "\n\n", strips=("<e>",)) == ["a", "<e>\n\nb"]
    assert cut("a<e>") == ["a<e>"]


def test_many_special_tokens_are_cut_often(model):
    text = "<|im_end|>" * 100_000
    assert max(map(len, model._cut_out_first.pieces(text))) < 3000
    assert model.tokenize(text, special=True) == model.tokenize("<|im_end|>", special=True) * 100_000


def test_the_tokens_beyond_a_limit_are_not_looked_for(model):
    text = "<|im_end|>" * 10_000
    few = model.prompt_tokens(text, most=100)
    assert 100 < len(few) < 1000 and few == model.prompt_tokens(text)[: len(few)]
    assert len(model.prompt_tokens(*[text[:10]] * 50, most=20)) < 30
