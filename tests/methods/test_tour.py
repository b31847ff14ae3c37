"""CONTRIBUTING's walk from logits to the next input is the walk that the program takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import pytest

import selar_local as sl
from selar_local.config import GenerationConfig
from selar_local.engine.request import Request
from selar_local.engine.sequence import Sequence
from selar_local.methods import base, selar

from .fakes import ALL, Words, logits_of

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOUR = re.findall(r"^\| `((?:engine|methods)/\w+\.py)` \| `([\w.]+)` \|", GUIDE, re.MULTILINE)


def test_the_tour_is_short() -> None:
    assert 5 <= len(TOUR) <= 8 and len({file for file, _ in TOUR}) <= 4


@pytest.mark.skipif(sys.version_info < (3, 11), reason="frames have no qualified names")
def test_a_step_calls_the_functions_of_the_tour_in_their_order() -> None:
    words = Words(" a", " b")
    request = Request((5,), sl.Selar(anchor=0.5), ALL, GenerationConfig(max_tokens=9))
    sequence = Sequence(request, words)
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            calls.append((f"{path.parent.name}/{path.name}", frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        sequence.step(logits_of({words[" a"]: 0.5, words[" b"]: 0.5}, words.n_vocab), 100)
    finally:
        sys.setprofile(None)
    assert base.Decision(sequence.next_input).explored
    assert list(dict.fromkeys(call for call in calls if call in TOUR)) == TOUR


def test_the_classes_of_the_gate_are_there() -> None:
    (sentence,) = re.findall(r"To change the gate you need six classes: (.*?)\.\n", GUIDE, re.DOTALL)
    names = re.findall(r"`(\w+)`", sentence)
    assert len(names) == 6
    assert all(isinstance(getattr(selar, name, None) or getattr(base, name), type) for name in names)
