"""`selar-local analyze entropy`: what it prints, draws, and says where it cannot."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from selar_local.analysis.token_classes import CLASSES
from selar_local.install_hint import install_hint


@pytest.fixture(scope="session")
def traces(tmp_path_factory, model):
    """Traces of real runs by name: two of SeLaR, one each of CoT, SwiR."""
    import selar_local as sl
    from selar_local.trace import TraceWriter

    folder = tmp_path_factory.mktemp("traces")
    methods = {
        "selar": sl.Selar(tau=0.4, symbol_guard=False), "other": sl.Selar(tau=0.6, gate_on="full"), "cot": sl.CoT(),
        "swir": sl.SwiReasoning(),
    }  # fmt: skip
    paths = {}
    with sl.load(model, threads=1, ctx_size=256) as engine:
        for number, (name, method) in enumerate(methods.items()):
            paths[name] = folder / f"{name}.jsonl"
            with TraceWriter(paths[name], pytest.fail) as writer:
                stream = engine.stream("the answer is", raw=True, method=method, max_tokens=60, seed=number)
                writer.begin(engine.info.as_dict(), method, sl.config.SamplingConfig(), number, stream.prompt)
                for event in stream:
                    writer.step(event)
                writer.end(stream.result)
    return paths


def records(path: Path) -> list[dict]:
    return [one for one in map(json.loads, path.read_text("utf-8").splitlines()) if one["type"] == "step"]


def test_json_is_one_object(traces, cli):
    done = cli("analyze", "entropy", traces["selar"], "--json")
    told, steps = json.loads(done.out), records(traces["selar"])
    assert (done.code, done.out.count("\n")) == (0, 1)
    explored = sum(step["explored"] for step in steps)
    assert (told["steps"], told["explored"], told["explored_share"]) == (len(steps), explored, explored / len(steps))
    assert sum(told["histogram"]) == told["entropies"] == len(steps) and len(told["histogram"]) == 20
    assert told["mean_entropy"] == pytest.approx(sum(step["entropy"] for step in steps) / len(steps))
    assert told["tau"] == [0.4] and told["reach_tau"] >= explored
    assert [(part["from"], part["to"]) for part in told["by_place"]][::9] == [(0.0, 0.1), (0.9, 1.0)]
    assert list(told["by_class"]) == list(CLASSES)
    for group in (told["by_place"], told["by_class"].values()):
        assert sum(count["steps"] for count in group) == len(steps)
        assert sum(count["explored"] for count in group) == explored
    (trace,) = told["traces"]
    assert (trace["method"], trace["tau"], trace["entropy_unit"]) == ("selar", 0.4, "normalised")
    assert trace["finished"] is trace["in_histogram"] is True


def test_what_a_person_reads(traces, cli):
    done = cli("analyze", "entropy", traces["selar"])
    lines = done.out.splitlines()
    assert done.code == 0 and done.err == ""
    assert lines[0].split()[:2] == ["entropy", "steps"] and lines[21] == ""
    (marked,) = [line for line in lines[1:21] if "◂ tau 0.4" in line]
    assert marked.startswith("0.40-0.45 ")
    steps = records(traces["selar"])
    explored = sum(step["explored"] for step in steps)
    assert lines[22] == (
        f"{len(steps)} steps of 1 trace, {explored} of them exploration steps: {100 * explored / len(steps):.1f} %"
    )
    assert re.fullmatch(r"mean normalised entropy 0\.\d{3}; \d+\.\d % of steps reach tau 0\.4", lines[23])
    assert lines[24].startswith("no valley: ")
    assert lines[26].split() == ["place", "steps", "of", "all", "explored", "share", "entropy"]
    assert lines[27].startswith(" 0-10 % ") and lines[36].startswith("90-100 %")
    assert lines[38].startswith("kind of token ") and len({len(line) for line in lines[26:37]}) == 1
    assert all(line.split("  ")[0].strip() in CLASSES for line in lines[39:])


def test_several_with_what_one_should_know(traces, cli):
    done = cli("analyze", "entropy", *traces.values())
    tail = done.out.splitlines()[-4:]
    assert [line.partition(": ")[0] for line in tail] == [str(path) for path in traces.values()]
    assert " selar tau 0.4, " in tail[0] and re.search(r"\d\.\d % exploration steps, mean entropy 0\.\d{3}$", tail[0])
    assert tail[2].endswith("0.0 % exploration steps") and tail[3].endswith(" nats")
    notes = done.err.splitlines()
    assert notes[0] == (
        f"{traces['swir']}: the entropies of swir are in nats, so they are not in the histogram; "
        "the other figures include its steps"
    )
    assert "several methods or thresholds" in notes[1] and len(notes) in (2, 3)
    assert "◂ tau 0.4" in done.out and "◂ tau 0.6" in done.out
    quiet = cli("analyze", "entropy", *traces.values(), "-q")
    assert (quiet.out, quiet.err) == (done.out, "")


def test_no_entropies_at_all(traces, cli):
    done = cli("analyze", "entropy", traces["cot"])
    assert done.code == 0 and "no normalised entropies" in done.out and "0.00-0.05" not in done.out
    told = json.loads(cli("analyze", "entropy", traces["cot"], "--json").out)
    assert told["entropies"] == 0 and told["mean_entropy"] is None and told["steps"] == len(records(traces["cot"]))


def test_a_valley_and_the_warning_about_filters(tmp_path, cli):
    import numpy as np

    random = np.random.default_rng(0)
    values = np.clip(np.concatenate((random.beta(0.2, 6, 3000), random.normal(0.63, 0.08, 600))), 0, 1).tolist()
    for gate, warned in (("filtered", True), ("full", False)):
        path = tmp_path / f"{gate}.jsonl"
        lines = [{"type": "run", "method": "selar", "options": {"tau": 2.0, "k": 3, "gate_on": gate}}]
        lines += [{"type": "step", "token": 5, "text": "x", "entropy": value, "explored": False} for value in values]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = cli("analyze", "entropy", path)
        assert re.search(r"◂ valley 0\.[34]\d$", done.out, re.MULTILINE) and "tau 2" in done.out
        assert "◂ tau" not in done.out, "a threshold that lies beyond the histogram"
        assert re.search(r"^valley 0\.[34]\d \(90 % interval 0\.\d\d to 0\.\d\d\), \d+ % below", done.out, re.MULTILINE)
        assert ("after the filters" in done.err) is warned
        assert f"incomplete, used as far as they go: {path}" in done.err


@pytest.mark.parametrize("suffix", [".png", ".svg", ".SVG"])
def test_plots(suffix, traces, tmp_path, cli):
    path = tmp_path / f"plot{suffix}"
    done = cli("analyze", "entropy", *traces.values(), "-o", path)
    assert done.code == 0 and done.err.splitlines()[-1] == f"plot written to {path}"
    data = path.read_bytes()
    if suffix == ".png":
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 10_000
        return
    text = data.decode("utf-8")
    for label in ("normalised entropy of a step", "share of the steps, %", "tau 0.4, 0.6", "place in the text, %",
                  "exploration steps, % of these tokens", "all steps", "word start ("):  # fmt: skip
        assert label in text, label
    cli("analyze", "entropy", *traces.values(), "-o", path)
    assert path.read_bytes() == data, "not the same bytes again"


def test_a_plot_without_a_histogram(traces, tmp_path, cli):
    assert cli("analyze", "entropy", traces["cot"], "-o", tmp_path / "p.svg", "--json").code == 0
    assert "normalised entropy" not in (tmp_path / "p.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "told"),
    [("plot.pdf", "--output must end in .png or .svg"), ("no/folder/plot.png", "there is no folder")],
)
def test_plots_that_cannot_be_drawn(name, told, traces, tmp_path, cli):
    done = cli("analyze", "entropy", traces["selar"], "-o", tmp_path / name)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and told in done.err


def test_without_matplotlib(traces, tmp_path, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cli("analyze", "entropy", traces["selar"], "-o", tmp_path / "p.png")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: a plot needs matplotlib; {install_hint('plots')}\n"
    assert cli("analyze", "entropy", traces["selar"]).code == 0


def test_what_is_no_trace(traces, tmp_path, cli):
    (tmp_path / "x.jsonl").write_text("nothing\n")
    (tmp_path / "x.eval").write_text("")
    (tmp_path / "empty.jsonl").write_text('{"type":"run"}\n')
    cases = {
        tmp_path / "x.jsonl": "is not a trace of selar-local", tmp_path / "none.jsonl": "cannot read the trace",
        tmp_path: "is a folder: name the traces in it", tmp_path / "x.eval": "selar-local report shows its entropies",
        tmp_path / "empty.jsonl": "there is no step in",
    }  # fmt: skip
    for path, told in cases.items():
        done = cli("analyze", "entropy", path)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1) and told in done.err, path
        assert done.err.startswith("error: ")
    assert cli("analyze", "entropy", traces["selar"], tmp_path / "empty.jsonl").code == 0
    assert cli("analyze", "entropy").code == 2


def test_ascii_and_narrow(traces, process, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("COLUMNS", "30")
    done = process("analyze", "entropy", traces["selar"], "-q")
    assert done.code == 0 and done.out.isascii() and "< tau 0.4" in done.out and "#" in done.out
    assert max(len(line) for line in done.out.splitlines()[:21]) <= 45


def test_the_group_without_a_command(cli):
    done = cli("analyze")
    assert (done.code, done.out) == (2, "") and "entropy" in done.err and "lens" in done.err
    assert cli("analyze", "nothing").code == 2
    page = cli("analyze", "--help").out
    assert "entropy" in page and "lens" in page


def test_it_needs_no_llama_cpp(traces, process, monkeypatch, tmp_path):
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = process("analyze", "entropy", traces["selar"], "-q")
    assert (done.code, done.err) == (0, "")
