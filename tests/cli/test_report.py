"""``selar-local report``: where it goes, in which form, and what it refuses. The logs' reader stands in."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.studies import full_study

from selar_local.errors import SelarError
from selar_local.evaluation import logs
from selar_local.install_hint import install_hint

SMALL = replace(full_study(), runs=full_study().runs[:2])


@pytest.fixture
def read(monkeypatch, tmp_path):
    """The paths that were asked for; the answer is one study."""
    asked = []
    monkeypatch.setattr(logs, "read_studies", lambda paths: asked.extend(paths) or [SMALL])
    (tmp_path / "logs").mkdir()
    return asked


def test_markdown_on_standard_output(read, cli, tmp_path):
    done = cli("report", tmp_path / "logs", tmp_path)
    assert (done.code, done.err) == (0, "") and read == [tmp_path / "logs", tmp_path]
    assert done.out.startswith("# Evaluation of tiny.gguf\n") and done.out.endswith("\n")
    assert "### Difference from cot" in done.out and "<svg" not in done.out


def test_without_plots_matplotlib_stays_out(read, cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli("report", tmp_path).code == 0
    done = cli("report", tmp_path, "-o", tmp_path / "r.html")
    assert (done.code, done.out) == (1, "") and done.err.startswith("error: a report needs matplotlib")
    assert install_hint("eval") in done.err and not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("name", "start"),
    [("r.html", "<!doctype html>"), ("R.HTM", "<!doctype html>"), ("r.md", "# Eval"), ("r.markdown", "# Eval")],
)
def test_files(read, cli, tmp_path, name, start):
    done = cli("report", tmp_path, "-o", tmp_path / name)
    assert (done.code, done.out, done.err) == (0, "", f"written to {tmp_path / name}\n")
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.startswith(start) and ("<svg" in text) == (start != "# Eval")
    assert cli("report", tmp_path, "-q", "-o", tmp_path / name) == (0, "", "")


def test_a_file_of_the_study_and_the_report_of_it(cli, tmp_path, monkeypatch):
    real = logs.read_studies
    monkeypatch.setattr(logs, "read_studies", lambda paths: [SMALL])
    kept = tmp_path / "study.json"
    assert cli("report", tmp_path, "-o", kept) == (0, "", f"written to {kept}\n")
    noted = cli("report", tmp_path, "-o", kept, "--baseline", "selar").err
    assert "--baseline has no effect on a .json file, which has answers but no comparisons" in noted.splitlines()
    wanted = cli("report", tmp_path).out
    monkeypatch.setattr(logs, "read_studies", real)
    assert cli("report", kept).out == wanted


def test_another_baseline(read, cli, tmp_path):
    assert "### Difference from selar\n" in cli("report", tmp_path, "--baseline", "selar").out
    assert "there is no swir in this study" in cli("report", tmp_path, "--baseline", "swir").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((".", "-o", "report.pdf"), "--output must end in .html, .md or .json, not report.pdf"),
        ((".", "-o", "report"), "--output must end in .html, .md or .json"),
        (("no-such-log.eval",), "does not exist"),
        ((), "Missing argument"),
    ],
    ids=str,
)
def test_wrong_usage(read, cli, words, told):
    done = cli("report", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and told in done.err and read == []


def test_a_folder_that_cannot_be_written(read, cli, tmp_path):
    done = cli("report", tmp_path, "-o", tmp_path / "none" / "r.md")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1) and "No such file" in done.err


def test_no_study_and_errors_of_the_reader(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "read_studies", lambda paths: [])
    done = cli("report", tmp_path)
    assert (done.code, done.out) == (1, "") and f"there is no study in {tmp_path}" in done.err

    def refuse(paths: list[Path]) -> None:
        raise SelarError("the log is damaged")

    monkeypatch.setattr(logs, "read_studies", refuse)
    assert cli("report", tmp_path) == (1, "", "error: the log is damaged\n")


def test_the_help_page(cli):
    page = cli("report", "--help")
    assert page.code == 0 and "-o, --output" in page.out and "--baseline" in page.out
    assert "report" in cli("--help").out
