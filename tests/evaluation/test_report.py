"""Reports: what their tables say, and that the HTML page is one file, escaped and complete."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from support.studies import FACTS, drawn, full_study, selar, told

from selar_local.evaluation.config import methods_of
from selar_local.evaluation.records import MethodRun, Study
from selar_local.evaluation.report import Report, as_html, as_markdown, report_of
from selar_local.evaluation.report.plots import plots_of
from selar_local.evaluation.report.tables import ablation_of, ablations, command_of
from selar_local.evaluation.summary import summarise
from selar_local.evaluation.wording import percent, with_interval
from selar_local.methods import Selar
from selar_local.plotting import COLOURS, INK, colour_of

NASTY = '<script>alert("1")</script> | `x` $a_b$ & [y](z) *b*'
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """The tags of a page, that each is closed in order, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    other = full_study("math500")
    return [full_study(), replace(other, runs=tuple(replace(run, answers=run.answers[:80]) for run in other.runs[:2]))]


@pytest.fixture(scope="module")
def report(studies) -> Report:
    return report_of(studies)


@pytest.fixture(scope="module")
def page(report) -> str:
    return as_html(report)


def tables_of(report: Report) -> dict[str, list[tuple[str, ...]]]:
    return {one.title: [one.head, *one.rows] for part in reversed(report.sections) for one in reversed(part.tables)}


def test_the_main_table(report, studies):
    rows = tables_of(report)["Accuracy in percent: tiny.gguf"]
    assert rows[0] == ("method", "gsm8k (n = 60)", "math500 (n = 40)", "mean")
    summaries = [summarise(one) for one in studies]
    accuracies = [one.methods[1].accuracy for one in summaries]
    assert rows[2][:3] == ("selar", *map(with_interval, accuracies))
    middle = sum(one.value or 0 for one in accuracies) / 2
    assert rows[2][3].startswith(f"{percent(middle)} [")
    assert rows[3][2:] == ("-", "-") and len(rows) == 9


def test_a_method_with_fewer_answers_is_told():
    study = full_study()
    some = replace(study.runs[1], answers=tuple(one for one in study.runs[1].answers if one.sample == 1))
    study = replace(study, runs=(study.runs[0], some), facts={**FACTS, "seed": [3, 4]})
    report = report_of([study], plots=False)
    found = tables_of(report)
    rows = found["Accuracy in percent: tiny.gguf"]
    assert "answers" not in rows[1][1] and rows[2][1].endswith("] (60 answers)")
    rows = found["Efficiency"]
    assert [row[1] for row in rows] == ["answers", "120", "60"]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert dict(found["gsm8k, tiny.gguf"])["command"].endswith("--seed 4 (not every method with every seed)")


def test_no_mean_over_studies_of_one_task():
    other = replace(full_study(), facts={**FACTS, "max_tokens": 99})
    rows = tables_of(report_of([full_study(), other], plots=False))["Accuracy in percent: tiny.gguf"]
    assert rows[0] == ("method", "gsm8k (n = 60)", "gsm8k (n = 60)")


def test_studies_of_one_task_and_model_are_told_apart():
    facts = [FACTS, {**FACTS, "problems": 99, "max_tokens": 9}, FACTS]
    studies = [replace(full_study(), runs=full_study().runs[:2], facts=one) for one in facts]
    report = report_of([*studies[:2], full_study("math500")], plots=False)
    titles = [section.title for section in report.sections[1:4]]
    assert titles == [
        "gsm8k, tiny.gguf (problems 60, max_tokens 512)", "gsm8k, tiny.gguf (problems 99, max_tokens 9)",
        "math500, tiny.gguf",
    ]  # fmt: skip
    assert [table.title for table in report.sections[-1].tables] == titles
    report = report_of([studies[0], replace(studies[2], runs=studies[2].runs[:1])], plots=False)
    titles = [section.title for section in report.sections[1:3]]
    assert titles == ["gsm8k, tiny.gguf (study 1)", "gsm8k, tiny.gguf (study 2)"]


@pytest.mark.parametrize("facts", [{"seed": [1, 2]}, {"seed": []}, {"seed": [1, 2], "samples": "2"}], ids=str)
def test_the_command_of_odd_facts(facts):
    command = command_of(summarise(Study("t", "m.gguf", full_study().runs[:1], facts)))
    assert command.startswith("selar-local eval m.gguf") and "--samples" not in command


