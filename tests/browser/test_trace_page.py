"""The trace page in a real browser, opened as a file: its texts, the panel, the keyboard, its looks, its speed."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api")

from playwright.sync_api import expect
from support import traces as made
from trace_pages import TEXTS, canvas, chosen, other, panel, point, sky, token, until

from selar_local.analysis.page import trace_page
from selar_local.analysis.token_texts import token_texts
from selar_local.methods import SwiReasoning
from selar_local.trace import load_trace


def test_the_text_with_its_colours(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    assert page.title() == "sky.jsonl · trace"
    assert page.locator(".t").all_text_contents() == ["The", " sky", " is", " blue", "\n", "", "é", ""]
    classes = [set(one.get_attribute("class").split()) for one in page.locator(".t").all()]
    assert ["x" in one for one in classes] == [False, True, False, True, False, False, True, False]
    shades = [next((name for name in one if re.fullmatch(r"e\d", name)), "") for one in classes]
    assert shades == ["e1", "e8", "", "e8", "e5", "e2", "e6", "e1"]
    assert "break" in classes[4] and "held" in classes[5] and "held" in classes[7]
    border = "(t) => getComputedStyle(t).borderBlockEndStyle"  # not by colour alone
    assert token(page, 1).evaluate(border) == "solid" and token(page, 0).evaluate(border) == "none"
    assert token(page, 5).evaluate("(t) => getComputedStyle(t, '::before').content") == '"·"'


def test_the_table_tells_of_the_trace(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    assert page.locator(".table tbody tr").all_inner_texts() == [
        "A sky.jsonl\tselar\tk 3, tau 0.5\t8\t3 (37.5 %)\t0.449\t4.0\tstop"
    ]
    page.get_by_text("Prompt, 3 tokens").click()
    expect(page.locator(".prompt pre")).to_have_text("Why so?")
    page.get_by_text("All about this trace").click()
    expect(page.locator(".facts dl")).to_contain_text("model.gguf")
    expect(page.get_by_role("term").filter(has_text="symbol guard")).to_be_visible()


def test_pointing_at_a_token_shows_its_candidates(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    expect(panel(page)).to_contain_text("Point at a token")
    token(page, 1).hover()
    expect(panel(page)).to_contain_text("Exploration step")
    expect(panel(page).locator(".token")).to_have_text("␣sky")
    expect(panel(page)).to_contain_text("entropy 0.930")
    rows = panel(page).locator("tbody tr").all_inner_texts()
    assert [re.split(r"\s*[\n\t]+\s*", row.strip()) for row in rows] == [
        ["▸ ␣sky", "11", "0.5500", "0.132"],
        ["␣sea", "15", "0.3000", "0.579"],
        ["␣red", "17", "0.1500", "0.290"],
    ]
    widths = [bar.evaluate("(bar) => bar.style.inlineSize") for bar in panel(page).locator(".bar").all()]
    assert widths == ["55%", "30%", "15%"]
    token(page, 3).hover()
    expect(panel(page).locator("tbody tr").first).to_contain_text("−0.320")
    expect(panel(page).locator(".weight.minus")).to_have_count(1)
    page.locator("section h2").hover()
    expect(panel(page)).to_contain_text("Point at a token")


def test_certain_steps_tell_why(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    token(page, 0).hover()
    expect(panel(page)).to_contain_text("Certain step")
    expect(panel(page).locator("th", has_text="weight fed")).to_have_count(0)
    expect(panel(page)).to_contain_text("0, filtered out")
    token(page, 4).hover()
    expect(panel(page)).to_contain_text("It stayed a certain step because of: symbol guard.")
    expect(panel(page).locator(".token")).to_have_text("⏎")
    token(page, 5).hover()
    expect(panel(page).locator(".token")).to_have_text("‹C3›")
    expect(panel(page)).to_contain_text("its text was held back")
    token(page, 6).hover()
    expect(panel(page)).to_contain_text("added “é”")
    token(page, 7).hover()
    expect(panel(page).locator(".token")).to_have_text("token 30")


def test_rows_beyond_the_candidates_and_the_drawn_token(show_traces, tmp_path):
    rows = [[10, 0.25], [11, 0.5], *((40 + i, 0.01) for i in range(40))]
    soft = made.step(10, "The", 0.9, True, [(10, 0.6), (12, 0.4)], fed=rows, drawn=12)
    last = made.step(11, " sky", 0.9, True, [(11, 0.6), (12, 0.4)], fed=[])
    path = made.write(tmp_path / "t.jsonl", made.run(), [soft, last], made.end(2, 2, pieces=made.pieces(TEXTS)))
    page = show_traces(path)
    token(page, 0).hover()
    expect(panel(page)).to_contain_text("token 10 · drawn: ␣is (12)")
    rows = panel(page).locator("tbody tr").all_inner_texts()
    assert [re.split(r"\s*[\n\t]+\s*", row.strip()) for row in rows[:4]] == [
        ["▸ The", "10", "0.6000", "0.250"],
        ["␣is", "12", "0.4000", "–"],
        ["␣sky", "11", "not listed", "0.500"],
        ["token 40", "40", "not listed", "0.010"],
    ]
    assert len(rows) == 32
    expect(panel(page)).to_contain_text("The mix has 11 more rows, with weights of 0.1100 together.")
    token(page, 1).hover()
    expect(panel(page)).to_contain_text("The text ended here: nothing was fed.")


def test_weights_that_are_not_known_are_not_shown(show_traces, tmp_path):
    steps = [made.step(10, "The", 2.5, True, mode="soft"), made.step(11, " sky", 0.4, False, mode="normal")]
    path = made.write(tmp_path / "swir.jsonl", made.run(SwiReasoning()), steps, made.end(2, 1))
    page = show_traces(path)
    token(page, 0).hover()
    expect(panel(page)).to_contain_text("The weights are not recorded")
    expect(panel(page)).to_contain_text("entropy 2.500 nats · mode soft")
    expect(panel(page).locator("th", has_text="weight fed")).to_have_count(0)
    token(page, 1).hover()
    expect(panel(page)).to_contain_text("mode normal")


def test_a_click_keeps_a_step_and_escape_lets_go(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    token(page, 3).click()
    page.locator("section h2").hover()
    expect(panel(page).locator(".token")).to_have_text("␣blue")
    assert chosen(page) == [["A", 3]]
    token(page, 1).hover()
    expect(panel(page).locator(".token")).to_have_text("␣sky")
    assert chosen(page) == [["A", 3]]
    page.locator("section h2").hover()
    expect(panel(page).locator(".token")).to_have_text("␣blue")
    page.keyboard.press("Escape")
    assert chosen(page) == []
    expect(panel(page)).to_contain_text("Point at a token")


# -- the keyboard ----------------------------------------------------------------------------------


def test_keys_walk_along_the_steps(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    token(page, 0).focus()
    assert chosen(page) == [["A", 0]]
    expect(panel(page).locator(".token")).to_have_text("The")
    for key, step in (
        ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 7), ("ArrowRight", 7), ("Home", 0),
        ("ArrowLeft", 0), ("ArrowDown", 1), ("ArrowDown", 3), ("n", 6), ("n", 6), ("ArrowUp", 3), ("p", 1),
        ("PageDown", 7), ("PageUp", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert chosen(page) == [["A", step]], key
        assert page.evaluate("document.activeElement.step") == step
    told = page.evaluate("document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent")
    assert told == "A, step 0: The; entropy 0.05; certain step; candidates The 0.99, ␣sea 0.01, ␣was 0.00"


def test_tab_reaches_the_text_and_the_curve(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    page.locator("canvas").focus()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.step ?? document.activeElement.tagName"))
    assert 0 in reached and reached.count("BUTTON") >= 3
    page.keyboard.press("Shift+Tab")


def test_keys_that_scroll_do_so_outside_the_text(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    page.keyboard.press("ArrowRight")
    assert chosen(page) == []
    page.locator("#theme").focus()
    page.keyboard.press("n")
    assert chosen(page) == []


def test_the_help_is_on_the_page(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("to the exploration step before, after")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="How to read this").click()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


# -- what else may come ----------------------------------------------------------------------------

EVIL = "</script><img src=x onerror=\"document.title='broken into'\">"


def test_texts_are_never_markup(show_traces, tmp_path):
    pieces = {"5": EVIL, "6": EVIL}
    path = made.write(
        tmp_path / "evil.jsonl", made.run(prompt=(5, 6), version=EVIL, method_=EVIL),
        [made.step(5, EVIL, 0.9, True, [(5, 0.6), (6, 0.4)], mode=EVIL)],
        made.end(1, pieces=pieces, finish_reason=EVIL),
    )  # fmt: skip
    page = show_traces(path)
    assert page.locator(".t").all_text_contents() == [EVIL]
    token(page, 0).hover()
    expect(panel(page).locator(".token")).to_have_text(EVIL)
    page.get_by_text("Prompt, 2 tokens").click()
    expect(page.locator(".prompt pre")).to_have_text(EVIL * 2)
    assert page.locator("img").count() == 0 and page.title() == "evil.jsonl · trace"


@pytest.mark.parametrize("last", [True, False])
def test_a_trace_without_steps(show_traces, tmp_path, last):
    page = show_traces(made.write(tmp_path / "empty.jsonl", made.run(), [], made.end(0) if last else None))
    expect(page.get_by_text("empty.jsonl has no steps.")).to_be_visible()
    for key in ("n", "p", "d", "+", "-", "0", "Escape"):
        page.keyboard.press(key)
    page.locator("canvas").focus()
    for key in ("ArrowRight", "ArrowDown", "Home", "End"):
        page.keyboard.press(key)
    page.mouse.click(*point(page, 0))
    assert chosen(page) == []
    page.get_by_role("button", name="Next exploration step").click()


def test_one_without_steps_beside_one_with(show_traces, tmp_path):
    page = show_traces(made.write(tmp_path / "empty.jsonl", made.run(), [], None), sky(tmp_path / "sky.jsonl"))
    expect(page.get_by_text("empty.jsonl has no steps.")).to_be_visible()
    expect(page.locator(".parting")).to_contain_text("They part at step 0: A has ended")
    page.keyboard.press("d")
    assert chosen(page) == [["B", 0]]


def test_the_address_names_the_step(show_traces, tmp_path):
    page = show_traces(made.long_trace(tmp_path / "long.jsonl", 3000), at="#A-2000")
    assert chosen(page) == [["A", 2000]]
    expect(page.locator(".at")).to_be_in_viewport()
    page.keyboard.press("n")
    until(page, "location.hash !== '#A-2000'")
    assert page.evaluate("location.hash") == f"#A-{chosen(page)[0][1]}"


@pytest.mark.parametrize("address", ["#A-999999", "#Z-1", "#nonsense", "#A-"])
def test_addresses_that_lead_nowhere(show_traces, tmp_path, address):
    page = show_traces(sky(tmp_path / "sky.jsonl"), at=address)
    assert chosen(page) in ([], [["A", 7]])


# -- looks -----------------------------------------------------------------------------------------

CONTRASTS = """() => {
  const numbers = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    return (under) => {
      canvas.clearRect(0, 0, 1, 1);
      for (const one of [under, colour]) { if (one) { canvas.fillStyle = one; canvas.fillRect(0, 0, 1, 1); } }
      return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (front, back, under) => {
    const [a, b] = [light(numbers(front)(null)), light(numbers(back)(under))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const style = (selector) => getComputedStyle(document.querySelector(selector));
  const page = style("body").backgroundColor;
  const card = style("#panel").backgroundColor;
  const found = {
    text: contrast(style("body").color, page), quiet: contrast(style(".prompt, .small").color, page),
    hint: contrast(style(".hint").color, card),
    letter: contrast(style(".letter").color, style(".letter").backgroundColor),
    held: contrast(style(".held").color, page), mark: contrast(style(".x").borderBlockEndColor, page),
    note: contrast(style(".table thead th").color, page),
  };
  for (const name of ["e1", "e5", "e8"]) {
    found[name] = contrast(style(`.${name}`).color, style(`.${name}`).backgroundColor, page);
  }
  return found;
}"""


@pytest.mark.parametrize("how", ["system", "switch"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark(show_traces, tmp_path, scheme, how):
    page = show_traces(sky(tmp_path / "sky.jsonl"), sky(tmp_path / "b.jsonl"))
    page.emulate_media(color_scheme=scheme if how == "system" else {"light": "dark", "dark": "light"}[scheme])
    if how == "switch":
        page.get_by_label("Theme").select_option(scheme)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back)[:3])) > 384) == (scheme == "light")
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts.pop("mark") >= 3
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}
    drawn = page.evaluate("getComputedStyle(document.querySelector('canvas')).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", drawn)[:3])) > 384) == (scheme == "light")


def test_the_theme_is_kept(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    first = canvas(page)
    page.get_by_label("Theme").select_option("dark")
    assert canvas(page) != first
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("dark")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


@pytest.mark.parametrize("width", [360, 720])
def test_narrow_windows(show_traces, tmp_path, width):
    page = show_traces(sky(tmp_path / "a.jsonl"), other(tmp_path / "b.jsonl"))
    page.set_viewport_size({"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    token(page, 1).evaluate("(t) => t.scrollIntoView({ block: 'center' })")
    token(page, 1).click()
    expect(panel(page)).to_be_in_viewport()
    expect(page.locator(".at")).to_be_in_viewport()
    assert page.locator(".at").bounding_box()["y"] < panel(page).bounding_box()["y"]
    page.keyboard.press("End")
    assert page.locator(".at").bounding_box()["y"] < panel(page).bounding_box()["y"]


def test_nothing_moves_where_that_is_not_wanted(show_traces, tmp_path):
    page = show_traces(sky(tmp_path / "sky.jsonl"))
    page.emulate_media(reduced_motion="reduce")
    moving = """() => [...document.querySelectorAll("*")].filter((one) => {
      const style = getComputedStyle(one);
      const moves = style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
      return moves || style.scrollBehavior === "smooth";
    }).length"""
    assert page.evaluate(moving) == 0


# -- size ------------------------------------------------------------------------------------------

STEPS = 20_000


def test_twenty_thousand_steps(show_traces, tmp_path, page):
    path = made.long_trace(tmp_path / "long.jsonl", STEPS)
    trace = load_trace(path)
    (tmp_path / "page.html").write_bytes(trace_page([trace], token_texts([trace])))
    page.add_init_script(
        """new MutationObserver((changes, watch) => {
          if (!document.documentElement?.hasAttribute("data-ready")) return;
          window.drawnAtFirst = document.querySelectorAll(".t").length;
          watch.disconnect();
        }).observe(document, { attributes: true, subtree: true });"""
    )
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.locator("html[data-ready]")).to_be_attached()
    expect(page.locator(".range").first).not_to_be_empty()
    assert 0 < page.evaluate("window.drawnAtFirst") < STEPS / 4  # how fast it is: scripts/bench_trace.py
    token(page, 5).hover()
    expect(panel(page)).to_contain_text("step 5")
    page.mouse.move(*point(page, 15_000))
    expect(panel(page)).to_contain_text(re.compile(r"step 1[45],"))
    page.mouse.click(*point(page, 15_000))
    expect(page.locator(".at")).to_be_in_viewport()
    page.keyboard.press("End")
    page.wait_for_selector("html[data-whole]", state="attached", timeout=60_000)
    assert page.locator(".t").count() == STEPS
    assert chosen(page)[0][0] == "A"
