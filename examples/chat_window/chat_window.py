"""A small chat window on selar-local: it streams, marks exploration steps, stops at once and never freezes.

    pip install "PySide6-Essentials>=6.8,<6.12"
    python examples/chat_window/chat_window.py [MODEL]       (no MODEL: the bundled one)

This file only shows and asks. All that takes time is done in `chat_backend`, which speaks by Qt signals.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import groupby
from typing import Any

import selar_local as sl

if __name__ == "__main__":
    sl.run_child_if_asked()  # before Qt is imported: a frozen app's child needs none of it

try:
    from chat_backend import Backend
    from PySide6 import QtCore, QtGui, QtWidgets
except ImportError as error:
    if not (error.name or "").startswith("PySide6"):
        raise
    sys.exit('the window needs Qt: pip install "PySide6-Essentials>=6.8,<6.12"')

from selar_local.methods import METHODS


class ChatWindow(QtWidgets.QMainWindow):
    """The conversation, what it is asked with, and a line that tells how it goes."""

    def __init__(self, model: str | None = None, **options: Any) -> None:
        super().__init__()
        self.messages: list[dict[str, str]] = []
        self._options = options
        self._question = ""
        self._state = "loading"  # or: idle, answering, failed
        self._events = self._explored = 0
        self._began = 0.0
        self._carried = False  # an exploration step whose text is still held back
        self._styles = {
            "plain": style(), "explored": style("#b5179e", underline=True), "thinking": style("#808080"),
            "explored thinking": style("#b078a8", underline=True), "you": style("#2a6fbb", bold=True),
            "error": style("#d00000"), "note": style("#808080"),
        }  # fmt: skip
        self._build()
        self.backend = Backend()
        self.backend.progress.connect(self._on_progress)
        self.backend.loaded.connect(self._on_loaded)
        self.backend.load_failed.connect(self._on_load_failed)
        self.backend.said.connect(self._on_said)
        self.backend.ended.connect(self._on_ended)
        self.load(model)

    def _build(self) -> None:
        self.setWindowTitle("selar-local")
        self.resize(760, 560)
        self.view = QtWidgets.QPlainTextEdit(readOnly=True, undoRedoEnabled=False)
        self.input = QtWidgets.QLineEdit(placeholderText="Ask something, Enter sends", returnPressed=self.send)
        self.send_button = QtWidgets.QPushButton("Send", clicked=self.send)
        self.stop_button = QtWidgets.QPushButton("Stop", clicked=self.stop)
        self.clear_button = QtWidgets.QPushButton("Clear", clicked=self.clear)
        self.open_button = QtWidgets.QPushButton("Open a model ...", clicked=self.choose_model)
        self.method = QtWidgets.QComboBox()
        for name, cls in METHODS.items():
            self.method.addItem(name)
            self.method.setItemData(self.method.count() - 1, cls.summary, QtCore.Qt.ItemDataRole.ToolTipRole)
        self.tau = QtWidgets.QDoubleSpinBox(minimum=0.0, maximum=1.05, singleStep=0.05, value=float(sl.Selar().tau))
        self.tau.setToolTip("selar explores where the normalised entropy reaches this; 0: always, above 1: never")
        self.method.currentTextChanged.connect(lambda name: self.tau.setEnabled(name == sl.Selar.name))
        self.status = QtWidgets.QLabel()
        self.bar = QtWidgets.QProgressBar(maximumWidth=160, textVisible=False)
        self.statusBar().addWidget(self.status, 1)
        self.statusBar().addPermanentWidget(self.bar)
        QtGui.QShortcut(QtGui.QKeySequence(QtCore.Qt.Key.Key_Escape), self, activated=self.stop)
        body = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(body)
        column.addLayout(row("Method", self.method, "tau", self.tau, None, self.open_button, self.clear_button))
        column.addWidget(self.view)
        column.addLayout(row(self.input, self.send_button, self.stop_button))
        self.setCentralWidget(body)

    def _enter(self, state: str, status: str) -> None:
        self._state = state
        self.status.setText(status)
        self.bar.setVisible(state in ("loading", "answering"))
        self.bar.setRange(0, 0)  # something happens, nobody knows how much of it
        self.send_button.setEnabled(state == "idle")
        self.stop_button.setEnabled(state == "answering")
        self.clear_button.setEnabled(state == "idle")
        self.open_button.setEnabled(state in ("idle", "failed"))

    def load(self, model: str | None) -> None:
        """Open a model in place of the one that is there. The conversation stays."""
        self._enter("loading", "loading the model ...")
        self.backend.load(model, **self._options)

    def choose_model(self) -> None:
        """Let the person choose a file, and open it."""
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, "Open a model", "", "GGUF models (*.gguf)")
        if path and self._state in ("idle", "failed"):
            self.load(path)

    def send(self) -> None:
        """Ask what stands in the input line."""
        question = self.input.text().strip()
        if self._state != "idle" or not question:
            return
        name = self.method.currentText()
        method = METHODS[name](**({"tau": self.tau.value()} if name == sl.Selar.name else {}))
        self.input.clear()
        self._question, self._events, self._explored, self._carried = question, 0, 0, False
        self._write(f"{question}\n", "you")
        self._enter("answering", "reading the prompt ...")
        self.backend.ask([*self.messages, {"role": "user", "content": question}], method)

    def stop(self) -> None:
        """End the answer; what is there of it stays."""
        if self._state == "answering":
            self.status.setText("stopping ...")
            self.backend.stop()

    def clear(self) -> None:
        """Forget the conversation."""
        if self._state == "idle":
            self.messages.clear()
            self.view.clear()

    def closeEvent(self, event: Any) -> None:
        """The window goes at once; `main` waits for what ends behind it."""
        self.backend.close()
        event.accept()

    def _on_progress(self, share: float) -> None:
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * share))

    def _on_loaded(self, name: str) -> None:
        self.setWindowTitle(f"{name} - selar-local")
        self._enter("idle", "ready; steps that explored are coloured and underlined")
        self.input.setFocus()

    def _on_load_failed(self, problem: str) -> None:
        self._write(f"{problem}\n", "error")
        self._enter("failed", "no model is loaded: open another one")

    def _on_said(self, events: list[sl.TokenEvent]) -> None:
        pieces = []
        for event in events:
            mark = "explored" if event.explored or self._carried else ""
            self._carried = event.explored and not event.text and not event.thinking
            pieces += [(event.thinking, f"{mark} thinking".strip()), (event.text, mark or "plain")]
            self._explored += event.explored
        for name, group in groupby((piece for piece in pieces if piece[0]), key=lambda piece: piece[1]):
            self._write("".join(text for text, _ in group), name)
        if self._events == 0:
            self._began = time.monotonic()
            self.bar.hide()
        else:
            seconds = time.monotonic() - self._began
            share = 100 * self._explored / self._events
            self.status.setText(f"{self._events / seconds:.1f} tokens/s · {share:.1f} % exploration steps")
        self._events += len(events)

    def _on_ended(self, result: sl.Result | None, problem: str) -> None:
        if problem:
            self._write(f"\n{problem}\n\n", "error")
            self._enter("idle", "error; this question is not kept in the conversation")
            return
        assert result is not None
        self._write("\n\n", "plain")
        if result.text or result.finish_reason != "cancelled":
            self.messages.append({"role": "user", "content": self._question})
            self.messages.append({"role": "assistant", "content": result.text})
        share = 100 * result.usage.explored_share
        speed = result.timings.tokens_per_second
        why = "the context is full: Clear forgets the conversation" if result.context_full else result.finish_reason
        numbers = f"{result.usage.completion_tokens} tokens · {speed:.1f} tokens/s · {share:.1f} % exploration steps"
        self._enter("idle", f"{numbers} · {why}")

    def _write(self, text: str, name: str) -> None:
        """Append text, and follow it unless the person has scrolled away."""
        scroll = self.view.verticalScrollBar()
        follows = scroll.value() == scroll.maximum()
        cursor = QtGui.QTextCursor(self.view.document())  # one of its own: a selection of the person's stays
        cursor.movePosition(QtGui.QTextCursor.MoveOperation.End)
        cursor.insertText(text, self._styles[name])
        if follows:
            scroll.setValue(scroll.maximum())


def style(color: str = "", *, underline: bool = False, bold: bool = False) -> QtGui.QTextCharFormat:
    """A character format; without a colour that of the desktop's theme."""
    chars = QtGui.QTextCharFormat()
    if color:
        chars.setForeground(QtGui.QColor(color))
    chars.setFontUnderline(underline)
    chars.setFontWeight(700 if bold else 400)
    return chars


