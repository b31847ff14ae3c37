"""The curves of the trace page: linked to the text both ways, zoomed and moved by pointer, buttons and keys."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect
from support import traces as made
from trace_pages import canvas, chosen, drag, panel, point, shown, sky, token, until


def test_the_curve_and_the_text_follow_each_other(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    page.mouse.move(*point(page, 3))
    expect(panel(page).locator(".token")).to_have_text("␣blue")
    assert "over" in token(page, 3).get_attribute("class")
    page.mouse.move(*point(page, 6))
    assert "over" not in token(page, 3).get_attribute("class") and "over" in token(page, 6).get_attribute("class")
    page.mouse.click(*point(page, 1))
    assert chosen(page) == [["A", 1]]
    page.mouse.move(5, 5)
    picture = canvas(page)
    token(page, 6).hover()
    assert canvas(page) != picture  # the curve shows where the pointer is in the text
    page.locator("section h2").hover()
    assert canvas(page) == picture
    token(page, 0).click()
    page.locator("section h2").hover()
    assert canvas(page) != picture


def test_a_click_in_the_curve_scrolls_the_text(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 3000))
    page.mouse.click(*point(page, 2500))
    ((_, step),) = chosen(page)
    assert 2480 < step < 2520
    expect(page.locator(".at")).to_be_in_viewport()
    assert page.evaluate("scrollY") > 1000
    above = page.locator(".curve").bounding_box()
    assert page.locator(".at").bounding_box()["y"] > above["y"] + above["height"]  # not behind the curve
    entropies = page.evaluate("[...document.querySelector('.at').parentElement.block.trace.entropies]")
    assert entropies[step] == max(entropies[step - 1 : step + 2])  # the peak of its column


def test_the_keyboard_walks_in_the_curve(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 2000))
    curve = page.get_by_role("slider")
    curve.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(curve).to_have_attribute("aria-valuenow", "1")
    assert "step 1" in curve.get_attribute("aria-valuetext")
    expect(curve).to_be_focused()
    page.keyboard.press("End")
    expect(curve).to_have_attribute("aria-valuenow", "1999")
    expect(page.locator(".at")).to_be_in_viewport()
    page.keyboard.press("ArrowUp")
    assert "x" in page.locator(".at").get_attribute("class").split()


def test_zoom(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 2000))
    told = page.locator(".range")
    expect(told).to_have_text("2,000 steps")
    x, y = point(page, 1000)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    expect(told).to_have_text(re.compile(r"steps .* of 2,000"))
    first, last = shown(page)
    assert first < 1000 < last and last - first < 700
    page.mouse.wheel(0, 5000)
    expect(told).to_have_text("2,000 steps")
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert shown(page)[1] - shown(page)[0] < 900
    page.get_by_role("button", name="Zoom out").click()
    page.get_by_role("button", name="whole").click()
    expect(told).to_have_text("2,000 steps")
    expect(page.get_by_role("button", name="Zoom out")).to_be_disabled()
    for _ in range(20):
        page.keyboard.press("+")
    expect(page.get_by_role("button", name="Zoom in")).to_be_disabled()
    page.keyboard.press("0")
    expect(told).to_have_text("2,000 steps")


def test_dragging_selects_and_then_moves(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 2000))
    drag(page, 500, 700)
    first, last = shown(page)
    assert abs(first - 500) < 8 and abs(last - 700) < 8
    assert chosen(page) == []
    drag(page, 1500, 1000)  # a quarter of the picture, to the left: the curve shows what comes next
    moved = shown(page)
    assert abs(moved[0] - (first + 50)) < 5 and moved[1] - moved[0] == pytest.approx(last - first, abs=2)
    page.keyboard.down("Shift")
    drag(page, 500, 1000)
    page.keyboard.up("Shift")
    assert shown(page)[1] - shown(page)[0] == pytest.approx((last - first) / 4, abs=4)


def test_the_chosen_step_stays_in_a_zoomed_curve(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 2000))
    drag(page, 500, 600)
    token(page, 3).click()
    first, _ = shown(page)
    assert first <= 3


def test_the_wheel_scrolls_on_where_there_is_nothing_to_zoom(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 2000))
    page.mouse.move(*point(page, 1000))
    page.mouse.wheel(0, 400)
    until(page, "scrollY > 0")
