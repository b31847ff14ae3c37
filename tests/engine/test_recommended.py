"""The sampling that a model file recommends: applied where nothing else is said, shown, and left out of studies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.engine.model_info import recommended_sampling

CARD = {"temp": 0.7, "top_k": 5, "top_p": 0.8, "penalty_repeat": 1.05}  # a file has them in float32
METADATA = {f"general.sampling.{name}": value for name, value in CARD.items()}
FOUND = {"temperature": 0.7, "top_k": 5, "top_p": 0.8, "repeat_penalty": 1.05}


@pytest.fixture(scope="module")
def path(tiny: Callable[..., Path]) -> Path:
    return tiny(metadata=METADATA)


@pytest.fixture(scope="module")
def carded(path: Path) -> Iterator[sl.Engine]:
    with sl.load(path, threads=1) as opened:
        yield opened


def test_what_a_file_says() -> None:
    assert recommended_sampling({**METADATA, "general.sampling.temp": float(np.float32(0.7))}) == FOUND
    assert recommended_sampling({"general.sampling.top_p": 7.0, "general.sampling.temp": "hot"}) == {}
    assert recommended_sampling({"general.sampling.top_k": -1, "general.sampling.penalty_last_n": 32}) == {
        "top_k": 0, "repeat_last_n": 32,
    }  # fmt: skip


def text(engine: sl.Engine, **options: Any) -> tuple[int, ...]:
    return engine.generate("the user", raw=True, seed=3, max_tokens=20, **options).tokens


def test_it_goes_before_the_general_default_and_after_all_others(carded: sl.Engine, path: Path) -> None:
    assert dict(carded.info.sampling) == FOUND
    with sl.load(path, threads=1, model_sampling=False) as plain:
        assert not plain.info.sampling
        for method in ("cot", "selar"):
            assert text(carded, method=method) == text(plain, method=method, **FOUND) != text(plain, method=method)
            own = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "repeat_penalty": 1.0}
            assert text(carded, method=method, **own) == text(plain, method=method, **own)
    # Soft Thinking has a top-k of its own, in its paper.
    assert sl.SoftThinking().sampling({}, FOUND).top_k == 30
    assert sl.SoftThinking().sampling({"top_k": 9}, FOUND).top_k == 9
    assert sl.SoftThinking().sampling({}, FOUND).temperature == 0.7
    assert sl.Selar().sampling({}, {"temperature": 0.0}).temperature == 0.6


def test_a_conversation_and_a_server_say_it(carded: sl.Engine) -> None:
    chat = sl.Conversation(carded, top_k=9)
    assert (chat.sampling.temperature, chat.sampling.top_k) == (0.7, 9)
    testing = pytest.importorskip("starlette.testclient")
    from selar_local.server.app import create_app

    with testing.TestClient(create_app(carded), base_url="http://127.0.0.1") as client:
        offer = client.get("/v1/selar").json()
        assert {name: offer["methods"][0]["sampling"][name] for name in FOUND} == FOUND
        assert client.get("/v1/selar/model").json()["sampling"] == FOUND


def test_the_command_says_it(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from selar_local.cli.main import main

    (tmp_path / "nothing").touch()
    monkeypatch.setattr("sys.stdin", (tmp_path / "nothing").open())

    def run(*words: str) -> tuple[str, str]:
        with pytest.raises(SystemExit):
            main(["run", str(path), "-p", "a", "-n", "3", "--method", "cot", "-t", "1", *words])
        return capfd.readouterr()

    _, said = run("--top-k", "9")
    assert "the model file recommends temperature 0.7, top_p 0.8, repeat_penalty 1.05" in said
    assert "recommends" not in run("--no-model-sampling")[1]
    sampling = json.loads(run("--json")[0])["sampling"]
    assert {name: sampling[name] for name in FOUND} == FOUND
    assert json.loads(run("--json", "--no-model-sampling")[0])["sampling"]["temperature"] == 0.6
