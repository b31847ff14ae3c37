"""The trace page as a file: closed, escaped, and the data in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from support import traces as made

from selar_local.analysis.page import trace_page
from selar_local.analysis.page.facts import all_facts, line
from selar_local.analysis.page.payload import ENTROPY_UNIT, PROBABILITY_UNIT, WEIGHT_UNIT, letter, payload
from selar_local.analysis.token_texts import Piece, TokenTexts, token_texts
from selar_local.errors import SelarError
from selar_local.methods import CoT, Method, Selar, SoftThinking, SwiReasoning
from selar_local.trace import Trace
from selar_local.trace.trace import trace_of

NOTHING = TokenTexts(({},), ())


def data_of(*traces: Trace, texts: TokenTexts | None = None) -> dict[str, Any]:
    """What the script of the page gets, by way of JSON."""
    texts = texts or TokenTexts(tuple({} for _ in traces), ())
    found: dict[str, Any] = json.loads(Page(trace_page(traces, texts)).data)
    return found


class Page(HTMLParser):
    """A page taken apart."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {"script": "", "style": "", "title": "", "json": ""}
        self._inside = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        kind = "json" if dict(attrs).get("type") == "application/json" else tag
        self._inside = kind if kind in self.texts else self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] += data

    @property
    def data(self) -> str:
        return self.texts["json"]

    @property
    def policy(self) -> str:
        found = [a["content"] for _, a in self.tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert len(found) == 1 and found[0]
        return found[0]


# -- the file -----------------------------------------------------------------------------------


def test_the_page_is_one_closed_file():
    page = trace_page([made.trace(made.step(5, "a"))], NOTHING)
    found = Page(page)
    assert page.startswith(b"<!doctype html>") and found.texts["title"] == "t.jsonl · trace"
    assert page == trace_page([made.trace(made.step(5, "a"))], NOTHING)
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(found.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in found.policy
    assert "default-src 'none'" in found.policy and "unsafe" not in found.policy
    assert "require-trusted-types-for 'script'" in found.policy
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        assert not {"src", "href", "style", "action", "srcdoc"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
    assert not re.search(r"https?://|url\(|@import|innerHTML|insertAdjacent|document\.write|\beval\b", page.decode())
    assert "<!--" not in page.decode()


def test_every_file_of_the_page_is_in_it():
    page = trace_page([made.trace(made.step(5, "a"))], NOTHING).decode()
    sources = [file for file in files("selar_local.analysis.page").iterdir() if file.name.endswith((".js", ".css"))]
    assert len(sources) > 8
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert text in page and len(text.splitlines()) < 300, source.name
        assert "</script" not in text.lower() and "<!--" not in text


EVIL = ["</script><img src=x onerror=alert(1)>", "<!--", "-->", "]]>", "&lt;", "\u2028", "<script>", "\0", "\ud800"]


def test_texts_stay_texts():
    tokens = range(5, 5 + len(EVIL))
    one = made.trace(
        *(made.step(token, text) for token, text in zip(tokens, EVIL, strict=True)), name=f"{EVIL[0]}.jsonl"
    )
    pieces = {token: Piece("text", text) for token, text in zip(tokens, EVIL, strict=True)}
    page = trace_page([one], TokenTexts((pieces,), (EVIL[0],)))
    plain = trace_page([made.trace(made.step(5, "a"))], NOTHING)
    found = Page(page)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in Page(plain).tags]
    assert page.lower().count(b"</script") == plain.lower().count(b"</script") == 2
    data = json.loads(found.data)
    assert data["traces"][0]["texts"] == EVIL and data["notes"][0] == EVIL[0]
    assert data["traces"][0]["name"] == f"{EVIL[0]}.jsonl"
    assert found.texts["title"] == f"{EVIL[0]}.jsonl · trace"


def test_without_a_trace_there_is_no_page():
    with pytest.raises(SelarError, match="no trace to show"):
        trace_page([], TokenTexts((), ()))


def test_the_title_names_a_few():
    four = [made.trace(name=f"{i}.jsonl") for i in range(4)]
    found = Page(trace_page(four, TokenTexts(({},) * 4, ())))
    assert found.texts["title"] == "0.jsonl, 1.jsonl, 2.jsonl and 1 more · trace"


def test_the_data_of_steps():
    top = [(5, 0.5), (6, 0.3), (7, 0.2)]
    fed = [[5, 0.0314], [6, 0.5812], [7, 0.3874]]
    one = made.trace(
        made.step(5, "a", 0.9372, True, top, fed=fed, drawn=6),
        made.step(6, "", None, top=[(6, 1.0)]),
        made.step(7, "c", 0.0, top=top, kept="budget"),
    )
    (found,) = data_of(one)["traces"]
    assert (found["tokens"], found["texts"]) == ([5, 6, 7], ["a", "", "c"])
    assert found["entropies"] == [9372, None, 0] and ENTROPY_UNIT == 1e-4
    assert found["counts"] == [3, 1, 3] and found["ids"] == [5, 6, 7, 6, 5, 6, 7]
    assert [p * PROBABILITY_UNIT for p in found["probabilities"]] == pytest.approx([0.5, 0.3, 0.2, 1.0, 0.5, 0.3, 0.2])
    assert found["explored"] == [0] and found["rest"] == {}
    assert (found["drawn"], found["kept"]) == ({"0": 6}, {"2": "budget"})
    assert found["fed"] == [{"weights": [314, 5812, 3874], "others": []}] and WEIGHT_UNIT == 1e-4
    assert found["mark"] == {"at": 0.5, "label": "tau 0.5"} and (found["top"], found["computed"]) == (1, False)
    assert data_of(made.trace(made.step(5, "a"), made.step(6, "b")))["traces"][0]["counts"] == 3


def fed_of(*steps: Any) -> Any:
    return data_of(made.trace(*steps))["traces"][0]["fed"]


def test_rows_beyond_the_candidates():
    top = [(5, 0.6), (6, 0.4), (7, 0.0)]
    rows = [[5, 0.25], [6, -0.5], [9, 0.5], [8, -0.75], [9, 0.5], [8, 1.0]]
    assert fed_of(made.step(5, "x", 0.9, True, top, fed=rows)) == [
        {"weights": [2500, -5000, None], "others": [[9, 10000], [8, 2500]]}
    ]
    many = [[100 + i, i / 1000] for i in range(50)]
    (found,) = fed_of(made.step(5, "x", 0.9, True, top, fed=many))
    assert found["others"] == [[100 + i, 10 * i] for i in range(49, 19, -1)]
    assert found["rest"] == [20, 1900] and found["weights"] == [None] * 3


def test_steps_that_fed_nothing_and_those_that_do_not_say_it():
    assert fed_of(made.step(5, "x", 0.9, True)) == fed_of(made.step(5, "x", 0.9, True, fed=None)) == [None]
    assert fed_of(made.step(5, "x", 0.9, True, fed=[])) == [{"weights": [None] * 3, "others": []}]
    assert fed_of(made.step(5, "x", 0.9)) == []


def test_entropies_in_nats_have_a_scale_of_their_own():
    soft = [made.step(5, "x", 3.1, True, mode="soft") for _ in range(4)]
    (found,) = data_of(made.trace(*soft, method=SwiReasoning()))["traces"]
    assert (found["unit"], found["top"], found["mark"]) == ("nats", 3.5, None)
    assert found["modes"] == [[0, "soft"]] and found["fed"] == [None] * 4


def test_modes_are_told_where_they_change():
    modes = ["soft", "soft", "normal", "soft"]
    (found,) = data_of(made.trace(*(made.step(5, "x", 1, mode=mode) for mode in modes), method=SwiReasoning()))[
        "traces"
    ]
    assert found["modes"] == [[0, "soft"], [2, "normal"], [3, "soft"]]
    assert data_of(made.trace(made.step(5, "x")))["traces"][0]["modes"] == []


def test_long_lists_of_candidates_are_cut():
    top = [(i, 0.02) for i in range(50)]
    soft = made.step(45, "x", 0.9, True, top, fed=top)
    (found,) = data_of(made.trace(soft, made.step(5, "y"), method=Selar(k=50)))["traces"]
    assert found["counts"] == [30, 3] and found["rest"] == {"0": [20, 40000]}
    assert len(found["fed"][0]["weights"]) == 30 and len(found["fed"][0]["others"]) == 20


def test_entropies_that_the_method_does_not_have_are_computed():
    torn = [(5, 0.4), (6, 0.3), (7, 0.3)]
    one = made.trace(made.step(5, "a", None, top=torn), made.step(5, "b", None, top=[(5, 1.0), (6, 0.0)]), method=CoT())
    (found,) = data_of(one)["traces"]
    expected = -sum(p * np.log(p) for p in (0.4, 0.3, 0.3)) / np.log(3)
    assert found["computed"] and found["entropies"] == [round(expected / ENTROPY_UNIT), 0]
    assert found["line"][4] == f"{expected / 2:.3f} (computed)" and found["mark"] is None


def test_marks_of_the_threshold():
    def mark(method: Method) -> Any:
        return data_of(made.trace(made.step(5, "a"), method=method))["traces"][0]["mark"]

    assert mark(Selar(tau=0.25)) == {"at": 0.25, "label": "tau 0.25"}
    assert mark(Selar(tau="auto")) is None and mark(SoftThinking()) is None and mark(CoT()) is None
    assert mark(SoftThinking(cold_stop_entropy=0.1)) == {"at": 0.1, "label": "cold stop 0.1"}


def test_names_of_steps_without_text():
    pieces = {
        5: Piece("control", "<|end|>"),
        6: Piece("text", "<think>"),
        7: Piece("bytes", "F0"),
        8: Piece("text", "st"),
    }
    one = made.trace(*(made.step(token, "") for token in (5, 6, 7, 8, 9)), made.step(5, "shown"))
    (found,) = data_of(one, texts=TokenTexts((pieces,), ()))["traces"]
    assert found["names"] == {"0": "<|end|>", "1": "<think>"}
    assert found["pieces"] == {"5": ["control", "<|end|>"], "6": "<think>", "7": ["bytes", "F0"], "8": "st"}


def test_groups_in_the_data():
    both = [made.trace(made.step(5, "a"), made.step(token, "b"), name=f"{token}") for token in (6, 7)]
    pieces = {1: Piece("text", "Why "), 2: Piece("bytes", "C3"), 3: Piece("bytes", "A9")}
    data = data_of(*both, texts=TokenTexts((pieces, {}), ("a note",)))
    assert data["groups"] == [
        {"traces": [0, 1], "partings": [[0, 1, 1]], "first": 1, "prompt_tokens": 3, "prompt": "Why é"},
    ]  # fmt: skip
    assert data["notes"] == ["a note"] and [one["letter"] for one in data["traces"]] == ["A", "B"]
    assert data_of(both[0])["groups"][0]["prompt"] is None
    cut = made.trace(made.step(5, "a"), last=False)
    assert data_of(cut)["notes"] == ["t.jsonl breaks off after 1 steps: the run was killed, or it is still going on."]


def test_letters():
    assert [letter(i) for i in (0, 1, 25, 26, 27, 52)] == ["A", "B", "Z", "A2", "B2", "A3"]


def test_the_line_of_the_table():
    one = made.trace(made.step(5, "a", 0.6, True), made.step(5, "b", 0.2), method=Selar(tau=0.4, contrast=0.0))
    assert line(one, [0.6, 0.2]) == ["selar", "k 3, tau 0.4, contrast 0", "2", "1 (50.0 %)", "0.400", "1.0", "stop"]
    cut = made.trace(made.step(5, "a", None), last=False, method=CoT())
    assert line(cut, [None], computed=True) == ["cot", "–", "1", "0 (0.0 %)", "–", "–", "the file breaks off"]
    nats = made.trace(made.step(5, "a", 1.5, True), method=SwiReasoning(alpha=0.5))
    assert line(nats, [1.5])[:5] == ["swir", "alpha 0.5", "1", "1 (100.0 %)", "1.500 nats"]
    nothing = trace_of("t", {"type": "run", "method": "magic", "options": {"wand": True, "on_it": None}}, [], {})
    assert line(nothing, []) == ["magic", "wand on, on it –", "0", "0", "–", "–", "the file breaks off"]


def test_a_trace_of_an_older_version_may_have_a_removed_option():
    def options(**more: object) -> str:
        run = made.run(options={"tau": 0.5, "k": 3, **more})
        return line(trace_of("t", run, [made.step(5, "a")], made.end(1)), [])[1]

    assert options(batch_gate=False) == options()
    assert options(batch_gate=True) == f"{options()}, batch gate on"


def test_the_facts_tell_no_folders():
    for path in ("/home/somebody/secret/model.gguf", "C:\\Users\\somebody\\secret\\model.gguf"):
        one = made.trace(made.step(5, "a"), model={"path": path, "sha256": "ab", "n_vocab": 7, "threads": 2})
        facts = dict(all_facts(one))
        assert facts["model"] == "model.gguf" and facts["SHA-256"] == "ab" and facts["tau"] == "0.5"
        assert facts["seed"] == "7" and facts["symbol guard"] == "on" and facts["prompt read in"] == "0.50 s"
        page = trace_page([one], token_texts([made.trace(made.step(5, "a"), model={"path": path})]))
        assert b"secret" not in page.partition(b'"notes"')[0]


def test_payload_is_json_whatever_is_in_the_trace():
    odd = trace_of(
        "t", made.run(method=None, options={"x": [1, {"y": float("inf")}]}), [made.step(5, "a")], made.end(1)
    )
    json.loads(json.dumps(payload([odd], NOTHING), allow_nan=False))
