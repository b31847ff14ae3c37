"""The rule by which the second study's stage 1 chooses an arm (docs/results/PLAN.md)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
