"""`selar-local trace view` and `run --trace-html`: where the page goes, what it must not overwrite, what is told."""

from __future__ import annotations

import json
import re
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from support import traces as made

from selar_local.cli import trace_outputs
from selar_local.engine.stream import Stream
from selar_local.errors import DecodeError

SHORT = ("-p", "Hello", "--raw", "-n", "24", "-t", "1", "--seed", "1")
START = b"<!doctype html>"


def data_of(page: bytes | str) -> Any:
    """The data in a page."""
    text = page.decode() if isinstance(page, bytes) else page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def sky(tmp_path):
    steps = [made.step(5, "The"), made.step(6, " sky", 0.8, True)]
    return made.write(tmp_path / "sky.jsonl", made.run(), steps, made.end(2, 1, pieces={"5": "The", "6": " sky"}))


def rename(path: Path, name: str) -> Path:
    copy = path.parent / name
    copy.parent.mkdir(exist_ok=True)
    copy.write_bytes(path.read_bytes())
    return copy


# -- trace view --------------------------------------------------------------------------------------------


def test_the_page_goes_beside_the_trace(sky, cli):
    done = cli("trace", "view", sky)
    page = sky.with_suffix(".html")
    assert done == (0, "", f"written to {page}\n")
    data = data_of(page.read_bytes())
    assert data["traces"][0]["texts"] == ["The", " sky"] and data["traces"][0]["pieces"]["6"] == " sky"
    before = page.read_bytes()
    assert cli("trace", "view", sky).code == 0 and page.read_bytes() == before  # a page of ours is replaced


@pytest.mark.parametrize(
    ("others", "name"),
    [(["rain"], "sky-and-rain.html"), (["rain", "snow", "hail"], "sky-and-3-more.html"), (["sky"], "sky-and-sky.html")],
)
def test_the_name_of_a_page_of_several(others, name, sky, cli):
    paths = [sky, *(rename(sky, f"{other}.jsonl") for other in others)]
    assert cli("trace", "view", *paths).err == f"written to {sky.with_name(name)}\n"
    assert len(data_of(sky.with_name(name).read_bytes())["traces"]) == len(paths)


def test_traces_of_the_same_name_are_told_apart(sky, cli):
    other = rename(sky, "other/sky.jsonl")
    data = data_of(cli("trace", "view", sky, other, "-o", "-").out)
    assert [one["name"] for one in data["traces"]] == [str(sky), str(other)]


def test_a_page_elsewhere_and_on_standard_output(sky, tmp_path, cli):
    where = tmp_path / "page"
    done = cli("trace", "view", sky, "-o", where)
    assert done == (0, "", f"written to {where}\n") and where.read_bytes().startswith(START)
    shown = cli("trace", "view", sky, "--output", "-")
    assert (shown.code, shown.out.encode(), shown.err) == (0, where.read_bytes(), "")
    assert cli("trace", "view", sky, "-q") == (0, "", "")


def test_what_is_there_is_not_lost(sky, tiny, tmp_path, cli):
    page = sky.with_suffix(".html")
    page.write_text("<p>a letter to my aunt</p>")
    done = cli("trace", "view", sky)
    assert (done.code, done.out) == (1, "") and "is there already and is no page of traces" in done.err
    assert page.read_text() == "<p>a letter to my aunt</p>"
    assert cli("trace", "view", sky, "-o", page).code == 0  # it was named
    before = sky.read_bytes()
    done = cli("trace", "view", sky, "-o", sky)
    assert (done.code, done.err) == (
        1,
        f"error: the page {sky} would overwrite a trace\n",
    ) and sky.read_bytes() == before
    model = tmp_path / "m.gguf"
    model.write_bytes(tiny().read_bytes())
    done = cli("trace", "view", sky, "-o", model)
    assert done.code == 1 and "would overwrite a model" in done.err and model.read_bytes() == tiny().read_bytes()
    assert "is a folder" in cli("trace", "view", sky, "-o", tmp_path).err
    done = cli("trace", "view", sky, "-o", tmp_path / "none" / "p.html")
    assert (done.code, done.err.count("\n")) == (1, 1) and "No such file" in done.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "Missing argument"),
        (("none.jsonl",), 1, "cannot read the trace none.jsonl"),
        ((".",), 1, "is a folder"),
        (("x.jsonl", "-o", "-", "--open"), 2, "--open needs a file"),
    ],
    ids=str,
)
def test_wrong_usage(words, code, told, cli):
    done = cli("trace", "view", *words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1) and told in done.err


def test_a_file_without_the_command(cli):
    done = cli("trace", "sky.jsonl")
    assert done.code == 2 and "selar-local trace view sky.jsonl" in done.err and done.err.count("\n") == 1