def test_one_main_table_a_model():
    found = tables_of(report_of([full_study(), full_study(model="b.gguf")], plots=False))
    assert {"Accuracy in percent: tiny.gguf", "Accuracy in percent: b.gguf"} <= set(found)
    assert found["Accuracy in percent: b.gguf"][0] == ("method", "gsm8k (n = 60)")


def test_differences_and_efficiency(report, studies):
    summary, found = summarise(studies[0]), tables_of(report)
    rows = found["Difference from cot"]
    assert [row[0] for row in rows[1:]] == [one.method for one in summary.comparisons]
    assert [row[-1] for row in rows[1:]] == [one.verdict for one in summary.comparisons]
    assert {"worse", "none shown"} <= {row[-1] for row in rows[1:]}
    rows = found["Efficiency"]
    assert rows[0] == ("method", "tokens per answer", "tokens, less cot's", "TPCA", "exploration %", "truncated %",
                       "repetitive %", "wall time")  # fmt: skip
    assert rows[1][2] == "" and re.fullmatch(r"[+-]\d+ \[[+-]\d+, [+-]\d+\]", rows[2][2])
    assert rows[2][-1] == "1 min 39 s" and rows[1][4] == "0.0 [0.0, 0.0]"
    assert all(cell.count("[") == 1 for row in rows[2:] for cell in row[1:7])  # each with an interval


def test_slips_have_a_table_where_they_were_counted(report):
    assert not any(title.startswith("Slips") for title in tables_of(report))
    counted = replace(full_study(), runs=(drawn("cot", 0.2, 1), drawn("selar", 0.2, 2, counted=True)))
    made = report_of([full_study(), counted, counted], plots=False)
    first, second = (one for part in made.sections for one in part.tables if one.title.startswith("Slips"))
    assert first.head == ("method", "words per answer", "slips", "doubled", "merged", "missing", "mismatched steps %")
    assert [row[0] for row in first.rows] == ["selar"] and first.rows[0][-1] == "-"
    assert first.rows[0][-2].startswith("0.00 [0.00, 0.2")
    assert "merged: " in first.note and second.note == ""
    both = replace(
        counted, runs=tuple(drawn(name, 0.2, seed, counted=True) for seed, name in enumerate(("cot", "selar")))
    )
    rows = tables_of(report_of([both], plots=False))["Slips per 1,000 words"]
    assert rows[0][2:4] == ("slips", "slips more than cot") and rows[1][3] == ""
    assert re.fullmatch(r"[+-]\d\.\d\d \[-\d\.\d\d, [+]\d\.\d\d\]", rows[2][3])


def test_the_ablation_is_told_by_options_not_by_labels():
    study = full_study()
    (before,) = ablations(study, summarise(study))
    renamed = replace(study, runs=tuple(replace(run, label=f"m{n}") for n, run in enumerate(study.runs)))
    (after,) = ablations(renamed, summarise(renamed))
    assert before == after
    names = [row[0] for row in before.rows]
    assert names[0] == "SeLaR" and [name.split(" (")[0] for name in names[1:]] == [
        "without selective activation", "without contrastive regularisation", "the opposite gate",
    ]  # fmt: skip
    full, gate = study.runs[1], study.runs[3]
    right = [100 * sum(one.correct for one in run.answers) / len(run.answers) for run in (full, gate)]
    assert before.rows[1][4].startswith(f"{right[1] - right[0]:+.1f} [") and before.rows[0][4] == ""


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "SeLaR"),
        ({"tau": 0.3}, "SeLaR"),
        ({"tau": 0}, "SeLaR"),  # with the guard it still selects
        ({"tau": 0, "symbol_guard": False}, "without selective activation (tau 0, no guard)"),
        ({"contrast": 0}, "without contrastive regularisation (contrast 0)"),
        ({"invert_gate": True}, "the opposite gate (soft where sure)"),
        ({"contrast": 0, "invert_gate": True}, None),
    ],
    ids=str,
)
def test_kinds_of_ablations(given, kind):
    assert ablation_of(Selar, given) == kind == ablation_of(Selar, selar(**given))


