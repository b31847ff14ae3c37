"""Several traces on one page: side by side, and where they part."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect
from support import traces as made
from trace_pages import chosen, other, panel, point, sky, token

from selar_local.methods import CoT


def test_side_by_side_and_where_they_part(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "a.jsonl"), other(tmp_path / "b.jsonl"))
    expect(page.locator("h2").first).to_have_text("2 traces of one prompt")
    left, right = token(page, 2).bounding_box(), token(page, 2, 1).bounding_box()
    assert left["y"] == right["y"] and left["x"] < right["x"]
    assert [one.get_attribute("class").split()[-1] for one in (token(page, 3), token(page, 3, 1))] == ["parts", "parts"]
    assert page.locator(".parts").count() == 2
    expect(page.locator(".parting")).to_have_text("They part at step 3: A explores with “␣blue”, B goes on with “␣red”")
    assert token(page, 3).bounding_box()["y"] == token(page, 3, 1).bounding_box()["y"]
    page.get_by_role("button", name="Where they part: step 3").click()
    assert chosen(page) == [["A", 3]]
    expect(panel(page).locator(".step")).to_have_count(2)
    assert panel(page).locator(".token").all_inner_texts() == ["␣blue", "␣red"]
    expect(panel(page)).to_contain_text("The traces part here.")


def test_the_button_finds_the_parting_far_away(show_traces, tmp_path):
    first = made.long_trace(tmp_path / "a.jsonl", 4000)
    records = first.read_text(encoding="utf-8").splitlines()
    changed = records[3001].replace('"token": ', '"token": 9')
    assert changed != records[3001]
    second = tmp_path / "b.jsonl"
    second.write_text("\n".join([*records[:3001], changed, *records[3002:]]) + "\n", encoding="utf-8")
    page = show_traces(first, second)
    page.keyboard.press("d")
    assert chosen(page) == [["A", 3000]]
    expect(page.locator(".at")).to_be_in_viewport()
    expect(page.locator(".parting")).to_be_in_viewport()
    expect(page.locator(".beside")).to_be_in_viewport()


def test_a_step_has_its_likes_beside_it_until_they_part(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "a.jsonl"), other(tmp_path / "b.jsonl"))
    token(page, 1).click()
    assert "beside" in token(page, 1, 1).get_attribute("class")
    expect(panel(page).locator(".step")).to_have_count(2)
    token(page, 4).click()
    assert page.locator(".beside").count() == 0
    expect(panel(page).locator(".step")).to_have_count(1)
    token(page, 2).click()
    page.keyboard.press("Tab")
    assert chosen(page) == [["B", 2]]
    page.keyboard.press("ArrowRight")
    assert chosen(page) == [["B", 3]]
    page.mouse.click(*point(page, 1, 0.75))
    assert chosen(page) == [["B", 1]]


def test_traces_that_part_by_exploring_or_by_ending(show_traces, tmp_path):
    same = [made.step(10, "The"), made.step(11, " sky")]
    quiet = made.write(tmp_path / "a.jsonl", made.run(), [*same, made.step(12, " is", 0.4)], None)
    torn = made.write(tmp_path / "b.jsonl", made.run(), [*same, made.step(12, " is", 0.6, True)], None)
    short = made.write(tmp_path / "c.jsonl", made.run(), same, None)
    page = show_traces(quiet, torn)
    expect(page.locator(".parting")).to_have_text("They part at step 2: A goes on with “␣is”, B explores with “␣is”")
    expect(page.get_by_text("a.jsonl breaks off after 3 steps")).to_be_visible()
    page = show_traces(short, quiet)
    expect(page.locator(".parting")).to_contain_text("A has ended")
    page.keyboard.press("d")
    assert chosen(page) == [["B", 2]]


def test_traces_that_are_the_same(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "a.jsonl"), sky(tmp_path / "b.jsonl"))
    expect(page.get_by_text("The traces are the same at every step.")).to_be_visible()
    assert page.locator(".parting").count() == 0
    page.keyboard.press("d")
    assert chosen(page) == []


def test_three_traces_and_another_prompt(show_traces, tmp_path):
    paths = [sky(tmp_path / "a.jsonl"), other(tmp_path / "b.jsonl"), other(tmp_path / "c.jsonl", 2, CoT())]
    alone = made.write(tmp_path / "d.jsonl", made.run(prompt=(4, 5)), [made.step(10, "The")], made.end(1))
    page = show_traces(*paths, alone)
    assert page.locator("section.group").count() == 2
    expect(page.get_by_role("button", name="Where they part: step 2")).to_be_visible()
    page.get_by_role("button", name="A and B: step 3").click()
    assert chosen(page) == [["A", 3]]
    assert panel(page).locator("h3 .letter").all_inner_texts() == ["A", "B"]
    token(page, 0, 3).click()
    assert chosen(page) == [["D", 0]] and page.locator(".beside").count() == 0


def test_entropies_that_are_computed_say_so(show_traces, tmp_path):
    steps = [made.step(10, "The", None, top=[(10, 0.4), (11, 0.3), (12, 0.3)])]
    page = show_traces(made.write(tmp_path / "cot.jsonl", made.run(CoT()), steps, made.end(1)))
    token(page, 0).hover()
    expect(panel(page)).to_contain_text("computed from the candidates: this method uses none")
    assert "e8" in token(page, 0).get_attribute("class")
