"""The example chat window on a tiny model: it streams, marks, stops, survives, and never holds the event loop up."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest

pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6-Essentials", exc_type=ImportError)
import PySide6

if PySide6.__version_info__[:3] == (6, 12, 0) and sys.version_info < (3, 12):
    pytest.skip("PySide6 6.12.0 aborts Python 3.11 and older: see docs/APPS.md", allow_module_level=True)

from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "chat_window" / "chat_window.py"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SOON = 30.0
LONGEST_GAP = 0.3
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and process ids as on POSIX")


@pytest.fixture(scope="session")
def app() -> QApplication:
    return QApplication.instance() or QApplication([])


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("chat_window")


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Path]) -> Path:
    """Slow enough to be stopped: thousands of tokens fit."""
    return tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512, chat_template=TEMPLATE)


class Gaps:
    """How long the event loop was away from a 10 ms timer at most."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.monotonic()
        self._timer = QTimer(interval=10, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now


def wait(condition: Callable[[], Any], seconds: float = SOON) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        QTest.qWait(5)


@pytest.fixture
def opened(app: QApplication, example: Any, model: Path) -> Iterator[Any]:
    """A window whose model is loaded."""
    window = example.ChatWindow(os.fspath(model), threads=1, ctx_size=32768)
    window.show()
    try:
        wait(window.send_button.isEnabled)
        yield window
    finally:
        end(window)


def end(window: Any) -> None:
    """As `main` does it."""
    window.close()
    window.backend.join()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), str(SCRIPT.parent), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=180, check=False, env=environment
    )


def ask(window: Any, question: str, method: str = "selar", tau: float = 0.5) -> None:
    window.method.setCurrentText(method)
    window.tau.setValue(tau)
    window.input.setText(question)
    QTest.keyClick(window.input, Qt.Key.Key_Return)


def length(window: Any) -> int:
    return len(window.view.toPlainText())


def idle(window: Any) -> bool:
    return bool(window.send_button.isEnabled())


def fragments(window: Any) -> list[tuple[str, bool, str]]:
    """Text, underlined?, colour of every run of the transcript."""
    found = []
    block = window.view.document().begin()
    while block.isValid():
        pieces = block.begin()
        while not pieces.atEnd():
            style = pieces.fragment().charFormat()
            found.append((pieces.fragment().text(), style.fontUnderline(), style.foreground().color().name()))
            pieces += 1
        block = block.next()
    return found


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_answer_streams_and_exploration_steps_are_marked(opened, example, monkeypatch):
    monkeypatch.setattr("chat_backend.MAX_TOKENS", 200)
    lengths: list[int] = []
    opened.view.textChanged.connect(lambda: lengths.append(length(opened)))
    ask(opened, "Hello", tau=0.5)
    wait(lambda: not idle(opened))
    wait(lambda: idle(opened))
    assert len(lengths) > 3 and lengths == sorted(lengths)
    answer = [piece for piece in fragments(opened) if not piece[0].startswith("Hello")]
    marked = [piece for piece in answer if piece[1]]
    assert marked and len(marked) < len(answer)
    assert {color for _, underlined, color in answer if underlined}.isdisjoint(
        {color for _, underlined, color in answer if not underlined}
    )
    status = opened.status.text()
    assert "tokens/s" in status and "% exploration steps" in status and status.endswith(("length", "stop"))
    assert [message["role"] for message in opened.messages] == ["user", "assistant"]
    opened.clear()
    assert (opened.messages, length(opened)) == ([], 0)
    ask(opened, "Hello", tau=1.05)
    wait(lambda: not idle(opened))
    wait(lambda: idle(opened))
    assert not any(underlined for _, underlined, _ in fragments(opened))
    assert "· 0.0 % exploration" in opened.status.text()


@pytest.mark.parametrize("method", ["selar", "cot", "cot-greedy", "soft-thinking", "swir", "coconut"])
def test_every_method_can_be_chosen_and_turns_follow_each_other(opened, example, monkeypatch, method):
    monkeypatch.setattr("chat_backend.MAX_TOKENS", 12)
    for turn in (1, 2):
        ask(opened, "Hello", method)
        wait(lambda: not idle(opened))
        wait(lambda: idle(opened))
        assert len(opened.messages) == 2 * turn, opened.view.toPlainText()
    assert opened.tau.isEnabled() == (method == "selar")


@pytest.mark.parametrize("by", ["button", "escape"])
def test_it_stops_within_a_second(opened, by):
    ask(opened, "Hello", tau=0.0)
    before = length(opened)
    wait(lambda: length(opened) > before + 20)
    begun = time.monotonic()
    if by == "button":
        QTest.mouseClick(opened.stop_button, Qt.MouseButton.LeftButton)
    else:
        opened.activateWindow()  # shortcuts are for the window that has the focus
        assert QTest.qWaitForWindowActive(opened)
        QTest.keyClick(opened, Qt.Key.Key_Escape)
    wait(lambda: idle(opened))
    assert time.monotonic() - begun < 1.0
    assert opened.status.text().endswith("cancelled")