def test_a_file_that_is_no_trace(tmp_path, cli):
    path = tmp_path / "x.jsonl"
    path.write_text('{"type":"run"}\n{"type":"step","token":"five"}\n')
    done = cli("trace", "view", path)
    assert done == (1, "", "error: x.jsonl is not a trace of selar-local: step 0 has a wrong token\n")
    assert not path.with_suffix(".html").exists()


def test_a_model_that_is_gone_is_told_and_can_be_named(sky, tiny, tmp_path, cli):
    n_vocab = data_n_vocab(tiny())
    head = made.run(model={"path": "/nowhere/m.gguf", "n_vocab": n_vocab})
    path = made.write(tmp_path / "old.jsonl", head, [made.step(65, "a")], made.end(1))
    done = cli("trace", "view", path)
    assert done.code == 0 and done.err.splitlines()[0].startswith("old.jsonl: its model (/nowhere/m.gguf) is not there")
    assert data_of(path.with_suffix(".html").read_bytes())["traces"][0]["pieces"] == {}
    done = cli("trace", "view", path, "--model", tiny())
    assert done == (0, "", f"written to {path.with_suffix('.html')}\n")
    assert set(data_of(path.with_suffix(".html").read_bytes())["traces"][0]["pieces"]) == {
        "1",
        "2",
        "3",
        "65",
        "66",
        "67",
    }
    done = cli("trace", "view", path, "--model", tmp_path / "none.gguf")
    assert done.code == 1 and "there is no model" in done.err
    done = cli("trace", "view", path, "--model", tiny(thinking_tokens=True))
    assert done.code == 1 and f"instead of {n_vocab}" in done.err


def data_n_vocab(model: Path) -> int:
    from selar_local.llama.vocabulary import read_vocabulary

    return read_vocabulary(model, []).n_vocab


