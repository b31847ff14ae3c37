"""The chat page of `selar-local serve --ui` in a real browser, over the real command with a tiny model."""

from __future__ import annotations

import json
import re
import signal
import socket

import httpx
import pytest

pytest.importorskip("playwright.sync_api")

from chat_page import (
    END,
    SERVE,
    answer_with,
    answered,
    ask,
    chunk,
    expected,
    hold_streams,
    sent,
    set_option,
    sse,
    units,
)
from playwright.sync_api import expect
from server.conftest import CHAT, events, sample, until


def test_it_opens_and_streams(page, open_chat, chat_url):
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    hold_streams(page)
    open_chat()
    assert "tiny" in page.locator("#model").inner_text() and "tiny" in page.title()
    expect(page.locator(".welcome")).to_be_visible()
    set_option(page, "max tokens", "800")
    ask(page)
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("article.assistant .text .t").nth(20)).to_be_attached()
    assert page.locator("#stop").is_visible()  # the text is there before the answer has come
    page.evaluate("release()")
    expect(page.locator(".stats")).to_contain_text("tokens/s")
    expect(page.locator(".stats")).to_contain_text("% exploration steps")
    answered(page)
    stats = page.locator(".stats").inner_text()
    assert re.fullmatch(
        r"\d+ tokens · [\d.]+ tokens/s · [\d.]+ % exploration steps · mean entropy [\d.]+ · prompt \d+ tokens"
        r"( \(\d+ cached\))? · seed 1 · selar, max_tokens 800", stats,
    ), stats  # fmt: skip
    assert len(requests) > 10 and all(address.startswith(chat_url) for address in requests)
    page.reload()
    expect(page.locator("article.assistant .stats")).to_have_text(stats)


def test_the_steps_are_those_that_the_api_tells(open_chat, chat_url):
    page = open_chat()
    bodies = sent(page)
    ask(page, "the number")
    answered(page)
    with httpx.stream("POST", chat_url + CHAT, json=bodies[0], timeout=30) as response:
        chunks = events("".join(response.iter_text()))[:-1]
    pending: list[list[object]] = []
    theirs = []
    for choice in (told["choices"][0] for told in chunks if told["choices"]):
        facts = choice.get("selar", {})
        if "token" in facts:
            pending.append([None if facts["entropy"] is None else round(facts["entropy"], 4), facts["explored"]])
        delta = choice["delta"]
        for text in (delta.get("reasoning_content"), delta.get("content")):
            if text:
                theirs.append([text, any(explored for _, explored in pending), pending])
        if delta.get("content") or delta.get("reasoning_content"):
            pending = []
    shown = units(page)
    assert [text for text, _, _ in shown] == [text for text, _, _ in theirs]
    assert [marked for _, marked, _ in shown] == [marked for _, marked, _ in theirs]
    assert any(marked for _, marked, _ in shown) and not all(marked for _, marked, _ in shown)
    for (_, _, mine), (_, _, api) in zip(shown, theirs, strict=True):
        assert [explored for _, explored in mine] == [explored for _, explored in api]
        assert [entropy for entropy, _ in mine] == pytest.approx([entropy for entropy, _ in api], abs=1e-4)


def test_options_change_what_is_sent_and_are_kept(open_chat, chat_url):
    page = open_chat()
    bodies = sent(page)
    ask(page)
    answered(page)
    assert bodies[0]["selar"] == {"events": True} and bodies[0]["stream"] is True and bodies[0]["top_logprobs"] == 3
    assert bodies[0]["messages"] == [{"role": "user", "content": "the end"}]
    assert set(bodies[0]) == {"messages", "stream", "stream_options", "selar", "logprobs", "top_logprobs"}
    for name, value in (("tau", "0,25"), ("temperature", "0.9"), ("seed", "7"), ("max tokens", "5"),
                        ("system prompt", "be brief"), ("stop", "zz\n\\n\\n")):  # fmt: skip
        set_option(page, name, value)
    page.get_by_label("symbol guard").uncheck()
    page.get_by_label("gate on").select_option("full")
    page.get_by_label("thinking", exact=True).select_option("off")
    page.get_by_label("candidates").select_option("0")
    ask(page, "again")
    answer = answered(page, 2)
    own = {"tau": 0.25, "symbol_guard": False, "gate_on": "full", "thinking": False, "events": True}
    assert bodies[1]["selar"] == own and "logprobs" not in bodies[1]
    assert [bodies[1][name] for name in ("temperature", "seed", "max_tokens", "stop")] == [0.9, 7, 5, ["zz", "\n\n"]]
    assert bodies[1]["messages"][0] == {"role": "system", "content": "be brief"}
    expect(answer.locator(".stats")).to_contain_text("tau 0.25")
    expect(answer.locator(".note")).to_contain_text("cut off")
    page.reload()
    expect(page.locator("#status-text")).to_have_text("ready")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("tau")).to_have_value("0.25")
    page.get_by_label("method", exact=True).select_option("soft-thinking")
    expect(page.get_by_label("max topk")).to_have_attribute("placeholder", "10")
    expect(page.get_by_label("top k", exact=True)).to_have_attribute("placeholder", "30")
    ask(page, "with another method")
    expect(answered(page, 3).locator(".stats")).to_contain_text("nats")
    assert bodies[2]["selar"] == {"method": "soft-thinking", "thinking": False, "events": True}
    page.get_by_role("button", name="Back to the defaults").click()
    expect(page.get_by_label("method", exact=True)).to_have_value("selar")
    expect(page.get_by_label("tau")).to_have_value("")
    ask(page, "and last")
    answered(page, 4)
    assert bodies[3]["selar"] == {"events": True} and bodies[3]["messages"][0]["role"] == "user"
    assert len(bodies[3]["messages"]) == 7


