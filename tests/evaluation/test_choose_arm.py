"""The rule by which the second study's stage 1 chooses an arm (docs/results/PLAN.md)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from selar_local.evaluation.records import Answer, MethodRun, Study
from selar_local.evaluation.study_files import write_study_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def choose_arm(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import choose_arm

    yield choose_arm
    del sys.modules["choose_arm"]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"a": (2.0, 9.0), "b": (0.9, 0.0)}, "a"),  # more than a point apart
        ({"a": (2.0, 9.0), "b": (1.0, 0.0)}, "b"),
        ({"a": (-3.0, 1.0), "b": (-3.5, 1.0), "c": (-9.0, 0.0)}, "a"),  # all lose: the least loss is still the largest
        ({"a": (2.0, 9.0), "b": (1.2, 5.0), "c": (0.3, 0.0)}, "b"),  # close to the largest, not to each other
    ],
)
def test_the_rule(choose_arm, figures, expected):
    assert choose_arm.chosen({name: choose_arm.Arm(*own) for name, own in figures.items()}) == expected


def test_the_pieces_are_those_of_the_script(choose_arm):
    script = (ROOT / "scripts" / "study.sh").read_text()
    assert set(script.partition('arms="')[2].partition('"')[0].split()) == set(choose_arm.ARMS)
    there = {path.name for path in choose_arm.RESULTS.glob("*seed11*.json")}
    assert there <= {choose_arm.path_of(model, arm).name for model in choose_arm.MODELS for arm in choose_arm.ARMS}
    assert len(there) >= 8


def test_nothing_is_said_before_stage_1_is_whole(choose_arm, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(choose_arm, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="16 pieces are missing"):
        choose_arm.main()
    assert capsys.readouterr().out == ""


def piece(right: int, doubled: int) -> list[Study]:
    """A hundred answers of ten words."""
    answers = (
        Answer(f"q{i}", 1, i < right, 9, words=10, doubled=int(i < doubled), merged=0, missing=0) for i in range(100)
    )
    return [Study("gsm8k", "model", (MethodRun("arm", "arm", tuple(answers)),))]


def test_the_figures_are_those_of_the_pieces(choose_arm, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(choose_arm, "RESULTS", tmp_path)
    figures = dict.fromkeys(choose_arm.ARMS, (40, 0)) | {"moi": (52, 3), "moi:tau=0.5": (51, 2)}
    for arm, (right, doubled) in figures.items():
        write_study_file(choose_arm.path_of("1.5b", arm), piece(right, doubled))
        write_study_file(choose_arm.path_of("0.5b", arm), piece(40, doubled))
    choose_arm.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert " ".join(lines[3].split()) == "moi +6.0 (1.5b +12.0, 0.5b +0.0), 3.0 slips per 1,000 words"
    assert last == "chosen: moi:tau=0.5"
