"""The store of calibrations: found again for the same file and settings, and for nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from selar_local import cache, calibration
from selar_local.calibration import Calibration
from selar_local.config import SamplingConfig
from selar_local.errors import ModelNotFound

FOUND = Calibration(
    k=3, gate_on="filtered", temperature=0.6, top_k=20, top_p=0.95, min_p=0.0, tau=0.4, steps=4000, torn=900,
    prompts=16, valley=0.41, low=0.35, high=0.47, depth=0.3, p_value=0.01, explored=0.2, version="1",
    date="2026-01-01T00:00:00+00:00",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    return path


def find(path: Path, k: int = 3, gate_on: str = "filtered", **sampling: float) -> Calibration | None:
    return calibration.find(path, k=k, gate_on=gate_on, sampling=SamplingConfig(**sampling))  # type: ignore[arg-type]


def test_what_is_kept_is_found_again(model):
    assert find(model) is None
    calibration.keep(model, FOUND)
    assert find(model) == FOUND
    later = replace(FOUND, tau=None, valley=None, reason="nothing there", p_value=0.5)
    calibration.keep(model, later)
    assert find(model) == later


def test_whole_numbers_are_the_same_settings(model):
    calibration.keep(model, replace(FOUND, temperature=1, top_p=1, min_p=0))
    assert find(model, temperature=1.0, top_p=1.0, min_p=0.0) is not None


@pytest.mark.parametrize(
    "other",
    [{"k": 4}, {"gate_on": "full"}, {"temperature": 0.7}, {"top_k": 0}, {"top_p": 0.9}, {"min_p": 0.05}],
    ids=str,
)
def test_other_settings_have_their_own(model, other):
    calibration.keep(model, FOUND)
    assert find(model, **other) is None


def test_seed_and_greedy_are_no_settings_of_it(model):
    calibration.keep(model, FOUND)
    assert find(model, seed=7, greedy=True) == FOUND


def test_another_file_under_the_name_has_none(model):
    calibration.keep(model, FOUND)
    os.utime(model, ns=(5, 5))
    assert find(model) is None
    with pytest.raises(ModelNotFound):
        find(model.parent / "none.gguf")
    with pytest.raises(ModelNotFound):
        calibration.keep(model.parent / "none.gguf", FOUND)


@pytest.mark.parametrize(
    "damage",
    [
        {"tau": "0.4"}, {"tau": 1.5}, {"tau": float("nan")}, {"tau": True}, {"k": 3.0}, {"k": None}, {"reason": None},
        {"steps": "many"}, {"gate_on": 1}, {"unknown": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_entry_is_none(model, folder, damage):
    calibration.keep(model, FOUND)
    (entry,) = folder.iterdir()
    entry.write_text(json.dumps({**FOUND.as_dict(), **damage}))
    assert find(model) is None


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"tau": 0.4}', b"[1]", b"\xff"])
def test_a_torn_entry_is_none(model, folder, damage):
    calibration.keep(model, FOUND)
    (entry,) = folder.iterdir()
    entry.write_bytes(damage)
    assert find(model) is None


def test_a_cache_that_cannot_be_written_shows_when_it_is_read(model, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "file" / "below"))
    calibration.keep(model, FOUND)
    assert find(model) is None


def test_the_entry_is_plain_json_and_may_hold_whole_numbers(model, folder):
    calibration.keep(model, replace(FOUND, tau=1))
    (entry,) = folder.iterdir()
    assert json.loads(entry.read_bytes())["tau"] == 1
    found = find(model)
    assert found is not None and found.tau == 1.0
    assert cache.read(entry.stem) == json.loads(entry.read_bytes())
