"""What the tests of the trace page share: traces, and where things are on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from support import traces as made

TEXTS = {10: "The", 11: " sky", 12: " is", 13: " blue", 14: "\n", 15: " sea", 16: " was", 17: " red"}
#: What SeLaR feeds at the exploration steps of `sky`: p (1 + h), less h for the first candidate.
FED = {
    1: [[11, 0.1315], [15, 0.579], [17, 0.2895]],
    3: [[13, -0.32], [17, 0.66], [15, 0.66]],
    6: [[21, 0.32], [10, 0.51], [11, 0.17]],
}
PROMPT = {1: "Why", 2: " so", 3: "?"}


def sky(path: Path, **more: Any) -> Path:
    """Eight steps, those at 1, 3 and 6 explored; 3 shows a token that is heavy but weighs less than nothing."""
    steps = [
        made.step(10, "The", 0.05, top=[(10, 0.99), (15, 0.01), (16, 0.0)]),
        made.step(11, " sky", 0.93, True, [(11, 0.55), (15, 0.3), (17, 0.15)], fed=FED[1]),
        made.step(12, " is", 0.0, top=[(12, 1.0), (16, 0.0), (17, 0.0)]),
        made.step(13, " blue", 1.0, True, [(13, 0.34), (17, 0.33), (15, 0.33)], fed=FED[3]),
        made.step(14, "\n", 0.61, top=[(14, 0.7), (10, 0.2), (11, 0.1)], kept="symbol guard"),
        made.step(20, "", 0.2, top=[(20, 0.9), (10, 0.06), (11, 0.04)]),
        made.step(21, "é", 0.7, True, [(21, 0.6), (10, 0.3), (11, 0.1)], fed=FED[6]),
        made.step(30, "", 0.1, top=[(30, 1.0)]),
    ]
    pieces = {**made.pieces({**TEXTS, **PROMPT}), "20": [0xC3], "21": [0xA9]}
    return made.write(path, made.run(), steps, made.end(8, 3, pieces=pieces, **more))


def other(path: Path, at: int = 3, method: Any = None) -> Path:
    """The same up to a step, then another token, with a shorter rest."""
    steps = [
        made.step(token, TEXTS[token], 0.1 if i != 1 else 0.93, i == 1) for i, token in enumerate((10, 11, 12, 13, 14))
    ][:at]
    steps += [made.step(17, " red", 0.3), made.step(14, "\n", 0.2)]
    return made.write(path, made.run(method), steps, made.end(len(steps), 1, pieces=made.pieces({**TEXTS, **PROMPT})))


def token(page: Any, step: int, trace: int = 0) -> Any:
    """Wait for a step's element and return it. trace: the number of its trace on the page, from 0."""
    found = page.wait_for_function(
        """([trace, step]) => {
          const letter = String.fromCharCode(65 + trace);
          return [...document.querySelectorAll(".t")]
            .find((token) => token.step === step && token.parentElement.block.trace.letter === letter);
        }""",
        arg=[trace, step],
    )
    element = found.as_element()
    assert element is not None, f"step {step} of trace {trace} is not in the page"
    return element


def chosen(page: Any) -> Any:
    """The step that is chosen, and the trace's letter."""
    return page.evaluate(
        "[...document.querySelectorAll('.at')].map((t) => [t.parentElement.block.trace.letter, t.step])"
    )


def point(page: Any, step: int, lane: float = 0.5) -> tuple[float, float]:
    """Where a step is in the first curve, zoomed out. lane: how far down, of all lanes."""
    box = page.locator("canvas").first.bounding_box()
    count = int(page.locator("canvas").first.get_attribute("aria-valuemax")) + 1
    return box["x"] + 30 + (box["width"] - 38) * (step + 0.5) / count, box["y"] + (box["height"] - 18) * lane


def until(page: Any, expression: str) -> None:
    """Wait until it is true. (A function: the page's policy forbids to evaluate an expression again.)"""
    page.wait_for_function(f"() => {expression}")


def panel(page: Any) -> Any:
    return page.locator("#panel")


def canvas(page: Any) -> Any:
    """What the curve shows, once it is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate("document.querySelector('canvas').toDataURL()")


def shown(page: Any) -> tuple[int, int]:
    """The first and the last step that the curve shows."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    first, last = re.findall(r"[\d,]+", page.locator(".range").inner_text())[:2]
    return int(first.replace(",", "")), int(last.replace(",", ""))


def drag(page: Any, start: int, end: int) -> None:
    page.mouse.move(*point(page, start))
    page.mouse.down()
    page.mouse.move(*point(page, (start + end) // 2))
    page.mouse.move(*point(page, end))
    page.mouse.up()