def row(*items: QtWidgets.QWidget | str | None) -> QtWidgets.QHBoxLayout:
    """Widgets and labels side by side; None takes the room that is left."""
    layout = QtWidgets.QHBoxLayout()
    for item in items:
        if item is None:
            layout.addStretch(1)
        else:
            layout.addWidget(QtWidgets.QLabel(item) if isinstance(item, str) else item)
    return layout


def self_check(model: str, question: str) -> int:
    """One answer without a window: shows that a frozen build can start its child and run the model."""
    print(f"methods: {', '.join(METHODS)}")
    try:
        with sl.load(model, isolated=True) as engine:
            messages = [{"role": "user", "content": question}]
            print(engine.generate(messages=messages, max_tokens=48, seed=1).text)
    except sl.SelarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="A chat window on selar-local.")
    parser.add_argument("model", nargs="?", help="a GGUF file, hf:owner/repo or a bundled name")
    parser.add_argument("--self-check", nargs=2, metavar=("MODEL", "QUESTION"), help="answer once, without a window")
    given = parser.parse_args()
    if given.self_check:
        return self_check(*given.self_check)
    app = QtWidgets.QApplication(sys.argv[:1])
    window = ChatWindow(given.model)
    window.show()
    code = app.exec()
    window.backend.join()
    return code


if __name__ == "__main__":
    sys.exit(main())
