"""The symbol guard's ids, on a vocabulary that joins characters as a tokenizer does."""

from __future__ import annotations

import string

from selar_local.methods.symbols import SYMBOLS, symbol_ids

MERGED = ("\\f", "rac", "sqrt", "left", "pi", "12", "and", " x")


class Joining:
    """Takes the longest piece of `MERGED` that fits, else one character; ids are positions in `pieces`."""

    def __init__(self) -> None:
        self.pieces = [*(chr(code) for code in range(128)), *MERGED]

    def encode(self, text: str) -> list[int]:
        ids = []
        while text:
            piece = max((p for p in self.pieces if text.startswith(p)), key=len)
            ids.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return ids


def guarded() -> set[str]:
    vocabulary = Joining()
    return {vocabulary.pieces[token] for token in symbol_ids(vocabulary)}


def test_digits_letters_and_operators() -> None:
    assert set(string.digits + string.ascii_letters + "+-*/^=<>()[]{}_|\\") <= guarded()


def test_pieces_of_a_command_are_guarded() -> None:
    # "\\frac" is spelled "\\f", "rac"; "\\left(" is "\\", "left", "(".
    assert {"\\f", "rac", "sqrt", "left", "pi"} <= guarded()


def test_what_is_no_symbol_is_not() -> None:
    # "12" is two symbols that no symbol's own encoding joins; words and punctuation are free.
    assert not guarded() & {"12", "and", " x", " ", "\n", ".", ",", ";", ":", "?", "!", '"', "'", "$", "%", "&", "#"}


def test_the_list_has_each_symbol_once() -> None:
    assert len(SYMBOLS) == len(set(SYMBOLS))
    commands = [symbol for symbol in SYMBOLS if len(symbol) > 1]
    assert all(command.startswith("\\") and not command[1:].startswith("\\") for command in commands)
    known = ("frac", "sqrt", "pi", "theta", "leq", "geq", "neq", "infty", "sum", "int", "begin{pmatrix}", "left\\{")
    assert {"\\" + name for name in known} <= set(commands)


def test_an_empty_encoding_guards_nothing() -> None:
    class Nothing:
        def encode(self, text: str) -> list[int]:
            return []

    assert symbol_ids(Nothing()) == frozenset()


def test_the_tokenizer_is_asked_once_for_each_vocabulary() -> None:
    class Counting:
        asked = 0

        def encode(self, text: str) -> list[int]:
            self.asked += 1
            return [len(text)]

    one, other = Counting(), Counting()
    assert symbol_ids(one) == symbol_ids(one) == symbol_ids(other)
    assert one.asked == other.asked == len(SYMBOLS)
