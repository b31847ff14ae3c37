"""Formulas on the chat page: what is typeset, when, under which policy, and how their tokens can be looked at."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api")

from chat_page import END, RANDOM, answer_with, answered, ask, chunk, set_option, sse, units
from playwright.sync_api import expect

#: The TeX that KaTeX was given, of each formula that is shown typeset.
TEX = "[...document.querySelectorAll('article.assistant .formula.set annotation')].map((node) => node.textContent)"

TEXT = r"""# The $n$ pens
**So $3 \times 12 = 36$**, \(x\) and $5 or $6; `$no$`.
- item \[ a \] on
\[
\int_0^1 x\,dx
= \frac{1}{2}
\] after

$$\begin{pmatrix} a & b \end{pmatrix}$$
\begin{align}
x &= 1 \\
y &= 2
\end{align}
```tex
$no$ \[ no \]
```
\[ this is **left open**

and $\frac{broken$, \(\nosuch{x}\)
The answer is \boxed{\frac{1}{2}}."""
FORMULAS = [
    "n", r"3 \times 12 = 36", "x", " a ", "\n\\int_0^1 x\\,dx\n= \\frac{1}{2}\n",
    r"\begin{pmatrix} a & b \end{pmatrix}", "\\begin{align}\nx &= 1 \\\\\ny &= 2\n\\end{align}", r"\boxed{\frac{1}{2}}",
]  # fmt: skip


def say(page, *pieces, question="a formula", **facts):
    answer_with(page, sse(*(chunk(piece, **facts) for piece in pieces), END))
    count = page.locator("article.assistant").count()
    ask(page, question)
    return answered(page, count + 1)


def typeset(page, count):
    """Wait for so many formulas in the last answer."""
    formulas = page.locator("article.assistant").last.locator(".formula.set > .typeset")
    expect(formulas).to_have_count(count)
    return formulas


def test_formulas_are_typeset_whatever_the_pieces_and_no_character_is_lost(open_chat):
    page = open_chat()
    for size in (1, 2, 3, 7, 1000):
        say(page, *(TEXT[i : i + size] for i in range(0, len(TEXT), size)), question=f"pieces of {size}")
        typeset(page, len(FORMULAS))
        assert page.evaluate(TEX)[-len(FORMULAS) :] == FORMULAS, size
        assert "".join(text for text, _, _ in units(page)) == TEXT
    last = page.locator("article.assistant").last
    assert last.locator(".bold").all_inner_texts()[-1] == "left open"
    assert last.locator(".code .formula").count() == last.locator(".mono .formula").count() == 0
    assert last.locator(".formula:not(.set)").all_inner_texts() == ["$\\frac{broken$", r"\(\nosuch{x}\)"]
    assert last.locator(".display .katex-display").count() == 4
    expect(last.locator(".formula.set > .source").first).to_be_hidden()
    page.reload()
    typeset(page, len(FORMULAS))


PIECES = r"""async (count) => {
  const { Formatter } = await import("/ui/format.js");
  RANDOM
  const parts = ["$x$", "$", "$$", "$$", "\\[", "\\]", "\\[", "\\]", "\\(y\\)", "**", "`", "\n", "\n", "\n\n", "```\n",
    "\n```\n", "# ", "- ", "\\begin{align}", "\\end{align}", " ", "x", "word ", "\\", "\\boxed{1}", "{"];
  const shown = (pieces) => {
    const root = document.createElement("div");
    const formatter = new Formatter(root);
    for (const piece of pieces) {
      formatter.add(piece, (text) => {
        const span = document.createElement("span");
        span.className = "t";
        span.textContent = text;
        return span;
      });
    }
    formatter.finish();
    const kinds = ["formula", "display", "source", "line", "heading", "item", "fence", "code", "code-lines"];
    const look = (span) => {
      const names = [...span.classList].filter((name) => ["bold", "mono", "mark"].includes(name));
      for (let node = span.parentElement; node && node !== root; node = node.parentElement) {
        names.push(...[...node.classList].filter((name) => kinds.includes(name)));
      }
      return names.join(" ");
    };
    return [...root.querySelectorAll(".t")].flatMap((span) => [...span.textContent].map((sign) => [sign, look(span)]));
  };
  const wrong = [];
  for (let i = 0; i < count; i += 1) {
    let text = "";
    for (let n = 1 + Math.floor(random() * 16); n > 0; n -= 1) text += parts[Math.floor(random() * parts.length)];
    const pieces = [];
    for (let at = 0; at < text.length;) {
      const size = 1 + Math.floor(random() * 5);
      pieces.push(text.slice(at, at + size));
      at += size;
    }
    const [whole, inPieces] = [shown([text]), shown(pieces)];
    if (whole.map(([sign]) => sign).join("") !== text) wrong.push(["not the text", text]);
    if (JSON.stringify(whole) !== JSON.stringify(inPieces)) wrong.push([text, pieces]);
  }
  return wrong.slice(0, 3);
}""".replace("RANDOM", RANDOM)


def test_random_texts_look_the_same_whatever_the_pieces(open_chat):
    assert open_chat().evaluate(PIECES, 3000) == []


def test_a_formula_is_typeset_once(open_chat):
    page = open_chat()
    say(page, "$x$")  # KaTeX is there
    typeset(page, 1)
    page.evaluate(
        """() => {
          const { katex } = window;
          const own = katex.render;
          window.rendered = [];
          katex.render = (tex, ...more) => { window.rendered.push(tex); return own(tex, ...more); };
          window.removed = 0;
          new MutationObserver((changes) => {
            for (const { removedNodes } of changes) {
              for (const node of removedNodes) if (node.classList?.contains("typeset")) window.removed += 1;
            }
          }).observe(document.getElementById("log"), { childList: true, subtree: true });
        }"""
    )
    words = [f"${n}$ and " if n % 5 else f"$x_{{{n}}}$\n\n" for n in range(200)]
    text = "".join(words)
    say(page, *text, question="one character at a time")
    typeset(page, 200)
    assert page.evaluate("[window.rendered.length, new Set(window.rendered).size, window.removed]") == [200, 200, 0]


#: What models write, and what KaTeX can: everything must work under the page's policy without a complaint.
FEATURES = re.split(
    r"\n| {3}",
    r"""
\frac{a}{b}   \sqrt[3]{x}   \overline{AB}   \underbrace{x+y}_{n}   \overset{!}{=}   \vec{v}   \hat{x}
\left( \frac{1}{2} \right]   \begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}   \xrightarrow{abc}
\begin{bmatrix} 1 & 2 \\ \hline 3 & 4 \end{bmatrix}   \cancel{x} + \bcancel{y} + \xcancel{z}   \phase{30^\circ}
\boxed{x}   \fbox{text}   \colorbox{yellow}{x}   \fcolorbox{red}{yellow}{x}   \textcolor{red}{x}
\color{blue} x   \pmb{x}   \boldsymbol{\alpha}   \mathbb{R} \mathcal{L} \mathfrak{g} \mathscr{F}
\mathrm{d}x \mathtt{x} \mathsf{x} \mathbf{x}   \begin{array}{c|c} a & b \\ \hline c & d \end{array}
\rule{1em}{2em}   \href{javascript:alert(1)}{x}   \url{https://example.org}   \includegraphics{x.png}
\htmlStyle{color: red}{x}   \htmlClass{send}{x}   \htmlId{send}{x}   \htmlData{a=b}{x}
\kern{1em} \hspace{2em} \quad x   \tag{1} x   \begin{CD} A @>a>> B \\ @VbVV @AAcA \\ C @= D \end{CD}
\raisebox{1em}{x} \smash{y} \phantom{z} \llap{w}   \underline{x} \utilde{x} \widehat{xyz} \overrightarrow{AB}
\sum\limits_{i=1}^n \int\!\!\int \prod   \angl{n}   \sout{x}
\binom{n}{k} \dbinom{n}{k} \genfrac{[}{]}{0pt}{}{a}{b}   é ∑ ∫ ü 中 ← \text{Ünïcödé}   \Huge x \tiny y
x' x'' f^{(3)}   \operatorname{argmax}_x \lim_{x \to 0} \limsup   \bra{x} \ket{y} \braket{x|y}
\char`\^ \%\#\&\_   \mathchoice{a}{b}{c}{d}   \stackrel{a}{=} \overbrace{x}^{y} \underleftrightarrow{AB}
\middle| \big( \Big( \bigg( \Bigg(   \verb|x|   \LaTeX \KaTeX   \def\a{x}\a   \newcommand{\b}[1]{#1^2}\b{x}
\begin{gathered} a \\ b \end{gathered}   \not= \nleq \ngeq   \imath\jmath
""".strip("\n"),
)


def test_everything_works_under_the_strict_policy(open_chat, complaints):
    page = open_chat()
    text = "\n\n".join(rf"\[ {feature} \]" for feature in FEATURES)
    answer = say(page, text)
    expect(answer.locator(".formula")).to_have_count(len(FEATURES))
    typeset(page, len(FEATURES) - len(failing(page)))
    assert [re.search(r"\\\w+", part)[0] for part in failing(page)] == [r"\middle"]
    vector = page.locator(".formula").nth(FEATURES.index(r"\vec{v}")).locator("svg")
    assert vector.evaluate("(e) => e.style.width") == "0.471em" and vector.bounding_box()["width"] < 20
    assert page.locator("article.assistant").locator("a, img, [id], [data-a], .send, style, script").count() == 0
    assert page.evaluate("[...document.querySelectorAll('article.assistant [style]')].some((e) => e.style.length)")
    assert complaints == []  # a blocked style would be one


def failing(page):
    """The formulas that stay text."""
    expect(page.locator("article.assistant .formula.set").first).to_be_attached()
    return page.locator("article.assistant .formula:not(.set)").all_inner_texts()


@pytest.mark.parametrize("bomb", [
    r"\def\a{\a\a}\a", r"\rule{100000em}{100000em}", "{" * 1900, r"\frac{1}" * 200, r"\sqrt{" * 300 + "x" + "}" * 300,
    r"\newcommand{\x}{\x\x}\x", "^" * 500, r"\left(" * 200, r"\kern{99999em}x",
])  # fmt: skip
def test_a_formula_that_asks_for_too_much_does_no_harm(open_chat, bomb):
    page = open_chat()
    say(page, rf"before \({bomb}\) after", "\n\nand $x$ on")
    expect(page.locator("article.assistant .formula.set").last).to_be_visible()
    assert "".join(text for text, _, _ in units(page)) == rf"before \({bomb}\) after" + "\n\nand $x$ on"
    assert page.evaluate("document.getElementById('log').scrollHeight") < 3000
    say(page, "fine", question="next")


def test_the_tokens_of_a_formula(open_chat):
    page = open_chat()
    parts = [("So ", 0.0), ("$", 0.1), ("x", 0.95), ("^2", 0.5), ("$", 0.0), (" ok", 0.2)]
    answer_with(page, sse(*(chunk(text, entropy=e, explored=e > 0.9) for text, e in parts), END))
    ask(page)
    answer = answered(page)
    formula = typeset(page, 1)
    stripe = formula.evaluate("(e) => getComputedStyle(e).backgroundImage")
    mark = page.evaluate("getComputedStyle(document.querySelector('.x')).borderBlockEndColor")
    assert stripe.startswith("linear-gradient(to right") and stripe.count("%") == 8 and stripe.count(mark) == 2
    formula.hover()
    tip = page.get_by_role("tooltip")
    for text in ("$x^2$", "4 tokens · 1 exploration step", "highest entropy 0.950"):
        expect(tip).to_contain_text(text)
    formula.click()
    expect(formula).to_be_hidden()
    expect(page.locator(":focus")).to_have_text("x")  # the token that explored
    expect(tip).to_contain_text("entropy 0.950")
    answer.locator(".t", has_text="^2").click()
    expect(tip).to_contain_text("entropy 0.500")
    expect(formula).to_be_hidden()
    page.keyboard.press("Escape")
    expect(formula).to_be_visible()
    expect(answer.locator(".text")).to_be_focused()
    for key, text, shown in (
        ("ArrowRight", "So", True), ("ArrowRight", "$", False), ("ArrowRight", "x", False), ("End", "ok", True),
        ("ArrowLeft", "$", False), ("ArrowUp", "x", False), ("Home", "So", True), ("ArrowDown", "x", False),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(page.locator(":focus")).to_have_text(text)
        assert formula.is_visible() is shown, key
    page.get_by_label("Message").click()
    expect(formula).to_be_visible()
    assert [(text, marked) for text, marked, _ in units(page)] == [(text, e > 0.9) for text, e in parts]


def test_a_token_that_is_looked_at_stays_so_when_its_formula_is_complete(open_chat):
    page = open_chat()
    set_option(page, "max tokens", "30000")
    ask(page)
    expect(page.locator("article.assistant .t").nth(5)).to_be_attached()
    page.evaluate(
        """async () => {
          const { Formatter } = await import("/ui/format.js");
          const text = [...document.querySelectorAll("article.assistant .text")].at(-1);
          const unit = { t: "x", s: [] };
          const formatter = new Formatter(text);
          const add = (part) => formatter.add(part, (piece) => {
            const span = document.createElement("span");
            Object.assign(span, { className: "t of-ours", textContent: piece, unit });
            return span;
          });
          add("$");
          add("x");
          const token = document.querySelectorAll(".of-ours")[1];
          token.tabIndex = -1;
          token.focus();
          add("$");
          add(" ");
        }"""
    )
    expect(page.locator(".of-ours").nth(1)).to_be_focused()
    expect(page.locator(".of-ours").nth(1)).to_be_visible()
    page.keyboard.press("Escape")  # stops the generation
    answered(page)


def test_formulas_can_be_turned_off_and_on(open_chat):
    page = open_chat()
    answer = say(page, "so $x^2$ is")
    formula = typeset(page, 1)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("formulas").uncheck()
    expect(formula).to_be_hidden()
    expect(answer.locator(".source")).to_be_visible()
    assert answer.locator(".text").inner_text() == "so $x^2$ is"
    page.reload()
    expect(page.locator("article.assistant .source")).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("formulas").check()
    expect(typeset(page, 1)).to_be_visible()


def test_what_is_copied_is_what_was_written(open_chat):
    page = open_chat()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = "so $x^2$ and\n\\[\ny\n\\]\nend"
    answer = say(page, text)
    typeset(page, 2)
    answer.locator(".actions").get_by_role("button", name="Copy").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.evaluate("window.find_ = (name) => document.querySelector(`article.assistant ${name}`)")
    for script, expected in (
        ("selectAllChildren(find_('.text'))", text),
        ("selectAllChildren(find_('.katex-html'))", "$x^2$"),
        ("setBaseAndExtent(find_('.t').firstChild, 1, find_('.typeset mi'), 0)", "o $x^2$"),
    ):
        page.evaluate(f"document.getSelection().{script}")
        page.keyboard.press("Control+c")
        assert page.evaluate("navigator.clipboard.readText()") == expected


def test_long_formulas_do_not_widen_a_narrow_page(open_chat):
    page = open_chat()
    page.set_viewport_size({"width": 340, "height": 640})
    long = " + ".join(f"a_{{{n}}}" for n in range(60))
    say(page, f"inline ${long}$ and $$\\left({long}\\right)$$ and \\boxed{{{long}}}\n\\[{long} \\tag{{7}}\\]\n")
    typeset(page, 4)
    wide = (
        "document.scrollingElement.scrollWidth > innerWidth || document.getElementById('log').scrollWidth > innerWidth"
    )
    assert page.evaluate(wide) is False
    scrolls = "(e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === 'auto'"
    assert page.locator(".display > .typeset").first.evaluate(scrolls)
    assert page.locator(".with-formula").first.evaluate(scrolls)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colour_of_formulas_is_that_of_the_text(open_chat, scheme):
    page = open_chat()
    page.emulate_media(color_scheme=scheme)
    say(page, "so $x$ is \\boxed{y}")
    typeset(page, 2)
    colours = page.evaluate(
        "['.katex-html .mord', '.katex-html .fbox', '.t'].map((name) => "
        "getComputedStyle(document.querySelector(`article.assistant ${name}`)).color)"
    )
    assert len(set(colours)) == 1


def test_without_katex_formulas_stay_text(page, chat_url, complaints):
    page.goto(chat_url + "/")
    expect(page.locator("#status-text")).to_have_text("ready")
    answer_with(page, sse(chunk("so $x^2$ is"), END))
    page.route("**/katex.min.js", lambda route: route.abort())
    with page.expect_event("requestfailed", lambda request: request.url.endswith("katex.min.js")):
        ask(page)
    assert answered(page).locator(".text").inner_text() == "so $x^2$ is"
    assert complaints and all("ERR_FAILED" in line for line in complaints)
    complaints.clear()


def test_the_view_stays_at_the_end_when_formulas_come_late(open_chat):
    page = open_chat()
    page.set_viewport_size({"width": 900, "height": 400})
    say(page, *[r"\[ \frac{\frac{a}{b}}{\frac{c}{d}} \]" + "\n\n"] * 40)
    typeset(page, 40)
    gap = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"
    assert page.locator("#log").evaluate(gap) < 60
    page.reload()
    typeset(page, 40)
    page.wait_for_function("() => document.getElementById('log').scrollTop > 400")
    assert page.locator("#log").evaluate(gap) < 60