def test_a_preset_sets_the_method_and_its_options(open_chat):
    page = open_chat()
    bodies = sent(page)
    page.get_by_role("button", name="Settings").click()
    preset = page.get_by_label("preset", exact=True)
    expect(preset).to_have_value("SeLaR, as published")
    set_option(page, "tau", "0.7")
    expect(preset).to_have_value("")
    preset.select_option("SeLaR, clean text")
    expect(page.get_by_label("contrast")).to_have_value("0")
    expect(page.get_by_label("tau")).to_have_value("")
    ask(page)
    answered(page)
    assert bodies[0]["selar"] == {"contrast": 0, "anchor": 0.5, "events": True}
    set_option(page, "anchor", "")
    expect(preset).to_have_value("")
    set_option(page, "anchor", "0.5")
    expect(preset).to_have_value("SeLaR, clean text")
    preset.select_option("ordinary sampling")
    expect(page.get_by_label("method", exact=True)).to_have_value("cot")
    ask(page, "again")
    answered(page, 2)
    assert bodies[1]["selar"] == {"method": "cot", "events": True}
    page.reload()
    expect(page.locator("#status-text")).to_have_text("ready")
    page.get_by_role("button", name="Settings").click()
    expect(preset).to_have_value("ordinary sampling")


def test_a_wrong_option_is_told_where_it_stands(open_chat, complaints):
    page = open_chat()
    bodies = sent(page)
    set_option(page, "top k", "many")
    expect(page.get_by_text("This is not a number.")).to_be_visible()
    set_option(page, "tau", "-1")
    ask(page)
    answer = answered(page)
    assert "top_k" not in bodies[0]
    expect(answer.locator(".note.error")).to_contain_text("tau must be at least 0")
    expect(page.get_by_label("tau")).to_have_attribute("aria-invalid", "true")
    set_option(page, "tau", "0.5")
    expect(page.get_by_label("tau")).not_to_have_attribute("aria-invalid", "true")
    answer.get_by_role("button", name="Try again").click()
    expect(answered(page).locator(".note.error")).to_be_hidden()
    assert len(answered(page).locator(".text").inner_text()) > 0
    expected(complaints, "400")


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_frees_the_place_at_once(open_chat, chat_url, how):
    page = open_chat()
    set_option(page, "max tokens", "30000")
    ask(page)
    expect(page.locator("article.assistant .t").nth(10)).to_be_attached()
    running = lambda: sample(httpx.get(chat_url + "/metrics").text, "requests_running")  # noqa: E731
    assert running() == 1
    if how == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press("Escape")
    assert until(lambda: running() == 0)
    assert sample(httpx.get(chat_url + "/metrics").text, 'generations_total{finish_reason="cancelled"}') >= 1
    answer = answered(page)
    kept = answer.locator(".text").inner_text()
    assert len(kept) > 10
    expect(answer.locator(".note")).to_have_text("Stopped.")
    expect(page.get_by_label("Message")).to_be_focused()
    set_option(page, "max tokens", "5")
    ask(page, "go on")
    answered(page, 2)
    assert answer.page.locator("article.assistant .text").first.inner_text() == kept


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_it_survives_a_restart_of_the_server(page, chat_model, start_server, complaints):
    port = free_port()
    words = (chat_model, *SERVE, "--port", port, "-n", 20000)
    server = start_server(*words)
    page.goto(server.listening())
    expect(page.locator("#status-text")).to_have_text("ready")
    ask(page)
    expect(page.locator("article.assistant .t").nth(10)).to_be_attached()
    server.process.kill()
    server.ended()
    answer = answered(page)
    expect(answer.locator(".note.error")).to_have_text("The connection to the server was lost.")
    expect(page.locator("#status-text")).to_have_text("no connection, trying again")
    kept = answer.locator(".text").inner_text()
    assert len(kept) > 10
    ask(page, "is anybody there")
    expect(answered(page, 2).locator(".note.error")).to_have_text("The server cannot be reached.")
    server = start_server(*words[:-1], 30)
    server.listening()
    expect(page.locator("#status-text")).to_have_text("ready")
    page.get_by_role("button", name="Try again").click()
    answer = answered(page, 2)
    expect(answer.locator(".note")).to_contain_text("cut off")
    assert len(answer.locator(".text").inner_text()) > 10
    assert page.locator("article.assistant .text").first.inner_text() == kept
    ask(page, "good")
    answered(page, 3)
    server.process.send_signal(signal.SIGTERM)  # the regular end: the page learns of it by asking
    server.ended()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#status-text")).to_have_text("no connection, trying again")
    page.goto("about:blank")  # it tries again no more
    expected(complaints, "ERR_", "503")


