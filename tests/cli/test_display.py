"""What a person sees: colours and bars only on a terminal, thinking told apart, nothing a terminal would obey."""

from __future__ import annotations

import io
import re
import time
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from selar_local.cli import progress as progress_module
from selar_local.cli.display import Display, use_color
from selar_local.cli.progress import progress
from selar_local.cli.streams import one_line, printable
from selar_local.engine.events import Result, Timings, TokenEvent, Usage
from selar_local.formats import Call

EXPLORED, RESET = "\x1b[95m\x1b[4m", "\x1b[0m"


class Screen(io.StringIO):
    """A terminal that only remembers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch):
    """Standard output and error on one terminal."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    screen = Screen()
    monkeypatch.setattr("selar_local.cli.display.sys", SimpleNamespace(stdout=screen, stderr=screen))
    return screen


def seen(written: str) -> list[str]:
    """The lines that a terminal shows: a carriage return writes over what is there."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def event(text="", *, thinking="", explored=False):
    return TokenEvent(0, 0, text, thinking, 0.5, explored, (), 0, ((0, 1.0),))


def test_calls_are_lines_of_json(capsys):
    Display(quiet=True).calls([Call("now", "{}"), Call('a"b', '{"city":\r\n "Zürich"}', "x")])
    lines = ['{"name": "now", "arguments": {}}', '{"name": "a\\"b", "arguments": {"city":   "Zürich"}}']
    assert capsys.readouterr().out.splitlines() == lines


def test_exploration_steps_are_coloured(screen):
    display = Display()
    for one in (event("a"), event("b", explored=True), event("c")):
        display.token(one)
    display.end_text()
    assert screen.getvalue() == f"a{EXPLORED}b{RESET}c\n"


def test_a_step_whose_text_waits_is_coloured_when_it_comes(screen):
    display = Display()
    for one in (event(explored=True), event("é"), event("c")):
        display.token(one)
    assert screen.getvalue() == f"{EXPLORED}é{RESET}c"


def test_thinking_and_answer_on_a_terminal(screen):
    display = Display(no_color=True)
    for one in (event(thinking="Hm."), event(thinking=" So", explored=True), event("Yes")):
        display.token(one)
    display.end_text()
    assert screen.getvalue() == "Thinking...\nHm. So\n...done thinking.\n\nYes\n"


def test_thinking_alone_ends_its_line(screen):
    display = Display(no_color=True)
    display.token(event(thinking="Hm"))
    display.end_text()
    display.end_text()
    assert screen.getvalue() == "Thinking...\nHm\n"


def test_text_held_back_when_it_was_stopped(screen):
    display = Display(no_color=True)
    display.token(event("one"))
    display.end_text(" two")
    assert screen.getvalue() == "one two\n"


def test_control_characters_are_shown_not_obeyed(screen):
    display = Display(no_color=True)
    display.token(event("a\x1b[2Jb\r\n\tc\x07"))
    assert screen.getvalue() == "a␛[2Jb\n\tc␇"
    assert one_line("a\n b\x1b") == "a b␛" and printable("\x9b") == "\ufffd"


def test_off_a_terminal_the_text_is_as_it_is(capsys):
    Display().token(event("a\x1bb", explored=True))
    assert capsys.readouterr().out == "a\x1bb"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_forbids_colours(name, value, screen, monkeypatch):
    assert use_color(screen, no_color=False) and not use_color(screen, no_color=True)
    monkeypatch.setenv(name, value)
    assert not use_color(screen, no_color=False)


def test_an_empty_no_color_forbids_nothing(screen, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert use_color(screen, no_color=False)


def test_the_legend_only_where_there_are_colours(screen, monkeypatch):
    Display(no_color=True).legend()
    Display(quiet=True).legend()
    assert screen.getvalue() == ""
    Display().legend()
    assert f"{EXPLORED}like this{RESET}" in screen.getvalue()


def test_a_closed_standard_error_ends_nothing(screen, monkeypatch):
    closed = Screen()
    closed.close()
    monkeypatch.setattr("selar_local.cli.display.sys", SimpleNamespace(stdout=screen, stderr=closed))
    display = Display()
    display.note("nobody reads this")
    display.token(event("text"))
    assert screen.getvalue() == "text"


@pytest.mark.parametrize(
    ("more", "ending"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"finish_reason": "stop", "stop_string": "\n"}, r"stop: '\n'"),
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "length", "context_full": True}, "length: the context is full (raise it with -c)"),
        ({"finish_reason": "cancelled"}, "cancelled"),
    ],
)
def test_statistics(more, ending, capsys):
    result = Result("x", "", usage=Usage(7, 4, 1), timings=Timings(0.5, 2.0, 4), mean_entropy=0.25, seed=9, **more)
    Display().statistics(result)
    middle = "2.0 tokens/s · 25.0 % exploration steps · mean entropy 0.250 · prompt 7 tokens in 0.50 s · seed 9"
    assert capsys.readouterr().err == f"[4 tokens · {middle} · {ending}]\n"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
@pytest.mark.parametrize("stop", ["a long stop string with spaces", None])
def test_statistics_fit_the_terminal(width, stop, screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    usage, timings = Usage(12_345, 4_096, 1234, latent_steps=6), Timings(12.5, 200.0, 4096)
    full = {"finish_reason": "length", "context_full": True}
    ending = {"finish_reason": "stop", "stop_string": stop} if stop else full
    result = Result("x", "", usage=usage, timings=timings, mean_entropy=0.25, seed=2**63 - 1, **ending)
    Display(no_color=True).statistics(result, "nats")
    lines = screen.getvalue().splitlines()
    longest = max(len(figure) for figure in Display.figures(result, "nats"))
    assert all(len(line) <= max(width, longest + 4) for line in lines)
    assert " ".join(line.strip() for line in lines) == f"[{' · '.join(Display.figures(result, 'nats'))}]"
    assert (len(lines) == 1) is (width == 300)


def test_a_prompt_that_was_not_read_is_not_claimed():
    result = Result("", "", "cancelled", Usage(5000, 0, 0, prompt_read=512), Timings(0.5, 0.0, 0))
    assert "prompt 512 of 5000 tokens in 0.50 s" in Display.figures(result)


def test_statistics_name_what_the_calibration_has_filled_in(capsys):
    result = Result("x", "", "stop", Usage(7, 4, 1), Timings(0.5, 2.0, 4), mean_entropy=0.25)
    Display().statistics(result, calibrated={"tau": 0.42345678})
    assert " · mean entropy 0.250 · tau 0.4235 (calibrated) · prompt 7 tokens" in capsys.readouterr().err


def test_statistics_without_entropy_or_tokens(capsys):
    Display().statistics(Result("", "", "cancelled", Usage(7, 0, 0, prompt_read=7), Timings(0.5, 0.0, 0)))
    assert capsys.readouterr().err == "[0 tokens · prompt 7 tokens in 0.50 s · seed 0 · cancelled]\n"


def test_a_bar_appears_while_nothing_is_reported_and_goes(monkeypatch):
    monkeypatch.setattr(progress_module, "_DELAY", 0.02)
    monkeypatch.setattr(progress_module, "_TICK", 0.01)
    screen = Screen()
    with progress(screen, "loading x", hidden=False) as report:
        time.sleep(0.15)
        assert re.search(r"loading x 00:00", screen.getvalue()) and "%" not in screen.getvalue()
        report(0.5)
        time.sleep(0.15)
        assert "50 %" in screen.getvalue()
    assert screen.getvalue().endswith("\r") and not screen.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip()


def test_lines_for_the_person_do_not_stick_to_a_bar(screen):
    display = Display(no_color=True)
    with tqdm(total=3, desc="bar", file=screen, leave=False, mininterval=0) as bar:
        for say in (display.note, display.warn, display.error):
            bar.update()
            say("a line")
        bar.refresh()
        assert seen(screen.getvalue())[3].startswith("bar: 100%")  # it goes on below the lines
    assert seen(screen.getvalue()) == ["a line", "warning: a line", "error: a line", ""]


def test_no_bar_for_what_is_quick_or_hidden():
    screen = Screen()
    with progress(screen, "loading x", hidden=False) as report:
        report(1.0)
    with progress(screen, "loading x", hidden=True) as report:
        report(1.0)
    assert screen.getvalue() == ""


def test_colours_and_no_color_on_a_real_terminal(model, terminal):
    coloured = terminal("run", model, "--raw", "-p", "Hello", "-n", "24", "-t", "1", "--seed", "1")
    plain = terminal(
        "run", model, "--raw", "-p", "Hello", "-n", "24", "-t", "1", "--seed", "1", "--no-color", NO_COLOR=""
    )
    assert (coloured.end(), plain.end()) == (0, 0)
    assert EXPLORED in coloured.screen and "marked like this" in coloured.text
    assert "\x1b" not in plain.screen and "marked" not in plain.text
    answer = next(line for line in plain.text.splitlines() if line.strip() and not line.startswith("loading"))
    assert answer in coloured.text
