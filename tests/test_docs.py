"""The documentation agrees with the program: generated tables, flags, command lines, links."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import click
import pytest

from selar_local.cli.commands import COMMANDS
from selar_local.cli.lazy_group import load_command
from selar_local.cli.options import build_method
from selar_local.evaluation.wording import points, with_interval
from selar_local.methods import METHODS

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "methods"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"  # its example has a flag of its own

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHELL = ("sh", "bash")


@pytest.fixture(scope="module")
def update_docs() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("update_docs")
    sys.path.remove(str(ROOT / "scripts"))
    for name in ("update_docs", "results_page"):
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def commands() -> dict[str, click.Command]:
    """By the words that call them; groups are what is in them."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = load_command(name)
        if isinstance(command, click.Group):
            found |= {f"{name} {part}": own for part, own in command.commands.items()}
        else:
            found[name] = command
    return found


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def shell_lines(text: str) -> Iterator[str]:
    """Command lines of the code blocks, continued ones joined."""
    for _, language, body in FENCE.findall(text):
        if language in SHELL:
            yield from body.replace("\\\n", " ").splitlines()


def own_words(line: str) -> list[str]:
    """The words of `selar-local` in a command line, from the command on; none where the line is of another program."""
    if "selar-local" not in line:  # such as the middle of another program's quoted text
        return []
    words = shlex.split(line, comments=True)
    starts = [place for place, word in enumerate(words) if word.rpartition("/")[2] == "selar-local"]
    if not starts:
        return []
    ends = [place for place, word in enumerate(words) if word in (">", "<", "|", ";", "&&") and place > starts[0]]
    own = words[starts[0] + 1 : min(ends, default=len(words))]
    return ["run", *own] if own and own[0].endswith(".gguf") else own  # a model in the place of a command


def without_other_programs(text: str) -> str:
    """The text less the command lines, in blocks and in sentences, of programs that are not ours."""
    for line in list(shell_lines(text)):
        if line.strip() and not own_words(line):
            text = text.replace("\\\n", " ").replace(line, "")
    for span in SPAN.findall(text):
        first = span.split()[0]
        if " " in span and not first.startswith("-") and first != "selar-local":
            text = text.replace(f"`{span}`", "")
    return text


def table_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("name", ["README", *METHODS])
def test_the_generated_parts_are_up_to_date(name, update_docs):
    path = PAGES / f"{name}.md"
    assert path.exists(), f"{name} has no page: write {name_of(path)}"
    assert text_of(path) == update_docs.updated(path), "run: python scripts/update_docs.py"


def test_the_results_are_those_of_the_studies(update_docs):
    """Where this fails after a change of the statistics, look at what changed: people read these figures."""
    page = text_of(update_docs.RESULTS)
    assert page == update_docs.updated(update_docs.RESULTS), "run: python scripts/update_docs.py"
    assert "no difference" in page and page.count("### Difference from cot") >= 1
    made = update_docs.results_page
    for image, rows, least in (
        ("first-study", made.first_differences(), 8),
        ("results", made.second_differences(), 14),
    ):
        plot = text_of(ROOT / "docs" / "images" / f"{image}.svg")
        intervals = [with_interval(found, points) for *_, found in rows if found is not None]
        assert len(intervals) >= least and all(interval in plot for interval in intervals)


def test_the_table_of_models_is_up_to_date(update_docs):
    page = text_of(update_docs.MODELS)
    assert page == update_docs.updated(update_docs.MODELS), "run: python scripts/update_docs.py"
    assert page.count("\n| ") > 40


def test_every_page_is_of_a_method_and_has_its_generated_part(update_docs):
    assert {path.stem for path in PAGES.glob("*.md")} == {"README", *METHODS}
    for path in update_docs.pages():
        assert len(re.findall("<!-- generated: ", text_of(path))) == text_of(path).count("<!-- end -->") == 1


@pytest.mark.parametrize("cls", METHODS.values(), ids=METHODS)
def test_every_option_is_in_the_table_of_its_page(cls):
    rows = table_rows(text_of(PAGES / f"{cls.name}.md"))
    for field in fields(cls):
        flags = field.metadata["flags"] if field.metadata.get("cli", True) else (f"{field.name}` (Python only)",)
        for flag in [flag for declared in flags for flag in declared.split("/")]:
            assert any(f"`{flag}" in row.split(" | ")[0] for row in rows), flag


def test_a_missing_page_and_an_outdated_one_are_told(update_docs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(update_docs, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"no page: .*selar\.md"):
        update_docs.main(["--check"])
    for name in ("README", *METHODS):
        part = "index" if name == "README" else "options"
        (tmp_path / f"{name}.md").write_text(
            f"# {name}\n<!-- generated: {part} -->\nold\n<!-- end -->\nkept\n", "utf-8"
        )
    assert update_docs.main(["--check"]) == 1 and "selar.md is out of date" in capsys.readouterr().out
    assert update_docs.main([]) == 0 and update_docs.main(["--check"]) == 0
    page = text_of(tmp_path / "selar.md")
    assert "old" not in page and page.endswith("<!-- end -->\nkept\n") and "| `--tau` |" in page
    assert update_docs.main(["--wrong"]) == 2
    (tmp_path / "selar.md").write_text("<!-- generated: nothing -->\n<!-- end -->\n", "utf-8")
    with pytest.raises(SystemExit, match="nothing is called 'nothing'"):
        update_docs.main([])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_flag_named_exists_in_some_command(path, commands):
    known = {"--help", "--version"}
    for command in commands.values():
        known |= {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    named = set(FLAG.findall(without_other_programs(text_of(path))))
    assert named <= known, sorted(named - known)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_line_shown_is_one_that_is_understood(path, commands):
    for line in shell_lines(text_of(path)):
        words = own_words(line)
        if not words or "--help" in words:
            continue
        length = 1 if words[0] in commands else 2
        name = " ".join(words[:length])
        given = commands[name].make_context(name, words[length:], help_option_names=["-h", "--help"]).params
        if "method" in given:
            build_method(given["method"], given)


@pytest.mark.parametrize("path", [*DOCUMENTS, CONTRIBUTING], ids=name_of)
def test_links_inside_the_repository_lead_somewhere(path):
    for target in LINK.findall(text_of(path)):
        file, _, heading = target.partition("#")
        if "://" in target:
            continue
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", text_of(linked), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target


def test_the_checks_see_what_they_should():
    text = "\n".join([
        "`--tau 0` and `--no-such`, `pip install --upgrade x`", "", "```sh", "pip install --no-deps \\", "  --other x",
        'echo "a b" | selar-local run model.gguf --k 3 > answer.txt   # --comment', "```",
    ])  # fmt: skip
    assert [own_words(line) for line in shell_lines(text)] == [[], ["run", "model.gguf", "--k", "3"]]
    assert set(FLAG.findall(without_other_programs(text))) == {"--tau", "--no-such", "--k", "--comment"}
    assert FLAG.findall("|---|---| <!-- x --> a--b `--a-b-2`") == ["--a-b-2"]
