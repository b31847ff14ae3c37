"""What the tests of the chat page share: asking, waiting, and answers of our own making."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import expect
from server.conftest import CHAT

SERVE = ("--ui", "-t", 1, "-c", 32768, "--parallel", 1, "--grace", 0.2)


#: `random` as Math has it, the same numbers each time (mulberry32).
RANDOM = """
  let state = 7;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
"""


def ask(page: Any, text: str = "the end") -> None:
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def answered(page: Any, count: int = 1) -> Any:
    """The last of so many answers, when it has ended."""
    answers = page.locator("article.assistant")
    expect(answers).to_have_count(count)
    expect(page.locator("#send")).to_be_visible()
    return answers.last


def hold_streams(page: Any) -> None:
    """Of all streams together the page reads 64 KiB (some 90 tokens); the rest comes after `release()` in the page."""
    page.add_init_script(
        """{
          const own = window.fetch;
          const released = new Promise((resolve) => { window.release = () => resolve(); });
          let left = 65536;
          const hold = {
            async transform(bytes, stream) {
              stream.enqueue(bytes.subarray(0, left));
              const rest = bytes.subarray(left);
              left -= bytes.length - rest.length;
              if (left === 0) await released;
              if (rest.length) stream.enqueue(rest);
            },
          };
          window.fetch = async (...request) => {
            const answer = await own(...request);
            if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) return answer;
            return new Response(answer.body.pipeThrough(new TransformStream(hold)), answer);
          };
        }"""
    )


def set_option(page: Any, name: str, value: str) -> None:
    settings = page.locator("#settings")
    if not settings.is_visible():
        page.get_by_role("button", name="Settings").click()
    page.evaluate("document.querySelectorAll('#settings details').forEach((group) => { group.open = true; })")
    settings.get_by_label(name, exact=True).fill(value)


def sent(page: Any) -> list[Any]:
    """The bodies of the chat requests from now on."""
    bodies: list[Any] = []
    page.on("request", lambda request: bodies.append(request.post_data_json) if request.url.endswith(CHAT) else None)
    return bodies


def expected(complaints: list[str], *words: str) -> None:
    """Console errors that the test wanted: a browser reports every answer that is an error."""
    assert complaints and all(any(word in line for word in words) for line in complaints), complaints
    complaints.clear()


def sse(*chunks: Any, done: bool = True) -> str:
    data = [*map(json.dumps, chunks), *(["[DONE]"] if done else [])]
    return "".join(f"data: {one}\n\n" for one in data)


def chunk(
    text: str = "", thinking: str = "", *, entropy: float | None = 0.1, explored: bool = False, **choice: Any
) -> dict[str, Any]:
    delta = {name: part for name, part in (("content", text), ("reasoning_content", thinking)) if part}
    facts = {"token": 1, "entropy": entropy, "explored": explored, "mode": None}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, "selar": facts, **choice}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "selar": {"seed": 5, "latent_steps": 0}}]}


def answer_with(page: Any, body: str, status: int = 200) -> None:
    """Answers of our own making, where a model's cannot be had."""
    kind = "text/event-stream" if status == 200 else "application/json"
    page.unroute_all()
    page.route(f"**{CHAT}", lambda route: route.fulfill(status=status, content_type=kind, body=body))


def units(page: Any) -> list[Any]:
    """[text, marked, [[entropy, explored], ...]] of every unit of the last answer."""
    return page.evaluate(
        """() => {
          const found = [];
          for (const token of [...document.querySelectorAll("article.assistant")].at(-1).querySelectorAll(".t")) {
            const text = token.textContent;
            if (token.classList.contains("more")) { found.at(-1)[0] += text; continue; }
            found.push([text, token.classList.contains("x"), token.unit.s.map((step) => [step.e, Boolean(step.x)])]);
          }
          return found;
        }"""
    )