def test_a_server_that_wants_a_key(page, chat_model, start_server, complaints):
    page.goto(start_server(chat_model, *SERVE, "--port", 0, "-n", 5, SELAR_LOCAL_API_KEY="se-cret").listening())
    expect(page.locator("#status-text")).to_have_text("needs a key")
    field = page.get_by_label("This server wants an API key")
    expect(field).to_be_focused()
    ask(page)
    expect(answered(page).locator(".note.error")).to_contain_text("API key")
    for wrong in ("wrong", "ключ"):
        field.fill(wrong)
        page.keyboard.press("Enter")
        expect(page.get_by_text("The server does not know this key.")).to_be_visible()
    held = []

    def hold_first(route):
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route("**/v1/selar", hold_first)
    field.fill("slow")
    page.keyboard.press("Enter")
    assert until(lambda: page.wait_for_timeout(20) or held)
    field.fill("se-cret")  # while the other one is being tried
    page.keyboard.press("Enter")
    held[0].continue_()
    expect(field).to_be_hidden()
    expect(page.locator("#status-text")).to_have_text("ready")
    page.get_by_role("button", name="Try again").click()
    expect(answered(page).locator(".stats")).to_contain_text("5 tokens")
    page.reload()
    expect(page.locator("#status-text")).to_have_text("ready")
    assert "se-cret" not in page.evaluate("JSON.stringify(localStorage)")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Forget the API key").click()
    ask(page, "who am I")
    expect(page.locator("#status-text")).to_have_text("needs a key")
    answered(page, 2)
    expected(complaints, "401")


def test_a_thinking_model_of_this_server(open_chat, chat_url):
    page = open_chat()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("thinking", exact=True).select_option("on")
    ask(page)
    answer = answered(page)
    expect(answer.locator("details.thinking summary")).to_contain_text(re.compile(r"Thought · \d+ tokens"))
    body = {"messages": [{"role": "user", "content": "the end"}], "selar": {"thinking": True}}
    message = httpx.post(chat_url + CHAT, json=body, timeout=30).json()["choices"][0]["message"]
    assert "".join(text for text, _, _ in units(page)) == message["reasoning_content"] + message["content"]


def test_a_conversation(open_chat):
    page = open_chat()
    bodies = sent(page)
    asked = lambda i: [(m["role"], m["content"]) for m in bodies[i]["messages"]]  # noqa: E731
    for i, text in enumerate(("first", "second\nline")):
        answer_with(page, sse(chunk(thinking="hm"), chunk(f"answer {i}"), END))
        page.get_by_label("Message").fill(text.split("\n")[0])
        for line in text.split("\n")[1:]:
            page.keyboard.press("Shift+Enter")
            page.keyboard.type(line)
        page.keyboard.press("Enter")
        answered(page, i + 1)
    begun = [("user", "first"), ("assistant", "answer 0")]
    assert asked(1) == [*begun, ("user", "second\nline")]
    assert page.get_by_role("button", name="Regenerate").count() == page.get_by_role("button", name="Edit").count() == 1
    answer_with(page, sse(chunk("another"), END))
    page.get_by_role("button", name="Regenerate").click()
    expect(answered(page, 2).get_by_text("answer 2 of 2")).to_be_visible()
    assert asked(2) == asked(1)
    page.get_by_role("button", name="previous answer").click()
    expect(page.locator("article.assistant .text").last).to_have_text("answer 1")
    page.reload()
    expect(page.locator("article.assistant .text").last).to_have_text("answer 1")
    ask(page, "third")
    answered(page, 3)
    assert asked(3) == [*begun, ("user", "second\nline"), ("assistant", "answer 1"), ("user", "third")]
    page.keyboard.press("ArrowUp")  # in the empty field: the last message again
    expect(page.get_by_label("Message")).to_have_value("third")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Message")).to_have_value("")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Message").fill("the third")
    page.keyboard.press("Enter")
    answered(page, 3)
    assert asked(4) == [*asked(3)[:-1], ("user", "the third")]
    expect(page.locator("article.user .said")).to_have_text(["first", "second\nline", "the third"])


