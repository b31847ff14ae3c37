"""What is formatted within a line: the search of the chat page, run in the browser on texts of our own."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api")

from chat_page import RANDOM

SCAN = """async (texts) => {
  const { InlineScanner } = await import("/ui/inline.js");
  return texts.map((text) => new InlineScanner().scan(text, true).map((range) => {
    const part = text.slice(range.start, range.kind === "block" ? undefined : range.end);
    return [range.kind + (range.display ? " display" : ""), part];
  }));
}"""

BLOCK = "formula display"
CASES = [
    (r"so $x$ is", [("formula", "$x$")]),
    (r"so \(x\) is", [("formula", r"\(x\)")]),
    (r"so $$x$$ is", [(BLOCK, "$$x$$")]),
    (r"so \[x\] is", [(BLOCK, r"\[x\]")]),
    (r"$a$, $b$; ($c$) **$d$**", [("formula", f"${x}$") for x in "abcd"] + [("bold", "**$d$**")]),
    (r"\boxed{42}.", [("formula", r"\boxed{42}")]),
    (r"\boxed{\frac{1}{\sqrt{2}}} and \boxed{a\}b}", [
        ("formula", r"\boxed{\frac{1}{\sqrt{2}}}"), ("formula", r"\boxed{a\}b}"),
    ]),
    (r"**Answer: \boxed{7}**", [("formula", r"\boxed{7}"), ("bold", r"**Answer: \boxed{7}**")]),
    (r"$\boxed{7}$", [("formula", r"$\boxed{7}$")]),
    (r"\begin{align*}x&=1\end{align*}", [(BLOCK, r"\begin{align*}x&=1\end{align*}")]),
    (r"\[ a \\[2pt] b \] c", [(BLOCK, r"\[ a \\[2pt] b \]")]),
    (r"$a \$ b$", [("formula", r"$a \$ b$")]),
    (r"$-5$ and $0.5$ and $2 \times 3$", [("formula", p) for p in ("$-5$", "$0.5$", r"$2 \times 3$")]),
    (r"$x$-axis, the $n$ th", [("formula", "$x$"), ("formula", "$n$")]),
    (r"$\text{the area of it} = 5$", [("formula", r"$\text{the area of it} = 5$")]),
    # Money, shells and patterns are no formulas.
    ("it costs $5 and $6", []), ("$5", []), ("from $5 to $10, or $5-$10, or $5/$6", []), ("($5), ($6)", []),
    ("$5 to 10$", []), ("$5 for tea and 7$ for more", []), ("US$5 and US$6", []), ("$ x $", []), ("$$$ a $$$", []),
    ("$HOME/bin:$PATH", []), ("$HOME and ${PATH}", []), ("^a$ or ^b$", []), ("costs 5$ or 6$", []), ("a $", []),
    ("$5 and $6, but $x$ is one", [("formula", "$x$")]),
    (r"\$5 and \$6", []), (r"\\(x\\)", []), (r"\alpha and \frac{1}{2}", []), ("$$", [("block", "$$")]),
    # Code is never typeset, and marks within formulas are theirs.
    ("`$x$` and `\\(y\\)`", [("mono", "`$x$`"), ("mono", "`\\(y\\)`")]),
    ("$a ** b ** c$ `", [("formula", "$a ** b ** c$")]), ("``$x$ is not `` code", [("formula", "$x$")]),
    ("$x ` y$ `z`", [("formula", "$x ` y$"), ("mono", "`z`")]),
    # Bold and code as ever.
    ("**a** b **c d**", [("bold", "**a**"), ("bold", "**c d**")]), ("2**3**4 and a ** b", []), ("** a**", []),
    ("**a **b**", [("bold", "**a **b**")]), ("***a***", []),
    ("**a `b` c**", [("mono", "`b`"), ("bold", "**a `b` c**")]),
    ("`a **b** c`", [("mono", "`a **b** c`")]), ("`open **b**", [("bold", "**b**")]), ("**open `b`", [("mono", "`b`")]),
    # What has no end in the line, or none at all.
    (r"\(x", []), (r"\boxed{x", []), (r"\boxed x", []), ("$x", []), (r"\( \) \[ \] \boxed", []),
    (r"so \[ x", [("block", r"\[ x")]), (r"\begin{align} x", [("block", r"\begin{align} x")]),
    (r"\begin{itemize} x \end{itemize}", []), ("\\", []), ("**", []), ("`", []),
]  # fmt: skip


def test_what_is_found(open_chat):
    page = open_chat()
    found = page.evaluate(SCAN, [text for text, _ in CASES])
    for (text, expected), ranges in zip(CASES, found, strict=True):
        assert [tuple(entry) for entry in ranges] == expected, text


def test_bounds(open_chat):
    page = open_chat()
    lengths = (10, 1990, 1997, 1998, 1999, 2010, 50_000)
    texts = [f"${'x' * n}$ **b**" for n in lengths]
    found = [[kind for kind, _ in ranges] for ranges in page.evaluate(SCAN, texts)]
    assert found == [["formula", "bold"] if n <= 1998 else ["bold"] for n in lengths]


PIECES = r"""async (count) => {
  const { InlineScanner } = await import("/ui/inline.js");
  RANDOM
  const parts = ["$", "$$", "\\(", "\\)", "\\[", "\\]", "**", "*", "`", "``", "\\boxed{", "{", "}", "\\begin{align}",
    "\\end{align}", "\\", "\\\\", "\\$", " ", " ", "x", "5", "word", ".", "\\frac{1}{2}", "-", "é"];
  const pick = (list) => list[Math.floor(random() * list.length)];
  const wrong = [];
  let formatted = 0;
  for (let i = 0; i < count; i += 1) {
    let text = "";
    for (let n = 1 + Math.floor(random() * 14); n > 0; n -= 1) text += pick(parts);
    if (random() < 0.02) text = text.replace("x", "x".repeat(pick([595, 1990, 2000])));
    const whole = new InlineScanner().scan(text, true);
    formatted += whole.length;
    const scanner = new InlineScanner();
    const found = [];
    let at = 0;
    while (at < text.length) {
      at = Math.min(text.length, at + 1 + Math.floor(random() * pick([1, 4, 700])));
      const more = scanner.scan(text.slice(0, at), false);
      if (more.some((range) => range.end > at)) wrong.push(["beyond its end", text]);
      found.push(...more);
    }
    found.push(...scanner.scan(text, true));
    if (JSON.stringify(found) !== JSON.stringify(whole)) wrong.push([text, found, whole]);
  }
  return [wrong.slice(0, 3), formatted];
}""".replace("RANDOM", RANDOM)


def test_what_is_found_does_not_depend_on_the_pieces(open_chat):
    wrong, formatted = open_chat().evaluate(PIECES, 20_000)
    assert wrong == [] and formatted > 5000
