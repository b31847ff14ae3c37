"""Texts on the chat page: marks, formatting, what a token tells, copying, small and dark windows, large answers."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("playwright.sync_api")

from chat_page import END, answer_with, answered, ask, chunk, expected, set_option, sse, units
from playwright.sync_api import expect

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&lt;b&gt;'


def test_marks_are_more_than_colour_and_shades_follow_the_entropy(open_chat):
    page = open_chat()
    steps = [("certain ", 0.0, False), ("torn ", 0.5, False), ("soft", 0.99, True), ("\n", 0.9, True)]
    blanks = [" ", "\t", "  ", " \n", "\n\n", "\r\n", "\xa0", " word", "\n"]
    chunks = [chunk(text, entropy=e, explored=x) for text, e, x in steps]
    more = [chunk(blank, explored=i < len(blanks) - 1) for i, blank in enumerate(blanks)]
    answer_with(page, sse(*chunks, chunk("?", entropy=None), *more, END))
    ask(page)
    answered(page)
    style = "(e) => { const s = getComputedStyle(e); return [s.borderBlockEndWidth, s.backgroundColor]; }"
    looks = [page.locator("article.assistant .t").nth(i).evaluate(style) for i in range(5)]
    assert [float(width.removesuffix("px")) > 1 for width, _ in looks] == [False, False, True, True, False]
    clear = "rgba(0, 0, 0, 0)"
    assert looks[0][1] == looks[4][1] == clear
    opacities = [float(color.rstrip(")").split(",")[-1]) for _, color in looks[1:3]]
    assert 0 < opacities[0] < opacities[1]
    sign = "(tokens) => tokens.map((token) => getComputedStyle(token, '::before').content)"
    signs = page.locator("article.assistant .t").evaluate_all(sign)
    # An underline under a line's end would be seen by nobody; below other white space it is.
    nothing = "none"
    assert signs[:5] == [nothing] * 3 + ['"⏎"', nothing]
    assert signs[5:] == [nothing] * 3 + ['"⏎"', '"⏎"', '"⏎"', '"␍⏎"', nothing, nothing, nothing]
    for i in (5, 6, 7, 11):
        space = page.locator("article.assistant .t").nth(i)
        assert space.evaluate(style)[0] != "0px" and space.bounding_box()["width"] > 3
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("marks").uncheck()
    assert page.locator("article.assistant .t").nth(2).evaluate(style) == ["0px", clear]


def test_a_token_tells_its_step(open_chat):
    page = open_chat()
    candidates = [{"token": " the", "logprob": -0.2231, "bytes": []}, {"token": "\n", "logprob": -2.3, "bytes": []}]
    known = {"logprobs": {"content": [{"token": " the", "logprob": -0.2231, "top_logprobs": candidates}]}}
    first = chunk(" the", entropy=0.8123, explored=True, **known)
    second = chunk(" end", entropy=None)
    second["choices"][0]["selar"] |= {"mode": "soft", "kept": "budget"}
    first["choices"][0]["selar"]["fed"] = [[7, 1.25, " the"], [8, -0.25, "\n"]]
    held = chunk("", entropy=0.25, explored=True)  # half a character: its text comes with the next step
    answer_with(page, sse(first, second, held, chunk("é", entropy=0.125), END))
    ask(page)
    answer = answered(page)
    tip = page.get_by_role("tooltip")
    expect(tip).to_be_hidden()
    answer.locator(".t").nth(0).hover()
    for text in (
        "␣the",
        "exploration step",
        "entropy 0.812",
        "probability 0.800",
        "⏎",
        "0.100",
        "fed: ␣the 1.25 · ⏎ −0.25",
    ):
        expect(tip).to_contain_text(text)
    answer.locator(".t").nth(1).hover()
    for text in ("certain step", "no entropy", "mode soft", "It stayed a certain step because of: budget"):
        expect(tip).to_contain_text(text)
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    answer.locator(".text").focus()
    for key, text in (
        ("ArrowRight", "␣the"), ("ArrowRight", "␣end"), ("ArrowDown", "entropy 0.250"), ("ArrowUp", "␣the"),
        ("End", "é"), ("End", "entropy 0.125"), ("ArrowRight", "é"), ("Home", "␣the"), ("ArrowLeft", "␣the"),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(tip).to_contain_text(text)
    focused = page.locator(":focus")
    assert focused.inner_text().strip() == "the" and focused.get_attribute("aria-describedby") == "tip"
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    expect(answer.locator(".text")).to_be_focused()


def test_shades_where_the_method_has_no_entropy(open_chat):
    page = open_chat()
    pieces = [chunk(text, entropy=None) for text in ("sure", "torn", "none")]
    for piece, shade in zip(pieces, (0.0, 0.75, None), strict=True):
        piece["choices"][0]["selar"]["shade"] = shade
    both = chunk("both", entropy=0.25)
    both["choices"][0]["selar"]["shade"] = 1.0  # what the method reports counts
    answer_with(page, sse(*pieces, both, END))
    ask(page)
    answer = answered(page)
    names = [re.sub(r" looked-at", "", token.get_attribute("class")) for token in answer.locator(".t").all()]
    assert names == ["t", "t e6", "t", "t e2"]
    answer.locator(".t").nth(1).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("entropy 0.750 of the candidates (the method uses none)")
    answer.locator(".t").nth(2).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("no entropy")
    expect(answer.locator(".stats")).to_contain_text("mean entropy 0.250")
    page.reload()
    expect(page.locator("article.assistant .e6")).to_have_text("torn")


def test_cot_is_shaded_by_the_server_of_this_page(open_chat):
    page = open_chat()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("method", exact=True).select_option("cot")
    ask(page, "the number")
    answer = answered(page)
    shaded = answer.locator(".t[class*=' e']").count()
    assert shaded > 0 and answer.locator(".x").count() == 0
    expect(answer.locator(".stats")).not_to_contain_text("entropy")


def test_a_hint_of_the_server_is_below_the_answer(open_chat):
    page = open_chat()
    hint = "Half of the steps explored: try --tau 0.9 <b>now</b>."
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "selar": {"seed": 5, "hint": hint}}]}
    answer_with(page, sse(chunk("text"), end))
    ask(page)
    expect(answered(page).locator(".hint")).to_have_text(hint)
    answer_with(page, sse(chunk("text"), END))
    ask(page, "again")
    expect(answered(page, 2).locator(".hint")).to_be_hidden()
    page.reload()
    expect(page.locator(".hint").first).to_have_text(hint)


def test_text_never_becomes_markup(open_chat, complaints):
    page = open_chat()
    known = {
        "logprobs": {"content": [{"token": EVIL, "logprob": -1, "top_logprobs": [{"token": EVIL, "logprob": -1}]}]}
    }
    split = [EVIL[i : i + 3] for i in range(0, len(EVIL), 3)]
    answer_with(page, sse(
        chunk(thinking=EVIL), *map(chunk, split), chunk(f"\n```{EVIL}\n{EVIL}\n```\n**{EVIL}** `{EVIL}`", **known), END,
    ))  # fmt: skip
    set_option(page, "system prompt", EVIL)
    ask(page, EVIL)
    answer = answered(page)
    expect(answer.locator(".text").last).to_contain_text(EVIL)
    expect(page.locator("article.user .said")).to_have_text(EVIL)
    answer.locator(".t").last.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("<img")
    answer_with(page, json.dumps({"error": {"message": EVIL, "param": EVIL}}), 422)
    answer.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".note.error")).to_have_text(EVIL)
    page.reload()
    expect(page.locator("article.user .said")).to_have_text(EVIL)
    page.get_by_role("button", name="Chats").click()
    expect(page.locator("#chat-list")).to_contain_text("<img")
    assert page.locator("img, script:not([type=module])").count() == 0
    assert page.evaluate("window.hacked") is None
    refused = """() => { try { document.body.innerHTML = "<b>x</b>"; return false; } catch (error) { return true; } }"""
    assert page.evaluate(refused) is True  # the policy would stop it even so
    expected(complaints, "422", "TrustedHTML")


TEXT = (
    "# A title\nSome **bold words**, `code here` and 2**3**4 or a ** b.\n\n"
    "```python\ndef f():\n    return '**no**'\n```\n"
    "after\n````\n```\nstill code\n````\n```inline``` text\n* item **x** `y`\n   ~~~\nlast, open"
)


def test_formatting_leaves_every_character_and_does_not_depend_on_the_pieces(open_chat):
    page = open_chat()
    look = """() => {
      const found = [];
      for (const token of [...document.querySelectorAll("article.assistant .text")].at(-1).querySelectorAll(".t")) {
        const place = token.closest(".line");
        const kinds = ["bold", "mono", "mark"].filter((name) => token.classList.contains(name));
        if (token.closest(".code-lines")) kinds.push("code");
        for (const name of ["fence", "heading"]) if (place.classList.contains(name)) kinds.push(name);
        for (const sign of token.textContent) found.push([sign, kinds.join(" ")]);
      }
      return found;
    }"""
    looks = []
    for size in (1, 2, 3, 7, 1000):
        answer_with(page, sse(*(chunk(TEXT[i : i + size]) for i in range(0, len(TEXT), size)), END))
        ask(page, f"pieces of {size}")
        answered(page, len(looks) + 1)
        looks.append(page.evaluate(look))
        assert "".join(sign for sign, _ in looks[-1]) == TEXT
        assert looks[-1] == looks[0], size
    of = lambda part: {kind for _, kind in looks[0][TEXT.index(part) : TEXT.index(part) + len(part)]}  # noqa: E731
    assert of("# A title") == {"heading"} and of("bold words") == {"bold"} and of("code here") == {"mono"}
    assert of("2**3**4 or a ** b") == of("after") == of("```inline``` text") == {""}
    assert of("```python") == {"fence"} and of("return '**no**'") == {"code"} and of("still code") == {"code"}
    assert of("last, open") == {"code"} and of("```\nstill") == {"code"}


def test_marks_remain_in_formatted_text(open_chat):
    page = open_chat()
    pieces = ["**", "very", " bold", "**", " and\n```", "py\n", "x = 1", "\n```\n"]
    answer_with(page, sse(*(chunk(text, explored=True) for text in pieces), END))
    ask(page)
    answered(page)
    assert [text for text, _, _ in units(page)] == pieces and all(marked for _, marked, _ in units(page))


def test_what_is_copied_is_the_text(open_chat):
    page = open_chat()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer_with(page, sse(chunk(thinking="hm"), *(chunk(text) for text in re.split("(?<= )", TEXT)), END))
    ask(page, "copy me")
    answer = answered(page)
    read = "navigator.clipboard.readText()"
    answer.locator(".actions").get_by_role("button", name="Copy").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate(read) == TEXT
    answer.locator(".code-head button").first.click()
    expect(answer.locator(".code-head").get_by_text("Copied")).to_be_visible()
    assert page.evaluate(read) == "def f():\n    return '**no**'\n"
    page.locator("article.user").get_by_role("button", name="Copy").click()
    expect(page.locator("article.user").get_by_text("Copied")).to_be_visible()
    assert page.evaluate(read) == "copy me"
    page.evaluate("document.getSelection().selectAllChildren([...document.querySelectorAll('.text')].at(-1))")
    page.keyboard.press("Control+c")
    assert page.evaluate(read) == TEXT


def test_copying_where_there_is_no_clipboard(open_chat):
    page = open_chat()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.context.grant_permissions(["clipboard-read"])
    ask(page, "copy me")
    answered(page)
    page.locator("article.user").get_by_role("button", name="Copy").click()
    expect(page.locator("article.user").get_by_text("Copied")).to_be_visible()
    page.get_by_label("Message").focus()
    page.keyboard.press("Control+v")
    expect(page.get_by_label("Message")).to_have_value("copy me")


def test_thinking_is_folded_when_the_answer_begins(open_chat):
    page = open_chat()
    answer_with(
        page, sse(chunk(thinking="let me see", explored=True), chunk(thinking=" more"), chunk("the answer"), END)
    )
    ask(page)
    answer = answered(page)
    fold = answer.locator("details.thinking")
    assert fold.get_attribute("open") is None
    expect(fold.locator("summary")).to_have_text("Thought · 2 tokens · 50.0 % exploration steps")
    expect(answer.locator(":scope > div > .text")).to_have_text("the answer")
    fold.locator("summary").click()
    expect(fold.locator(".text")).to_be_visible()
    answer_with(page, sse(chunk(thinking="only this"), END))
    answer.get_by_role("button", name="Regenerate").click()
    expect(answered(page).locator("details.thinking .text")).to_have_text("only this")
    expect(answered(page).locator("details.thinking")).to_have_attribute("open", "")


def test_a_narrow_window(open_chat):
    page = open_chat()
    page.set_viewport_size({"width": 340, "height": 640})
    answer_with(page, sse(chunk("a" * 300), chunk("\n```\n" + "b " * 300 + "\n```\n"), END))
    ask(page, "w" * 200)
    answered(page)
    wide = (
        "document.scrollingElement.scrollWidth > innerWidth || document.getElementById('log').scrollWidth > innerWidth"
    )
    assert page.evaluate(wide) is False
    for label in ("Settings", "New chat", "Chats"):
        box = page.get_by_role("button", name=label).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 340
    page.locator("article.assistant .t").first.hover()
    box = page.get_by_role("tooltip").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 340
    page.get_by_role("button", name="Settings").click()
    assert page.locator("#settings").bounding_box()["width"] == 340 and page.evaluate(wide) is False
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("button", name="Settings")).to_be_focused()


CONTRAST = """(selector) => {
  const value = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const element = document.querySelector(selector);
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(value(getComputedStyle(at).backgroundColor));
  let back = [255, 255, 255];
  for (const { rgb, a } of layers.reverse()) back = back.map((under, i) => under * (1 - a) + rgb[i] * a);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(value(getComputedStyle(element).color).rgb), light(back)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(open_chat, scheme):
    page = open_chat()
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    answer_with(page, sse(chunk(thinking="hm"), *(chunk("x", entropy=i / 8) for i in range(9)), END))
    ask(page)
    answered(page)
    page.get_by_role("button", name="Settings").click()
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back))) < 200) is (scheme == "dark")
    for selector in ("article.assistant > .answer > .text .t", ".e8", ".e4", ".said", ".stats", ".thinking summary",
                     "#send", "#status-text", ".small", "#keys", ".quiet", "#settings label", ".model"):  # fmt: skip
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    assert page.evaluate("getComputedStyle(document.querySelector('#send')).animationName") == "none"


def test_a_text_of_twenty_thousand_tokens(open_chat):
    page = open_chat()
    words = [("word " if i % 17 else ".\n") for i in range(20_000)]
    body = sse(*(chunk(w, entropy=i % 9 / 9, explored=i % 9 == 8) for i, w in enumerate(words)), END)
    answer_with(page, body)
    ask(page)
    answered(page)
    assert page.locator("article.assistant .t").count() == 20_000
    answer_with(page, sse(chunk("short"), END))
    page.evaluate(
        """() => {
          window.drawnAgain = 0;
          const counts = new MutationObserver((changes) => { window.drawnAgain += changes.length; });
          counts.observe(document.querySelector("article.assistant .text"), { childList: true, subtree: true });
        }"""
    )
    ask(page, "next")
    answered(page, 2)
    assert page.evaluate("window.drawnAgain") == 0
    page.reload()
    expect(page.locator("#status-text")).to_have_text("ready")
    assert page.locator("article.assistant .t").count() == 20_001
    page.locator("article.assistant .text").first.focus()
    page.keyboard.press("ArrowLeft")  # the last token
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("tooltip")).to_contain_text("exploration step")
