"""CONTRIBUTING.md's example of a new method, in a copy of the repository: three new files and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ALSO = ("pyproject.toml", "README.md", "CONTRIBUTING.md")


def examples() -> dict[str, str]:
    """The files that CONTRIBUTING.md shows, by path."""
    return dict(FILES.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the example's files in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("selar_local", "scripts", "docs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.gguf"))
    for name in ALSO:
        shutil.copy(ROOT / name, folder / name)
    for name, text in examples().items():
        assert not (folder / name).exists()
        (folder / name).write_text(text, encoding="utf-8")
    python(folder, "scripts/update_docs.py")
    return folder


def python(copy: Path, *arguments: str) -> str:
    """Run the copy's own package; what went to standard output."""
    words = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        words, cwd=copy, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(copy: Path, *arguments: str) -> str:
    return python(copy, "-c", "from selar_local.cli.main import main; main()", *arguments)


def test_the_example_is_complete():
    assert [*examples()] == [
        "selar_local/methods/periodic.py", "tests/methods/test_periodic.py", "docs/methods/periodic.md",
    ]  # fmt: skip


def test_methods_lists_it(copy):
    (told,) = json.loads(command(copy, "methods", "periodic", "--json"))["methods"]
    assert (told["name"], told["class"], told["source"]) == ("periodic", "Periodic", "ours")
    assert [(option["flags"], option["default"]) for option in told["options"]] == [(["--every"], 16)]
    page = command(copy, "methods")
    assert "Options of periodic:" in page and "--every INTEGER" in page


def test_run_knows_it(copy, model):
    page = " ".join(command(copy, "run", "--help").split())
    assert "periodic soft at every n-th step" in page
    assert "Options of periodic: --every INTEGER steps from one soft one to the next [default: 16]" in page
    run = ("run", str(model), "Hello", "-n", "24", "-t", "1", "--seed", "1", "--json", "--method")
    answer = json.loads(command(copy, *run, "periodic", "--every", "8"))
    assert (answer["method"], answer["options"]) == ("periodic", {"every": 8})
    assert (answer["tokens"], answer["explored_steps"]) == (24, 3)
    plain = json.loads(command(copy, *run, "cot"))
    never = json.loads(command(copy, *run, "periodic", "--every", "100"))
    assert never["text"] == plain["text"] != answer["text"]


def test_the_trace_page_shows_its_mixes(copy, model, tmp_path):
    page, trace = tmp_path / "p.html", tmp_path / "t.jsonl"
    run = ("run", str(model), "Hello", "-n", "24", "-t", "1", "--seed", "1", "-q", "--method", "periodic")
    command(copy, *run, "--every", "5", "--top-p", "1", "--trace", str(trace), "--trace-html", str(page))
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (shown,) = json.loads(found[1])["traces"]
    assert (shown["line"][:2], shown["explored"]) == (["periodic", "every 5"], [4, 9, 14, 19])
    steps = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()[1:-1]]
    for place, fed in zip(shown["explored"], shown["fed"], strict=True):
        weights = dict(steps[place]["fed"])
        assert len(weights) > 10 and sum(weights.values()) == pytest.approx(1)
        rows = fed["weights"] + [weight for _, weight in fed["others"]]
        listed = [token for token, _ in steps[place]["top"]] + [token for token, _ in fed["others"]]
        assert rows == [pytest.approx(1e4 * weights[token], abs=1) for token in listed] and len(rows) == len(weights)


def test_its_test_and_its_page_pass(copy):
    said = python(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/methods/test_periodic.py", "tests/test_docs.py",
        "-k", "periodic or README and generated or every_page",
    )  # fmt: skip
    assert re.search(r"\d+ passed", said) and "failed" not in said
    page = (copy / "docs" / "methods" / "periodic.md").read_text(encoding="utf-8")
    assert "| `--every` | whole number, at least 1 | 16 | steps from one soft one to the next | ours |" in page
    assert "[`periodic`](periodic.md)" in (copy / "docs" / "methods" / "README.md").read_text(encoding="utf-8")
    assert [name for name in ("README", "selar", "cot") if changed(copy, f"docs/methods/{name}.md")] == ["README"]


def changed(copy: Path, name: str) -> bool:
    return (copy / name).read_text(encoding="utf-8") != (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def model(tiny) -> Path:
    return tiny(n_ctx_train=65536)
