"""Traces in checked types, and which of them belong together."""

from __future__ import annotations

import pytest
from support import traces as made

from selar_local.analysis.page import trace_page
from selar_local.analysis.page.payload import grouped, parting
from selar_local.analysis.token_texts import TokenTexts
from selar_local.errors import SelarError
from selar_local.trace import Step, load_trace
from selar_local.trace.trace import trace_of


def test_a_step_is_read_in_types_that_hold():
    top = [(5, 0.5), (6, 0.5)]
    fed = {"drawn": 6, "fed": [[5, -0.5], [6, 1.5]], "kept": "budget"}
    (found,) = made.trace(made.step(5, " a", 0.25, True, top, mode="soft", more=[1], **fed)).steps
    assert found == Step(5, " a", 0.25, True, tuple(top), "soft", 6, ((5, -0.5), (6, 1.5)), "budget")
    (bare,) = made.trace({"type": "step", "token": 5}).steps
    assert bare == Step(5, "", None, False, (), None, 5, ((5, 1.0),), None)
    (old,) = made.trace({"type": "step", "token": 5, "explored": True}).steps
    assert (old.fed, old.kept) == (None, None)


@pytest.mark.parametrize("entropy", ["high", float("nan"), float("inf"), True, [1], -0.1, 1.5, 10**400])
def test_an_entropy_that_is_wrong(entropy):
    with pytest.raises(SelarError, match=r"t.jsonl: the entropy of step 0 is .*, not between 0 and 1$"):
        made.trace(made.step(5, "a", entropy))


def test_an_entropy_that_is_none_or_in_nats():
    assert made.trace(made.step(5, "a", None)).steps[0].entropy is None
    assert made.trace(made.step(5, "a", 3), entropy_unit="nats").steps[0].entropy == 3.0
    with pytest.raises(SelarError, match=r"is -1, not a number from 0 on$"):
        made.trace(made.step(5, "a", -1), entropy_unit="nats")


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"token": "5"}, "token"),
        ({"token": -1}, "token"),
        ({"token": None}, "token"),
        ({"text": 5}, "text"),
        ({"top": 5}, "list of candidates"),
        ({"top": [[5]]}, "list of candidates"),
        ({"top": [["5", 0.5]]}, "list of candidates"),
        ({"top": [[5, "much"]]}, "list of candidates"),
        ({"top": [[5, -0.5]]}, "list of candidates"),
        ({"drawn": "5"}, "drawn token"),
        ({"fed": 5}, "list of what it fed"),
        ({"fed": [[5, "much"]]}, "list of what it fed"),
        ({"fed": [[-5, 0.5]]}, "list of what it fed"),
    ],
    ids=str,
)
def test_a_wrong_step_is_told(wrong, word):
    with pytest.raises(SelarError, match=f"t.jsonl is not a trace of selar-local: step 1 has a wrong {word}$"):
        made.trace(made.step(5, "a"), {**made.step(6, "b"), **wrong})


def test_records_that_lack_everything():
    bare = trace_of("t.jsonl", {"type": "run"}, [], None)
    assert (bare.method, bare.options, bare.model, bare.sampling, bare.prompt) == ("", {}, {}, {}, ())
    odd = trace_of(
        "t.jsonl", {"type": "run", "method": 5, "options": [], "model": "m", "prompt_tokens": ["1", 2]}, [], {}
    )
    assert (odd.method, odd.options, odd.model, odd.prompt, odd.unit) == ("", {}, {}, (2,), "normalised")
    assert trace_page([bare, odd], TokenTexts(({}, {}), ()))


def test_files(tmp_path):
    path = made.write(tmp_path / "a.jsonl", made.run(), [made.step(5, "a")], None)
    found = load_trace(path)
    assert (found.name, len(found.steps), found.end) == ("a.jsonl", 1, None)
    assert load_trace(path, "b").name == "b"
    with pytest.raises(SelarError, match=r"is a folder: name the traces in it, such as .*\*\.jsonl"):
        load_trace(tmp_path)
    with pytest.raises(SelarError, match="cannot read the trace"):
        load_trace(tmp_path / "none.jsonl")


# -- groups -------------------------------------------------------------------------------------


def steps(*told: tuple[int, bool]) -> list[Step]:
    return [Step(token, "", None, explored, (), None, token, None, None) for token, explored in told]


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ([(1, False), (2, False)], [(1, False), (2, False)], None),
        ([(1, False), (2, False)], [(1, False), (3, False)], 1),
        ([(1, False), (2, False)], [(1, True), (2, False)], 0),
        ([(1, False)], [(1, False), (2, False)], 1),
        ([], [(1, False)], 0),
        ([], [], None),
    ],
)
def test_where_traces_part(one, other, where):
    assert parting(steps(*one), steps(*other)) == parting(steps(*other), steps(*one)) == where


def test_traces_of_one_prompt_belong_together():
    a, b, c = (made.trace(made.step(token, "x"), made.step(token, "y")) for token in (5, 5, 6))
    other = made.trace(made.step(5, "x"), prompt=(9,))
    model = {"path": "m", "n_vocab": 7}
    found = grouped([a, other, b, made.trace(made.step(5, "x"), model=model), c])
    assert [group.members for group in found] == [(0, 2, 4), (1,), (3,)]
    assert found[0].partings == {(0, 2): None, (0, 4): 0, (2, 4): 0} and found[0].first_parting == 0
    assert found[1].partings == {} and found[1].first_parting is None


def test_traces_that_name_no_prompt_stand_alone():
    assert [group.members for group in grouped([made.trace(prompt=()), made.trace(prompt=())])] == [(0,), (1,)]
