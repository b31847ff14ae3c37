"""Tokens named by text or id, and the pair around a model's thinking."""

from __future__ import annotations

import pytest

from selar_local.errors import OptionError
from selar_local.methods import Coconut, SwiReasoning
from selar_local.methods.think_tokens import named_token, own_think_tokens
from selar_local.thinking import TAGS

from .fakes import N_ASCII, Words


@pytest.mark.parametrize("pair", TAGS)
def test_every_known_pair_is_found_opening_first(pair: tuple[str, str]) -> None:
    assert own_think_tokens(Words(*pair)) == (N_ASCII, N_ASCII + 1)
    assert own_think_tokens(Words(*reversed(pair))) == (N_ASCII + 1, N_ASCII)


@pytest.mark.parametrize("words", [(), ("<think>",), ("</think>",), ("<think>", "[/THINK]"), ("<THINK>", "</THINK>")])
def test_half_a_pair_is_none(words: tuple[str, ...]) -> None:
    assert own_think_tokens(Words(*words)) is None


def test_the_first_whole_pair_counts() -> None:
    both = Words("[THINK]", "[/THINK]", "<think>", "</think>")
    assert own_think_tokens(both) == (both["<think>"], both["</think>"])
    half = Words("<think>", "[THINK]", "[/THINK]")
    assert own_think_tokens(half) == (half["[THINK]"], half["[/THINK]"])


class Zero(Words):
    """Token 0 opens the thinking, and it closes with token 1."""

    def token_of(self, text: str) -> int | None:
        return {"<think>": 0, "</think>": 1}.get(text)


def test_token_zero_is_a_token() -> None:
    assert own_think_tokens(Zero()) == (0, 1)
    assert named_token(Zero(), "x", "<think>") == 0
    assert named_token(Zero(), "x", 0) == 0


def test_a_token_by_text_or_id() -> None:
    words = Words("<open>", " word")
    assert named_token(words, "x", "<open>") == N_ASCII
    assert named_token(words, "x", " word") == N_ASCII + 1
    assert named_token(words, "x", "7") == ord("7")  # the text of a token, not an id
    assert named_token(words, "x", N_ASCII + 1) == words.n_vocab - 1


@pytest.mark.parametrize("token", [N_ASCII, N_ASCII + 1, 10**12])
def test_an_id_beyond_the_vocabulary(token: int) -> None:
    with pytest.raises(OptionError, match=rf"think_end {token} .* {N_ASCII}$"):
        named_token(Words(), "think_end", token)


@pytest.mark.parametrize("token", ["<open>", "two words", "</think>"])
def test_a_text_that_is_no_single_token(token: str) -> None:
    with pytest.raises(OptionError, match=f"think_end '{token}'"):
        named_token(Words(), "think_end", token)


@pytest.mark.parametrize("token", [None, 0, 3, 10**12, "a", "<think>", " ", "0"])
def test_what_can_be_a_name(token: int | str | None) -> None:
    assert SwiReasoning(think_end=token).think_end == token


@pytest.mark.parametrize("token", ["", -1, True, False, 1.0, b"a", ["a"], ()])
def test_what_cannot(token: object) -> None:
    with pytest.raises(OptionError, match="latent_start"):
        Coconut(latent_start=token)  # type: ignore[arg-type]