def test_an_ablation_is_compared_with_the_method_of_the_same_other_options():
    runs = (
        drawn("selar", 0.0, 1, options=selar(tau=0.7)),
        drawn("selar tau=0.3", 0.0, 2, options=selar(tau=0.3)),
        drawn("selar tau=0.3 contrast=0", 0.0, 3, options=selar(tau=0.3, contrast=0)),
        drawn("selar k=9 contrast=0", 0.0, 4, options=selar(k=9, contrast=0)),
    )
    study = Study("t", "m", runs)
    (found,) = ablations(study, summarise(study))
    assert len(found.rows) == 2
    right = [100 * sum(one.correct for one in run.answers) / 120 for run in runs[1:3]]
    assert found.rows[0][1].startswith(f"{right[0]:.1f} [") and found.rows[1][1].startswith(f"{right[1]:.1f} [")
    study = Study("t", "m", runs[:2])
    assert list(ablations(study, summarise(study))) == []


def test_the_sweep_has_the_choice_of_the_split(report, studies):
    rows = tables_of(report)["Sweep of tau: selar"]
    (choice,) = summarise(studies[0]).chosen
    assert [row[0].split()[0] for row in rows[1:]] == ["0.3", "0.4", "0.6"]
    assert [row[0] for row in rows if "chosen" in row[0]] == [f"{choice.value} (chosen)"]
    assert [row[4] for row in rows[1:]] == [percent(one) for one in choice.chosen_by.values()]
    assert choice.sentence in report.sections[1].sentences


def test_a_sweep_that_chooses_nothing_marks_nothing():
    runs = tuple(drawn(f"selar tau={tau}", 0.0, 1, options=selar(tau=tau)) for tau in (0.3, 0.4))
    made = report_of([Study("t", "m", runs)])
    rows = tables_of(made)["Sweep of tau: selar"]
    (choice,) = summarise(Study("t", "m", runs)).chosen
    assert choice.value is None and [row[0] for row in rows] == ["tau", "0.3", "0.4"]
    assert [row[4] for row in rows[1:]] == [percent(one) for one in choice.chosen_by.values()]
    assert choice.sentence in made.sections[1].sentences and "nothing separates" in choice.sentence
    (plot,) = (one for one in made.sections[1].plots if one.title.startswith("Sweep"))
    assert ">chosen<" not in plot.svg


def test_the_words_of_the_tables_are_explained_where_they_appear_first():
    made = report_of([full_study(), full_study("math500")], plots=False)
    for title, words in (
        ("Difference from cot", ("p (Holm): ", "detectable: ")),
        ("Efficiency", ("TPCA ", "truncated: ")),
    ):
        notes = [table.note for section in made.sections for table in section.tables if table.title == title]
        assert len(notes) == 2 and all(word in notes[0] for word in words) and notes[1] == ""
    alone = replace(full_study(), runs=full_study().runs[:1])
    made = report_of([alone, full_study("math500")], plots=False)
    (note,) = (table.note for section in made.sections for table in section.tables if table.title.startswith("Diff"))
    assert note.startswith("p (Holm): ")


def test_a_method_has_the_same_colour_in_every_plot(report):
    for plot in (plot for section in report.sections for plot in section.plots):
        used = set(re.findall(r"#[0-9a-f]{6}", plot.svg)) & set(COLOURS)
        assert used and used <= {colour_of("cot"), colour_of("selar")}, plot.title
    (first, *_) = report.sections[1].plots
    marks = re.findall(r'<use [^>]*style="fill: (#\w+)', first.svg)
    assert marks.count(colour_of("cot")) * 7 == marks.count(colour_of("selar"))  # one row and seven


@pytest.mark.parametrize(
    ("facts", "flag"),
    [
        ({"task": "generated", "last_number": True}, "--last-number"),
        ({"task": "generated", "last_number": False}, "--no-last-number"),
        ({"task": "mine.jsonl", "data": "mine.jsonl", "last_number": False}, "--no-last-number"),
        ({"task": "gsm8k", "data": "gsm8k_dev.jsonl", "last_number": False}, None),
        ({"task": "gsm8k", "last_number": True}, "--last-number"),
        ({"task": "generated"}, None),
    ],
    ids=str,
)
def test_the_command_repeats_the_grading_rule(facts, flag):
    study = Study(facts["task"], "m.gguf", full_study().runs[:1], facts)
    words = shlex.split(command_of(summarise(study)))
    assert [word for word in words if "last-number" in word] == ([] if flag is None else [flag])


