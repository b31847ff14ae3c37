"""The list of chats on the chat page: titles, renaming, files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")

from chat_page import END, answer_with, answered, ask, chunk, sse
from playwright.sync_api import expect

LONG = "How many sheep are left, when a farmer has 3 pens of 12 sheep\nand sells 7, and what is " + "more " * 80


def begin(page, question, *chunks):
    page.get_by_role("button", name="New chat").click()
    answer_with(page, sse(*(chunks or [chunk("an answer")]), END))
    ask(page, question)
    return answered(page)


def open_list(page):
    page.get_by_role("button", name="Chats").click()
    return page.locator("#chat-list")


def title(page, i=0):
    return page.locator("#chat-list .chat-title").nth(i)


def test_a_title_is_the_first_question_on_one_line_and_whole_on_hover(open_chat):
    page = open_chat()
    begin(page, "short")
    begin(page, LONG)
    open_list(page)
    words = " ".join(LONG.split())
    assert title(page).get_attribute("title") == words[:299] + "…"
    one_line = title(page, 1).bounding_box()["height"]
    assert title(page).bounding_box()["height"] == one_line
    assert (
        title(page).evaluate("(e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).textOverflow") == "ellipsis"
    )
    assert page.locator("#chats").evaluate("(e) => e.scrollWidth <= e.clientWidth")
    page.set_viewport_size({"width": 340, "height": 640})
    assert page.locator("#chats").evaluate("(e) => e.scrollWidth <= e.clientWidth")
    assert title(page).bounding_box()["height"] == one_line


def rename(page, old, new, key="Enter"):
    page.get_by_role("button", name=f"Rename the chat: {old}").click()
    field = page.get_by_label("Title of the chat")
    expect(field).to_be_focused()
    assert field.input_value() == old
    page.keyboard.type(new)  # what was there is selected
    page.keyboard.press(key)


def test_a_chat_can_be_renamed(open_chat):
    page = open_chat()
    begin(page, "first")
    begin(page, "second")
    open_list(page)
    rename(page, "second", "  Sheep,   <b>mostly</b> ")
    expect(title(page)).to_have_text("Sheep, <b>mostly</b>")
    expect(page.get_by_role("button", name="Rename the chat: Sheep")).to_be_focused()
    rename(page, "first", "not kept", "Escape")
    expect(title(page, 1)).to_have_text("first")
    expect(page.locator("#chats")).to_be_visible()
    page.get_by_role("button", name="Rename the chat: first").click()
    page.keyboard.type("by leaving")
    page.get_by_role("heading", name="Chats").click()
    expect(title(page, 1)).to_have_text("by leaving")
    page.keyboard.press("Escape")
    ask(page, "the title stays when the chat goes on")
    answered(page, 2)
    page.reload()
    open_list(page)
    expect(title(page)).to_have_text("Sheep, <b>mostly</b>")
    page.get_by_role("button", name="Rename the chat: Sheep").click()
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(title(page)).to_have_text("second")  # without a title it is the first question again
    assert page.locator("#chat-list b").count() == 0


def save(page, kind, name):
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save the chat as {kind}: {name}").click()
    return download.value.suggested_filename, Path(download.value.path()).read_text("utf-8")


@pytest.fixture
def saved_chat(open_chat):
    page = open_chat()
    candidates = [{"token": " so", "logprob": -0.5}, {"token": "é", "logprob": -1.5}]
    known = {"logprobs": {"content": [{"token": " so", "logprob": -0.5, "top_logprobs": candidates}]}}
    begin(page, "What is\n$x^2$?", chunk(thinking="let me\n\nsee"), chunk(" so", explored=True, entropy=0.8, **known),
          chunk(" **é**\n", entropy=None))  # fmt: skip
    answer_with(page, sse(chunk("other"), END))
    page.get_by_role("button", name="Regenerate").click()
    answered(page)
    page.get_by_role("button", name="previous answer").click()
    answer_with(page, sse(END))
    ask(page, "and")
    answered(page, 2)
    open_list(page)
    rename(page, "What is $x^2$?", "Über x², 1/2: a chat")
    return page


def test_a_chat_as_markdown(saved_chat):
    name, text = save(saved_chat, "Markdown", "Über")
    assert name == "Über-x²-1-2-a-chat.md"
    assert text == (
        "# Über x², 1/2: a chat\n\n## Question\n\nWhat is\n$x^2$?\n\n## Answer (selar)\n\n> let me\n>\n> see\n\n"
        "so **é**\n\n## Question\n\nand\n\n## Answer (selar)\n\n(no text)\n"
    )


def test_a_chat_as_json(saved_chat):
    name, text = save(saved_chat, "JSON", "Über")
    assert name == "Über-x²-1-2-a-chat.json"
    chat = json.loads(text)
    assert chat["title"] == "Über x², 1/2: a chat" and re.match(r"20\d\d-\d\d-\d\dT", chat["saved"])
    question, answer, *rest = chat["messages"]
    assert question == {"role": "user", "content": "What is\n$x^2$?"} and len(rest) == 2
    assert answer["role"] == "assistant" and answer["shown"] == 0 and len(answer["answers"]) == 2
    first, second = answer["answers"]
    assert (first["content"], first["reasoning_content"]) == (" so **é**\n", "let me\n\nsee")
    assert (first["method"], first["seed"], first["finish_reason"], first["error"]) == ("selar", 5, "stop", None)
    assert (first["tokens"], first["explored_steps"], first["mean_entropy"]) == (3, 1, pytest.approx(0.45))
    assert "".join(piece["text"] for piece in first["pieces"] if not piece["thinking"]) == first["content"]
    (step,) = first["pieces"][1]["steps"]
    assert (step["entropy"], step["explored"], step["mode"], step["probability"]) == (0.8, True, None, 0.6065)
    assert step["candidates"] == [{"text": " so", "probability": 0.6065}, {"text": "é", "probability": 0.2231}]
    assert first["pieces"][2]["steps"][0]["entropy"] is None and second["content"] == "other"


def test_a_title_without_letters_still_names_a_file(open_chat):
    page = open_chat()
    begin(page, "?!")
    open_list(page)
    assert save(page, "JSON", "?!")[0] == "chat.json"