def test_what_failed_is_not_part_of_the_conversation(open_chat, complaints):
    page = open_chat()
    bodies = sent(page)
    answer_with(page, json.dumps({"error": {"message": "the server is busy", "param": None}}), 429)
    ask(page, "too many")
    expect(answered(page).locator(".note.error")).to_have_text("the server is busy: try again in a moment")
    answer_with(page, "<html>a proxy's page</html>", 502)
    page.get_by_role("button", name="Try again").click()
    expect(answered(page).locator(".note.error")).to_have_text("The server answered with status 502.")
    answer_with(page, sse(chunk("part"), {"error": {"message": "the model failed"}}, done=False))
    ask(page, "once more")
    expect(answered(page, 2).locator(".note.error")).to_have_text("the model failed")
    expect(page.locator("article.user").first).to_contain_text("not part of the conversation")
    assert [message["content"] for message in bodies[2]["messages"]] == ["once more"]
    answer_with(page, sse(chunk("cut"), done=False))
    ask(page, "and again")
    expect(answered(page, 3).locator(".note.error")).to_have_text("The connection to the server was lost.")
    expect(page.locator("article.assistant .text").last).to_have_text("cut")
    expected(complaints, "429", "502")


def test_chats_are_kept_until_they_are_deleted(open_chat):
    page = open_chat()
    answer_with(page, sse(chunk("one"), END))
    ask(page, "first chat")
    answered(page)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".welcome")).to_be_visible()
    page.reload()
    expect(page.locator(".welcome")).to_be_visible()  # an empty chat is still the one that is open
    ask(page, "second chat")
    answered(page)
    page.get_by_role("button", name="Chats").click()
    page.get_by_role("button", name=re.compile("^first chat")).click()
    expect(page.locator("article.user .said")).to_have_text("first chat")
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("article.user .said")).to_have_text("second chat")  # the newest
    page.get_by_role("button", name="Chats").click()
    page.get_by_role("button", name="Delete the chat: first chat").click()
    expect(page.locator("#chat-list li")).to_have_count(1)
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".welcome")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('chat.')).length") == 1


def test_another_chat_meanwhile_does_not_mix_the_texts(open_chat, chat_url):
    page = open_chat()
    set_option(page, "max tokens", "30000")
    ask(page, "a long one")
    expect(page.locator("article.assistant .t").nth(10)).to_be_attached()
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".welcome")).to_be_visible()
    assert until(lambda: sample(httpx.get(chat_url + "/metrics").text, "requests_running") == 0)
    expect(page.locator(".t:not(.welcome .t)")).to_have_count(0)
    page.get_by_role("button", name="Chats").click()
    page.get_by_role("button", name=re.compile("^a long one")).click()
    expect(page.locator("article.assistant .note")).to_have_text("Stopped.")
    assert page.locator("article.assistant .t").count() > 10


@pytest.mark.parametrize("broken", ["refuses", "full", "damaged"])
def test_a_browser_that_keeps_nothing(page, chat_url, broken):
    scripts = {
        "refuses": "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });",
        "full": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
        "damaged": """for (const key of ["settings", "chats", "chat.x"])
            if (!localStorage.getItem("selar-local." + key)) localStorage.setItem("selar-local." + key, "{broken");
          sessionStorage.setItem("selar-local.chat", '"x"');""",
    }
    page.add_init_script(scripts[broken])
    page.goto(chat_url + "/")
    expect(page.locator("#status-text")).to_have_text("ready")
    set_option(page, "max tokens", "5")
    ask(page)
    expect(answered(page).locator(".stats")).to_contain_text("5 tokens")
    assert page.locator("#not-kept").is_visible() is (broken != "damaged")
    ask(page, "more")
    expect(answered(page, 2).locator(".stats")).to_contain_text("5 tokens")


