"""scripts/demo.sh: its two answers, with the bundled model."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "demo.sh"


def commands() -> list[list[str]]:
    """The arguments of the script's calls of ``selar-local run``, with its own question."""
    script = SCRIPT.read_text(encoding="utf-8")
    (question,) = re.findall(r'question="\$\{1:-(.+?)\}"', script)
    lines = re.findall(r"^\.venv/bin/selar-local run (.+)$", script, re.MULTILINE)
    return [[question if word == "$question" else word for word in shlex.split(line)] for line in lines]


def answer(model: Path, arguments: list[str]) -> dict[str, Any]:
    code = "from selar_local.cli.main import main; main()"
    words = [sys.executable, "-c", code, "run", str(model), *arguments, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", timeout=300, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_it_asks_the_same_question_twice() -> None:
    plain, mixed = commands()
    assert plain[:2] == mixed[:2] == ["-p", "Why is the sky blue? Answer in three sentences."]
    assert plain[plain.index("--method") + 1] == "cot" and "--method" not in mixed
    for option in ("--seed", "--max-tokens"):
        assert plain[plain.index(option) + 1] == mixed[mixed.index(option) + 1]


@pytest.mark.gguf
def test_its_answer_explores_at_no_more_than_15_percent_of_the_steps(smollm2: Path) -> None:
    plain, mixed = (answer(smollm2, arguments) for arguments in commands())
    assert plain["explored_steps"] == 0 and plain["tokens"] >= 20
    assert mixed["method"] == "selar" and mixed["tokens"] >= 20 and mixed["hint"] is None
    assert 0.03 * mixed["tokens"] < mixed["explored_steps"] <= 0.15 * mixed["tokens"]