def test_the_event_loop_is_never_held_up(app, example, model):
    gaps = Gaps()
    window = example.ChatWindow(os.fspath(model), threads=1, ctx_size=32768)
    window.show()
    try:
        wait(window.send_button.isEnabled)
        loading = gaps.longest
        ask(window, "Hello", tau=0.3)
        QTest.qWait(3000)
        window.stop()
        wait(lambda: idle(window))
        print(f"longest gap: {1000 * loading:.0f} ms while loading, {1000 * gaps.longest:.0f} ms in all")
        assert gaps.longest < LONGEST_GAP
    finally:
        end(window)


@posix
def test_a_killed_engine_is_told_and_the_next_question_answered(opened, example, monkeypatch):
    ask(opened, "Hello")
    before = length(opened)
    wait(lambda: length(opened) > before + 20)
    os.kill(opened.backend.engine.process_id, signal.SIGKILL)
    wait(lambda: idle(opened))
    assert "the process that runs llama.cpp has died" in opened.view.toPlainText()
    assert opened.messages == []
    monkeypatch.setattr("chat_backend.MAX_TOKENS", 20)
    ask(opened, "Again")
    wait(lambda: not idle(opened))
    wait(lambda: idle(opened))
    assert len(opened.messages) == 2


@posix
def test_closing_in_the_middle_of_an_answer_leaves_no_process(app, example, model):
    window = example.ChatWindow(os.fspath(model), threads=1, ctx_size=32768)
    window.show()
    wait(window.send_button.isEnabled)
    child = window.backend.engine.process_id
    ask(window, "Hello")
    before = length(window)
    wait(lambda: length(window) > before + 20)
    end(window)
    assert not running(child)


def test_closing_while_it_loads_ends_the_load(app, example, model):
    window = example.ChatWindow(os.fspath(model), threads=1)
    window.show()
    QTest.qWait(50)
    begun = time.monotonic()
    end(window)
    assert time.monotonic() - begun < SOON
    assert window.backend.engine is None or window.backend.engine.closed


WHOLE_APP = """
import sys, chat_window
from PySide6.QtCore import QTimer
class Window(chat_window.ChatWindow):
    def __init__(self, model):
        super().__init__(model, threads=1, ctx_size=32768)
        if when == "loading":
            QTimer.singleShot(100, self.close)
        self.backend.loaded.connect(self.begin)
    def begin(self):
        if when == "answering":
            self.input.setText("Hello")
            self.send()
        QTimer.singleShot(500, self.close)
when = sys.argv.pop()
chat_window.ChatWindow = Window
sys.exit(chat_window.main())
"""


@pytest.mark.parametrize("when", ["loading", "idle", "answering"])
def test_the_whole_app_ends_cleanly(model, when):
    done = run("-c", WHOLE_APP, str(model), when)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Error" not in done.stderr and "QObject" not in done.stderr, done.stderr


def test_errors_are_lines_in_the_window(app, example, tmp_path, opened):
    window = example.ChatWindow(os.fspath(tmp_path / "nothing.gguf"))
    window.show()
    wait(window.view.toPlainText)
    assert "there is no model" in window.view.toPlainText()
    end(window)
    ask(opened, "long " * 40000)
    wait(lambda: not idle(opened))
    wait(lambda: idle(opened))
    assert "the context holds" in opened.view.toPlainText()
    assert opened.messages == []


def test_another_model_after_a_failed_load_and_after_that(app, example, tmp_path, model, monkeypatch):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, but no more")
    window = example.ChatWindow(os.fspath(tmp_path / "nothing.gguf"), threads=1, ctx_size=1024)
    window.show()
    choice = [""]
    monkeypatch.setattr(example.QtWidgets.QFileDialog, "getOpenFileName", lambda *_: (choice[0], ""))
    monkeypatch.setattr("chat_backend.MAX_TOKENS", 12)
    try:
        assert not window.open_button.isEnabled()  # while it loads
        wait(window.open_button.isEnabled)
        assert "there is no model" in window.view.toPlainText() and not idle(window)
        QTest.mouseClick(window.open_button, Qt.MouseButton.LeftButton)  # and the person cancels
        assert window.open_button.isEnabled() and not idle(window)
        for path, works in ((broken, False), (model, True), (model, True)):
            before = window.backend.engine
            choice[0] = os.fspath(path)
            QTest.mouseClick(window.open_button, Qt.MouseButton.LeftButton)
            assert not window.open_button.isEnabled()
            wait(window.open_button.isEnabled)
            assert idle(window) is works
            assert before is None or before.closed
        assert window.view.toPlainText().count("broken.gguf") == 1
        ask(window, "Hello")
        wait(lambda: not idle(window))
        assert not window.open_button.isEnabled()
        wait(lambda: idle(window))
        assert len(window.messages) == 2
    finally:
        end(window)


def test_the_self_check_answers_without_a_window(model):
    done = run(str(SCRIPT), "--self-check", str(model), "Hello")
    assert (done.returncode, done.stderr) == (0, "")
    assert "methods: selar, " in done.stdout