def test_a_large_chat_makes_room_by_older_ones_and_then_by_its_steps(open_chat):
    page = open_chat()
    answer_with(page, sse(*(chunk("word ", entropy=0.5) for _ in range(300)), END))
    for i in range(2):
        page.get_by_role("button", name="New chat").click()
        ask(page, f"chat {i}")
        answered(page)
    size = page.evaluate("Math.max(...Object.values(localStorage).map((value) => value.length))")
    page.evaluate(
        f"""() => {{
          const own = Storage.prototype.setItem;
          Storage.prototype.setItem = function (key, value) {{
            const others = Object.entries(this).filter(([name]) => name !== key).map(([, text]) => text.length);
            const all = others.reduce((sum, length) => sum + length, value.length);
            if (this === localStorage && all > {1.7 * size}) throw new DOMException("full", "QuotaExceededError");
            own.call(this, key, value);
          }};
        }}"""
    )
    ask(page, "the second is the open one")
    answered(page, 2)
    page.reload()
    expect(page.locator("article.assistant .text")).to_have_count(2)
    assert page.locator("article.assistant .text").first.inner_text().startswith("word word")
    steps = page.evaluate(
        "[...document.querySelectorAll('article.assistant')].map((a) => a.querySelector('.t').unit.s.length)"
    )
    assert steps == [0, 1]
    page.get_by_role("button", name="Chats").click()
    expect(page.locator("#chat-list li")).to_have_count(1)


def test_by_keyboard_alone(open_chat):
    page = open_chat()
    expect(page.get_by_label("Message")).to_be_focused()
    page.keyboard.type("the end")
    page.keyboard.press("Enter")
    answered(page)
    expect(page.get_by_label("Message")).to_be_focused()
    seen = []
    name = "(({ id, className, textContent }) => id || className || textContent)(document.activeElement)"
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        seen.append(page.evaluate(name))
        if seen[-1] == "toggle-settings":
            break
    assert "text" in seen and seen[-1] == "toggle-settings", seen
    page.keyboard.press("Enter")
    expect(page.get_by_label("preset", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("method", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("method", exact=True)).to_have_value("coconut")
    expect(page.get_by_label("method", exact=True)).to_be_focused()  # although the panel was drawn anew
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    expect(page.get_by_role("button", name="Settings")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#chats")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#chats")).to_be_hidden()
    expect(page.get_by_role("button", name="Chats")).to_be_focused()


def test_the_view_follows_the_text_until_one_looks_elsewhere(open_chat):
    page = open_chat()
    set_option(page, "max tokens", "30000")
    page.get_by_role("button", name="Settings").click()
    page.set_viewport_size({"width": 900, "height": 500})
    ask(page)
    log = page.locator("#log")
    place = "(log) => [log.scrollTop, log.scrollHeight - log.scrollTop - log.clientHeight]"
    assert until(lambda: log.evaluate(place)[0] > 400, 20)
    assert log.evaluate(place)[1] < 60
    log.hover()
    page.mouse.wheel(0, -300)
    expect(page.get_by_role("button", name="To the newest text")).to_be_visible()
    before = log.evaluate(
        """async (log) => {
          let top;
          do {
            top = log.scrollTop;
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          } while (log.scrollTop !== top);
          return [log.scrollTop, log.scrollHeight - log.scrollTop - log.clientHeight];
        }"""
    )
    assert until(lambda: log.evaluate(place)[1] > before[1] + 100, 20)
    assert log.evaluate(place)[0] == before[0]
    page.get_by_role("button", name="To the newest text").click()
    assert until(lambda: log.evaluate(place)[1] < 60)
    page.keyboard.press("Escape")
    answered(page)


@pytest.mark.gguf
def test_a_real_model(page, smollm2, start_server):
    page.goto(start_server(smollm2, "--ui", "-t", 1, "--port", 0, "-c", 1024, "-n", 60, "--seed", 3).listening())
    expect(page.locator("#status-text")).to_have_text("ready")
    ask(page, "Why is the sky blue?")
    answer = answered(page)
    text = answer.locator(".text").inner_text()
    assert len(text.split()) > 20 and answer.locator(".t.x").count() > 0
    answer.locator(".t.x").first.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("exploration step")
    rows = page.locator(".candidates li").all_inner_texts()
    shares = [float(row.split("\n")[-1]) for row in rows]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.001