def test_facts_and_the_command_that_repeats_it(report):
    rows = dict(row for row in tables_of(report)["gsm8k, tiny.gguf"] if len(row) == 2)
    assert rows["model_sha256"] == FACTS["model_sha256"] and rows["sampling"] == "temperature 0.6"
    assert rows["template_hash"] == "none" and "contrast 0.0" in rows["options of selar contrast=0"]
    words = shlex.split(rows["command"])
    assert words[:5] == ["selar-local", "eval", "tiny.gguf", "--task", "gsm8k"]
    flags = dict(zip(words[5::2], words[6::2], strict=True))
    assert flags["--limit"] == "60" and flags["--max-tokens"] == "512" and flags["--seed"] == "3"
    assert flags["--temperature"] == "0.7" and flags["--parallel"] == "8"


def test_the_methods_of_the_command_are_those_of_the_study():
    study = full_study()
    words = shlex.split(command_of(summarise(study)))
    specs = methods_of(words[words.index("--methods") + 1])
    assert [spec.method.name for spec in specs] == [run.method for run in study.runs]
    assert [asdict(spec.method) for spec in specs[1:]] == [dict(run.options) for run in study.runs[1:]]
    plain = summarise(Study("t", "a model.gguf", study.runs[:1], {"thinking": False}))
    assert command_of(plain).endswith("--no-thinking") and "'a model.gguf'" in command_of(plain)


def test_the_command_of_a_study_of_several_seeds_and_of_some_levels():
    facts = {**FACTS, "seed": [3, 5], "samples": 4, "level": "1-3"}
    command = command_of(summarise(Study("math500", "m.gguf", full_study().runs[:1], facts)))
    assert "--level 1-3 --samples 2" in command and "--seed 3 " in command
    assert command.endswith("; again with --seed 5")


def test_the_command_of_somebody_s_own_problems_and_of_another_grading():
    facts = {**FACTS, "data": "mine.jsonl", "stop": ["END"], "last_number": True}
    command = command_of(summarise(Study("mine.jsonl", "m.gguf", full_study().runs[:1], facts)))
    assert "--task" not in command and "--data mine.jsonl" in command
    assert command.endswith("--stop END --last-number")


def test_the_page_is_one_file(page):
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in parsed.tags}
    assert "http" not in page.replace("http-equiv", "") and "@import" not in page
    assert set(re.findall(r"url\(([^)]*)", page)) <= {f"#{one}" for one in parsed.attributes("id")}
    links = [*parsed.attributes("href"), *parsed.attributes("xlink:href")]
    assert links and all(link.startswith("#") for link in links)
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids)) and {link[1:] for link in links} <= set(ids)
    assert '<meta name="viewport"' in page and "prefers-color-scheme: dark" in page and 'lang="en"' in page


def test_the_page_says_what_the_report_says(page, report):
    text = " ".join(Page(page).text.split())
    for section in report.sections:
        assert section.title in text
        for line in section.sentences:
            assert line in text
        for table in section.tables:
            for cell in {table.title, table.note, *table.head, *(cell for row in table.rows for cell in row)}:
                assert " ".join(cell.split()) in text


def test_plots(report, studies):
    plots = [plot for section in report.sections for plot in section.plots]
    assert [plot.title.split(":")[0] for plot in plots] == [
        "Accuracy against tokens", "Sweep of tau, selar", "Entropy of the steps",
        "Accuracy against tokens", "Entropy of the steps",
    ]  # fmt: skip
    for plot in plots:
        root = ElementTree.fromstring(plot.svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))
        assert root.attrib["role"] == "img" and "viewBox" in root.attrib and "width" not in root.attrib
        assert (root[0].tag, root[0].text) == ("title", plot.title) and (root[1].tag, root[1].text) == (
            "desc",
            plot.alt,
        )
        assert root.attrib["aria-labelledby"].split() == [root[0].attrib["id"], root[1].attrib["id"]]
        assert "currentColor" in plot.svg and INK not in plot.svg and "#ffffff" not in plot.svg
    texts = {
        one.text for one in ElementTree.fromstring(plots[0].svg.replace("<svg ", '<svg xmlns:xlink="x" ')).iter("text")
    }
    assert {run.label for run in studies[0].runs} <= texts
    assert "tau 0.5 of selar" in plots[2].svg and "54" not in plots[2].title
    one = summarise(studies[0]).methods[1]
    assert f"selar {one.tokens.value:.0f} tokens, {with_interval(one.accuracy)} %" in plots[0].alt