def test_opening_it(sky, cli, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    assert cli("trace", "view", sky, "--open").code == 0
    assert opened == [sky.with_suffix(".html").resolve().as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    done = cli("trace", "view", sky, "--open", "-q")
    assert done == (0, "", f"warning: no web browser was found: open {sky.with_suffix('.html')} yourself\n")


def test_help(cli):
    assert "view" in cli("trace", "--help").out
    page = cli("trace", "view", "--help").out
    assert "--output" in page and "--open" in page and "--model" in page
    bare = cli("trace")
    assert (bare.code, bare.out) == (2, "") and "view" in bare.err
    assert "trace" in cli("--help").out


# -- run --trace-html ----------------------------------------------------------------------------------------


def test_run_writes_the_page(model, tmp_path, cli):
    page, trace = tmp_path / "p.html", tmp_path / "t.jsonl"
    plain = cli("run", model, *SHORT)
    alone = cli("run", model, *SHORT, "--trace-html", page)
    assert (alone.code, alone.out) == (0, plain.out) and alone.err.splitlines()[-1] == f"trace page written to {page}"
    first = data_of(page.read_bytes())
    both = cli("run", model, *SHORT, "--trace-html", page, "--trace", trace)
    assert both.out == plain.out and data_of(page.read_bytes())["traces"][0]["texts"] == first["traces"][0]["texts"]
    cli("trace", "view", trace, "-o", tmp_path / "v.html")
    seen, own = (data_of((tmp_path / name).read_bytes())["traces"][0] for name in ("v.html", "p.html"))
    for name in ("tokens", "texts", "entropies", "ids", "probabilities", "explored", "fed", "kept", "pieces", "mark"):
        assert seen[name] == own[name], name
    assert own["name"] == "p" and own["explored"] and len(own["fed"]) == len(own["explored"])
    mixes = [
        fed for step, fed in zip(own["explored"], own["fed"], strict=True) if step < 23
    ]  # the last one feeds nothing
    assert mixes and all(sum(fed["weights"]) == pytest.approx(10_000, abs=3) for fed in mixes)
    assert cli("run", model, *SHORT, "--trace-html", page, "-q").err == ""


def test_the_end_of_the_trace_holds_the_texts(model, tmp_path, cli):
    trace = tmp_path / "t.jsonl"
    cli("run", model, *SHORT, "--trace", trace)
    end = json.loads(trace.read_text(encoding="utf-8").splitlines()[-1])
    assert end["type"] == "end" and "".join(end["pieces"][str(token)] for token in prompt_of(trace)) == "Hello"


def prompt_of(trace: Path) -> list[int]:
    tokens: list[int] = json.loads(trace.read_text(encoding="utf-8").splitlines()[0])["prompt_tokens"]
    return tokens


@pytest.mark.parametrize("events", [0, 5])
def test_an_interrupted_run_has_its_page(events, model, tmp_path, cli, monkeypatch):
    original, seen = Stream.__next__, []

    def interrupted(self):
        seen.append(None)
        if len(seen) == events + 1:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Stream, "__next__", interrupted)
    page = tmp_path / "p.html"
    done = cli("run", model, "-p", "Hello", "--raw", "-t", "1", "--seed", "1", "-c", "30000", "--trace-html", page)
    found = data_of(page.read_bytes())["traces"][0]
    assert done.code == 130 and len(found["tokens"]) == events and found["line"][-1] == "cancelled"


def test_a_run_that_fails_midway_has_its_page(model, tmp_path, cli, monkeypatch):
    original, seen = Stream.__next__, []

    def failing(self):
        seen.append(None)
        if len(seen) == 4:
            raise DecodeError("the model has a headache")
        return original(self)

    monkeypatch.setattr(Stream, "__next__", failing)
    page = tmp_path / "p.html"
    done = cli("run", model, *SHORT, "--trace-html", page)
    assert done.code == 1 and done.err.splitlines()[-1] == "error: the model has a headache"
    assert len(data_of(page.read_bytes())["traces"][0]["tokens"]) == 3


def test_a_run_that_does_not_begin_leaves_no_page(model, tmp_path, cli):
    page = tmp_path / "p.html"
    done = cli("run", model, "--raw", "-p", "x" * 400, "-c", "256", "-t", "1", "--trace-html", page)
    assert done.code == 1 and not page.exists()
    page.write_text("an earlier page")
    done = cli("run", model, "--raw", "-p", "x" * 400, "-c", "256", "-t", "1", "--trace-html", page)
    assert done.code == 1 and page.read_text() == "an earlier page"
    assert cli("run", tmp_path / "none.gguf", *SHORT, "--trace-html", tmp_path / "q.html").code == 1
    assert not (tmp_path / "q.html").exists()


def test_a_page_that_cannot_be_written_is_told_before_the_model_loads(model, tmp_path, cli, monkeypatch):
    monkeypatch.setattr("selar_local.cli.run.open_engine", None)  # would fail if it were called
    done = cli("run", model, *SHORT, "--trace-html", tmp_path / "none" / "p.html")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1) and "cannot write the trace page" in done.err
    page = tmp_path / "p.html"
    done = cli("run", model, *SHORT, "--trace-html", page, "--trace", tmp_path / "none" / "t.jsonl")
    assert done.code == 1 and "cannot write the trace " in done.err and not page.exists()
    for other in (page, "-"):
        done = cli("run", model, *SHORT, "--trace-html", other, "--trace", page)
        assert done.code == 2 and "--trace-html needs a file of its own" in done.err


def test_inputs_are_not_overwritten(model, tmp_path, cli):
    copy, prompt, trace = tmp_path / "m.gguf", tmp_path / "prompt.txt", tmp_path / "t.jsonl"
    copy.write_bytes(model.read_bytes())
    prompt.write_text("Hello")
    trace.write_text("an earlier trace")
    assert "would overwrite a model" in cli("run", copy, *SHORT, "--trace-html", copy).err
    assert "would overwrite the prompt" in cli("run", copy, "-f", prompt, "--raw", "--trace-html", prompt).err
    linked = tmp_path / "linked.html"
    linked.symlink_to(trace)
    assert "would overwrite the trace" in cli("run", copy, *SHORT, "--trace", trace, "--trace-html", linked).err
    same = f"{tmp_path}/./new.html", f"{tmp_path}/new.html"
    assert "would overwrite the trace page" in cli("run", copy, *SHORT, "--trace", same[0], "--trace-html", same[1]).err
    assert (copy.read_bytes(), prompt.read_text(), trace.read_text()) == (
        model.read_bytes(),
        "Hello",
        "an earlier trace",
    )


def test_a_disk_that_is_full_in_the_end_is_a_warning(model, tmp_path, cli, monkeypatch):
    page = tmp_path / "p.html"

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = cli("run", model, *SHORT, "--trace-html", page)
    assert done.code == 0 and f"warning: the trace page {page} could not be written: No space left" in done.err


def test_a_prompt_is_needed(model, cli):
    assert cli("run", model, "--trace-html", "p.html").code == 2


def test_keeping_inputs_looks_at_files_only(tmp_path):
    trace_outputs.keep_inputs(tmp_path / "new", [("the prompt", None), ("the prompt", "-"), ("x", "gone")], "the page")
    trace_outputs.keep_inputs(tmp_path, [], "the page")
