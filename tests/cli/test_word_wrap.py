"""Streamed text on a terminal: words stay whole at its edge, whatever pieces they come in."""

from __future__ import annotations

import random
import textwrap

from selar_local.cli.display import Display
from selar_local.cli.word_wrap import WordWrap
from selar_local.engine.events import TokenEvent

BOLD, RESET = "<", ">"


def rows(written, width):
    """The rows of a terminal after this was written to it."""
    screen, column = [[]], 0
    for character in written:
        if character == "\n":
            screen.append([])
            column = 0
        elif character == "\b":
            column = max(0, column - 1)
        else:
            if column == width:
                screen.append([])
                column = 0
            screen[-1][len(screen[-1]) :] = " " * (column - len(screen[-1]) + 1)
            screen[-1][column] = character
            column += 1
    return ["".join(row).rstrip() for row in screen]


def in_pieces(text, chance, wrap, style=str):
    written, at = "", 0
    while at < len(text):
        length = chance.randint(1, 12)
        written += wrap.feed(text[at : at + length], style)
        at += length
    return written


def test_lines_break_between_words_whatever_the_pieces():
    """Against the standard library's way, on a simulated terminal."""
    for seed in range(400):
        chance = random.Random(seed)
        width = chance.randint(21, 60)
        words = [
            "x" * chance.randint(1, width - 1) if chance.random() < 0.2 else "ab" * chance.randint(1, 5)
            for _ in range(40)
        ]
        text = " ".join(words)
        written = in_pieces(text, chance, WordWrap(lambda width=width: width))
        assert rows(written, width) == textwrap.wrap(text, width - 1)


def test_paragraphs_and_long_words_lose_nothing():
    chance = random.Random(0)
    for _ in range(20):
        text = "".join(
            chance.choice(["word", " ", " ", "\n", "long" * 12, "\t", "ein", "größer"])
            for _ in range(chance.randint(1, 400))
        )
        written = in_pieces(text, chance, WordWrap(lambda: 30))
        shown = "\n".join(rows(written.replace("\t", " "), 30))
        assert "".join(shown.split()) == "".join(text.split())


def test_what_fits_is_written_as_it_is():
    wrap = WordWrap(lambda: 80)
    assert wrap.feed("one two\n  three ", lambda part: f"{BOLD}{part}{RESET}") == "<one two\n  three >"
    assert wrap.feed("") == ""


def test_a_word_keeps_the_styles_of_its_pieces_when_it_moves():
    wrap = WordWrap(lambda: 21)
    assert wrap.feed("0123456789 abcde") == "0123456789 abcde"
    assert wrap.feed("fgh", lambda part: f"{BOLD}{part}{RESET}") == "<fgh>"
    assert wrap.feed("ijk lm") == "\b" * 8 + " " * 8 + "\n" + "abcde<fgh>" + "ijk lm"


def test_code_between_fences_is_left_alone():
    line = "word " * 10 + "end"
    wrap = WordWrap(lambda: 30)
    code = f"```py\n{line}\n  ```\n"
    assert wrap.feed(code) == code
    assert wrap.feed(line) != line, "after the code, words wrap again"


def test_scripts_without_spaces_and_wide_characters():
    chinese = "天空为什么是蓝色的" * 8
    assert WordWrap(lambda: 30).feed(chinese) == chinese
    wrap = WordWrap(lambda: 21)
    assert wrap.feed("中文字符中文字 ab cd efgh") == "中文字符中文字 ab cd\nefgh"


def test_a_narrow_terminal_and_one_that_changes():
    widths = [10, 10, 30, 30]
    wrap = WordWrap(lambda: widths.pop(0))
    line = "word " * 5
    assert wrap.feed(line) == line and wrap.feed("\n") == "\n"
    assert "\n" not in wrap.feed(line)
    assert wrap.feed("longer") == "\nlonger"


def test_only_a_terminal_gets_broken_lines(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    text = "word " * 30
    display = Display()
    display.token(TokenEvent(0, 0, text, text, None, False, (), 0, ((0, 1.0),)))
    display.end_text()
    assert capsys.readouterr() == (text + "\n", f"Thinking...\n{text}\n...done thinking.\n\n")


def test_on_a_terminal_of_its_own(model, terminal):
    text = " ".join(["several", "words"] * 8)
    options = ("run", model, "--raw", "-p", "Hello", "--grammar", f'root ::= "{text}"', "-t", "1", "-q")
    visit = terminal(*options, COLUMNS="40")
    assert visit.end() == 0
    assert "\n".join(rows(visit.text, 80)).split("\n\n")[0].split("\n") == [*textwrap.wrap(text, 39), ""]