def test_the_same_study_gives_the_same_page(studies, page):
    assert as_html(report_of(studies)) == page


def test_marks_stand_where_the_figures_are():
    """The error bars' points of the first plot, read back from the drawing: as far apart as the accuracies."""
    runs = tuple(told(label, {f"q{n}": [int(n < right)] for n in range(20)}) for label, right in
                 (("cot", 10), ("selar", 15), ("swir", 20)))  # fmt: skip
    study = Study("t", "m", runs)
    plot = next(plots_of(study, summarise(study)))
    uses = re.findall(r'<use xlink:href="[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: (#\w+)', plot.svg)
    colours = [colour_of(run.method) for run in runs]
    points = {colour: -float(y) for _, y, colour in reversed(uses) if colour in colours}  # not the legend's
    left, middle, right = (points[colour] for colour in colours)
    assert right > middle > left and right - middle == pytest.approx(middle - left, rel=0.01)


@pytest.mark.parametrize("place", ["task", "model", "label", "fact"])
def test_all_texts_are_escaped(place):
    study = full_study()
    runs = (study.runs[0], replace(study.runs[1], label=NASTY if place == "label" else "selar"))
    facts = {**FACTS, NASTY: NASTY} if place == "fact" else FACTS
    nasty = Study(NASTY if place == "task" else "t", NASTY if place == "model" else "m", runs, facts)
    made = report_of([nasty])
    parsed = Page(as_html(made))
    assert "script" not in {tag for tag, _ in parsed.tags} and NASTY in parsed.text
    if place == "label":  # the plots have it too, and not as a formula
        first = ElementTree.fromstring(made.sections[1].plots[0].svg.replace("<svg ", '<svg xmlns:xlink="x" '))
        assert NASTY in {one.text for one in first.iter("text")}
    text = as_markdown(made)
    assert "<script" not in text and "\\`x\\`" in text and "\\[y\\](z)" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_markdown_has_the_tables_and_names_the_page(report):
    text = as_markdown(report)
    assert "<svg" not in text and "The plots are in the HTML report" in text
    for section in report.sections:
        for table in section.tables:
            assert len(table.rows) > 0 and all(len(row) == len(table.head) for row in table.rows)
    assert text.count("\n| --- |") == sum(len(section.tables) for section in report.sections)


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (MethodRun("cot", "cot", ()),),
        (MethodRun("cot", "cot", ()), drawn("selar", 0.0, 1, options=selar())),
        (drawn("selar", 0.0, 1, options=selar(), problems=1, samples=1), drawn("cot", 0.0, 2, problems=1, samples=1)),
        (drawn("swir", 0.0, 1), drawn("selar", 0.0, 1, options=selar(tau=0.9))),
        (told("cot", {"a": [0]}, tokens=0), told("selar", {"b": [1]})),
        (told("selar tau=0.1", {"a": [0]}), told("selar tau=auto", {"a": [1]}), told("selar tau=nan", {"a": [1]})),
        (told("cot", {f"q{n}": [1] for n in range(9)}), told("selar", {f"q{n}": [0] for n in range(9)})),
        (MethodRun("other", "not ours", drawn("cot", 0.0, 1).answers, {"tau": "auto", "x": None}),),
    ],
    ids=range(9),
)  # fmt: skip
def test_whatever_a_study_lacks(runs):
    made = report_of([Study("t", "m", runs), Study("u", "m", ())])
    page = as_html(made)
    Page(page)
    assert "nan" not in as_markdown(made).replace("tau=nan", "").replace("selar:tau=nan", "").replace("| nan", "")
    for section in made.sections:
        for table in section.tables:
            assert all(len(row) == len(table.head) for row in table.rows)


def test_drawing_leaves_no_trace():
    import matplotlib

    before = dict(matplotlib.rcParams)
    report_of([full_study()])
    assert dict(matplotlib.rcParams) == before
